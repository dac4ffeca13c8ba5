# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reachability check tries, read from lines, dictionaries and traffic rules. Pure: nothing is sent from here.

tcp/169.46.7.238:443=open
udp/[2001:db8::53]:53
tcp/169.46.7.238:443,20000-32767=open # us-south, master dal10
icmp/203.0.113.11=filtered
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from itertools import chain
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from .errors import HardeningError, TrafficError, choices
from .traffic import ANY, FAMILY_OF_PROTOCOL, IPV4, IPV6, PortRange, Rule
from .traffic_reading import as_list, parse_network, parse_ports, parse_protocol

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

# What can be tried from a node: protocols whose other side answers.
PROTOCOLS = ("tcp", "udp", "icmp", "icmpv6")
WITH_PORTS = ("tcp", "udp")
# `closed` is met by refused and by filtered; `any` is told and not judged.
EXPECTATIONS = ("open", "closed", "refused", "filtered", ANY)
PORTS = ("ends", "all")
RESULTS = ("open", "refused", "filtered", "unreachable", "untried")
# Several whole port ranges of several masters; beyond it the result would be too large to hand to the controller.
MOST_ENDPOINTS = 200_000
# A note on rules names this many of them.
_NAMES_TOLD = 8
# What a rule promises for an address that it names.
_EXPECTED = {"accept": "open", "drop": "filtered", "reject": "refused"}
_KEYS = ("protocol", "address", "ports", "expected", "reason")
_ECHO_REQUEST = {"icmp": 8, "icmpv6": 128}
_LINE = re.compile(
    r"(?P<protocol>[^/\s]*)/(?:\[(?P<six>[^\]\s]*)\]|(?P<four>[^\s:=\[\]]*))(?::(?P<ports>[^=:]*))?(?:=(?P<expected>.*))?"
)


@dataclass(frozen=True)
class Endpoint:
    """One address, and one port where the protocol has ports. `port` is 0 for an echo."""

    protocol: str
    address: Address
    port: int = 0

    def __str__(self) -> str:
        where = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{self.protocol}/{where}{f':{self.port}' if self.port else ''}"


@dataclass(frozen=True)
class Wanted:
    """An endpoint with what is expected of it, why, and who asked for it (an option's item or a rule)."""

    endpoint: Endpoint
    expected: str
    reason: str
    asked_by: str


