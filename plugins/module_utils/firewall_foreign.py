# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of others that decide against ours: what denies a packet that the rulesets accept, or accepts one that they
deny, before our chains are asked or after they have accepted. Pure.

Packets are made from what both sides name: each rule's own, and the ports of both from the sources of both. For each
our chains are taken to say what the model says, and everything else is walked as the kernel would (chain_walk).
"""

from __future__ import annotations

import ipaddress
from bisect import bisect
from dataclasses import dataclass, replace
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from .chain_walk import DENIALS, UNKNOWN, WAYS, Decision, Hook, WayVerdict, decide_saved
from .firewall_state import FILTER as TABLE
from .firewall_state import HOOKS, PREFIX, TRIAL_PREFIX
from .ipset_save import IpSet
from .iptables_save import Save, SavedChain, SavedRule, SavedTable, SaveError, View
from .iptables_text import is_catch_all, protocol_number
from .rule_match import Interface, Surroundings
from .ruleset import Ruleset
from .traffic import ANY, IPV4, PROTOCOL_NAMES, WITH_PORTS, Network, Rule
from .verdict import Address, Packet, decide

_OURS = (PREFIX, TRIAL_PREFIX)
# Rules looked at in one call, all packets together: about a second on a node.
BUDGET = 300_000
# So many sources of others, and so many notes, are told; a list of bans may have thousands.
SOURCES, NOTES = 25, 20
# So many packets that the rules of others cannot tell apart are tried.
ALIKE = 6
_STRANGERS = {
    4: ("198.51.100.1", "192.0.2.1", "203.0.113.1", "100.64.0.1", "9.9.9.9"),
    6: ("2001:db8::1", "2001:db8:ffff::1", "2620:fe::fe", "2a00::1"),
}
# A port that hardly any rule names (discard).
_NEUTRAL = 9
Kind = Tuple[str, Optional[int]]


@dataclass(frozen=True)
class Finding:
    """A packet that the model and the whole chains judge differently. `certain` is false when it depends on something
    that cannot be told from the rules: `doubts`.
    """

    packet: Packet
    wanted: str
    rule: Rule
    found: Decision
    certain: bool
    doubts: Tuple[str, ...] = ()

    def __str__(self) -> str:
        packet = self.packet
        name = f"protocol {packet.protocol}" if packet.protocol.isdigit() else packet.protocol
        what = f"{name} port {packet.port}" if packet.port is not None else name
        denied = self.found.action in DENIALS
        verb = {"drop": "drops", "reject": "rejects", "accept": "accepts"}.get(self.found.action, "decides about")
        text = (
            f"{self.found} {verb if self.certain else f'may be what {verb}'} {what} from {packet.source} to "
            f"{packet.destination} on {packet.interface}, {'though' if denied else 'before'} rule {self.rule.name} "
            f"{'would accept' if denied else f'can {self.rule.action}'} it"
        )
        return text if self.certain else f"{text}; it depends on {'; '.join(self.doubts[:3])}"


def foreign_decisions(
    saves: Mapping[str, Save],
    rulesets: Sequence[Ruleset],
    links: Mapping[str, Sequence[str]],
    node: Optional[Surroundings] = None,
    early: Sequence[Hook] = (),
    directions: Sequence[str] = ("in", "out"),
) -> List[str]:
    """Notes, one for each rule or policy of others that decides against the rulesets; empty when none does.

    `saves` are the parsed iptables-save texts by family, with our chains in them or not yet (then our jump counts as
    standing where the plan would put it). `rulesets` stand in the order in which they are asked. `links` are the node's
    interfaces with their addresses (node_facts.interfaces); `node` adds what is known of its sets. `early`
    are hooks (`("mangle", "INPUT")`) in which our chains deny, or will, what the rulesets deny; without it chains of
    ours in other tables than filter are walked as they stand.
    """
    notes: List[str] = []
    looked, possible = 0, 0
    known = node or surroundings(links)
    for family, save in saves.items():
        for direction in directions:
            rules = tuple(rule for ruleset in rulesets for rule in ruleset.for_direction(direction))
            if not rules:
                continue
            others = tuple(_foreign(save, direction))
            if all(view.target in ("", "RETURN", "LOG") for view in others):
                continue
            packets = list(_packets(rules, others, family, direction, links, known))
            room = max(50, BUDGET // (len(others) + 1) // len(directions))
            looked, possible = looked + min(room, len(packets)), possible + len(packets)
            notes += _notes(family, direction, findings(save, rules, packets[:room], known, early))
    told = notes[:NOTES]
    if len(notes) > NOTES:
        told.append(f"{len(notes) - NOTES} more rules of others decide against the ruleset")
    if looked < possible:
        told.append(
            f"only {looked} of {possible} kinds of packets were tried on the rules of others, as these are many"
        )
    return told


def findings(
    save: Save, rules: Sequence[Rule], packets: Iterable[Packet], node: Surroundings, early: Sequence[Hook] = ()
) -> List[Finding]:
    """Every packet for which a rule of others has, or may have, the last word against the rule that decides."""
    said = {action: _with_our_answer(save, action, early) for action in ("accept", "drop")}
    found = []
    for packet in packets:
        # The rules of others are few and ours may be many: the model is asked when they have a say at all.
        verdicts = {action: decide_saved(said[action], packet, node) for action in ("accept", "drop")}
        if not any(_against(verdict, action) for action, verdict in verdicts.items()):
            continue
        wanted = decide(rules, packet)
        if wanted.rule is None:
            continue
        verdict = verdicts["accept" if wanted.action == "accept" else "drop"]
        against = _against(verdict, wanted.action)
        if against is not None:
            certain = verdict.passes is not None
            found.append(Finding(packet, wanted.action, wanted.rule, against, certain, verdict.doubts))
    return found


def overruled(save: Save, packet: Packet, node: Surroundings) -> Optional[Decision]:
    """The rule of others that certainly denies a packet which our chains accept, or None."""
    verdict = decide_saved(_with_our_answer(save, "accept", ()), packet, node)
    return _against(verdict, "accept") if verdict.passes is False else None


def surroundings(links: Mapping[str, Sequence[str]], sets: Optional[Mapping[str, IpSet]] = None) -> Surroundings:
    """What is known of a node: its interfaces with their addresses, and its sets (ipset_save.read_sets)."""
    return Surroundings(_local(links), sets or {})


def _against(verdict: WayVerdict, wanted: str) -> Optional[Decision]:
    """The decision of others that would overrule ours, if one may."""
    if (wanted == "accept") == verdict.passes:
        return None
    for decision in verdict.decisions:
        opposed = (*DENIALS, UNKNOWN) if wanted == "accept" else ("accept", UNKNOWN)
        if decision.action in opposed and not decision.chain.startswith(_OURS):
            return decision
    return None


def _notes(family: str, direction: str, found: Iterable[Finding]) -> Iterator[str]:
    """The first finding for each deciding rule; a certain one rather than another."""
    by: Dict[Tuple[str, str, int], Finding] = {}
    for one in found:
        key = (one.found.table, one.found.chain, one.found.number)
        if key not in by or (one.certain and not by[key].certain):
            by[key] = one
    for one in by.values():
        yield f"{family} {direction}: {one}"


def _with_our_answer(save: Save, action: str, early: Sequence[Hook]) -> Save:
    """The rules with chains of ours that say one thing, in the filter table and in the early hooks (where accepting is
    returning). A jump of ours that is not there yet is put where it will be; other chains of ours stay as they are.
    """
    tables = dict(save.tables)
    for name, hook in (*((TABLE, hook) for hook in HOOKS.values()), *early):
        table = tables.get(name) or SavedTable(name)
        if hook not in table.chains and name == TABLE:
            continue
        chains = dict(table.chains)
        target = "DROP" if action in DENIALS else "ACCEPT" if name == TABLE else "RETURN"
        ours = f"{PREFIX}{hook}"
        chains[ours] = SavedChain(ours, rules=(SavedRule(ours, f"-j {target}"),))
        chains[hook] = _with_jump(chains.get(hook) or SavedChain(hook, "ACCEPT"), ours, first=name != TABLE)
        tables[name] = SavedTable(name, chains)
    return replace(save, tables=tables)


def _with_jump(chain: SavedChain, ours: str, first: bool) -> SavedChain:
    if any(rule.spec.endswith(f" {ours}") for rule in chain.rules):
        return chain
    denials = (index for index, rule in enumerate(chain.rules) if is_catch_all(rule.spec))
    place = 0 if first else next(denials, len(chain.rules))
    jump = SavedRule(chain.name, f"-j {ours}")
    return replace(chain, rules=(*chain.rules[:place], jump, *chain.rules[place:]))


def _foreign(save: Save, direction: str) -> Iterator[View]:
    """The rules of others in the chains that a packet of this direction may meet."""
    for table in save.tables.values():
        waiting = [chain for name, chain in WAYS[direction] if name == table.name and chain in table.chains]
        seen = set(waiting)
        while waiting:
            for rule in table.chains[waiting.pop()].rules:
                try:
                    view = rule.view
                except SaveError:
                    continue
                if view.target.startswith(_OURS):
                    continue
                yield view
                if view.target in table.chains and view.target not in seen:
                    seen.add(view.target)
                    waiting.append(view.target)


def _local(links: Mapping[str, Sequence[str]]) -> Tuple[Interface, ...]:
    return tuple(ipaddress.ip_interface(text) for networks in links.values() for text in networks)


def _packets(
    rules: Sequence[Rule],
    foreign: Sequence[View],
    family: str,
    direction: str,
    links: Mapping[str, Sequence[str]],
    node: Surroundings,
) -> Iterator[Packet]:
    """New connections that tell the rules of both sides apart; the likeliest to matter first, none twice.

    Of those that the rules of others cannot tell apart a few are enough.
    """
    version = 4 if family == IPV4 else 6
    kinds: Dict[Kind, None] = {}
    peers: Dict[Address, None] = {}
    for view in foreign:
        kinds.update(dict.fromkeys(_kinds_of_view(view)))
        if len(peers) < SOURCES:
            peers.update(dict.fromkeys(_peers_of_view(view, direction, version)))
    own = [(_kinds_of_rule(rule), _peers_of_rule(rule, direction, version), rule.interface) for rule in rules]
    ours = [kind for found, _peers, _interface in own for kind in found]
    icmp = "icmp" if version == 4 else "icmpv6"
    every: List[Kind] = [*dict.fromkeys([*ours, *kinds, ("tcp", _NEUTRAL), ("udp", _NEUTRAL), (icmp, None)])]
    stranger = _stranger(rules, direction, version)
    sent: Dict[Packet, None] = {}
    alike = _Alike(foreign, node)
    for name, address in _ends(links, version):
        for found, near, interface in own:
            if interface is None or name.startswith(interface.rstrip("+")):
                for kind in found:
                    for peer in near:
                        if alike.is_new("own", name, kind, peer):
                            sent[_packet(direction, kind, peer, address, name)] = None
        for peer in (stranger, *peers):
            for kind in every:
                if alike.is_new("other", name, kind, peer):
                    sent[_packet(direction, kind, peer, address, name)] = None
    return iter(sent)


class _Alike:
    """Counts packets that look the same to the rules of others: those between the same borders that these name."""

    def __init__(self, foreign: Iterable[View], node: Surroundings) -> None:
        words = {
            word
            for view in foreign
            for match in view.matches
            for option in match.options
            for value in option.values
            for word in (value.split(",") + value.replace("-", ":").split(":") + value.split("-"))
        }
        ports = {int(word) for word in words if word.isdigit() and len(word) < 6}
        self.ports = sorted({*ports, *(port + 1 for port in ports)})
        networks = [net for word in words for net in _network(word)]
        networks += [net for found in node.sets.values() for net in found.covers()]
        ends = {int(net.network_address) for net in networks} | {int(net.broadcast_address) + 1 for net in networks}
        self.addresses = sorted(ends)
        self.seen: Dict[Tuple[object, ...], int] = {}

    def is_new(self, group: str, interface: str, kind: Kind, peer: Address) -> bool:
        key = (group, interface, kind[0], bisect(self.ports, kind[1] or 0), bisect(self.addresses, int(peer)))
        self.seen[key] = self.seen.get(key, 0) + 1
        return self.seen[key] <= ALIKE


def _network(word: str) -> Iterator[Network]:
    if "." in word or ":" in word:
        try:
            yield ipaddress.ip_network(word, strict=False)
        except ValueError:
            return


def _packet(direction: str, kind: Kind, peer: Address, here: Address, interface: str) -> Packet:
    protocol, port = kind
    return Packet(
        direction,
        protocol,
        source=peer if direction == "in" else here,
        destination=here if direction == "in" else peer,
        interface=interface,
        port=port,
        source_port=50000 if port is not None else None,
        icmp_type={"icmp": 8, "icmpv6": 128}.get(protocol),
        icmp_code=0 if protocol in ("icmp", "icmpv6") else None,
    )


def _ends(links: Mapping[str, Sequence[str]], version: int) -> Iterator[Tuple[str, Address]]:
    """Each interface with its first address of a version; never the loopback."""
    for name, networks in links.items():
        found = [ipaddress.ip_interface(text) for text in networks]
        near = next((item.ip for item in found if item.version == version and not item.is_link_local), None)
        if near is not None and not near.is_loopback:
            yield name, near


def _kinds_of_rule(rule: Rule) -> List[Kind]:
    if rule.protocol in WITH_PORTS:
        return [(rule.protocol, span.first) for span in rule.ports or ()] or [(rule.protocol, _NEUTRAL)]
    return [] if rule.protocol == ANY else [(rule.protocol, None)]


def _peers_of_rule(rule: Rule, direction: str, version: int) -> List[Address]:
    networks = rule.destinations if direction == "out" else rule.sources
    return [net[1] if net.num_addresses > 2 else net[0] for net in networks or () if net.version == version][:SOURCES]


def _kinds_of_view(view: View) -> Iterator[Kind]:
    options = {option.name: option for match in view.matches for option in match.options if not option.negated}
    named = options["-p"].value if "-p" in options else ""
    number = protocol_number(named) if named else ""
    protocol = PROTOCOL_NAMES.get(int(number), number) if number.isdigit() else ""
    if protocol not in WITH_PORTS:
        if protocol and protocol != "0":
            yield protocol, None
        return
    for option in (options.get(name) for name in ("--dport", "--dports", "--ports")):
        for part in option.value.split(",") if option else ():
            first = part.split(":")[0]
            if first.isdigit():
                yield protocol, int(first)


def _peers_of_view(view: View, direction: str, version: int) -> Iterator[Address]:
    flag = "-d" if direction == "out" else "-s"
    for match in view.matches:
        for option in match.options:
            if option.name == flag and not option.negated:
                try:
                    net = ipaddress.ip_network(option.value, strict=False)
                except ValueError:
                    continue
                if net.version == version and not net.network_address.is_loopback:
                    yield net[1] if net.num_addresses > 2 else net[0]


def _stranger(rules: Sequence[Rule], direction: str, version: int) -> Address:
    """An address that no rule of ours names."""
    networks = [net for rule in rules for net in (rule.destinations if direction == "out" else rule.sources) or ()]
    for text in _STRANGERS[version]:
        address = ipaddress.ip_address(text)
        if not any(net.version == version and net.prefixlen and address in net for net in networks):
            return address
    return ipaddress.ip_address(_STRANGERS[version][0])
