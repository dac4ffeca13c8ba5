# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What whole built-in chains decide about a packet, rules of others included: jumps, gotos, returns, marks, policies.
Pure.

Where a rule's match cannot be decided both ways are followed. If all of them end alike the verdict is certain
nevertheless; if not, the action is "unknown" and the verdict says which decisions are possible and what it depends on.
Conditions that stand in two rules are taken as independent: a verdict may be less certain than the truth, never more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Dict, FrozenSet, Iterable, List, Optional, Tuple

from .errors import HardeningError
from .iptables_save import Save, SavedChain, SavedRule, SavedTable, SaveError, View
from .rule_match import WORD, Bits, Situation, Surroundings, judge, masked_number, situation_of
from .verdict import Packet

ACCEPT, DROP, REJECT, RETURN, UNKNOWN = "accept", "drop", "reject", "return", "unknown"
DENIALS = (DROP, REJECT)
TERMINAL = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": REJECT}
Hook = Tuple[str, str]
# Tables and their chains in the order in which a packet meets them (netfilter's hook priorities). The nat table is not
# among them: it changes packets and denies none.
WAYS: Dict[str, Tuple[Hook, ...]] = {
    "in": (
        ("raw", "PREROUTING"),
        ("mangle", "PREROUTING"),
        ("mangle", "INPUT"),
        ("filter", "INPUT"),
        ("security", "INPUT"),
    ),
    "out": (
        ("raw", "OUTPUT"),
        ("mangle", "OUTPUT"),
        ("filter", "OUTPUT"),
        ("security", "OUTPUT"),
        ("mangle", "POSTROUTING"),
    ),
    "forward": (
        ("raw", "PREROUTING"),
        ("mangle", "PREROUTING"),
        ("mangle", "FORWARD"),
        ("filter", "FORWARD"),
        ("security", "FORWARD"),
        ("mangle", "POSTROUTING"),
    ),
}
# Targets after which a packet goes on to the next rule.
_GOES_ON = frozenset(
    ("AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "CT", "DSCP", "ECN", "HL", "HMARK", "IDLETIMER", "LED",
     "LOG", "MARK", "NFLOG", "NOTRACK", "RATEEST", "SECMARK", "SET", "TCPMSS", "TCPOPTSTRIP", "TEE", "TOS", "TRACE",
     "TTL", "ULOG")
)  # fmt: skip
# The kernel refuses deeper ones (legacy by memory, nft by 16 levels); a text may say anything.
_DEEPEST = 100


@dataclass(frozen=True)
class Decision:
    """Who decided: the rule's number in its chain (from 1; 0 is the chain's policy), its text, and how it was reached.

    `path` are the chains from the built-in one to `chain`.
    """

    action: str
    table: str
    chain: str
    number: int
    text: str = ""
    comment: str = ""
    path: Tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.number:
            return f"the policy of {self.table} {self.chain}"
        return f"rule {self.number} of {self.table} {self.chain} ({self.text})"


@dataclass(frozen=True)
class HookVerdict:
    """What one built-in chain decides. `matched` are the rules (chain, number) that the packet matched, in order; it is
    complete when `doubts` is empty. `doubts` say what could not be decided, with the rule that asks for it.
    """

    table: str
    chain: str
    decisions: Tuple[Decision, ...]
    doubts: Tuple[str, ...] = ()
    matched: Tuple[Tuple[str, int], ...] = ()

    @property
    def action(self) -> str:
        """The one action of every possible decision, or unknown."""
        actions = {decision.action for decision in self.decisions}
        return actions.pop() if len(actions) == 1 else UNKNOWN


@dataclass(frozen=True)
class WayVerdict:
    """What became of a packet on its way through several hooks; `hooks` are those that it met or may have met."""

    hooks: Tuple[HookVerdict, ...]

    @property
    def action(self) -> str:
        """accept, drop or reject when it is certain, or unknown."""
        found = set()
        for hook in self.hooks:
            found |= {decision.action for decision in hook.decisions} - {ACCEPT, RETURN}
            if hook.action in DENIALS:
                break
        else:
            found.add(ACCEPT)
        return found.pop() if len(found) == 1 else UNKNOWN

    @property
    def certain(self) -> bool:
        return self.action != UNKNOWN

    @property
    def passes(self) -> Optional[bool]:
        """Certainly yes, certainly no, or None. Dropped or rejected may be open when "no" is certain."""
        possible = [{decision.action for decision in hook.decisions} for hook in self.hooks]
        if any(found and found <= {*DENIALS} for found in possible):
            return False
        return None if any(found - {ACCEPT, RETURN} for found in possible) else True

    @property
    def decisions(self) -> Tuple[Decision, ...]:
        """What may have decided: every possible denial, and every acceptance of the filter table."""
        return tuple(
            decision
            for hook in self.hooks
            for decision in hook.decisions
            if decision.action not in (ACCEPT, RETURN) or hook.table == "filter"
        )

    @property
    def decision(self) -> Optional[Decision]:
        """The decision that settled it, or None: it is not certain, or no hook was there to decide."""
        fitting = [decision for decision in self.decisions if decision.action == self.action]
        return fitting[-1] if fitting and self.certain else None

    @property
    def doubts(self) -> Tuple[str, ...]:
        """What the verdict depends on; empty when it is certain."""
        return () if self.certain else tuple(doubt for hook in self.hooks for doubt in hook.doubts)


