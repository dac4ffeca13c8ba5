# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single values of Calico resources: names, labels, networks, ports, protocols.

A reader (`read_...`) takes what a user wrote and gives what is sent, or raises ValueRefused; a canonical form
(`canonical_...`) takes whatever a datastore holds, never raises, and is equal for two spellings of one value.

Sources: libcalico-go lib/validator (v1 and v3), lib/numorstring, k8s.io/apimachinery util/validation, and what
calicoctl 1.4.0 and 3.25.2 accept and print.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any, Iterable, List, Optional, Tuple, Union

from .calico_selector import SelectorError, parse
from .errors import TrafficError, choices
from .traffic_reading import ipv4_place, parse_network

ACTIONS = {"v1": ("allow", "deny", "log", "pass"), "v3": ("Allow", "Deny", "Log", "Pass")}
PROTOCOLS = {
    "v1": ("tcp", "udp", "icmp", "icmpv6", "sctp", "udplite"),
    "v3": ("TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"),
}
# SCTP got ports with 3.x.
_PORTED = {"v1": frozenset(("tcp", "udp", 6, 17)), "v3": frozenset(("TCP", "UDP", "SCTP", 6, 17, 132))}
MOST_ANNOTATIONS = 256 * 1024

_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_LABEL_NAME = re.compile(_DNS_LABEL)
_POLICY_NAME = re.compile(rf"(?:{_DNS_LABEL}\.)?{_DNS_LABEL}")
_KUBERNETES_POLICY_NAME = re.compile(rf"(?:knp|ossg)\.default\.{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_V1_NAME = re.compile(r"[a-zA-Z0-9_./-]{1,128}")
_V1_INTERFACE = re.compile(r"[a-zA-Z0-9_-]{1,15}")
_V3_INTERFACE = re.compile(r"\*|[a-zA-Z0-9_.-]{1,15}")
_V1_LABEL_KEY = re.compile(r"[a-zA-Z0-9_./-]{1,512}")
_V1_LABEL_VALUE = re.compile(r"[a-zA-Z0-9]?(?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?")
_QUALIFIED = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_PORT_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+")
_RANGE = re.compile(r"([0-9]+):([0-9]+)")
_DASHED = re.compile(r"[0-9]+ *- *[0-9]+")


class ValueRefused(Exception):
    """Why a value cannot be used. `path` grows from the value outwards: field names and places in lists."""

    def __init__(self, reason: str, *path: Union[str, int]) -> None:
        super().__init__(reason)
        self.path: List[Union[str, int]] = list(path)


def one_of(value: object, allowed: Iterable[str]) -> str:
    """Text for a value that is none of `allowed`, the nearest one first."""
    return choices("", value, allowed)[2:]


def read_name(value: str) -> str:
    """A name of an object in API v3: a DNS subdomain in lower case."""
    if len(value) > 253 or not _SUBDOMAIN.fullmatch(value):
        raise ValueRefused(
            f"{value!r} is no name of API v3: lower-case letters, digits, - and ., up to 253, "
            f"begun and ended by a letter or digit{_near_name(value)}"
        )
    return value


def read_policy_name(value: str) -> str:
    """A global policy's name: one DNS label, before it a tier's name and a dot if need be."""
    if len(value) > 253 or not _POLICY_NAME.fullmatch(value):
        raise ValueRefused(
            f"{value!r} is no name of a policy in API v3: lower-case letters, digits and -, "
            f"begun and ended by a letter or digit, and a dot only after the name of its tier{_near_name(value)}"
        )
    return value


def read_namespaced_policy_name(value: str) -> str:
    """As a global policy's, or one that Calico gave to a policy of Kubernetes."""
    return value if _KUBERNETES_POLICY_NAME.fullmatch(value) else read_policy_name(value)


def read_tier_name(value: str) -> str:
    """A tier's name: one DNS label, as it becomes a part of other names."""
    if len(value) > 63 or not _LABEL_NAME.fullmatch(value):
        raise ValueRefused(f"{value!r} is no name of a tier: lower-case letters, digits and -, up to 63")
    return value


def read_v1_name(value: str) -> str:
    """A name of an object in API v1."""
    if not _V1_NAME.fullmatch(value):
        raise ValueRefused(f"{value!r} is no name of API v1: letters, digits and _ . / -, 1 to 128 of them")
    return value


def _near_name(value: str) -> str:
    near = re.sub(r"[^a-z0-9.]+", "-", value.lower()).strip("-.")
    return f"; did you mean {near}?" if near and near != value and _SUBDOMAIN.fullmatch(near) else ""


def read_v1_interface(value: str) -> str:
    """An interface's name as calicoctl 1.x takes it."""
    if not _V1_INTERFACE.fullmatch(value):
        reason = "letters, digits, _ and -, up to 15"
        if _V3_INTERFACE.fullmatch(value):
            reason += "; a name with a dot, or *, cannot be given to calicoctl 1.x: use expectedIPs instead"
        raise ValueRefused(f"{value!r} is no interface's name in API v1: {reason}")
    return value


def read_v3_interface(value: str) -> str:
    """An interface's name, or * for all of a node's."""
    if not _V3_INTERFACE.fullmatch(value):
        raise ValueRefused(f"{value!r} is no interface's name: letters, digits, _ . and -, up to 15, or * alone")
    return value


def read_v1_label(key: str, value: str) -> None:
    """Refuses a label that calicoctl 1.x refuses."""
    if not _V1_LABEL_KEY.fullmatch(key):
        raise ValueRefused(f"{key!r} is no label's name: letters, digits and _ . / -")
    if not _V1_LABEL_VALUE.fullmatch(value):
        raise ValueRefused(
            f"{value!r} is no label's value: letters, digits and _ . -, up to 63, none of _ . - at an end"
        )


def read_v3_label(key: str, value: str) -> None:
    """Refuses a label that Kubernetes, and so API v3, refuses."""
    _qualified(key, "a label's name")
    if value and (len(value) > 63 or not _QUALIFIED.fullmatch(value)):
        raise ValueRefused(
            f"{value!r} is no label's value: letters, digits and _ . -, up to 63, none of _ . - at an end"
        )


def read_annotation(key: str, value: str) -> None:
    """Refuses an annotation whose name API v3 refuses."""
    _qualified(key.lower(), "an annotation's name")


@lru_cache(maxsize=1024)
def _qualified_part(name: str) -> bool:
    return len(name) <= 63 and _QUALIFIED.fullmatch(name) is not None


def _qualified(key: str, what: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if not _qualified_part(name) or (slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix))):
        raise ValueRefused(
            f"{key!r} is not {what}: letters, digits and _ . - (up to 63, none of _ . - at an end), "
            "before it a DNS name and / if need be"
        )


