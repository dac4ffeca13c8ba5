# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calico's policies as values that a packet can be held against. What is read from documents: `calico_compile`.

The terms are Calico's own (docs.tigera.io, "Global network policy", "Host endpoint", "Network set", "Profile").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Dict, List, Mapping, Optional, Tuple

from .calico_addresses import AddressSet, PortSet
from .errors import HardeningError
from .verdict import Address, Packet

if TYPE_CHECKING:
    from .calico_selector import Selector
    from .calico_settings import Settings

INGRESS, EGRESS = "Ingress", "Egress"
ALLOW, DENY, PASS, LOG = ACTIONS = ("Allow", "Deny", "Pass", "Log")
# Where a policy of a kind is enforced; the words are those of its field, "normal" aside.
UNTRACKED, PRE_DNAT, NORMAL, FORWARD = "doNotTrack", "preDNAT", "normal", "applyOnForward"
ALL_INTERFACES = "*"
DEFAULT_TIER = "default"
NAMESPACE_LABEL = "projectcalico.org/namespace"
# The labels of a namespace, as its profile hands them on to what is in it (libcalico-go, conversion.go).
NAMESPACE_PREFIX = "pcns."
# The profile that exists without being written (docs.tigera.io, "Host endpoint").
ALLOW_ALL_PROFILE = "projectcalico-default-allow"


class PolicyError(HardeningError):
    """A document that cannot be held against a packet."""


@dataclass(frozen=True)
class Side:
    """What a rule asks of a packet's source, or of its destination. None asks nothing."""

    nets: Optional[AddressSet] = None
    not_nets: Optional[AddressSet] = None
    members: Tuple[AddressSet, ...] = ()
    not_members: Tuple[AddressSet, ...] = ()
    ports: Optional[PortSet] = None
    not_ports: Optional[PortSet] = None

    def matches(self, address: Address, port: Optional[int], protocol: str) -> bool:
        for nets in (self.nets, self.not_nets):
            # Felix leaves a rule out of the family for which one of its lists of networks has none (rules/policy.go).
            if nets is not None and not nets.spans(address.version):
                return False
        return (
            (self.nets is None or address in self.nets)
            and (self.not_nets is None or address not in self.not_nets)
            and all(address in members for members in self.members)
            and not any(address in members for members in self.not_members)
            and (self.ports is None or self.ports.holds(protocol, port, address))
            and not (self.not_ports is not None and self.not_ports.holds(protocol, port, address))
        )


@dataclass(frozen=True)
class PolicyRule:
    """One rule. `icmp` and `not_icmp` are type and code, a code of None is any.

    `unknown` names fields whose meaning is known to the cluster only (`services`): nobody can say whether such a rule
    matches.
    """

    action: str
    protocol: Optional[str] = None
    not_protocol: Optional[str] = None
    version: Optional[int] = None
    icmp: Optional[Tuple[int, Optional[int]]] = None
    not_icmp: Optional[Tuple[int, Optional[int]]] = None
    source: Side = Side()
    destination: Side = Side()
    unknown: Tuple[str, ...] = ()

    def matches(self, packet: Packet) -> Optional[bool]:
        """None when it depends on what nobody here knows."""
        if not (
            self.version in (None, packet.destination.version)
            and self.protocol in (None, packet.protocol)
            and not (self.not_protocol is not None and self.not_protocol == packet.protocol)
            and self.source.matches(packet.source, packet.source_port, packet.protocol)
            and self.destination.matches(packet.destination, packet.port, packet.protocol)
            and (self.icmp is None or _is_icmp(self.icmp, packet))
            and not (self.not_icmp is not None and _is_icmp(self.not_icmp, packet))
        ):
            return False
        return None if self.unknown else True


def _is_icmp(wanted: Tuple[int, Optional[int]], packet: Packet) -> bool:
    return packet.icmp_type == wanted[0] and wanted[1] in (None, packet.icmp_code)


@dataclass(frozen=True)
class Policy:
    """One policy. Rules of None: it does not apply in that direction at all. An order of infinity: none was given."""

    kind: str
    name: str
    selector: Selector
    hook: str = NORMAL
    on_forward: bool = False
    ingress: Optional[Tuple[PolicyRule, ...]] = None
    egress: Optional[Tuple[PolicyRule, ...]] = None
    order: float = math.inf
    namespace: Optional[str] = None
    namespace_selector: Optional[Selector] = None
    tier: str = DEFAULT_TIER

    def rules(self, direction: str) -> Optional[Tuple[PolicyRule, ...]]:
        return self.ingress if direction == INGRESS else self.egress

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True)
class Tier:
    """Policies in the order in which they are asked, and what becomes of a packet that none of them decides."""

    name: str
    order: float
    default_action: str
    policies: Tuple[Policy, ...] = ()


