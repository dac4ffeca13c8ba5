# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is ours in a node's packet filter, read from what the tools print. Pure.

    filter  INPUT -> IKS-INPUT -> IKS-INPUT-region (priority 500)
                               -> IKS-INPUT-node   (holds the default verdict: last)
    mangle  INPUT -> IKS-INPUT    what the default verdict denies, denied once more where nobody accepts

The kernel itself is the record: priority and default verdict stand in the comment of the dispatch chain's jump.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Tuple

from .iptables_text import comment_of, in_our_words, is_catch_all, read_tables, same, sets_of, target_of

PREFIX = "IKS-"
# Chains of rules on trial (firewall_trial.py).
TRIAL_PREFIX = "IKS~"
# What a packet meets instead of a dispatch chain where Calico has to decide after us (firewall_early.py). No ruleset
# can have this name: theirs are in lower case.
RETURNS = "RETURN"
FILTER, MANGLE = "filter", "mangle"
HOOKS = {"in": "INPUT", "out": "OUTPUT", "forward": "FORWARD"}
# Early denials of what leaves stand after the translation of addresses, so that a service's address is one of a pod.
EARLY_HOOKS = {"in": "INPUT", "out": "POSTROUTING"}
HOOKS_OF = {FILTER: tuple(HOOKS.values()), MANGLE: tuple(EARLY_HOOKS.values())}
CALICO = "cali-"
_NOTE = re.compile(r"iks\.hardening ruleset ([a-z][a-z0-9-]*), priority ([0-9]+)(, default verdict)?", re.ASCII)


@dataclass(frozen=True)
class OwnTable:
    """Our chains of one table with their rules, and the jumps to them from the built-in chains."""

    chains: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    jumps: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Foreign:
    """What others have in the filter table, as far as it decides about our place there.

    `place`: built-in chain -> position (from 1, our own jumps not counted) of the rule before which our jump has to
    stand. `late`: built-in chains in which our jump stands behind such a rule. `append`: built-in chains in which
    Calico wants to be last. `calico`: Calico has chains.
    """

    place: Mapping[str, int] = field(default_factory=dict)
    late: Tuple[str, ...] = ()
    append: Tuple[str, ...] = ()
    calico: bool = False


@dataclass(frozen=True)
class OwnState:
    """What is ours in one family. `sets`: name -> networks of every set that our chains refer to.

    `foreign` is a finding, not part of the comparison.
    """

    filter: OwnTable = field(default_factory=OwnTable)
    mangle: OwnTable = field(default_factory=OwnTable)
    sets: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    foreign: Foreign = field(default_factory=Foreign)

    def tables(self) -> Tuple[Tuple[str, OwnTable], ...]:
        """The tables with their names, in the order in which they are loaded."""
        return ((FILTER, self.filter), (MANGLE, self.mangle))

    def lines(self) -> List[str]:
        """The state as text, for results and diffs: one `-A` line a rule, in the order in which packets meet them."""
        text: List[str] = []
        for name, table in self.tables():
            option = "" if name == FILTER else f"-t {name} "
            for hook in HOOKS_OF[name]:
                text += [f"{option}-A {hook} {spec}" for spec in table.jumps.get(hook, ())]
            for chain in sorted(table.chains, key=_reading_order):
                text += [f"{option}-A {chain} {spec}" for spec in table.chains[chain]]
        return text + [line for name in sorted(self.sets) for line in set_lines(name, self.sets[name])]

    def rulesets(self) -> List[str]:
        """Names of the rulesets that are present."""
        return sorted({entry.name for hook in HOOKS.values() for entry in entries_of(self.filter, hook)})

    def sets_referred_to(self) -> List[str]:
        """Names of the sets in our rules, gates included."""
        return sorted(
            {
                name
                for _table, table in self.tables()
                for specs in table.chains.values()
                for spec in specs
                if "--match-set" in spec
                for name in sets_of(spec)
            }
        )


# A set with more members is told by their number: a diff of a hundred thousand lines is read by nobody.
_TOLD = 256


def set_lines(name: str, members: Tuple[str, ...]) -> List[str]:
    """A set as text."""
    if len(members) > _TOLD:
        return [f"set {name}: {len(members)} networks"]
    return [f"set {name} {member}" for member in members]