@lru_cache(maxsize=65536)
def read_network(value: str) -> Tuple[str, int]:
    """An address or CIDR: the network without host bits as text, and its IP version."""
    if ipv4_place(value) is not None:
        return (value if "/" in value else f"{value}/32"), 4
    try:
        address, slash, _length = value.partition("/")
        net = ipaddress.ip_network(value, strict=False) if slash else parse_network("", address)
        # No octal, no digits of other scripts, no netmask for a length: what Go's parser does not take.
        parse_network("", str(net))
        parse_network("", address)
        if slash and not _NUMBER.fullmatch(_length):
            raise ValueError(value)
    except (ValueError, TrafficError):
        raise ValueRefused(f"{value!r} is not an IPv4 or IPv6 address or CIDR; names are not resolved") from None
    return str(net), net.version


def read_strict_network(value: str) -> str:
    """A CIDR of a rule in API v3: with its length, and no host bits."""
    if "/" in value and ipv4_place(value) is not None:
        return value
    net, _version = read_network(value)
    address, slash, _length = value.partition("/")
    if not slash:
        raise ValueRefused(f"{value!r} has no prefix length; write {net}")
    if ipaddress.ip_address(address) != ipaddress.ip_address(net.partition("/")[0]):
        raise ValueRefused(f"{value} has host bits set; write {net} for the network or {_host(address)} for the host")
    return value


