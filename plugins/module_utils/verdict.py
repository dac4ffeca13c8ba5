# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Would this packet pass, and by which rule? Pure and offline, on the same rules that every renderer reads."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Iterable, Optional, Tuple, Union

from .traffic import ANY, IPV4, IPV6, Network, PortRange, Rule

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


@dataclass(frozen=True)
class Packet:
    """The first packet of something, as the kernel's filter table sees it (after DNAT).

    `states` empty means that the state is not known. What follows it matters to rules of others only
    (`chain_walk`): the mark the packet comes with, its connection's mark (0 for a new one), its ICMP code, its TCP
    flags (SYN for a new connection).
    """

    direction: str
    protocol: str
    source: Address
    destination: Address
    interface: str
    port: Optional[int] = None
    source_port: Optional[int] = None
    icmp_type: Optional[int] = None
    out_interface: Optional[str] = None
    states: Tuple[str, ...] = ("new",)
    mark: int = 0
    connection_mark: Optional[int] = None
    icmp_code: Optional[int] = None
    tcp_flags: Optional[Tuple[str, ...]] = None

    @property
    def family(self) -> str:
        return IPV4 if self.destination.version == 4 else IPV6


@dataclass(frozen=True)
class Verdict:
    """`action` is accept, drop, reject or, when no rule decided, return; `rule` is the one that decided."""

    action: str
    rule: Optional[Rule] = None


def decide(rules: Iterable[Rule], packet: Packet) -> Verdict:
    """The first rule that matches decides."""
    for rule in rules:
        if matches(rule, packet):
            return Verdict(rule.action, rule)
    return Verdict("return")


def matches(rule: Rule, packet: Packet) -> bool:
    """Whether every field of the rule agrees with the packet."""
    return (
        rule.direction == packet.direction
        and packet.family in rule.families
        and rule.protocol in (ANY, packet.protocol)
        and _on(rule.interface, packet.interface)
        and _on(rule.out_interface, packet.out_interface)
        and _within(packet.source, rule.sources)
        and _within(packet.destination, rule.destinations)
        and _among(packet.port, rule.ports)
        and _among(packet.source_port, rule.source_ports)
        and (rule.icmp_types is None or packet.icmp_type in rule.icmp_types)
        and not _is_beyond_limit(rule)
        and (rule.states is None or bool(set(rule.states) & set(packet.states)))
    )


def open_fields(rule: Rule, packet: Packet) -> Optional[Tuple[str, ...]]:
    """What keeps open whether the rule matches, the source aside; None when no source would make it match.

    A field that the packet leaves out (None, or no state) and the rule asks for is open.
    """
    if rule.direction != packet.direction or packet.family not in rule.families or _is_beyond_limit(rule):
        return None
    if rule.protocol not in (ANY, packet.protocol) or not _within(packet.destination, rule.destinations):
        return None
    left = []
    for field, wanted, value, fits in (
        ("interface", rule.interface, packet.interface, _on(rule.interface, packet.interface)),
        ("out_interface", rule.out_interface, packet.out_interface, _on(rule.out_interface, packet.out_interface)),
        ("port", rule.ports, packet.port, _among(packet.port, rule.ports)),
        ("source_port", rule.source_ports, packet.source_port, _among(packet.source_port, rule.source_ports)),
        ("icmp_type", rule.icmp_types, packet.icmp_type, packet.icmp_type in (rule.icmp_types or ())),
        ("states", rule.states, packet.states or None, bool({*packet.states} & {*(rule.states or ())})),
    ):
        if wanted is None:
            continue
        if value is None:
            left.append(field)
        elif not fits:
            return None
    return tuple(left)


def _is_beyond_limit(rule: Rule) -> bool:
    """A denying rule with a limit matches what is above it, which a first packet is not."""
    return rule.action != "accept" and (rule.rate is not None or rule.connections is not None)


def _on(pattern: Optional[str], interface: Optional[str]) -> bool:
    if pattern is None:
        return True
    if interface is None:
        return False
    return interface.startswith(pattern[:-1]) if pattern.endswith("+") else interface == pattern


def _within(address: Address, networks: Optional[Tuple[Network, ...]]) -> bool:
    return networks is None or any(net.version == address.version and address in net for net in networks)


def _among(port: Optional[int], ranges: Optional[Tuple[PortRange, ...]]) -> bool:
    return ranges is None or (port is not None and any(port in item for item in ranges))
