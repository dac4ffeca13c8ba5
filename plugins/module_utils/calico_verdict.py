# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Calico makes of a packet at a node's host endpoints, and which policy decides. Pure and offline.

The order is Felix's: policies with doNotTrack (raw table), those with preDNAT (mangle table, before DNAT), then the
normal ones for local processes or those with applyOnForward for what is forwarded (filter table), profiles last.
Sources: docs.tigera.io, "Host endpoints" (all pages of it), and the chains that Felix writes (rules/static.go,
rules/endpoints.go). What else the node's chains hold is for `verdict` and `chain_walk`; policies of pods are not asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Tuple

from .calico_policy import (
    ALL_INTERFACES,
    ALLOW,
    DENY,
    EGRESS,
    FORWARD,
    INGRESS,
    LOG,
    NORMAL,
    PASS,
    PRE_DNAT,
    UNTRACKED,
    HostEndpoint,
    Node,
    Policies,
    Policy,
    PolicyRule,
)
from .calico_settings import GLOBAL, SETTINGS, Failsafe, Settings
from .verdict import Packet

# Stages besides those of the policies' hooks.
NO_ENDPOINT, CONNTRACK, FAILSAFE, PROFILE, TUNNEL = "no host endpoint", "conntrack", "failsafe", "profile", "tunnel"
_KNOWN = frozenset(("established", "related"))
_SIDE = {INGRESS: "ingress", EGRESS: "egress"}


@dataclass(frozen=True)
class Decision:
    """One step. `rule` is the index in spec.ingress or spec.egress of `policy`, `because` a few words for readers."""

    stage: str
    action: str
    because: str
    endpoint: Optional[str] = None
    direction: Optional[str] = None
    policy: Optional[str] = None
    rule: Optional[int] = None

    def __str__(self) -> str:
        return self.because


@dataclass(frozen=True)
class Outcome:
    """Whether Calico lets the packet pass, what decided, every step, and what could not be known.

    Where the decision's stage is NO_ENDPOINT Calico has no say, and lets the packet on to the node's other rules.
    """

    allowed: bool
    decision: Decision
    steps: Tuple[Decision, ...] = ()
    doubts: Tuple[str, ...] = ()


def decide_packet(
    policies: Policies,
    node: Node,
    packet: Packet,
    original: Optional[Packet] = None,
    settings: Optional[Settings] = None,
) -> Outcome:
    """The verdict on a packet at a node.

    `packet` is as the filter table sees it, `original` as it was before DNAT, if it was translated. Directions: "in"
    and "out" for local processes, "forward" for the rest (pods included), whose `out_interface` counts, too.
    `settings` overrides those among the policies' documents.
    """
    settings = settings or settings_of(policies, node.name)
    return _Walk(policies, node, settings, packet, original or packet).outcome()


def settings_of(policies: Policies, node: str) -> Settings:
    """The settings of a node, of the whole cluster if it has none of its own."""
    return policies.settings.get(node) or policies.settings.get(GLOBAL) or SETTINGS