def decide_saved(save: Save, packet: Packet, node: Surroundings, way: Optional[Iterable[Hook]] = None) -> WayVerdict:
    """Follow a packet through the hooks of its direction (or through `way`), marks carried from one to the next.

    Raises HardeningError for rules that no kernel would hold (a loop of chains).
    """
    at: Optional[Situation] = situation_of(packet, node)
    found = []
    for table, chain in WAYS[packet.direction] if way is None else way:
        if at is None or save.chain(table, chain) is None:
            continue
        verdict, after = _through(save.tables[table], chain, _as_seen_in(at, packet, table, chain))
        found.append(verdict)
        at = None if after is None else replace(
            at, mark=after.mark, connection_mark=after.connection_mark, states=_tracked(at, after, table),
            touched=after.touched,
        )  # fmt: skip
    return WayVerdict(tuple(found))


def _as_seen_in(at: Situation, packet: Packet, table: str, chain: str) -> Situation:
    """The packet as a hook sees it: some hooks have one interface, some stand before tracking or translation."""
    if chain == "PREROUTING":
        at = replace(at, leaves="")
        if "dnat" in packet.states:
            at = replace(at, destination=None, port=None)
    elif chain == "POSTROUTING" and packet.direction == "forward":
        # Linux before 5.7 does not tell this hook where a packet arrived.
        at = replace(at, arrives=None)
    if table == "raw":
        return replace(at, states=frozenset({"INVALID"}))
    return at


def _tracked(before: Situation, after: Situation, table: str) -> FrozenSet[str]:
    """The state of the following hooks: raw tells only whether the connection is tracked at all."""
    if table != "raw" or after.states == frozenset({"INVALID"}):
        return before.states
    return after.states


def _through(table: SavedTable, chain: str, at: Situation) -> Tuple[HookVerdict, Optional[Situation]]:
    """One hook's verdict, and the packet as it goes on, or None when it certainly does not."""
    walk = _Walk(table)
    after = walk.through(chain, at, (chain,))
    if after is not None:
        policy = table.chains[chain].policy
        walk.decisions.append(Decision(TERMINAL.get(policy, RETURN), table.name, chain, 0, path=(chain,)))
        if policy not in ("", "ACCEPT"):
            after = None
    verdict = HookVerdict(table.name, chain, tuple(walk.decisions), tuple(walk.doubts), tuple(walk.matched))
    for accepted in walk.accepted:
        after = accepted if after is None else after.merged(accepted)
    return verdict, after


