# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long lists of peers as ipsets: one set a list, under a name that is made of its content. Pure.

A set is never changed in place while rules refer to it: another list is another set, so that the former rules keep
their former addresses until the new ones are confirmed.
"""

from __future__ import annotations

import hashlib
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

from .traffic import IPV4, IPV6, Network

# Shorter lists stay rules, which are easier to read; a look into a set costs about as much as eight of them.
SHORTEST = 17
SET_PREFIXES = {IPV4: "iks4-", IPV6: "iks6-"}
SET_FAMILIES = {IPV4: "inet", IPV6: "inet6"}
# A set refuses /0: two halves are everything.
HALVES = {IPV4: ("0.0.0.0/1", "128.0.0.0/1"), IPV6: ("::/1", "8000::/1")}
_BITS = {IPV4: 32, IPV6: 128}


class PeerSets:
    """Collects the sets that the rules of one family need: `members` is name -> networks, sorted."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.members: Dict[str, Tuple[str, ...]] = {}
        self._names: Dict[int, Tuple[object, str]] = {}

    def name_for(self, networks: Optional[Tuple[Network, ...]]) -> Optional[str]:
        """The name of the set for a list of networks, or None when the list is short or any."""
        if networks is None or len(networks) < SHORTEST:
            return None
        known = self._names.get(id(networks))
        if known is not None:
            return known[1]
        members = set_members(networks, self.family)
        name = set_name(members, self.family)
        self.members[name] = members
        self._names[id(networks)] = (networks, name)
        return name


def set_members(networks: Iterable[Network], family: str) -> Tuple[str, ...]:
    """Networks as ipset prints them, sorted as text."""
    found = set()
    for network in networks:
        length = network.prefixlen
        if length == 0:
            found.update(HALVES[family])
            continue
        if family == IPV4:
            # What str() of an IPv4 address gives, in a quarter of its time.
            number = int(network.network_address)
            text = f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        else:
            text = str(network.network_address)
        found.add(text if length == _BITS[family] else f"{text}/{length}")
    return tuple(sorted(found))


def set_name(members: Tuple[str, ...], family: str) -> str:
    """The name that a set of these members has; at most 31 characters."""
    digest = hashlib.sha256("\n".join(members).encode("ascii")).hexdigest()
    return f"{SET_PREFIXES[family]}{digest[:20]}"


def is_peer_set(name: str) -> bool:
    """Whether a set is one of ours."""
    return name.startswith(tuple(SET_PREFIXES.values()))


def family_of(name: str) -> str:
    """The family of one of our sets."""
    return IPV4 if name.startswith(SET_PREFIXES[IPV4]) else IPV6


def create_text(name: str, members: Tuple[str, ...]) -> str:
    """The `ipset restore` input that makes a set."""
    add = f"\nadd {name} "
    return f"{_create_line(name, len(members))}{add if members else ''}{add.join(members)}\n"


def _create_line(name: str, count: int) -> str:
    # Four elements a bucket, as the kernel's own default (12 a bucket of 1024) is made for a few thousand.
    size = 64
    while size * 4 < count:
        size *= 2
    return f"create {name} hash:net family {SET_FAMILIES[family_of(name)]} hashsize {size} maxelem {max(count, 1)}"


def set_text(name: str, members: Tuple[str, ...]) -> str:
    """The input that makes a set, or gives one its promised content back: nobody who refers to it sees it half full."""
    filled = f"{name}-m"
    create = _create_line(name, len(members))
    return f"{create_text(filled, members)}{create} -exist\nswap {filled} {name}\ndestroy {filled}\n"


def read_members(listing: str, name: str) -> Tuple[str, ...]:
    """The members of a set in the text of `ipset save`, sorted."""
    head = f"add {name} "
    start = len(head)
    return tuple(sorted(line[start:].rstrip() for line in listing.splitlines() if line.startswith(head)))


def changed_sets(have: Mapping[str, Tuple[str, ...]], want: Mapping[str, Tuple[str, ...]]) -> List[str]:
    """Names of the sets of `want` that are missing or hold something else."""
    return [name for name, members in want.items() if have.get(name) != members and members]
