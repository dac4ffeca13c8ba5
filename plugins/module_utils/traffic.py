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
from typing import Any, Iterable, Mapping, NoReturn, Optional, Tuple, Union

from .errors import TrafficError, choices
from .rates import Rate, parse_rate, whole_number

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
_PORTS = re.compile(r"(0|[1-9][0-9]{0,5})(?:-(0|[1-9][0-9]{0,5}))?", re.ASCII)
_IPV4 = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})(?:/(?:0|[1-9][0-9]?))?", re.ASCII)
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:/(?:0|[1-9][0-9]{0,2}))?", re.ASCII)
# The only texts that an octet and a prefix length have: no leading zero, no digit of another script.
_OCTETS = {str(number): number for number in range(256)}
_LENGTHS = {str(number): number for number in range(33)}
_ALL_ONES = 0xFFFFFFFF
_FIELDS = (
    "name",
    "direction",
    "action",
    "protocol",
    "sources",
    "destinations",
    "ports",
    "source_ports",
    "icmp_types",
    "interface",
    "out_interface",
    "states",
    "families",
    "rate",
    "burst",
    "per",
    "connections",
    "log",
    "reason",
)


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
    if rule.protocol != ANY and rule.protocol not in PROTOCOLS and not _is_number(rule.protocol, 255):
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


def _is_number(value: object, highest: int) -> bool:
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


def parse_network(subject: str, value: object) -> Network:
    """An address or CIDR, read strictly: no host name, no host bits, no octal, ASCII digits only."""
    text = str(value)
    if not (_IPV4.fullmatch(text) or _IPV6.fullmatch(text)):
        raise TrafficError(f"{subject}: {text!r} is not an IPv4 or IPv6 network; names are not resolved")
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        if "host bits" in str(error):
            meant = ipaddress.ip_network(text, strict=False)
            raise TrafficError(
                f"{subject}: {text} has host bits set; "
                f"write {meant} for the network or {text.partition('/')[0]} for the host"
            ) from None
        raise TrafficError(f"{subject}: {text!r} is not an IPv4 or IPv6 network") from None


def parse_ports(subject: str, value: object) -> PortRange:
    """A port (`443`) or a range (`20000-32767`)."""
    text = str(value)
    match = None if isinstance(value, (bool, float)) else _PORTS.fullmatch(text)
    if match is None:
        raise TrafficError(f"{subject}: {text!r} is not a port or a range first-last, both 1-65535")
    try:
        return PortRange(int(match.group(1)), int(match.group(2) or match.group(1)))
    except TrafficError as error:
        raise TrafficError(f"{subject}: {error}") from None


def parse_protocol(value: object) -> str:
    """A protocol's name; a number that has a name becomes the name."""
    text = str(value).lower() if not isinstance(value, bool) else repr(value)
    if _is_number(text, 255):
        return PROTOCOL_NAMES.get(int(text), text)
    return {"ipv6-icmp": "icmpv6", "icmp6": "icmpv6", "all": ANY}.get(text, text)