@dataclass(frozen=True)
class Plan:
    """What is tried, in the order asked, each endpoint once; `notes` say what cannot be tried from here, and why."""

    wanted: Tuple[Wanted, ...]
    notes: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of an endpoint: open, refused, filtered, unreachable, or untried (it proves nothing).

    `latency` is in milliseconds, from the first packet of the last try to its answer; None when none came.
    """

    result: str
    latency: Optional[float] = None
    detail: str = ""


def plan(endpoints: Any, rules: Sequence[Rule], ports: str, expected: str) -> Plan:
    """Everything to try. `endpoints` as users write them, None for none; `expected` is for those that say nothing.

    Raises HardeningError for what cannot be tried, for contradictions, and when nothing at all is left to try.
    """
    passed_over: Dict[str, List[str]] = {}
    found: Dict[Endpoint, Wanted] = {}
    for wanted in chain(read_endpoints(endpoints, ports, expected), _of_rules(rules, ports, passed_over)):
        known = found.setdefault(wanted.endpoint, wanted)
        if not _is_weaker(wanted.expected, known.expected):
            if not _is_weaker(known.expected, wanted.expected):
                raise HardeningError(
                    f"{wanted.asked_by}: {wanted.endpoint} is expected {wanted.expected} here and {known.expected} by "
                    f"{known.asked_by}; remove one of them"
                )
            found[wanted.endpoint] = wanted
        if len(found) > MOST_ENDPOINTS:
            raise HardeningError(
                f"option ports: {ports!r} makes more than {MOST_ENDPOINTS} endpoints; use ends, or fewer a task"
            )
    notes = tuple(_note(names, why) for why, names in passed_over.items())
    if not found:
        said = f": {'; '.join(notes)}" if notes else ". Give endpoints, rules, or both"
        raise HardeningError(f"options endpoints and rules leave nothing to try{said}")
    return Plan(tuple(found.values()), notes)


def _is_weaker(one: str, other: str) -> bool:
    """Whether an expectation adds nothing to another one."""
    return one in (ANY, other) or (one == "closed" and other in ("refused", "filtered"))


def _note(names: Sequence[str], why: str) -> str:
    more = f" and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else ""
    return f"rule{'s' if len(names) > 1 else ''} {', '.join(names[:_NAMES_TOLD])}{more}: {why}"


def is_met(expected: str, result: str) -> bool:
    """Whether a result is what was expected. What was not tried, or has no route, proves nothing and meets only any."""
    if expected == "closed":
        return result in ("refused", "filtered")
    return expected in (ANY, result)


def finding(wanted: Wanted, outcome: Outcome) -> str:
    """One line on an endpoint."""
    took = "" if outcome.latency is None else f" after {outcome.latency:g} ms"
    detail = f" ({outcome.detail})" if outcome.detail else ""
    judged = "" if wanted.expected == ANY else f", expected {wanted.expected}"
    reason = f" # {wanted.reason}" if wanted.reason else ""
    return f"{wanted.endpoint}: {outcome.result}{took}{detail}{judged}{reason}"


# ---- endpoints as users write them


def read_endpoints(value: Any, ports: str, expected: str) -> Iterator[Wanted]:
    """Endpoints from a list of lines and dictionaries, or from one text with a line an endpoint."""
    if value is None:
        return
    items: List[Any] = []
    for item in as_list(value):
        if isinstance(item, str):
            items += [line.strip() for line in item.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        else:
            items.append(item)
    if not items:
        raise HardeningError("option endpoints: an empty list; it never means any. Name what is to be tried")
    for number, item in enumerate(items):
        subject = f"option endpoints[{number}]"
        try:
            yield from _of_item(subject, item, ports, expected)
        except TrafficError as error:
            text = str(error)
            raise HardeningError(text if text.startswith(subject) else f"{subject}: {text}") from None


def _of_item(subject: str, item: Any, ports: str, expected: str) -> Iterator[Wanted]:
    fields = _from_line(subject, item) if isinstance(item, str) else _from_dict(subject, item)
    if fields.get("protocol") is None:
        raise TrafficError(f"{subject}: protocol is missing; it is one of {', '.join(PROTOCOLS)}")
    protocol = parse_protocol(fields["protocol"])
    if protocol not in PROTOCOLS:
        raise TrafficError(choices(f"{subject}: protocol", fields["protocol"], PROTOCOLS))
    address = _address(f"{subject}: address", protocol, fields.get("address"))
    wish = fields["expected"] if fields.get("expected") is not None else expected
    if wish not in EXPECTATIONS:
        raise TrafficError(choices(f"{subject}: expected", wish, EXPECTATIONS))
    reason = " ".join(str(fields.get("reason") or "").split())
    for port in _ports(subject, protocol, fields.get("ports"), ports):
        yield Wanted(Endpoint(protocol, address, port), str(wish), reason, subject)


def _from_line(subject: str, line: str) -> Dict[str, Any]:
    body, _mark, reason = line.partition(" #")
    match = _LINE.fullmatch(body.strip())
    if match is None:
        raise TrafficError(
            f"{subject}: {line!r} is not PROTOCOL/ADDRESS:PORTS=EXPECTED # REASON; ports go with tcp and udp, an IPv6 "
            "address stands in brackets, expectation and reason may be left out"
        )
    ports = match["ports"]
    return {
        "protocol": match["protocol"],
        "address": match["four"] if match["six"] is None else match["six"],
        "ports": None if ports is None else ports.split(","),
        "expected": match["expected"],
        "reason": reason.strip(),
    }


def _from_dict(subject: str, item: Any) -> Dict[str, Any]:
    if not isinstance(item, Mapping):
        raise TrafficError(f"{subject}: an endpoint is a line or a dictionary, not {type(item).__name__} {item!r}")
    for key in item:
        if key not in _KEYS:
            raise TrafficError(choices(f"{subject}: key", key, _KEYS))
    return dict(item)


def _address(subject: str, protocol: str, value: Any) -> Address:
    """One address that can answer. A name is refused: what it means may differ when the rules are loaded."""
    if value is None:
        raise TrafficError(f"{subject} is missing")
    network = parse_network(subject, value)
    if network.prefixlen != network.max_prefixlen:
        raise TrafficError(f"{subject}: {network} is a network; an endpoint is one address")
    address = network.network_address
    family = IPV4 if address.version == 4 else IPV6
    if FAMILY_OF_PROTOCOL.get(protocol, family) != family:
        other = "icmpv6" if family == IPV6 else "icmp"
        raise TrafficError(f"{subject}: {address} is an {_said(family)} address; with it goes protocol {other}")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise TrafficError(f"{subject}: {address} is an IPv4 address; write {address.ipv4_mapped}")
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise TrafficError(f"{subject}: {address} is no address of a host")
    return address


def _said(family: str) -> str:
    return "IPv4" if family == IPV4 else "IPv6"


def _ports(subject: str, protocol: str, value: Any, which: str) -> List[int]:
    if value is None:
        if protocol in WITH_PORTS:
            raise TrafficError(f"{subject}: ports is missing; {protocol} needs a port or a range first-last")
        return [0]
    if protocol not in WITH_PORTS:
        given = ", ".join(str(item) for item in as_list(value))
        raise TrafficError(f"{subject}: port {given} needs protocol tcp or udp, not {protocol}")
    if value == []:
        raise TrafficError(f"{subject}: ports is an empty list; an empty list never means any")
    items = [part for item in as_list(value) for part in (item.split(",") if isinstance(item, str) else [item])]
    # Not merged: of ports that are named one by one each is tried.
    ranges = [parse_ports(f"{subject}: ports", item) for item in items]
    return sorted(set(sampled(ranges, which)))


def sampled(ranges: Iterable[PortRange], which: str) -> List[int]:
    """The ports to try: all, or the ends of each range."""
    if which == "all":
        return [port for item in ranges for port in range(item.first, item.last + 1)]
    return [port for item in ranges for port in sorted({item.first, item.last})]


# ---- traffic rules


def _of_rules(rules: Sequence[Rule], ports: str, passed_over: Dict[str, List[str]]) -> Iterator[Wanted]:
    for place, rule in enumerate(rules):
        untestable = why_untestable(rule)
        if untestable:
            passed_over.setdefault(untestable, []).append(rule.name)
            continue
        earlier = [other for other in rules[:place] if other.direction == "out"]
        # Most rulesets only accept, and then no rule can contradict an earlier one.
        rivals = earlier if any(other.action != rule.action for other in earlier) else []
        for endpoint, named in _endpoints_of(rule, ports):
            decider = next((other for other in rivals if _covers(other, endpoint)), rule)
            expected = _EXPECTED[decider.action]
            # That a network is open does not say that each of its addresses has somebody who answers.
            yield Wanted(endpoint, expected if named or expected != "open" else ANY, rule.reason, f"rule {rule.name}")


def why_untestable(rule: Rule) -> str:
    """Why a rule cannot be tried from the node it is for; empty when it can."""
    if rule.direction != "out":
        return f"direction {rule.direction} cannot be tried from this node; try it from the other side"
    if rule.protocol not in PROTOCOLS:
        return f"protocol {rule.protocol} cannot be tried; tcp, udp, icmp and icmpv6 can"
    if rule.destinations is None:
        return "any destination names no address to try"
    if all(network.is_multicast for network in rule.destinations):
        return "a multicast destination has no host to answer"
    if rule.protocol in WITH_PORTS and rule.ports is None:
        return "any port names no port to try"
    if rule.source_ports is not None:
        return f"source port {rule.source_ports[0]} is for answers, not for new connections"
    if rule.states is not None and "new" not in rule.states:
        return f"state {', '.join(rule.states)} is not for new connections"
    if rule.icmp_types is not None and _ECHO_REQUEST[rule.protocol] not in rule.icmp_types:
        return "only echo requests can be tried"
    return ""


def _endpoints_of(rule: Rule, ports: str) -> Iterator[Tuple[Endpoint, bool]]:
    """Endpoints, and whether the rule names that very address: of a network the first and last hosts are tried."""
    numbers = sampled(rule.ports, ports) if rule.ports is not None else [0]
    for network in rule.destinations or ():
        named = network.prefixlen == network.max_prefixlen
        # The first address of an IPv4 network and the last are for no host (RFC 919), but for those of two and one.
        inner = 1 if network.version == 4 and network.prefixlen < 31 else 0
        for address in sorted({network[inner], network[-1 - inner]}):
            if address.is_multicast or address.is_unspecified:
                continue
            for port in numbers:
                yield Endpoint(rule.protocol, address, port), named


def _covers(rule: Rule, endpoint: Endpoint) -> bool:
    """Whether a rule of direction out decides on new packets to an endpoint, as far as the endpoint says."""
    return (
        rule.protocol in (ANY, endpoint.protocol)
        and (IPV4 if endpoint.address.version == 4 else IPV6) in rule.families
        and (rule.destinations is None or any(endpoint.address in network for network in rule.destinations))
        and (rule.ports is None or any(endpoint.port in item for item in rule.ports))
        and rule.source_ports is None
        and (rule.states is None or "new" in rule.states)
        and (rule.icmp_types is None or _ECHO_REQUEST.get(endpoint.protocol) in rule.icmp_types)
    )