class _Walk:
    """One packet's way through one built-in chain and the chains below it."""

    def __init__(self, table: SavedTable) -> None:
        self.table = table
        self.decisions: List[Decision] = []
        self.doubts: List[str] = []
        self.matched: List[Tuple[str, int]] = []
        # The packet as it was where it was, or may have been, accepted.
        self.accepted: List[Situation] = []

    def through(self, name: str, at: Situation, path: Tuple[str, ...]) -> Optional[Situation]:
        """The packet as it comes out of a chain's end or RETURN; None when it certainly does not."""
        chain = self.table.chains[name]
        # The packet as it may have left this chain already.
        left: List[Situation] = []
        for number, rule in enumerate(chain.rules, 1):
            here = self._rule(chain, number, rule, at, path, left)
            if here is None:
                break
            at = here
        else:
            left.append(at)
        return _merged(left)

    def _rule(
        self, chain: SavedChain, number: int, rule: SavedRule, at: Situation, path: Tuple[str, ...],
        left: List[Situation],
    ) -> Optional[Situation]:  # fmt: skip
        """The packet as it comes to the next rule; None when it certainly does not. What may leave goes to `left`."""
        try:
            view = rule.view
        except SaveError as error:
            self._unknown(chain, number, rule, "", path, str(error))
            self.accepted.append(at)
            return at
        answer, doubts = judge(view, at)
        if answer is False:
            return at
        if answer:
            self.matched.append((chain.name, number))
        known = len(self.decisions), len(left)
        after = self._target(chain, number, rule, view, at, path, left)
        if answer:
            return after
        changed = (len(self.decisions), len(left)) != known or after != at
        if changed:
            self.doubts += [f"rule {number} of {self.table.name} {chain.name}: {doubt}" for doubt in doubts]
        return at if after is None else at.merged(after)

    def _target(
        self, chain: SavedChain, number: int, rule: SavedRule, view: View, at: Situation, path: Tuple[str, ...],
        left: List[Situation],
    ) -> Optional[Situation]:  # fmt: skip
        target = view.target
        if not target:
            return at
        if target == "RETURN":
            left.append(at)
            return None
        if target in TERMINAL:
            self.decisions.append(
                Decision(TERMINAL[target], self.table.name, chain.name, number, rule.text, view.comment, path)
            )
            if target == "ACCEPT":
                self.accepted.append(at)
            return None
        if target in self.table.chains:
            if target in path or len(path) > _DEEPEST:
                raise HardeningError(
                    f"{rule.text}: chain {target} leads back to itself or is nested more than {_DEEPEST} deep, "
                    "which no kernel would load"
                )
            after = self.through(target, at, (*path, target))
            if not view.goto:
                return after
            if after is not None:
                left.append(after)
            return None
        if target in _GOES_ON:
            return _changed(view, at)
        self._unknown(chain, number, rule, view.comment, path, f"what {target} does is not known")
        self.accepted.append(at)
        return at

    def _unknown(
        self, chain: SavedChain, number: int, rule: SavedRule, comment: str, path: Tuple[str, ...], why: str
    ) -> None:
        self.decisions.append(Decision(UNKNOWN, self.table.name, chain.name, number, rule.text, comment, path))
        self.doubts.append(f"rule {number} of {self.table.name} {chain.name}: {why}")


def _merged(situations: List[Situation]) -> Optional[Situation]:
    found: Optional[Situation] = None
    for one in situations:
        found = one if found is None else found.merged(one)
    return found


def _changed(view: View, at: Situation) -> Situation:
    """The packet after a target that lets it go on."""
    if view.target == "MARK":
        return replace(at, mark=_marked(view, at.mark))
    if view.target == "CONNMARK":
        if at.unconnected:
            return at
        marked = _connection_marked(view, at)
        return marked if at.unconnected is False else at.merged(marked)
    if view.target == "HMARK":
        return replace(at, mark=Bits(0, 0))
    if view.target == "NOTRACK" or view.target_option("--notrack"):
        return replace(at, states=frozenset({"UNTRACKED"}))
    if view.target == "SET":
        names = [option.value for option in view.target_options if option.name in ("--add-set", "--del-set")]
        return replace(at, touched=at.touched | frozenset(names))
    return at


def _marked(view: View, mark: Bits) -> Bits:
    """A mark after MARK; a form that is not known leaves nothing known."""
    if len(view.target_options) != 1:
        return Bits(0, 0)
    option = view.target_options[0]
    try:
        value, mask = masked_number(option.value)
    except ValueError:
        return Bits(0, 0)
    # iptables-extensions(8): each form in terms of "zero the bits of the mask, XOR the value in".
    forms = {
        "--set-xmark": (value, mask),
        "--set-mark": (value, value | mask),
        "--and-mark": (0, ~value & WORD),
        "--or-mark": (value, value),
        "--xor-mark": (value, 0),
    }
    return mark.changed(*forms[option.name]) if option.name in forms else Bits(0, 0)


def _connection_marked(view: View, at: Situation) -> Situation:
    names = {option.name for option in view.target_options}
    masks = []
    try:
        for name in ("--nfmask", "--ctmask", "--mask"):
            option = view.target_option(name)
            masks.append(int(option.value, 0) & WORD if option else None)
    except ValueError:
        return replace(at, mark=Bits(0, 0), connection_mark=Bits(0, 0))
    packet_mask, connection_mask, both = masks
    packet_mask = next(mask for mask in (packet_mask, both, WORD) if mask is not None)
    connection_mask = next(mask for mask in (connection_mask, both, WORD) if mask is not None)
    if "--save-mark" in names:
        return replace(at, connection_mark=at.connection_mark.copied(at.mark, packet_mask, connection_mask))
    if "--restore-mark" in names:
        return replace(at, mark=at.mark.copied(at.connection_mark, connection_mask, packet_mask))
    return replace(at, connection_mark=_marked(view, at.connection_mark))
