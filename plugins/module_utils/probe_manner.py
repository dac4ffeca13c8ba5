# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How endpoints are tried: limits of time and number, and where packets leave. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence

from .endpoints import Wanted
from .errors import HardeningError
from .traffic import check_interface
from .traffic_reading import parse_network

# option -> least, most, unit
_LIMITS = {
    "timeout": (0.1, 60, " seconds"),
    "retries": (0, 10, ""),
    "concurrency": (1, 10000, ""),
    "time_limit": (1, 86400, " seconds"),
}


@dataclass(frozen=True)
class Manner:
    """Seconds for `timeout` (one try) and `time_limit` (all endpoints together); `retries` follow the first try."""

    timeout: float
    retries: int
    concurrency: int
    time_limit: float
    source: Optional[str] = None
    interface: Optional[str] = None


def manner_of(params: Mapping[str, Any], wanted: Sequence[Wanted]) -> Manner:
    """The manner that a task's options ask for. Raises HardeningError."""
    for option, (least, most, unit) in _LIMITS.items():
        value = params[option]
        if value is not None and not least <= value <= most:
            raise HardeningError(f"option {option}: {value:g} is outside {least:g}-{most:g}{unit}")
    limit = params["time_limit"]
    if limit is None:
        limit = time_needed(len(wanted), params["timeout"], params["retries"], params["concurrency"])
    return Manner(
        params["timeout"],
        params["retries"],
        params["concurrency"],
        limit,
        _source(params["source"], wanted),
        _interface(params["interface"]),
    )


def time_needed(number: int, timeout: float, retries: int, concurrency: int) -> float:
    """Seconds that trying `number` endpoints takes when none ever answers, with a margin for a busy node."""
    rounds = -(-number // concurrency)
    return 5 + 1.25 * rounds * timeout * (1 + retries)


def _source(value: Optional[str], wanted: Sequence[Wanted]) -> Optional[str]:
    if value is None:
        return None
    network = parse_network("option source", value)
    if network.prefixlen != network.max_prefixlen:
        raise HardeningError(f"option source: {value} is a network; write one address of this node")
    for item in wanted:
        if item.endpoint.address.version != network.version:
            raise HardeningError(
                f"option source: {value} is an IPv{network.version} address, and {item.asked_by} asks for "
                f"{item.endpoint}; try each family in a task of its own"
            )
    return str(network.network_address)


def _interface(value: Optional[str]) -> Optional[str]:
    if value is None:
        return None
    name = check_interface("option interface", value)
    if name.endswith("+"):
        raise HardeningError(f"option interface: {value!r} matches several; packets leave by one interface")
    return name
