# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Would a change of Calico's resources cut off what a cluster needs? Pure: policies before and after, flows in.

A change is refused for what it breaks itself: a flow that passed before, or an endpoint that is new. What was broken
before is reported and refuses nothing. A flow is asked about for every peer that a rule could treat otherwise than the
next one, so that a network of which half is cut off counts as cut off.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from .calico_addresses import Spans, changes
from .calico_flows import Flow
from .calico_policy import (
    ALL_INTERFACES,
    EGRESS,
    INGRESS,
    NORMAL,
    UNTRACKED,
    HostEndpoint,
    Node,
    Policies,
    PolicyRule,
    Side,
)
from .calico_settings import Settings
from .calico_verdict import Decision, decide_packet, settings_of
from .traffic import ANY, WITH_PORTS, Network, Rule
from .verdict import Address, Packet

# A port from which clients ask; the middle of Linux's default range (ip_local_port_range).
_CLIENT_PORT = 46848
_SSH = 22
_EVERYONE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_NOWHERE = {4: ipaddress.ip_address("0.0.0.0"), 6: ipaddress.ip_address("::")}  # nosec: an address that no rule names
_PSEUDO = "(an interface with {})"


@dataclass(frozen=True)
class Broken:
    """A flow that does not pass after the change; a flow of None: nothing passes that is not failsafe.

    `peer` is one of those that are cut off. `refuses`: the change is what breaks it.
    """

    node: str
    endpoint: str
    flow: Optional[Flow]
    peer: Optional[Address]
    decision: Optional[Decision]
    refuses: bool
    text: str


@dataclass(frozen=True)
class _Place:
    """An interface of a node that an endpoint governs after the change."""

    node: Node
    interface: str
    endpoint: HostEndpoint
    addresses: Tuple[Address, ...]


@dataclass(frozen=True)
class _Side:
    """One of the two states that are compared."""

    policies: Policies
    settings: Optional[Settings]

    def settings_of(self, node: str) -> Settings:
        return self.settings or settings_of(self.policies, node)


def broken_flows(
    before: Policies,
    after: Policies,
    flows: Iterable[Flow],
    settings: Optional[Settings] = None,
    nodes: Optional[Mapping[str, Node]] = None,
) -> Tuple[Broken, ...]:
    """Every flow that does not pass at an endpoint after the change, endpoint by endpoint, in the flows' order.

    `settings` overrides the FelixConfiguration among the documents; `nodes` tells the interfaces' addresses, without
    which those of the endpoints count.
    """
    flows = tuple(flows)
    old, new = _Side(before, settings), _Side(after, settings)
    found: List[Broken] = []
    everywhere = tuple(flow for flow in flows if flow.node is None)
    by_node = _by_node(flows)
    places = list(_places(before, after, nodes or {}))
    for place in places:
        bare = _without_policy(place, old, new)
        if bare is not None:
            found.append(bare)
            continue
        for flow in by_node.get(place.node.name, everywhere):
            if _concerns(flow, place):
                found += _broken(flow, place, old, new)
    return tuple(found) + tuple(_without_ssh(places, flows, old, new))


def refusal(broken: Iterable[Broken], limit: int = 10) -> str:
    """Why a change is refused, or an empty text: the first flow of each endpoint that it breaks."""
    first: Dict[Tuple[str, str], Broken] = {}
    for item in broken:
        if item.refuses:
            first.setdefault((item.node, item.endpoint), item)
    texts = [item.text for item in first.values()]
    more = [f"and {len(texts) - limit} more host endpoints"] if len(texts) > limit else []
    if not texts:
        return ""
    return (
        "; ".join(texts[:limit] + more) + ". Allow it with a policy that is asked earlier, or give allow_lockout: true"
    )


def flows_of_rules(rules: Iterable[Rule], node: Optional[str] = None) -> Tuple[Flow, ...]:
    """The flows that accepting rules of the traffic model ask for; those for forwarded traffic are left out."""
    found = []
    for rule in rules:
        if rule.action != "accept" or rule.direction == "forward":
            continue
        peers = rule.sources if rule.direction == "in" else rule.destinations
        interface = rule.interface.replace("+", "*") if rule.interface else None
        versions = {4 if family == "ipv4" else 6 for family in rule.families}
        every = tuple(net for net in _EVERYONE if net.version in versions)
        for ports in rule.ports or (None,):
            first, last = (ports.first, ports.last) if ports else (None, None)
            if ports is None and rule.protocol in WITH_PORTS:
                first, last = 1, 65535
            found.append(
                Flow(
                    rule.name, rule.direction, rule.protocol, peers or every, first, rule.reason, last, node, interface
                )
            )
    return tuple(found)


