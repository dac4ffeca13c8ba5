# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sources can reach something? Exact prefixes that cover the whole address space, each with its verdict. Pure.

Addresses between two neighbouring borders of the networks that the rules name are all treated alike, so one of them
speaks for all.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Callable, Iterable, Iterator, List, Optional, Tuple, TypeVar

from .chain_walk import Hook, WayVerdict, decide_saved
from .iptables_save import Save
from .rule_match import Surroundings
from .traffic import IPV4, Network, Rule
from .verdict import Address, Packet, open_fields

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class SourceVerdict:
    """What becomes of packets from `network`: `rule` decides, or none (`return`).

    `unless` are rules above it that decide instead for some of them, with what the question left open: `port`,
    `source_port`, `icmp_type`, `out_interface`, `states`.
    """

    network: Network
    action: str
    rule: Optional[Rule] = None
    unless: Tuple[Tuple[Rule, Tuple[str, ...]], ...] = ()

    @property
    def certain(self) -> bool:
        """Whether every packet from here meets the same action."""
        return all(rule.action == self.action for rule, _fields in self.unless)


def sources(rules: Iterable[Rule], packet: Packet) -> List[SourceVerdict]:
    """For each source of the packet's family what the rules decide, `packet` telling everything but the source."""
    open_rules = [(rule, left) for rule in rules for left in [open_fields(rule, packet)] if left is not None]

    def decide(address: Address) -> Tuple[str, Optional[Rule], Tuple[Tuple[Rule, Tuple[str, ...]], ...]]:
        unless = []
        for rule, left in open_rules:
            if rule.sources is not None and not any(
                net.version == address.version and address in net for net in rule.sources
            ):
                continue
            if not left:
                return rule.action, rule, tuple(unless)
            unless.append((rule, left))
        return "return", None, tuple(unless)

    named = [net for rule, _left in open_rules for net in rule.sources or ()]
    return [SourceVerdict(net, *found) for net, found in by_source(named, packet.family, decide)]


def sources_saved(
    save: Save, packet: Packet, node: Surroundings, way: Optional[Iterable[Hook]] = None
) -> List[Tuple[Network, WayVerdict]]:
    """The same for whole built-in chains with the rules of others in them (chain_walk)."""
    hooks = None if way is None else tuple(way)
    return by_source(
        _borders(save, node),
        packet.family,
        lambda address: decide_saved(save, replace(packet, source=address), node, hooks),
    )


def by_source(
    networks: Iterable[Network], family: str, decide: Callable[[Address], _Found]
) -> List[Tuple[Network, _Found]]:
    """The address space in as few prefixes as the borders of `networks` allow, each with what `decide` says of it."""
    kind = ipaddress.IPv4Address if family == IPV4 else ipaddress.IPv6Address
    last = 2 ** (32 if family == IPV4 else 128) - 1
    borders = {0}
    for net in networks:
        if net.version == kind(0).version:
            borders |= {int(net.network_address), int(net.broadcast_address) + 1}
    found: List[Tuple[Network, _Found]] = []
    for first, end, verdict in _runs(sorted(borders - {last + 1}), last, lambda number: decide(kind(number))):
        found += [(net, verdict) for net in ipaddress.summarize_address_range(kind(first), kind(end))]
    return found


def _runs(borders: List[int], last: int, decide: Callable[[int], _Found]) -> Iterator[Tuple[int, int, _Found]]:
    """Neighbouring pieces with the same verdict as one."""
    begin, verdict = borders[0], decide(borders[0])
    for border in borders[1:]:
        other = decide(border)
        if other != verdict:
            yield begin, border - 1, verdict
            begin, verdict = border, other
    yield begin, last, verdict


def _borders(save: Save, node: Surroundings) -> Iterator[Network]:
    """Every network that can make a difference for a source: in rules, in sets, the node's own, special ones."""
    for table in save.tables.values():
        for chain in table.chains.values():
            for rule in chain.rules:
                for word in rule.spec.replace(",", " ").replace("-", " ").split():
                    yield from _network(word)
    for found in node.sets.values():
        yield from found.covers()
    for item in node.local or ():
        yield from _network(str(item.ip))
        if item.version == 4:
            yield from _network(str(item.network.broadcast_address))
            yield from _network(str(item.network.network_address))
    for special in ("0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::1/128", "ff00::/8"):
        yield from _network(special)


def _network(word: str) -> Iterator[Network]:
    try:
        yield ipaddress.ip_network(word, strict=False)
    except ValueError:
        return
