# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The traffic model: one rule, written once, read by every renderer and by the verdict.

A `Rule` cannot be built wrong: whatever a kernel, an appliance or a reader could misunderstand is refused here, with
a `TrafficError` that names the rule, the field and the value. It runs on targets: standard library only.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import NoReturn, Optional, Tuple, Union

from .errors import TrafficError, choices
from .rates import Rate

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

ANY = "any"
IPV4, IPV6 = "ipv4", "ipv6"
FAMILIES = (IPV4, IPV6)
DIRECTIONS = ("in", "out", "forward")
ACTIONS = ("accept", "drop", "reject")
STATES = ("new", "established", "related", "invalid", "dnat")
# Names of protocol numbers, IANA "Assigned Internet Protocol Numbers".
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "esp": 50, "ah": 51, "icmpv6": 58, "vrrp": 112, "sctp": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
WITH_PORTS = ("tcp", "udp", "sctp")
FAMILY_OF_PROTOCOL = {"icmp": IPV4, "icmpv6": IPV6}
# The kernel's comment match holds 255 bytes and a closing NUL (xt_comment.h).
COMMENT_BYTES = 255
MOST_CONNECTIONS = 65535
# The LOG target of the legacy tables holds 29 characters, of which a blank closes the prefix (xt_LOG.h).
LOG_CHARS = 28
# IFNAMSIZ is 16 with the closing NUL (linux/if.h).
INTERFACE_CHARS = 15

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]+\+?", re.ASCII)
_LOG_PREFIX = re.compile(rf"[A-Za-z0-9_.:-]{{1,{LOG_CHARS}}}", re.ASCII)


@dataclass(frozen=True, order=True)
class PortRange:
    """Ports `first` to `last`, both included, 1 to 65535."""

    first: int
    last: int

    def __post_init__(self) -> None:
        for port in (self.first, self.last):
            if not 1 <= port <= 65535:
                raise TrafficError(f"port {port} is outside 1-65535")
        if self.first > self.last:
            raise TrafficError(f"port range {self.first}-{self.last} is reversed; write {self.last}-{self.first}")

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last


@dataclass(frozen=True)
class Rule:
    """One traffic rule. `None` for addresses, ports, interfaces and states means any, and only the author writes any.

    `rate` and `connections` (open at the same time, for each source): an accepting rule matches up to that many, a
    denying one what is above. `log`: the prefix under which packets are logged, a few a minute.

    `interface` is where a packet arrives (in, forward) or leaves (out); `out_interface` where a forwarded one leaves.
    A trailing `+` matches every interface with that prefix.
    """

    name: str
    direction: str
    action: str
    reason: str
    protocol: str = ANY
    sources: Optional[Tuple[Network, ...]] = None
    destinations: Optional[Tuple[Network, ...]] = None
    ports: Optional[Tuple[PortRange, ...]] = None
    source_ports: Optional[Tuple[PortRange, ...]] = None
    icmp_types: Optional[Tuple[int, ...]] = None
    interface: Optional[str] = None
    out_interface: Optional[str] = None
    states: Optional[Tuple[str, ...]] = None
    families: Tuple[str, ...] = FAMILIES
    rate: Optional[Rate] = None
    connections: Optional[int] = None
    log: Optional[str] = None

    def __post_init__(self) -> None:
        _check_words(self)
        _check_text(self)
        _check_ports(self)
        _check_limits(self)
        for field in ("interface", "out_interface"):
            value = getattr(self, field)
            if value is not None:
                check_interface(f"rule {self.name}: {field}", value)
        if self.out_interface is not None and self.direction != "forward":
            _refuse(self, f"out_interface {self.out_interface} is only for direction forward; use interface")
        object.__setattr__(self, "families", _families(self))

    def addresses(self, family: str) -> Tuple[Optional[Tuple[Network, ...]], Optional[Tuple[Network, ...]]]:
        """Sources and destinations of one address family."""
        if self.families == (family,):
            return self.sources, self.destinations
        version = 4 if family == IPV4 else 6
        return tuple(  # type: ignore[return-value]
            None if networks is None else tuple(net for net in networks if net.version == version)
            for networks in (self.sources, self.destinations)
        )

    @property
    def comment(self) -> str:
        """What the kernel keeps beside the rule."""
        return f"{self.name}: {self.reason}"


def _refuse(rule: Rule, text: str) -> NoReturn:
    raise TrafficError(f"rule {rule.name}: {text}")