class _Walk:
    """One packet's way. Each stage answers True (accepted for this hook), False (denied) or None (not decided)."""

    def __init__(self, policies: Policies, node: Node, settings: Settings, packet: Packet, original: Packet) -> None:
        self.policies = policies
        self.node = node
        self.settings = settings
        self.packet = packet
        self.original = original
        self.steps: List[Decision] = []
        self.doubts: List[str] = []

    def outcome(self) -> Outcome:
        ways = {"in": self._arriving, "out": self._leaving, "forward": self._forwarded}
        allowed = ways[self.packet.direction]()
        if not self.steps:
            self._step(NO_ENDPOINT, ALLOW, f"no host endpoint governs {self._interfaces()}; Calico has no say")
        wanted = (ALLOW, PASS) if allowed else (DENY,)
        found = [step for step in self.steps if step.action in wanted]
        # A policy tells readers more than a default does; of several the last one decides.
        decision = ([step for step in found if step.policy] or found)[-1]
        return Outcome(allowed, decision, tuple(self.steps), tuple(self.doubts))

    def _interfaces(self) -> str:
        names = [name for name in (self.packet.interface, self.packet.out_interface) if name]
        return f"{' and '.join(names)} of {self.node.name}"

    def _endpoint(self, interface: Optional[str]) -> Optional[HostEndpoint]:
        if interface is None or self.settings.is_workload(interface):
            return None
        return self.policies.endpoint_at(self.node, interface)

    # The ways.

    def _arriving(self) -> bool:
        endpoint = self._endpoint(self.packet.interface)
        early = self._before_routing(endpoint)
        if early is False:
            return False
        tunnel = self._tunnel_in()
        if tunnel is not None:
            return tunnel
        if early or endpoint is None:
            return True
        return self._local(endpoint, INGRESS, self.settings.inbound) is not False

    def _leaving(self) -> bool:
        endpoint = self._endpoint(self.packet.interface)
        if endpoint is not None:
            early = self._untracked(endpoint, EGRESS)
            if early is not None:
                return early
        if self._tunnel_out():
            return True
        return endpoint is None or self._local(endpoint, EGRESS, self.settings.outbound) is not False

    def _forwarded(self) -> bool:
        source, target = self._endpoint(self.packet.interface), self._endpoint(self.packet.out_interface)
        accepted = self._before_routing(source)
        if accepted is False:
            return False
        for endpoint, direction in ((source, INGRESS), (target, EGRESS)):
            if endpoint is None or (direction == INGRESS and accepted):
                continue
            # A packet that a doNotTrack policy accepted has no connection any more.
            tracked = None if self._is_untracked() else self._tracked(endpoint, direction)
            if tracked is not None:
                return tracked
            if self._on_forward(endpoint, direction) is False:
                return False
        return True

    def _before_routing(self, endpoint: Optional[HostEndpoint]) -> Optional[bool]:
        """The raw and the mangle table's part, on the packet as it was before DNAT."""
        if endpoint is None:
            return None
        early = self._untracked(endpoint, INGRESS)
        return self._pre_dnat(endpoint) if early is None else early

    # The stages.

    def _untracked(self, endpoint: HostEndpoint, direction: str) -> Optional[bool]:
        if endpoint.interface == ALL_INTERFACES:
            # docs.tigera.io, "Host endpoint": those for all interfaces do not support untracked policy.
            return None
        listed = self._listed(endpoint, direction, lambda policy: policy.hook == UNTRACKED)
        packet = self.original
        if not listed or self._is_failsafe(direction, packet) or self._answers_failsafe(direction, packet):
            return None
        return self._ask(endpoint, direction, UNTRACKED, listed, packet, ends=False)

    def _pre_dnat(self, endpoint: HostEndpoint) -> Optional[bool]:
        """Felix leaves out endpoints without such policies before it looks for the one of an interface.

        So the endpoint for all interfaces governs this stage where the interface's own has nothing to say
        (endpoint manager, updateHostEndpoints).
        """
        everywhere = self.policies.endpoint_everywhere(self.node)
        if everywhere and not any(
            policy.hook == PRE_DNAT for tier in self.policies.applied(endpoint) for policy in tier.policies
        ):
            endpoint = everywhere
        listed = self._listed(endpoint, INGRESS, lambda policy: policy.hook == PRE_DNAT)
        if not listed or _KNOWN & set(self.packet.states):
            return None
        if "invalid" in self.packet.states:
            return self._tracked(endpoint, INGRESS)
        if self._is_failsafe(INGRESS, self.original):
            return None
        return self._ask(endpoint, INGRESS, PRE_DNAT, listed, self.original, ends=False)

    def _local(self, endpoint: HostEndpoint, direction: str, failsafes: Sequence[Failsafe]) -> Optional[bool]:
        tracked = self._tracked(endpoint, direction)
        if tracked is not None:
            return tracked
        if self._is_failsafe(direction, self.packet):
            port = f"{self.packet.protocol} {self.packet.port}"
            self._step(FAILSAFE, ALLOW, f"failsafe port {port} of Felix, whatever policies say", endpoint, direction)
            return True
        listed = self._listed(endpoint, direction, lambda policy: policy.hook == NORMAL)
        found = self._ask(endpoint, direction, NORMAL, listed, self.packet, ends=True)
        return self._profiles(endpoint, direction, bool(listed)) if found is None else found

    def _on_forward(self, endpoint: HostEndpoint, direction: str) -> Optional[bool]:
        listed = self._listed(endpoint, direction, lambda policy: policy.hook == NORMAL and policy.on_forward)
        if listed:
            return self._ask(endpoint, direction, FORWARD, listed, self.packet, ends=True)
        why = f"no {_SIDE[direction]} policy with applyOnForward selects {endpoint}: forwarded traffic passes"
        self._step(FORWARD, ALLOW, why, endpoint, direction)
        return True

    def _profiles(self, endpoint: HostEndpoint, direction: str, any_policy: bool) -> bool:
        for name in endpoint.profiles:
            profile = self.policies.profiles.get(name)
            decided = self._first(profile.rules(direction)) if profile else None
            if decided is None:
                continue
            index, rule = decided
            why = f"profile {name}, {_SIDE[direction]} rule {index}"
            self._step(PROFILE, rule.action, why, endpoint, direction, f"Profile {name}", index)
            if rule.action != PASS:
                return rule.action == ALLOW
        words = f"no {_SIDE[direction]} policy selects {endpoint}"
        if any_policy:
            words = f"every {_SIDE[direction]} policy of {endpoint} passes it on"
        self._step(PROFILE, DENY, f"{words}, and no profile allows it", endpoint, direction)
        return False

    def _tracked(self, endpoint: HostEndpoint, direction: str) -> Optional[bool]:
        states = set(self.packet.states)
        if states & _KNOWN:
            self._step(CONNTRACK, ALLOW, "part of a known connection", endpoint, direction)
            return True
        if "invalid" in states:
            self._step(CONNTRACK, DENY, "connection tracking takes it for invalid", endpoint, direction)
            return False
        return None

    def _tunnel_in(self) -> Optional[bool]:
        """Felix filters tunnels before endpoints: known hosts pass, others do not (rules/static.go)."""
        kind = self._tunnel()
        if kind is None:
            return None
        passes = self.packet.source in self.settings.hosts
        words = "from a node of the cluster" if passes else "from an address that is no node of the cluster"
        self._step(TUNNEL, ALLOW if passes else DENY, f"{kind} {words}", direction=INGRESS)
        return passes

    def _tunnel_out(self) -> bool:
        kind = self._tunnel()
        if kind is None or self.packet.destination not in self.settings.hosts:
            return False
        self._step(TUNNEL, ALLOW, f"{kind} to a node of the cluster", direction=EGRESS)
        return True

    def _tunnel(self) -> Optional[str]:
        packet, settings = self.packet, self.settings
        if packet.destination.version != 4:
            return None
        if settings.ipip and packet.protocol == "4":
            return "IPIP"
        if settings.vxlan and packet.protocol == "udp" and packet.port == settings.vxlan_port:
            return "VXLAN"
        return None

    # What the stages share.

    def _is_untracked(self) -> bool:
        return any(step.stage == UNTRACKED and step.action == ALLOW for step in self.steps)

    def _is_failsafe(self, direction: str, packet: Packet) -> bool:
        inwards = direction == INGRESS
        listed, peer = (
            (self.settings.inbound, packet.source) if inwards else (self.settings.outbound, packet.destination)
        )
        return any(item.lets(packet.protocol, packet.port, peer) for item in listed)

    def _answers_failsafe(self, direction: str, packet: Packet) -> bool:
        """In the raw table answers of failsafe connections are let through, too; their port is the source's."""
        inwards = direction == INGRESS
        listed, peer = (
            (self.settings.outbound, packet.source) if inwards else (self.settings.inbound, packet.destination)
        )
        return any(item.lets(packet.protocol, packet.source_port, peer) for item in listed)

    def _listed(
        self, endpoint: HostEndpoint, direction: str, wanted: Callable[[Policy], bool]
    ) -> List[Tuple[str, str, List[Policy]]]:
        """Tiers (name, default action) with the policies of a stage that apply in a direction."""
        found = []
        for tier in self.policies.applied(endpoint):
            policies = [item for item in tier.policies if wanted(item) and item.rules(direction) is not None]
            if policies:
                found.append((tier.name, tier.default_action, policies))
        return found

    def _ask(
        self,
        endpoint: HostEndpoint,
        direction: str,
        stage: str,
        listed: List[Tuple[str, str, List[Policy]]],
        packet: Packet,
        ends: bool,
    ) -> Optional[bool]:
        """Every tier in turn; with `ends`, a tier whose policies do not decide denies."""
        for tier, default, policies in listed:
            action = self._ask_tier(endpoint, direction, stage, policies, packet)
            if action in (ALLOW, DENY):
                return action == ALLOW
            if action is None and ends and default != PASS:
                named = ", ".join(policy.name for policy in policies[:3]) + (", ..." if len(policies) > 3 else "")
                why = f"no rule of the {_SIDE[direction]} policies of {endpoint} allows it ({named})"
                self._step(stage, DENY, why if tier == "default" else f"{why} in tier {tier}", endpoint, direction)
                return False
        return None

    def _ask_tier(
        self, endpoint: HostEndpoint, direction: str, stage: str, policies: Sequence[Policy], packet: Packet
    ) -> Optional[str]:
        for policy in policies:
            decided = self._first(policy.rules(direction) or (), packet, policy)
            if decided is not None:
                index, rule = decided
                why = f"{policy}, {_SIDE[direction]} rule {index} ({stage})" if stage != NORMAL else (
                    f"{policy}, {_SIDE[direction]} rule {index}"
                )  # fmt: skip
                self._step(stage, rule.action, why, endpoint, direction, str(policy), index)
                return rule.action
        return None

    def _first(
        self, rules: Sequence[PolicyRule], packet: Optional[Packet] = None, policy: Optional[Policy] = None
    ) -> Optional[Tuple[int, PolicyRule]]:
        """The first rule that decides. One of which nobody knows whether it matches counts where it denies."""
        for index, rule in enumerate(rules):
            matches = rule.matches(packet or self.packet)
            if matches is None:
                self.doubts.append(f"{policy}: rule {index} depends on {', '.join(rule.unknown)}")
                matches = rule.action == DENY
            if matches and rule.action != LOG:
                return index, rule
        return None

    def _step(
        self,
        stage: str,
        action: str,
        because: str,
        endpoint: Optional[HostEndpoint] = None,
        direction: Optional[str] = None,
        policy: Optional[str] = None,
        rule: Optional[int] = None,
    ) -> None:
        name = endpoint.name if endpoint else None
        self.steps.append(Decision(stage, action, because, name, direction, policy, rule))
