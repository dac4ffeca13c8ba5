# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of the cluster's nodes from what the inventory says and what firewall_info found. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any, Iterable, Mapping

from ..module_utils.errors import HardeningError, choices
from .addresses import is_private


class AddressesUnknown(HardeningError):
    """A node whose address this run cannot know; says which variable tells it."""


def node_addresses(hostvars: Mapping[str, Any], hosts: Iterable[str]) -> list[str]:
    """Every address of every host's network cards, in order, each once."""
    found: dict[str, None] = {}
    for host in hosts:
        variables = hostvars[host]
        for item in _listed(variables.get("iks_addresses")) or _found(variables) or _unknown(host, "iks_addresses"):
            found[item] = None
    return list(found)


def private_addresses(hostvars: Mapping[str, Any], hosts: Iterable[str]) -> list[str]:
    """Those of the hosts' addresses that are private ones."""
    return [item for item in node_addresses(hostvars, hosts) if is_private(item)]


def public_addresses(hostvars: Mapping[str, Any], hosts: Iterable[str]) -> list[str]:
    """The public interface's addresses of every host (the page's step 1), in order, each once."""
    found: dict[str, None] = {}
    for host in hosts:
        variables = hostvars[host]
        for item in (
            _listed(variables.get("iks_public_address"))
            or _on_public(host, variables)
            or _unknown(host, "iks_public_address")
        ):
            found[item] = None
    return list(found)


def _listed(value: Any) -> list[str]:
    if not value:
        return []
    return [str(item) for item in (value if isinstance(value, (list, tuple)) else [value])]


def _found(variables: Mapping[str, Any]) -> list[str]:
    info = variables.get("iks_node") or {}
    return [_bare(item) for card in info.get("cards", ()) for item in info["interfaces"][card]]


def _on_public(host: str, variables: Mapping[str, Any]) -> list[str]:
    info = variables.get("iks_node") or {}
    links = info.get("interfaces", {})
    chosen = variables.get("iks_public_interface")
    if chosen and links and chosen not in links:
        raise AddressesUnknown(
            choices(f"{host}: iks_public_interface", chosen, [name for name in links if name != "lo"])
        )
    public = chosen or next(iter(info.get("default_interfaces", ())), None)
    return [_bare(item) for item in links.get(public, ())]


def _bare(cidr: str) -> str:
    return str(ipaddress.ip_interface(cidr).ip)


def _unknown(host: str, variable: str) -> list[str]:
    raise AddressesUnknown(
        f"{host}: its addresses are not known in this run (was it left out by --limit, or unreachable?); "
        f"set {variable} for it in the inventory, because rules made without it would cut it off"
    )
