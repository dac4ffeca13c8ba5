# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `ipset save` prints, and whether a packet is in a set. Pure.

An entry that stands in the text is alive, whatever is left of its time. What is not understood answers "not known"
(None), never yes or no.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import cached_property
from typing import Callable, Dict, List, Mapping, Optional, Tuple, Union

from .iptables_text import protocol_number, tokens
from .traffic import IPV4, IPV6, Network

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

# Options of a set that do not change what is in it, with the number of their values.
_HARMLESS = {
    **dict.fromkeys(("hashsize", "maxelem", "timeout", "bucketsize", "initval", "size"), 1),
    **dict.fromkeys(("counters", "comment", "skbinfo", "forceadd"), 0),
}
_FAMILIES = {"inet": IPV4, "inet6": IPV6}
_KINDS = ("ip", "net", "port", "iface")


@dataclass(frozen=True)
class Seen:
    """What a set may look up of a packet in one direction (src or dst); None is not known."""

    address: Optional[Address]
    protocol: int
    port: Optional[int]
    interface: Optional[str]


@dataclass(frozen=True)
class IpSet:
    """One set. `kind` is what `create` says (`hash:net`, `list:set`), `family` is empty for a list of sets.

    `entries` are the words behind `add NAME`; `plain` tells that the set has no option that we do not know.
    """

    name: str
    kind: str
    family: str = ""
    entries: Tuple[Tuple[str, ...], ...] = ()
    plain: bool = True

    @property
    def members(self) -> Tuple[str, ...]:
        """The names in a list of sets, in order."""
        return tuple(words[0] for words in self.entries)

    @property
    def dimensions(self) -> Tuple[str, ...]:
        return tuple(self.kind.partition(":")[2].split(","))

    @cached_property
    def networks(self) -> Optional[Dict[int, Dict[int, bool]]]:
        """Prefix length -> network as a number -> is it an exception; None when the entries are not all networks."""
        found: Dict[int, Dict[int, bool]] = {}
        try:
            for words in self.entries:
                for network in _networks(words[0]):
                    found.setdefault(network.prefixlen, {})[int(network.network_address)] = "nomatch" in words[1:]
        except ValueError:
            return None
        return found

    def covers(self) -> Tuple[Network, ...]:
        """Every network that an entry's parts name: where the answer for an address may change."""
        found: List[Network] = []
        for words in self.entries:
            for part in words[0].split(","):
                try:
                    found += _networks(part)
                except ValueError:
                    continue
        return tuple(found)


def read_sets(text: str) -> Dict[str, IpSet]:
    """The sets of an `ipset save` text by name; a line that is neither create nor add is passed over."""
    created: Dict[str, IpSet] = {}
    entries: Dict[str, List[Tuple[str, ...]]] = {}
    for line in text.splitlines():
        words = tokens(line)
        if len(words) >= 3 and words[0] == "create":
            created[words[1]] = _created(words[1], words[2], words[3:])
        elif len(words) >= 3 and words[0] == "add":
            entries.setdefault(words[1], []).append(tuple(words[2:]))
    return {
        name: IpSet(name, item.kind, item.family, tuple(entries.get(name, ())), item.plain)
        for name, item in created.items()
    }


def _created(name: str, kind: str, options: List[str]) -> IpSet:
    family = "" if kind == "list:set" else IPV4
    plain = True
    index = 0
    while index < len(options):
        option = options[index]
        if option == "family" and index + 1 < len(options):
            family = _FAMILIES.get(options[index + 1], "")
            index += 2
        elif option in _HARMLESS:
            index += 1 + _HARMLESS[option]
        else:
            plain = False
            index += 1
    return IpSet(name, kind, family, plain=plain)


def contains(
    sets: Mapping[str, IpSet], name: str, directions: Tuple[str, ...], family: str, see: Callable[[str], Seen]
) -> Optional[bool]:
    """Whether a packet of `family` is in the set, its dimensions taken from `directions` (src or dst); None: not known.

    A set of the other family, and one with more dimensions than directions, matches nothing (ip_set_test).
    """
    found = sets.get(name)
    if found is None:
        return None
    if found.kind == "list:set":
        # A list holds no lists.
        answers = [
            contains(sets, member, directions, family, see)
            for member in found.members
            if member in sets and sets[member].kind != "list:set"
        ]
        if any(answers):
            return True
        return None if not found.plain or len(answers) < len(found.members) or None in answers else False
    if found.family and found.family != family:
        return False
    dimensions = found.dimensions
    if not found.kind.startswith("hash:") or not found.plain or not set(dimensions) <= set(_KINDS):
        return None
    if len(directions) < len(dimensions):
        return False
    seen = [see(direction) for direction in directions[: len(dimensions)]]
    if dimensions in (("net",), ("ip",)):
        return _in_networks(found, seen[0].address)
    if any("nomatch" in words[1:] for words in found.entries):
        return None
    answers = [_fits(words[0].split(","), dimensions, seen) for words in found.entries]
    return True if True in answers else None if None in answers else False


def _in_networks(found: IpSet, address: Optional[Address]) -> Optional[bool]:
    """The longest prefix decides, and an exception decides no."""
    if not found.entries:
        return False
    if address is None or found.networks is None:
        return None
    number = int(address)
    for length in sorted(found.networks, reverse=True):
        free = address.max_prefixlen - length
        exception = found.networks[length].get(number >> free << free)
        if exception is not None:
            return not exception
    return False


def _fits(parts: List[str], dimensions: Tuple[str, ...], seen: List[Seen]) -> Optional[bool]:
    if len(parts) != len(dimensions):
        return None
    answers = [_part_fits(part, dimension, one) for part, dimension, one in zip(parts, dimensions, seen)]
    return False if False in answers else None if None in answers else True


def _part_fits(part: str, dimension: str, seen: Seen) -> Optional[bool]:
    if dimension == "iface":
        return None if seen.interface is None or ":" in part else seen.interface == part
    if dimension == "port":
        protocol, _colon, port = part.rpartition(":")
        number = protocol_number(protocol or "tcp")
        if not number.isdigit() or not port.isdigit():
            return None
        if int(number) != seen.protocol:
            return False
        return None if seen.port is None else seen.port == int(port)
    if seen.address is None:
        return None
    try:
        return any(seen.address in network for network in _networks(part))
    except ValueError:
        return None


def _networks(part: str) -> List[Network]:
    """An address, a network or a range of addresses. Raises ValueError for anything else."""
    first, dash, last = part.partition("-")
    if not dash:
        return [ipaddress.ip_network(part, strict=False)]
    low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    if low.version != high.version:
        raise ValueError(f"{part} is not a range")
    return list(ipaddress.summarize_address_range(low, high))  # type: ignore[type-var]
