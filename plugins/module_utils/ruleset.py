# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rulesets: what one owner wants on a node, and what is allowed whatever it says.

Several rulesets compose through one dispatch chain a hook; the one that holds a default verdict comes last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Iterable, List, Mapping, Optional, Tuple

from .errors import TrafficError, choices
from .intrusion import Guard
from .traffic import ANY, DIRECTIONS, IPV4, IPV6, Network, PortRange, Rule, check_interface
from .traffic_lines import check_names

# The longest chain, IKS-FORWARD-<name>, has to fit the kernel's 28 characters (XT_EXTENSION_MAXNAMELEN less its NUL).
_NAME = re.compile(r"[a-z][a-z0-9-]{0,15}", re.ASCII)
PRIORITIES = (0, 999)
CLOSING = ("drop", "reject")


@dataclass(frozen=True)
class Ruleset:
    """Rules of one owner. `defaults` are its last rules: what no rule of any ruleset has decided."""

    name: str
    priority: int
    rules: Tuple[Rule, ...]
    defaults: Tuple[Rule, ...] = ()
    guard: Optional[Guard] = None

    def __post_init__(self) -> None:
        check_ruleset_name(self.name)
        if isinstance(self.priority, bool) or not PRIORITIES[0] <= self.priority <= PRIORITIES[1]:
            raise TrafficError(
                f"ruleset {self.name}: priority {self.priority} is outside {PRIORITIES[0]}-{PRIORITIES[1]}"
            )
        check_names((*self.rules, *self.defaults))
        if self.guard is not None and not self.closes("in"):
            raise TrafficError(
                f"ruleset {self.name}: guard needs a default verdict for direction in; nothing is denied"
            )
        _check_contradictions(self)

    def closes(self, direction: str) -> bool:
        """Whether this ruleset holds a default verdict for a direction."""
        return any(rule.direction == direction for rule in self.defaults)

    def guarded_interfaces(self) -> Tuple[Optional[str], ...]:
        """Interfaces on which incoming packets are denied by default; None for all."""
        return tuple(rule.interface for rule in self.defaults if rule.direction == "in")

    def parts(self, direction: str) -> Tuple[Tuple[Rule, ...], Tuple[Rule, ...], Tuple[Rule, ...]]:
        """What is always allowed, the ruleset's own rules, and its default verdict, of one direction."""
        own = tuple(rule for rule in self.rules if rule.direction == direction)
        if not self.closes(direction):
            return (), own, ()
        return always_allowed(direction), own, tuple(rule for rule in self.defaults if rule.direction == direction)

    def for_direction(self, direction: str) -> Tuple[Rule, ...]:
        """Every rule of a direction in the order in which the kernel reads them."""
        return tuple(rule for part in self.parts(direction) for rule in part)


