# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The intrusion guard: a source that keeps probing closed ports is held for a while, and then reaches no port at all.

The 2017 page promises to "detect and remediate network intrusion". The kernel does it alone: what reaches the default
denial is counted for each source, and who exceeds the rate enters a set whose entries expire. Addresses of the cluster,
its management and the catalogue are never held: they are excepted where a source would enter and where it is dropped.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .errors import TrafficError, choices
from .iptables_text import RATE_UNITS
from .peer_sets import SET_FAMILIES, set_members, set_name
from .rates import Rate, parse_rate
from .traffic import IPV4, IPV6, Network
from .traffic_reading import as_list, merge_networks, parse_network

HELD = {IPV4: "iks-held4", IPV6: "iks-held6"}
_OPTIONS = ("hold", "rate", "burst", "never")
# The longest that a set can time (ipset's own bound is 2147483 seconds).
LONGEST_HOLD = 86400
_SECONDS = re.compile("[0-9]{1,5}", re.ASCII)
DEFAULT_HOLD, DEFAULT_RATE, DEFAULT_BURST = 600, "10/minute", 20
REASON = "probed closed ports"


@dataclass(frozen=True)
class Guard:
    """`hold`: seconds. `rate`: denied packets of one source above which it is held. `never`: networks never held."""

    hold: int
    rate: Rate
    never: Tuple[Network, ...]


def read_guard(value: Any) -> Optional[Guard]:
    """A guard from the module's option, or None. Raises TrafficError."""
    if not value:
        return None
    if not isinstance(value, Mapping):
        raise TrafficError(f"guard: {value!r} is not a dictionary of {', '.join(_OPTIONS)}")
    for key in value:
        if key not in _OPTIONS:
            raise TrafficError(choices("guard: option", key, _OPTIONS))
    never = [parse_network("guard: never", item) for item in as_list(value.get("never") or [])]
    if not never:
        raise TrafficError(
            "guard: never is empty; name at least the networks of the cluster and of its management, "
            "which must not be held"
        )
    hold = value.get("hold", DEFAULT_HOLD)
    if isinstance(hold, bool) or not _SECONDS.fullmatch(str(hold)) or not 1 <= int(hold) <= LONGEST_HOLD:
        raise TrafficError(f"guard: hold {hold!r} is outside 1-{LONGEST_HOLD} seconds")
    rate = parse_rate("guard", {"rate": value.get("rate", DEFAULT_RATE), "burst": value.get("burst", DEFAULT_BURST)})
    if rate is None:
        raise TrafficError("guard: rate is empty; give a number and a unit, like 10/minute, or leave it out")
    return Guard(int(hold), rate, merge_networks(never))


@dataclass(frozen=True)
class GuardSpecs:
    """`first` stands before the ruleset's own rules, `last` before its default verdict; both for direction in."""

    first: Tuple[str, ...]
    last: Tuple[str, ...]
    sets: Mapping[str, Tuple[str, ...]]


def guard_specs(guard: Optional[Guard], family: str, interfaces: Tuple[Optional[str], ...]) -> GuardSpecs:
    """The guard's rules for the interfaces on which incoming packets are denied by default."""
    if guard is None or not interfaces:
        return GuardSpecs((), (), {})
    version = 4 if family == IPV4 else 6
    # Loopback stands for a family of which nothing is excepted: a set needs a member to be told from a missing one.
    own = [net for net in guard.never if net.version == version] or [
        ipaddress.ip_network("127.0.0.0/8" if version == 4 else "::1/128")
    ]
    members = set_members(own, family)
    never = set_name(members, family)
    excepted = f"-m set ! --match-set {never} src "
    rate = guard.rate
    above = (
        f"-m hashlimit --hashlimit-above {rate.count}/{RATE_UNITS[rate.unit]} --hashlimit-burst {rate.burst} "
        f"--hashlimit-mode srcip --hashlimit-name iks-probes{version} "
    )
    first: List[str] = []
    last: List[str] = []
    for name in interfaces:
        arrives = f"-i {name} " if name else ""
        first.append(
            f"{arrives}-m set --match-set {HELD[family]} src {excepted}"
            f'-m comment --comment "guard-held: {REASON}" -j DROP'
        )
        last.append(
            f"{arrives}{above}{excepted}"
            f'-m comment --comment "guard: keeps probing closed ports" '
            f"-j SET --add-set {HELD[family]} src --exist --timeout {guard.hold}"
        )
    return GuardSpecs(tuple(first), tuple(last), {never: members})


def held_text(family: str) -> str:
    """The `ipset restore` input that makes the set of held sources; an existing one keeps its entries."""
    return f"create {HELD[family]} hash:ip family {SET_FAMILIES[family]} timeout {DEFAULT_HOLD} -exist\n"


def read_held(listing: str) -> List[Dict[str, Any]]:
    """Who is held, from the text of `ipset save`: address, seconds left, reason."""
    found: List[Dict[str, Any]] = []
    for line in listing.splitlines():
        words = line.split()
        if len(words) >= 5 and words[0] == "add" and words[1] in HELD.values() and words[3] == "timeout":
            found.append({"address": words[2], "seconds_left": int(words[4]), "reason": REASON})
    return sorted(found, key=lambda item: str(item["address"]))