def _check_words(rule: Rule) -> None:
    if not isinstance(rule.name, str) or not _NAME.fullmatch(rule.name):
        raise TrafficError(
            f"rule name {rule.name!r}: only a-z, 0-9, '.', '_' and '-', starting with a letter or digit, at most 63"
        )
    for field, allowed in (("direction", DIRECTIONS), ("action", ACTIONS)):
        value = getattr(rule, field)
        if value not in allowed:
            raise TrafficError(choices(f"rule {rule.name}: {field}", value, allowed))
    if rule.protocol != ANY and rule.protocol not in PROTOCOLS and not is_number(rule.protocol, 255):
        raise TrafficError(choices(f"rule {rule.name}: protocol", rule.protocol, (ANY, *PROTOCOLS, "0-255")))
    for state in rule.states or ():
        if state not in STATES:
            raise TrafficError(choices(f"rule {rule.name}: state", state, STATES))
    for family in rule.families:
        if family not in FAMILIES:
            raise TrafficError(choices(f"rule {rule.name}: family", family, FAMILIES))
    for field in ("sources", "destinations", "ports", "source_ports", "icmp_types", "states", "families"):
        if getattr(rule, field) == ():
            _refuse(
                rule, f"{field} is an empty list; an empty list never means any. Name what is meant, or leave it out"
            )


def _check_text(rule: Rule) -> None:
    if not isinstance(rule.reason, str) or not rule.reason.strip():
        _refuse(rule, "reason is missing; say in a few words why this traffic is allowed or denied")
    if not rule.reason.isprintable():
        _refuse(rule, f"reason {rule.reason!r} has a control character")
    for char in '"\\':
        if char in rule.reason:
            _refuse(rule, f"reason {rule.reason!r} has a {char}, which iptables-restore would misread; leave it out")
    size = len(rule.comment.encode("utf-8"))
    if size > COMMENT_BYTES:
        _refuse(rule, f"name and reason together are {size} bytes; the kernel's comment holds {COMMENT_BYTES}")


def _check_ports(rule: Rule) -> None:
    for field in ("ports", "source_ports"):
        ranges = getattr(rule, field)
        if ranges is not None and rule.protocol not in WITH_PORTS:
            _refuse(
                rule,
                f"port {ranges[0]} needs protocol tcp, udp or sctp, not {rule.protocol}",
            )
    if rule.icmp_types is not None:
        if rule.protocol not in FAMILY_OF_PROTOCOL:
            _refuse(rule, f"icmp_types {rule.icmp_types[0]} needs protocol icmp or icmpv6, not {rule.protocol}")
        for number in rule.icmp_types:
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 255:
                _refuse(rule, f"icmp_types {number!r} is not a number from 0 to 255")
        if rule.protocol == "icmp" and 255 in rule.icmp_types:
            _refuse(rule, "icmp_types 255 is every type to the kernel (xt_tcpudp.c); leave icmp_types out to mean that")


def _check_limits(rule: Rule) -> None:
    count = rule.connections
    if count is not None:
        if rule.protocol != "tcp":
            _refuse(rule, f"connections {count} needs protocol tcp, not {rule.protocol}")
        if isinstance(count, bool) or not 1 <= count <= MOST_CONNECTIONS:
            _refuse(rule, f"connections {count} is outside 1-{MOST_CONNECTIONS}")
    if rule.log is not None and not _LOG_PREFIX.fullmatch(rule.log):
        _refuse(
            rule,
            f"log {rule.log!r} is not a prefix of 1 to {LOG_CHARS} characters (letters, digits, '_.:-'); "
            "the kernel's log holds no more",
        )


def _families(rule: Rule) -> Tuple[str, ...]:
    """The families a rule speaks of; an address that would match nothing is refused."""
    found = set(rule.families)
    if rule.protocol in FAMILY_OF_PROTOCOL:
        only = FAMILY_OF_PROTOCOL[rule.protocol]
        if only not in found:
            _refuse(rule, f"protocol {rule.protocol} is {only} only, but families is {', '.join(rule.families)}")
        found = {only}
    versions = {4: IPV4, 6: IPV6}
    fields = {field: getattr(rule, field) for field in ("sources", "destinations")}
    named = {
        field: {versions[version] for version in {net.version for net in networks}}
        for field, networks in fields.items()
        if networks is not None
    }
    for families in named.values():
        found &= families
    for field, families in named.items():
        if not families <= found:
            net = next(net for net in fields[field] if versions[net.version] not in found)
            _refuse(
                rule,
                f"{field} {net} can match nothing: the rest of the rule is {_other(versions[net.version])} only",
            )
    return tuple(family for family in FAMILIES if family in found)


def _other(family: str) -> str:
    return IPV4 if family == IPV6 else IPV6


def is_number(value: object, highest: int) -> bool:
    """Whether a text is a whole number as people write it, in ASCII digits, from 0 to `highest`."""
    return (
        isinstance(value, str)
        and value.isascii()
        and value.isdigit()
        and str(int(value)) == value
        and int(value) <= highest
    )


def check_interface(subject: str, value: object) -> str:
    """An interface name as the kernel takes it, with an optional trailing `+`."""
    if not isinstance(value, str) or not _INTERFACE.fullmatch(value):
        raise TrafficError(
            f"{subject}: {value!r} is not an interface name (letters, digits, '_.:@-', one trailing '+')"
        )
    if len(value) > INTERFACE_CHARS:
        raise TrafficError(
            f"{subject}: {value!r} has {len(value)} characters; the kernel takes at most {INTERFACE_CHARS}"
        )
    return value