def check_ruleset_name(name: object) -> str:
    """A ruleset's name, short enough to be part of a chain's name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TrafficError(
            f"ruleset name {name!r}: only a-z, 0-9 and '-', starting with a letter, at most 16 characters, "
            "because it becomes part of a chain name of at most 28"
        )
    return name


def _check_contradictions(ruleset: Ruleset) -> None:
    """The same traffic allowed and denied: whichever stands second would be dead text."""
    # Traffic -> action -> rules; lists of networks are compared only where all else is the same.
    seen: dict[Tuple[Any, ...], dict[str, List[Rule]]] = {}
    for rule in ruleset.rules:
        key = (
            rule.direction,
            rule.protocol,
            _outline(rule.sources),
            _outline(rule.destinations),
            rule.ports,
            rule.source_ports,
            rule.icmp_types,
            rule.interface,
            rule.out_interface,
            rule.states,
            rule.families,
            rule.rate,
            rule.connections,
        )
        alike = seen.setdefault(key, {})
        for action in alike.keys() - {rule.action}:
            for other in alike[action]:
                if (other.sources, other.destinations) == (rule.sources, rule.destinations):
                    raise TrafficError(
                        f"rule {rule.name}: action {rule.action} contradicts rule {other.name}, which says "
                        f"{other.action} for exactly the same traffic; remove one of them"
                    )
        alike.setdefault(rule.action, []).append(rule)


def _outline(networks: Optional[Tuple[Network, ...]]) -> Optional[Tuple[object, ...]]:
    """What differs between most lists of networks, without a look at each of a hundred thousand."""
    return None if networks is None else (len(networks), networks[0], networks[-1])


def check_established(ruleset: Ruleset) -> None:
    """Refuse to cut off what was allowed when it began: a denial of established connections that names no peer.

    A default verdict always lets them pass, so a rule that denies everything is one that was meant to be a default.
    """
    for rule in ruleset.rules:
        named = (rule.sources, rule.destinations, rule.ports, rule.source_ports, rule.rate, rule.connections)
        if rule.action not in CLOSING or rule.protocol not in (ANY, "tcp", "udp") or any(named):
            continue
        for state in rule.states or ():
            if state in ("established", "related"):
                raise TrafficError(
                    f"rule {rule.name}: states {state} with action {rule.action} cuts connections that were allowed "
                    "when they began, this task's own among them; deny them when they begin (states new), "
                    "or name the sources or destinations to cut off"
                )
        if rule.states is None and not ruleset.closes(rule.direction):
            where = f", interface: {rule.interface}" if rule.interface else ""
            raise TrafficError(
                f"rule {rule.name}: {rule.action} {rule.direction} {rule.protocol} with no peer and no port is a "
                "default verdict that does not even let established connections pass; give it as "
                f"defaults: [{{direction: {rule.direction}{where}}}], which does"
            )


def default_rules(defaults: Iterable[Mapping[str, Any]]) -> Tuple[Rule, ...]:
    """Closing rules from `{direction, action, interface, out_interface, log}`. Raises TrafficError."""
    rules: List[Rule] = []
    allowed = ("direction", "action", "interface", "out_interface", "log")
    for item in defaults:
        if not isinstance(item, Mapping):
            raise TrafficError(f"defaults: {item!r} is not a dictionary with direction and action")
        for key in item:
            if key not in allowed:
                raise TrafficError(choices("defaults: option", key, allowed))
        direction, action = str(item.get("direction")), str(item.get("action", "drop"))
        if direction not in DIRECTIONS:
            raise TrafficError(choices("defaults: direction", item.get("direction"), DIRECTIONS))
        if action not in CLOSING:
            raise TrafficError(choices("defaults: action", action, CLOSING))
        interface, out_interface = item.get("interface"), item.get("out_interface")
        for field in (interface, out_interface):
            if field is not None:
                check_interface("defaults: interface", field)
        where = "-".join(
            _word(part) for part in ("default", direction, interface, out_interface and f"to-{out_interface}") if part
        )
        rules.append(
            Rule(
                name=where,
                direction=direction,
                action=action,
                interface=interface,
                out_interface=out_interface,
                log=item.get("log"),
                reason="nothing above allows it",
            )
        )
    return tuple(rules)


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]", ".", text.lower())


def always_allowed(direction: str) -> Tuple[Rule, ...]:
    """What a closing ruleset never cuts off: loopback, known connections, ICMP errors, neighbours and leases.

    Sources: RFC 4890 sections 4.3.1, 4.4.1 and 4.4.3 (ICMPv6 that must not be dropped), RFC 1812 section 4.3.3 (ICMP
    errors), RFC 2131 section 4.1 (DHCP ports), RFC 8415 section 7.2 (DHCPv6 ports).
    """
    rules = (
        [] if direction == "forward" else [_allow(direction, "loopback", "the node talks to itself", interface="lo")]
    )
    rules.append(
        _allow(direction, "known", "connections that were allowed when they began", states=("established", "related"))
    )
    rules.append(
        _allow(
            direction,
            "icmp-errors",
            "unreachable, time exceeded, parameter problem",
            protocol="icmp",
            icmp_types=(3, 11, 12),
        )
    )
    rules.append(
        _allow(direction, "icmpv6-errors", "RFC 4890: errors and path MTU", protocol="icmpv6", icmp_types=(1, 2, 3, 4))
    )
    if direction == "forward":
        return tuple(rules)
    rules.append(
        _allow(
            direction,
            "icmpv6-neighbours",
            "RFC 4890: neighbours, routers, listeners",
            protocol="icmpv6",
            icmp_types=(130, 131, 132, 133, 134, 135, 136, 143),
        )
    )
    # A lease that expires hours later must not take the node away.
    for name, family, server, client in (("dhcpv4", IPV4, 67, 68), ("dhcpv6", IPV6, 547, 546)):
        here, there = (client, server) if direction == "in" else (server, client)
        rules.append(
            _allow(
                direction,
                name,
                "address leases",
                protocol="udp",
                families=(family,),
                ports=(PortRange(here, here),),
                source_ports=(PortRange(there, there),),
            )
        )
    return tuple(rules)


def _allow(direction: str, name: str, reason: str, protocol: str = ANY, **fields: Any) -> Rule:
    return Rule(
        name=f"always-{direction}-{name}",
        direction=direction,
        action="accept",
        reason=reason,
        protocol=protocol,
        **fields,
    )


def interfaces_named(rules: Iterable[Rule]) -> Tuple[str, ...]:
    """Interfaces that the rules name outright (a trailing `+` names none)."""
    found: set[Optional[str]] = set()
    for rule in rules:
        found |= {rule.interface, rule.out_interface}
    return tuple(sorted(name for name in found if name and not name.endswith("+")))
