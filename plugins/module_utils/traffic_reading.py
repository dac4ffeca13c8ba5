# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic rules from what users write and lookups return, and back: dictionaries, networks, ports, protocols.

Read strictly: whatever could be meant otherwise is a TrafficError that names the rule, the field and the value.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Iterable, Mapping, Optional, Tuple

from .errors import TrafficError, choices
from .rates import parse_rate, whole_number
from .traffic import (
    ANY,
    FAMILIES,
    MOST_CONNECTIONS,
    PROTOCOL_NAMES,
    STATES,
    Network,
    PortRange,
    Rule,
    is_number,
)

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
    if is_number(text, 255):
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
        place = ipv4_place(item)
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


def ipv4_place(value: object) -> Optional[int]:
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
    if isinstance(value, bool) or not is_number(str(value), 255):
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