def _host(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def read_any_network(value: str) -> str:
    """An address or CIDR, host bits allowed."""
    read_network(value)
    return value


def read_address(value: str) -> str:
    """One address, without a length."""
    if "/" in value:
        raise ValueRefused(f"{value!r} is an address with a length; write {value.partition('/')[0]}")
    read_network(value)
    return value


def canonical_network(value: Any) -> Any:
    """The network without host bits in its shortest spelling."""
    try:
        return read_network(value)[0] if isinstance(value, str) else value
    except ValueRefused:
        return value


def canonical_address(value: Any) -> Any:
    """The address in its shortest spelling."""
    try:
        return read_network(value)[0].partition("/")[0] if isinstance(value, str) else value
    except ValueRefused:
        return value


@lru_cache(maxsize=65536)
def read_port(value: Any, api: str) -> Any:
    """A port: a number, a range `first:last`, in API v3 the name of a port too. A number in quotes becomes a number."""
    text = str(value)
    match = _RANGE.fullmatch(text)
    if match is not None:
        first, last = _number(match.group(1)), _number(match.group(2))
        if first > last:
            raise ValueRefused(f"range {text!r} ends before it begins; write {last}:{first}")
        return first if first == last else f"{first}:{last}"
    if _NUMBER.fullmatch(text):
        return _number(text)
    if _DASHED.fullmatch(text):
        first_text, last_text = (part.strip() for part in text.split("-"))
        raise ValueRefused(f"{text!r} is no range of ports; write {first_text}:{last_text}")
    if isinstance(value, str) and api == "v3":
        if len(text) <= 15 and _PORT_NAME.fullmatch(text) and "--" not in text and re.search("[a-z]", text):
            return text
        raise ValueRefused(
            f"{text!r} is not a port, a range first:last, or a port's name (lower-case letters, digits and -, up to 15)"
        )
    named = "; calicoctl 1.x knows no port names" if api == "v1" and re.search("[a-z]", text) else ""
    raise ValueRefused(f"{text!r} is not a port from 1 to 65535 or a range first:last{named}")


def _number(text: str) -> int:
    number = int(text) if len(text) < 7 else 0
    if not 1 <= number <= 65535:
        raise ValueRefused(f"{text} is not from 1 to 65535")
    return number


def canonical_port(value: Any) -> Any:
    """A number where it is one port, else `first:last` or a name."""
    try:
        return read_port(value, "v3")
    except (ValueRefused, TypeError):
        return value


@lru_cache(maxsize=1024)
def read_protocol(value: Any, api: str) -> Any:
    """A protocol's name as the API spells it, or its number from 1 to 255."""
    text = str(value)
    if _NUMBER.fullmatch(text):
        if len(text) < 5 and 1 <= int(text) <= 255:
            return int(text)
        raise ValueRefused(f"{text} is not from 1 to 255")
    if text not in PROTOCOLS[api]:
        raise ValueRefused(one_of(value, (*PROTOCOLS[api], "a number from 1 to 255")))
    return text


def canonical_protocol(value: Any) -> Any:
    """A number where digits were written."""
    return int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def has_ports(protocol: Any, api: str) -> bool:
    """Whether ports may stand beside a protocol in a rule."""
    return protocol in _PORTED[api]


def read_selector(value: str, api: str) -> str:
    """A selector of the API's grammar."""
    try:
        parse(value, api)
    except SelectorError as error:
        raise ValueRefused(str(error)) from None
    return value


def canonical_order(value: Any) -> Any:
    """A whole number without a fraction, so that 1500.0 reads as 1500."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def text_of(value: Any) -> Optional[str]:
    """What calicoctl makes of a value where it wants text: a number becomes its digits; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return None
