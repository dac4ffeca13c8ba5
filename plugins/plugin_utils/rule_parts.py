# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accepting rules as dictionaries, made safe to hand over: merged networks, one family where two cannot meet. Pure."""

from __future__ import annotations

from typing import Any, Iterable

from . import addresses
from .catalogue_model import CatalogueError
from .region_request import RequestError

RuleDict = dict[str, Any]
# The kernel keeps 255 bytes of comment; the engine may add a little of its own.
COMMENT_BYTES = 240


def accept_rules(
    name: str,
    direction: str,
    protocol: str,
    reason: str,
    ports: tuple[str, ...],
    destinations: tuple[str, ...],
    sources: tuple[str, ...] | None = None,
    interface: str | None = None,
    out_interface: str | None = None,
) -> list[RuleDict]:
    """One rule; two where both sides hold addresses of both families, since those cannot meet.

    `sources` None means any, interfaces None mean all. Raises HardeningError, never returns an empty list.
    """
    rule: RuleDict = {"direction": direction, "action": "accept", "protocol": protocol, "ports": list(ports)}
    rule.update({key: value for key, value in (("interface", interface), ("out_interface", out_interface)) if value})
    rules = []
    for suffix, near, far in _by_family(sources, destinations):
        part = {"name": f"{name}{suffix}", **rule, "destinations": addresses.merge(far), "reason": reason}
        if near is not None:
            part["sources"] = addresses.merge(near)
        if len(f"{part['name']}: {reason}".encode()) > COMMENT_BYTES:
            raise CatalogueError(f"rule {part['name']}: name and reason exceed {COMMENT_BYTES} bytes: {reason}")
        rules.append(part)
    if not rules:
        raise RequestError(f"rule {name}: no source and destination of one address family: {', '.join(sources or ())}")
    return rules


def _by_family(
    sources: tuple[str, ...] | None, destinations: tuple[str, ...]
) -> Iterable[tuple[str, tuple[str, ...] | None, tuple[str, ...]]]:
    """Suffix of the name, sources and destinations of each part."""
    if sources is None:
        yield "", None, destinations
        return
    found = []
    for version in (4, 6):
        near = tuple(net for net in sources if addresses.version(net) == version)
        far = tuple(net for net in destinations if addresses.version(net) == version)
        if near and far:
            found.append((version, near, far))
    for version, near, far in found:
        yield ("-ipv6" if version == 6 and len(found) > 1 else ""), near, far