def _places(before: Policies, after: Policies, nodes: Mapping[str, Node]) -> Iterator[_Place]:
    for endpoint in sorted(after.endpoints, key=lambda item: (item.node, item.name)):
        node = nodes.get(endpoint.node) or Node(endpoint.node)
        for name in _interfaces(endpoint, node, before, after):
            addresses = tuple(node.interfaces.get(name, ())) or endpoint.addresses
            known = Node(node.name, {**node.interfaces, name: addresses})
            if after.endpoint_at(known, name) == endpoint:
                yield _Place(known, name, endpoint, addresses)


def _interfaces(endpoint: HostEndpoint, node: Node, before: Policies, after: Policies) -> Sequence[str]:
    """The names of what an endpoint governs; where they are not known, one that says so."""
    if endpoint.interface not in ("", ALL_INTERFACES):
        return (endpoint.interface,)
    if endpoint.interface == ALL_INTERFACES:
        return tuple(node.interfaces) or (_PSEUDO.format("no host endpoint of its own"),)
    named = [name for name, addresses in node.interfaces.items() if set(addresses) & set(endpoint.addresses)]
    # The same address at an endpoint that names its interface tells the name, too.
    named += [
        other.interface
        for policies in (before, after)
        for other in policies.endpoints
        if other.node == endpoint.node
        and other.interface not in ("", ALL_INTERFACES)
        and set(other.addresses) & set(endpoint.addresses)
    ]
    return tuple(dict.fromkeys(named)) or (
        _PSEUDO.format(endpoint.addresses[0] if endpoint.addresses else "no address"),
    )


def _concerns(flow: Flow, place: _Place) -> bool:
    return (flow.interface is None or fnmatchcase(place.interface, flow.interface)) and (
        flow.selector is None or flow.selector.matches(dict(place.endpoint.labels))
    )


def _by_node(flows: Sequence[Flow]) -> Dict[str, List[Flow]]:
    """Flows of each node that has some of its own, those of every node among them, in the order given."""
    found: Dict[str, List[Flow]] = {flow.node: [] for flow in flows if flow.node is not None}
    for flow in flows:
        for name in found if flow.node is None else (flow.node,):
            found[name].append(flow)
    return found


def _without_policy(place: _Place, old: _Side, new: _Side) -> Optional[Broken]:
    """A host endpoint that no policy selects: Felix denies everything but failsafe ports (docs.tigera.io)."""
    if _is_governed(new.policies, place.endpoint):
        return None
    was = old.policies.endpoint_at(place.node, place.interface)
    refuses = was is None or _is_governed(old.policies, was)
    text = (
        f"host endpoint {place.endpoint.name} of node {place.node.name}: no policy selects it, so Calico would drop "
        "all traffic of the node's own on it but the failsafe ports; write a policy that selects its labels first"
    )
    return Broken(place.node.name, place.endpoint.name, None, None, None, refuses, text)


def _is_governed(policies: Policies, endpoint: HostEndpoint) -> bool:
    return any(name in policies.profiles for name in endpoint.profiles) or any(
        policy.hook in (NORMAL, UNTRACKED) for tier in policies.applied(endpoint) for policy in tier.policies
    )


def _broken(flow: Flow, place: _Place, old: _Side, new: _Side) -> Iterator[Broken]:
    """At most one: the first peer that the change cuts off, or the first that was cut off before."""
    reported: Optional[Broken] = None
    for packet in _packets(flow, place, old, new):
        decision = _denied(packet, place, new)
        if decision is None:
            continue
        refuses = _denied(packet, place, old) is None
        if not refuses and reported is not None:
            continue
        peer = packet.source if flow.direction == "in" else packet.destination
        reported = Broken(
            place.node.name, place.endpoint.name, flow, peer, decision, refuses,
            f"host endpoint {place.endpoint.name} of node {place.node.name}: {flow} "
            f"{'would be' if refuses else 'is already'} denied for {peer}: {decision.because}; "
            f"it is needed: {flow.reason}",
        )  # fmt: skip
        if refuses:
            break
    if reported is not None:
        yield reported


def _denied(packet: Packet, place: _Place, side: _Side) -> Optional[Decision]:
    """What denies a packet, or the answer to it; None when both pass."""
    settings = side.settings_of(place.node.name)
    outcome = decide_packet(side.policies, place.node, packet, settings=settings)
    if not outcome.allowed:
        return outcome.decision
    if outcome.decision.stage != UNTRACKED:
        return None
    # Nobody tracks this connection: its answers are packets of their own (docs.tigera.io, "Untracked policy").
    answer = replace(
        packet, source=packet.destination, destination=packet.source, port=packet.source_port, source_port=packet.port,
        direction="out" if packet.direction == "in" else "in",
        states=("invalid",) if packet.protocol == "tcp" else ("new",),
    )  # fmt: skip
    back = decide_packet(side.policies, place.node, answer, settings=settings)
    if back.allowed:
        return None
    return replace(back.decision, because=f"{back.decision.because}, for the answers, which nobody tracks")


