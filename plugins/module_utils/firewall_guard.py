# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at before a ruleset is loaded: do its interfaces exist, and would it lock out whoever loads it?"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, Optional, Sequence

from .errors import TrafficError, choices
from .firewall_shell import find_program
from .node_facts import Run, interfaces, ssh_peer
from .ruleset import Ruleset, interfaces_named
from .traffic import FAMILIES, IPV4
from .verdict import Packet, decide

if TYPE_CHECKING:
    from .chain_walk import Decision, Hook
    from .ipset_save import IpSet
    from .iptables_save import Save


def check_interfaces(ruleset: Ruleset, folder: str = "/sys/class/net") -> None:
    """Refuse a rule on an interface that the node does not have; a rule that can match nothing protects nothing."""
    try:
        present = sorted(os.listdir(folder))
    except OSError:
        return
    check_interfaces_among(ruleset, present)


def check_interfaces_among(ruleset: Ruleset, present: Iterable[str]) -> None:
    """Refuse a rule on an interface that is not among those present. Pure."""
    present = sorted(present)
    for name in interfaces_named((*ruleset.rules, *ruleset.defaults)):
        if name not in present:
            rule = next(
                rule for rule in (*ruleset.rules, *ruleset.defaults) if name in (rule.interface, rule.out_interface)
            )
            raise TrafficError(
                choices(f"rule {rule.name}: interface", name, [*(item for item in present if item != "lo"), "lo"])
            )


def check_families(ruleset: Ruleset, families: Sequence[str], links: Mapping[str, Sequence[str]]) -> None:
    """Refuse to leave out a family in which the node has an address that others reach. Pure.

    `links`: interface -> its addresses, link-local ones left out. Raises TrafficError.
    """
    if not families:
        raise TrafficError("families is an empty list; an empty list never means any. Leave it out to mean both")
    told = f"families: [{', '.join(families)}]"
    for rule in (*ruleset.rules, *ruleset.defaults):
        if not set(rule.families) & set(families):
            raise TrafficError(f"rule {rule.name}: is {rule.families[0]} only, which {told} leaves out")
    for family in FAMILIES:
        version = 4 if family == IPV4 else 6
        for name, addresses in links.items() if family not in families else ():
            for address in addresses:
                if ipaddress.ip_interface(address).version == version:
                    raise TrafficError(
                        f"{told} would leave {family} open, and {name} has the {family} address {address}; leave "
                        "families out, and what no rule allows is closed in both"
                    )


@dataclass(frozen=True)
class Judgement:
    """`cut`: why the ruleset would cut off where the task comes from, or empty. `notes`: what others decide against."""

    cut: str
    notes: List[str]


def judge(ruleset: Ruleset, run: Run, texts: Mapping[str, str], early: Sequence[Hook] = ()) -> Judgement:
    """What the whole built-in chains, rules of others included, make of a ruleset.

    `texts` are the node's iptables-save texts by family, `early` the hooks in which our chains deny what the ruleset
    denies.
    """
    peer = present_peer()
    if not any(map(_others_decide, texts.values())):
        return Judgement(locked_out(ruleset, peer, interfaces(run)) if peer else "", [])
    # Late: they cost a module's start, and most nodes of a test have nobody else's rules.
    from .ipset_save import read_sets
    from .iptables_save import parse

    links = interfaces(run)
    ipset = find_program("ipset")
    sets = read_sets(run([ipset, "save"], "")[1]) if ipset and "--match-set" in "".join(texts.values()) else {}
    saves = {family: parse(text) for family, text in texts.items()}
    cut = locked_out(ruleset, peer, links, saves, sets) if peer else ""
    return Judgement(cut, foreign_decisions(saves, [ruleset], links, sets, early))


_OTHERS = re.compile(r"^-A (?:INPUT|OUTPUT|FORWARD|POSTROUTING|PREROUTING) (?!.*-j IKS[-~])", re.MULTILINE)
_CLOSED = re.compile(r"^:(?:INPUT|OUTPUT|FORWARD) DROP", re.MULTILINE)


def _others_decide(text: str) -> bool:
    """Whether a node's save has rules or policies of others at all."""
    return bool(_OTHERS.search(text) or _CLOSED.search(text))


def present_peer() -> Optional[Dict[str, Any]]:
    """Where the present SSH session comes from, learnt before any escalation; None when there is none."""
    return ssh_peer(dict(os.environ), os.getppid())


def locked_out(
    ruleset: Ruleset,
    peer: Dict[str, object],
    links: Dict[str, List[str]],
    saves: Optional[Mapping[str, Save]] = None,
    sets: Optional[Mapping[str, IpSet]] = None,
) -> str:
    """Why the peer's session or its next one would be cut, or an empty string. Pure.

    With `saves`, the node's parsed iptables-save texts by family, also by rules of others: a ban that denies new
    connections would let no trial be confirmed.
    Answers are looked at as new packets: to a node that began to track connections with this very ruleset, a session
    that is older than that is not established.
    """
    source = ipaddress.ip_address(str(peer["source"]))
    destination = ipaddress.ip_address(str(peer["destination"]))
    port, source_port = int(str(peer["port"])), int(str(peer["source_port"]))
    for name in _arriving(links, str(destination)):
        ways = (
            (
                "new SSH connections from",
                Packet("in", "tcp", source, destination, name, port=port, source_port=source_port),
            ),
            (
                "the answers of SSH to",
                Packet("out", "tcp", destination, source, name, port=source_port, source_port=port),
            ),
        )
        for what, packet in ways:
            rules = ruleset.for_direction(packet.direction)
            verdict = decide(rules, packet)
            if verdict.action in ("drop", "reject") and verdict.rule is not None:
                return (
                    f"rule {verdict.rule.name} would {verdict.rule.action} {what} {source} on {name} port {port}, "
                    "where this task comes from. "
                    f"Set iks_management_networks: [{source}/{source.max_prefixlen}] (or a network that holds it), "
                    "or give allow_lockout: true"
                )
            other = _overruled(saves, packet, links, sets) if saves and rules else None
            if other is not None:
                return (
                    f"{other} would {other.action} {what} {source} on {name} port {port}, where this task comes from, "
                    "whatever the ruleset says. Remove that rule, or give allow_lockout: true"
                )
    return ""


def _overruled(
    saves: Mapping[str, Save], packet: Packet, links: Dict[str, List[str]], sets: Optional[Mapping[str, IpSet]]
) -> Optional[Decision]:
    """Late: node_firewall pays for the import of the verdict over whole chains only where it asks for one."""
    from .firewall_foreign import overruled, surroundings

    save = saves.get(packet.family)
    return overruled(save, packet, surroundings(links, sets)) if save else None


def foreign_decisions(
    saves: Mapping[str, Save],
    rulesets: Sequence[Ruleset],
    links: Mapping[str, Sequence[str]],
    sets: Optional[Mapping[str, IpSet]] = None,
    early: Sequence[Hook] = (),
) -> List[str]:
    """Notes on rules of others that decide against the rulesets (firewall_foreign.foreign_decisions). Pure."""
    from . import firewall_foreign  # late, as above

    node = firewall_foreign.surroundings(links, sets)
    return firewall_foreign.foreign_decisions(saves, rulesets, links, node, early)


def _arriving(links: Dict[str, List[str]], address: str) -> Iterable[str]:
    """The interface that holds an address; every interface when none does."""
    owners = [name for name, networks in links.items() if any(item.split("/")[0] == address for item in networks)]
    return owners or sorted(links)