@dataclass(frozen=True)
class Profile:
    """What decides after the policies, or instead of them."""

    name: str
    ingress: Tuple[PolicyRule, ...] = ()
    egress: Tuple[PolicyRule, ...] = ()

    def rules(self, direction: str) -> Tuple[PolicyRule, ...]:
        return self.ingress if direction == INGRESS else self.egress


@dataclass(frozen=True)
class HostEndpoint:
    """One host endpoint. An empty interface: the one that has one of the addresses. Labels: those of profiles, too."""

    name: str
    node: str
    interface: str = ""
    addresses: Tuple[Address, ...] = ()
    labels: Tuple[Tuple[str, str], ...] = ()
    profiles: Tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"host endpoint {self.name}"


@dataclass(frozen=True)
class Node:
    """A node and its interfaces with their addresses, as far as they are known."""

    name: str
    interfaces: Mapping[str, Tuple[Address, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Policies:
    """Everything that decides, of a whole cluster."""

    tiers: Tuple[Tier, ...] = ()
    endpoints: Tuple[HostEndpoint, ...] = ()
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    settings: Mapping[str, Settings] = field(default_factory=dict)
    _applied: Dict[Tuple[Tuple[str, str], ...], Tuple[Tier, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )

    _by_node: Dict[str, Tuple[HostEndpoint, ...]] = field(default_factory=dict, repr=False, compare=False)

    def applied(self, endpoint: HostEndpoint) -> Tuple[Tier, ...]:
        """The tiers with the policies that select the endpoint, those without any left out."""
        found = self._applied.get(endpoint.labels)
        if found is None:
            labels = dict(endpoint.labels)
            tiers = (
                Tier(tier.name, tier.order, tier.default_action, tuple(p for p in tier.policies if _selects(p, labels)))
                for tier in self.tiers
            )
            found = self._applied[endpoint.labels] = tuple(tier for tier in tiers if tier.policies)
        return found

    def endpoint_at(self, node: Node, interface: str) -> Optional[HostEndpoint]:
        """The endpoint that governs an interface of a node; None when no one does.

        Of several that match the one that sorts first is active; one for all interfaces governs those that have none
        of their own (Felix, endpoint manager, resolveHostEndpoints).
        """
        addresses = set(node.interfaces.get(interface, ()))
        own = [
            item
            for item in self._endpoints_of(node)
            if item.interface == interface or (not item.interface and addresses.intersection(item.addresses))
        ]
        return min(own, key=lambda item: item.name, default=None) or self.endpoint_everywhere(node)

    def endpoint_everywhere(self, node: Node) -> Optional[HostEndpoint]:
        """The endpoint of a node that is for all interfaces, if there is one."""
        found = [item for item in self._endpoints_of(node) if item.interface == ALL_INTERFACES]
        return min(found, key=lambda item: item.name, default=None)

    def _endpoints_of(self, node: Node) -> Tuple[HostEndpoint, ...]:
        if self.endpoints and not self._by_node:
            grouped: Dict[str, List[HostEndpoint]] = {}
            for item in self.endpoints:
                grouped.setdefault(item.node, []).append(item)
            self._by_node.update({name: tuple(items) for name, items in grouped.items()})
        return self._by_node.get(node.name, ())


def _selects(policy: Policy, labels: Mapping[str, str]) -> bool:
    """Whether a policy selects a host endpoint, which is in no namespace and has no service account."""
    if policy.namespace is not None:
        return False
    if policy.namespace_selector is not None and not in_namespace(policy.namespace_selector, labels):
        return False
    return policy.selector.matches(labels)


def in_namespace(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether a namespace selector holds for what has these labels.

    The namespace's own labels stand among them with a prefix. `all()` means whatever is in a namespace, `global()`
    what is in none (libcalico-go, entityRuleAPIV2TOBackend).
    """
    words = {"all()": True, "global()": False}
    wanted = words.get("".join(selector.text.split()))
    if wanted is not None:
        return (NAMESPACE_LABEL in labels) == wanted
    size = len(NAMESPACE_PREFIX)
    return selector.matches({key[size:]: value for key, value in labels.items() if key.startswith(NAMESPACE_PREFIX)})
