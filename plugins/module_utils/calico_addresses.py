# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of addresses and of ports that answer in logarithmic time, and tell where their answer changes."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Iterable, List, Optional, Tuple

from .traffic import Network
from .verdict import Address

Spans = Tuple[Tuple[int, int], ...]


@dataclass(frozen=True)
class AddressSet:
    """Addresses of both families, as merged spans of numbers, both ends included."""

    ipv4: Spans = ()
    ipv6: Spans = ()

    @classmethod
    def of(cls, networks: Iterable[Network]) -> AddressSet:
        found: Tuple[List[Tuple[int, int]], List[Tuple[int, int]]] = ([], [])
        for net in networks:
            found[net.version == 6].append((int(net.network_address), int(net.broadcast_address)))
        return cls(merge_spans(found[0]), merge_spans(found[1]))

    def spans(self, version: int) -> Spans:
        return self.ipv4 if version == 4 else self.ipv6

    def __contains__(self, address: object) -> bool:
        version = getattr(address, "version", None)
        return version is not None and within(self.spans(version), int(address))  # type: ignore[call-overload]


NO_ADDRESSES = AddressSet()


@dataclass(frozen=True)
class NamedPort:
    """A port that endpoints gave a name: it stands for this port of this protocol at these addresses only."""

    protocol: str
    port: int
    addresses: AddressSet


@dataclass(frozen=True)
class PortSet:
    """Port numbers, and ports that have names."""

    spans: Spans = ()
    named: Tuple[NamedPort, ...] = ()

    def holds(self, protocol: str, port: Optional[int], address: Address) -> bool:
        if port is None:
            return False
        return within(self.spans, port) or any(
            item.port == port and item.protocol == protocol and address in item.addresses for item in self.named
        )


def merge_spans(spans: Iterable[Tuple[int, int]]) -> Spans:
    """Sorted spans; those that overlap or touch become one."""
    merged: List[Tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def within(spans: Spans, number: int) -> bool:
    """Whether one of the merged spans holds the number."""
    place = bisect_right(spans, (number, float("inf"))) - 1
    return place >= 0 and number <= spans[place][1]


def changes(spans: Spans) -> Iterable[int]:
    """The numbers at which membership begins or ends to hold."""
    for first, last in spans:
        yield first
        yield last + 1