def _packets(flow: Flow, place: _Place, old: _Side, new: _Side) -> Iterator[Packet]:
    rules = [
        rule
        for side in (old, new)
        for endpoint in [side.policies.endpoint_at(place.node, place.interface)]
        if endpoint is not None
        for rule in _rules(side.policies, endpoint, INGRESS if flow.direction == "in" else EGRESS)
    ]
    for protocol in ("tcp", "udp", "icmp") if flow.protocol == ANY else (flow.protocol,):
        ports = list(_ports(flow, protocol, rules))
        for net in flow.peers:
            local = _local(place, net.version)
            for peer in _peers(net, rules, flow.direction):
                source, destination = (peer, local) if flow.direction == "in" else (local, peer)
                name = "icmpv6" if (protocol, net.version) == ("icmp", 6) else protocol
                echo = {"icmp": 8, "icmpv6": 128}.get(name)
                for port in ports:
                    yield Packet(
                        flow.direction, name, source, destination, place.interface, port=port,
                        source_port=None if port is None else _CLIENT_PORT, icmp_type=echo,
                        icmp_code=None if echo is None else 0,
                    )  # fmt: skip


def _rules(policies: Policies, endpoint: HostEndpoint, direction: str) -> Iterator[PolicyRule]:
    for tier in policies.applied(endpoint):
        for policy in tier.policies:
            yield from policy.rules(direction) or ()
    for name in endpoint.profiles:
        if name in policies.profiles:
            yield from policies.profiles[name].rules(direction)


def _local(place: _Place, version: int) -> Address:
    """An address of the interface; where none is known, one that no rule means."""
    return next((item for item in place.addresses if item.version == version), _NOWHERE[version])


def _peers(net: Network, rules: Iterable[PolicyRule], direction: str) -> List[Address]:
    """The first address of a network, and those at which a rule's answer may change within it."""

    def spans(side: Side) -> Iterable[Spans]:
        nets = [side.nets, side.not_nets, *side.members, *side.not_members]
        return [item.spans(net.version) for item in nets if item is not None]

    first, last = int(net.network_address), int(net.broadcast_address)
    kind = type(net.network_address)
    return [kind(number) for number in _points(first, last, rules, lambda rule: spans(_peer_side(rule, direction)))]


def _ports(flow: Flow, protocol: str, rules: Iterable[PolicyRule]) -> Sequence[Optional[int]]:
    if protocol not in WITH_PORTS:
        return (None,)
    first, last = (1, 65535) if flow.port is None else (flow.port, flow.last_port or flow.port)

    def spans(rule: PolicyRule) -> Iterable[Spans]:
        items = [item for item in (rule.destination.ports, rule.destination.not_ports) if item is not None]
        return [item.spans + tuple((named.port, named.port) for named in item.named) for item in items]

    return _points(first, last, rules, spans)


def _peer_side(rule: PolicyRule, direction: str) -> Side:
    return rule.source if direction == "in" else rule.destination


def _points(
    first: int, last: int, rules: Iterable[PolicyRule], spans: Callable[[PolicyRule], Iterable[Spans]]
) -> List[int]:
    points: Set[int] = {first}
    if first != last:
        for rule in rules:
            for item in spans(rule):
                points.update(number for number in changes(item) if first < number <= last)
    return sorted(points)


def _without_ssh(places: Sequence[_Place], flows: Sequence[Flow], old: _Side, new: _Side) -> Iterator[Broken]:
    """Nodes without a failsafe SSH port whose endpoints let nobody reach SSH, when no flow tells who should."""
    asked = {flow.node for flow in flows if (flow.direction, flow.protocol, flow.port) == ("in", "tcp", _SSH)}
    by_node: Dict[str, List[_Place]] = {}
    for place in places:
        by_node.setdefault(place.node.name, []).append(place)
    for name, own in sorted(by_node.items()):
        if asked & {None, name} or _has_ssh_failsafe(new, name):
            continue
        ssh = Flow("ssh", "in", "tcp", _EVERYONE, _SSH, "somebody has to be able to log in", node=name)
        if any(_reachable(ssh, place, old, new, new) for place in own):
            continue
        refuses = _has_ssh_failsafe(old, name) or any(_reachable(ssh, place, old, new, old) for place in own)
        text = (
            f"node {name}: its failsafe ports leave SSH out, and no policy allows tcp port {_SSH} on any of its host "
            "endpoints; allow it from your management networks, or keep tcp:22 in failsafeInboundHostPorts"
        )
        yield Broken(name, own[0].endpoint.name, ssh, None, None, refuses, text)


def _has_ssh_failsafe(side: _Side, node: str) -> bool:
    return any(item.protocol == "tcp" and item.port == _SSH for item in side.settings_of(node).inbound)


def _reachable(flow: Flow, place: _Place, old: _Side, new: _Side, side: _Side) -> bool:
    """Whether the flow passes for at least one peer."""
    return any(_denied(packet, place, side) is None for packet in _packets(flow, place, old, new))