def as_list(value: Any) -> list[Any]:
    """A list as it is; anything else as a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _networks(subject: str, value: object) -> Optional[Tuple[Network, ...]]:
    if value is None or value == ANY:
        return None
    # Both by numbers that sort as networks do: by address, then by length.
    ipv4: dict[int, Network] = {}
    others: dict[Tuple[int, int, int], Network] = {}
    for item in as_list(value):
        place = _ipv4_place(item)
        if place is None:
            net = parse_network(subject, item)
            number = int(net.network_address)
            if net.version == 4:
                ipv4[number << 6 | net.prefixlen] = net
            else:
                others[net.version, number, net.prefixlen] = net
        elif place not in ipv4:
            ipv4[place] = ipaddress.IPv4Network((place >> 6, place & 63))
    return (*(ipv4[place] for place in sorted(ipv4)), *(others[place] for place in sorted(others)))


def _ipv4_place(value: object) -> Optional[int]:
    """Address and, in the last six bits, prefix length of what parse_network takes as IPv4; None leaves it to that.

    A list has a hundred thousand of them, and ipaddress needs several times as long for a text as for its numbers.
    """
    if not isinstance(value, str):
        return None
    host, slash, length = value.partition("/")
    try:
        first, second, third, fourth = host.split(".")
        number = _OCTETS[first] << 24 | _OCTETS[second] << 16 | _OCTETS[third] << 8 | _OCTETS[fourth]
        prefix = _LENGTHS[length] if slash else 32
    except (KeyError, ValueError):
        return None
    return None if number & _ALL_ONES >> prefix else number << 6 | prefix


def _ranges(subject: str, value: object) -> Optional[Tuple[PortRange, ...]]:
    if value is None or value == ANY:
        return None
    return merge_ranges(parse_ports(subject, item) for item in as_list(value))


def merge_networks(networks: Iterable[Network]) -> Tuple[Network, ...]:
    """Sorted networks of both families; those that are held by another or make up a larger one become one."""
    found = list(networks)
    return tuple(
        net
        for version in (4, 6)
        for net in ipaddress.collapse_addresses(net for net in found if net.version == version)
    )


def merge_ranges(ranges: Iterable[PortRange]) -> Tuple[PortRange, ...]:
    """Sorted ranges; those that overlap or touch become one."""
    merged: list[PortRange] = []
    for item in sorted(ranges):
        if merged and item.first <= merged[-1].last + 1:
            merged[-1] = PortRange(merged[-1].first, max(merged[-1].last, item.last))
        else:
            merged.append(item)
    return tuple(merged)


def _words(value: object, order: Tuple[str, ...]) -> Optional[Tuple[str, ...]]:
    if value is None:
        return None
    words = {str(word).lower() for word in as_list(value)}
    return tuple(sorted(words, key=lambda word: (order.index(word) if word in order else -1, word)))


def rule_from_dict(data: Mapping[str, Any]) -> Rule:
    """A rule from what users write and lookups return.

    Keys: name, direction, action, protocol, sources, destinations, ports, source_ports, icmp_types, interface,
    out_interface, states, families, rate, burst, per, connections, log, reason. Raises TrafficError.
    """
    if not isinstance(data, Mapping):
        raise TrafficError(f"a rule is a dictionary or a line, not {type(data).__name__} {data!r}")
    name = data.get("name")
    subject = f"rule {name}"
    for key in data:
        if key not in _FIELDS:
            raise TrafficError(choices(f"{subject}: option", key, _FIELDS))
    for key in ("name", "direction", "action", "reason"):
        if data.get(key) is None:
            raise TrafficError(f"{subject}: {key} is missing")
    types = data.get("icmp_types")
    return Rule(
        name=str(name),
        direction=str(data["direction"]),
        action=str(data["action"]),
        reason=str(data["reason"]),
        protocol=parse_protocol(data["protocol"]) if data.get("protocol") is not None else ANY,
        sources=_networks(f"{subject}: sources", data.get("sources")),
        destinations=_networks(f"{subject}: destinations", data.get("destinations")),
        ports=_ranges(f"{subject}: ports", data.get("ports")),
        source_ports=_ranges(f"{subject}: source_ports", data.get("source_ports")),
        icmp_types=None if types is None else tuple(sorted({_icmp_type(subject, item) for item in as_list(types)})),
        interface=data.get("interface"),
        out_interface=data.get("out_interface"),
        states=_words(data.get("states"), STATES),
        families=_words(data.get("families"), FAMILIES) or FAMILIES if data.get("families") != [] else (),
        rate=parse_rate(subject, data),
        connections=None
        if data.get("connections") is None
        else whole_number(subject, "connections", data["connections"], MOST_CONNECTIONS),
        log=None if data.get("log") is None else str(data["log"]),
    )


def _icmp_type(subject: str, value: object) -> int:
    if isinstance(value, bool) or not _is_number(str(value), 255):
        raise TrafficError(f"{subject}: icmp_types {value!r} is not a number from 0 to 255")
    return int(str(value))


def rule_to_dict(rule: Rule) -> dict[str, Any]:
    """The dictionary form; what is any is left out, so that it reads back as the same rule."""
    data: dict[str, Any] = {
        "name": rule.name,
        "direction": rule.direction,
        "action": rule.action,
        "protocol": rule.protocol,
    }
    for field in ("sources", "destinations", "ports", "source_ports"):
        values = getattr(rule, field)
        if values is not None:
            data[field] = [str(value) for value in values]
    if rule.icmp_types is not None:
        data["icmp_types"] = list(rule.icmp_types)
    for field in ("interface", "out_interface"):
        if getattr(rule, field) is not None:
            data[field] = getattr(rule, field)
    if rule.states is not None:
        data["states"] = list(rule.states)
    if rule.families != FAMILIES:
        data["families"] = list(rule.families)
    if rule.rate is not None:
        data.update(rate=str(rule.rate), burst=rule.rate.burst, per=rule.rate.per)
    for field in ("connections", "log"):
        if getattr(rule, field) is not None:
            data[field] = getattr(rule, field)
    data["reason"] = rule.reason
    return data