@dataclass(frozen=True)
class Entry:
    """One jump of a dispatch chain."""

    closes: bool
    priority: int
    name: str

    def spec(self, hook: str) -> str:
        note = (
            f"iks.hardening ruleset {self.name}, priority {self.priority}{', default verdict' if self.closes else ''}"
        )
        return f'-m comment --comment "{note}" -j {chain_name(hook, self.name)}'


def chain_name(hook: str, ruleset: str) -> str:
    """The chain of a ruleset in a hook; at most 28 characters."""
    return f"{PREFIX}{hook}-{ruleset}"


def hook_of(chain: str) -> str:
    """The built-in chain that a chain of ours belongs to."""
    return chain[len(PREFIX) :].split("-", 1)[0]


def _reading_order(chain: str) -> Tuple[int, int, str]:
    hooks = [*HOOKS.values(), *EARLY_HOOKS.values()]
    hook = hook_of(chain)
    return (hooks.index(hook) if hook in hooks else len(hooks), chain.count("-"), chain)


def entries_of(table: OwnTable, hook: str) -> List[Entry]:
    """The rulesets of a hook in the order in which they are asked."""
    found = []
    for spec in table.chains.get(PREFIX + hook, ()):
        match = _NOTE.fullmatch(comment_of(spec))
        if match:
            found.append(Entry(bool(match.group(3)), int(match.group(2)), match.group(1)))
    return found


def is_ours(chain: str) -> bool:
    """Whether a chain's name says that it is ours."""
    return chain.startswith((PREFIX, TRIAL_PREFIX))


def read_state(save: str) -> OwnState:
    """Our part of an iptables-save text of one family, without the content of sets."""
    tables = read_tables(save)
    filters, mangles = tables.get(FILTER, {}), tables.get(MANGLE, {})
    return OwnState(_own(filters, FILTER), _own(mangles, MANGLE), {}, _foreign(filters))


def _own(chains: Mapping[str, List[str]], table: str) -> OwnTable:
    jumps: Dict[str, Tuple[str, ...]] = {}
    for hook in HOOKS_OF[table]:
        ours = tuple(spec for spec in chains.get(hook, ()) if is_ours(target_of(spec)))
        if ours:
            jumps[hook] = ours
    own = {name: tuple(map(in_our_words, specs)) for name, specs in chains.items() if is_ours(name)}
    return OwnTable(own, jumps)


def _foreign(chains: Mapping[str, List[str]]) -> Foreign:
    place: Dict[str, int] = {}
    late: List[str] = []
    append: List[str] = []
    for hook in HOOKS.values():
        targets = [target_of(spec) for spec in chains.get(hook, ())]
        ours = next((index for index, target in enumerate(targets) if is_ours(target)), None)
        before = next((index for index, spec in enumerate(chains.get(hook, ())) if is_catch_all(spec)), None)
        theirs = _appended(targets, hook, ours)
        if theirs is not None:
            append.append(hook)
            before = theirs if before is None else min(before, theirs)
        if before is not None:
            place[hook] = 1 + sum(not is_ours(target) for target in targets[:before])
            if ours is not None and ours > before:
                late.append(hook)
    calico = any(name.startswith(CALICO) for name in chains)
    return Foreign(place, tuple(late), tuple(append), calico)


def _appended(targets: List[str], hook: str, ours: int | None) -> int | None:
    """The index of Calico's jump where Felix keeps it last (chainInsertMode Append), else None.

    In Insert mode, its default, the jump stands first: then ours is behind it, or nothing stands before it.
    """
    theirs = next((index for index, target in enumerate(targets) if target == f"{CALICO}{hook}"), None)
    if theirs is None:
        return None
    if ours is not None:
        return theirs if theirs > ours else None
    return theirs if theirs > 0 and theirs == len(targets) - 1 else None


def is_same(have: OwnState, want: OwnState) -> bool:
    """Whether the kernel already says what is wanted."""
    return not have.foreign.late and all(
        same_table(mine, theirs) for (_name, mine), (_same, theirs) in zip(have.tables(), want.tables())
    )


def same_table(have: OwnTable, want: OwnTable) -> bool:
    """Whether two tables hold the same chains and jumps."""
    return (
        set(have.chains) == set(want.chains)
        and set(have.jumps) == set(want.jumps)
        and all(same(have.chains[chain], want.chains[chain]) for chain in want.chains)
        and all(same(have.jumps[hook], want.jumps[hook]) for hook in want.jumps)
    )
