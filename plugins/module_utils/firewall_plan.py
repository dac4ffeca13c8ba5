# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change on a node: rulesets and the kernel's present rules in, restore text out. Pure.

Only chains that begin with `IKS-` and the jumps to them are ever part of a plan; every other chain is read at most to
find the place of a jump.

    INPUT -> IKS-INPUT -> IKS-INPUT-region (priority 500)
                       -> IKS-INPUT-node   (holds the default verdict: last)

The kernel itself is the record: priority and default verdict stand in the comment of the dispatch chain's jump.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

from .iptables_text import comment_of, in_our_words, is_catch_all, read_table, rule_specs, same, target_of
from .ruleset import Ruleset

PREFIX = "IKS-"
# Chains of rules on trial (firewall_trial.py).
TRIAL_PREFIX = "IKS~"
TABLE = "filter"
HOOKS = {"in": "INPUT", "out": "OUTPUT", "forward": "FORWARD"}
_NOTE = re.compile(r"iks\.hardening ruleset ([a-z][a-z0-9-]*), priority ([0-9]+)(, default verdict)?", re.ASCII)


@dataclass(frozen=True)
class OwnState:
    """What is ours in one family: our chains with their rules, and the jumps to them from the built-in chains.

    `before` tells for a built-in chain the position (from 1) of the first foreign rule that denies everything; our jump
    has to stand before it. It is a finding, not part of the comparison.
    """

    chains: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    jumps: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    before: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> List[str]:
        """The state as text, for results and diffs: one `-A` line a rule, in the order in which packets meet them."""
        text = [f"-A {hook} {spec}" for hook in HOOKS.values() for spec in self.jumps.get(hook, ())]
        return text + [
            f"-A {chain} {spec}" for chain in sorted(self.chains, key=_reading_order) for spec in self.chains[chain]
        ]

    def rulesets(self) -> List[str]:
        """Names of the rulesets that are present."""
        found = {entry.name for hook in HOOKS.values() for entry in _entries(self.chains.get(PREFIX + hook, ()))}
        return sorted(found)


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


def _reading_order(chain: str) -> Tuple[int, int, str]:
    hook = chain[len(PREFIX) :].split("-", 1)[0]
    hooks = list(HOOKS.values())
    return (hooks.index(hook) if hook in hooks else len(hooks), chain.count("-"), chain)


def hook_jump(hook: str) -> str:
    """The rule that leads from a built-in chain to our dispatch chain."""
    return f'-m comment --comment "iks.hardening" -j {PREFIX}{hook}'


def _entries(specs: Iterable[str]) -> List[Entry]:
    found = []
    for spec in specs:
        match = _NOTE.fullmatch(comment_of(spec))
        if match:
            found.append(Entry(bool(match.group(3)), int(match.group(2)), match.group(1)))
    return found


def read_state(save: str) -> OwnState:
    """Our part of an iptables-save text of one family."""
    chains = read_table(save, TABLE)
    jumps: Dict[str, Tuple[str, ...]] = {}
    before: Dict[str, int] = {}
    for hook in HOOKS.values():
        specs = chains.get(hook, [])
        ours = tuple(spec for spec in specs if target_of(spec) == PREFIX + hook) if specs else ()
        if ours:
            jumps[hook] = ours
        denial = next((place for place, spec in enumerate(specs, 1) if is_catch_all(spec)), None)
        if denial is not None:
            before[hook] = denial
    own = {
        name: tuple(map(in_our_words, specs))
        for name, specs in chains.items()
        if name.startswith((PREFIX, TRIAL_PREFIX))
    }
    return OwnState(own, jumps, before)


def with_ruleset(have: OwnState, ruleset: Ruleset, family: str) -> OwnState:
    """The state in which `ruleset` is present beside the others."""
    return _composed(have, ruleset.name, ruleset, family)


def without_ruleset(have: OwnState, name: str) -> OwnState:
    """The state in which no trace of the ruleset is left."""
    return _composed(have, name, None, "")


def _composed(have: OwnState, name: str, ruleset: Optional[Ruleset], family: str) -> OwnState:
    chains: Dict[str, Tuple[str, ...]] = {}
    jumps: Dict[str, Tuple[str, ...]] = {}
    for direction, hook in HOOKS.items():
        entries = [entry for entry in _entries(have.chains.get(PREFIX + hook, ())) if entry.name != name]
        for entry in entries:
            chain = chain_name(hook, entry.name)
            chains[chain] = have.chains.get(chain, ())
        rules = ruleset.for_direction(direction) if ruleset else ()
        specs = tuple(spec for rule in rules for spec in rule_specs(rule, family))
        if ruleset and specs:
            chains[chain_name(hook, name)] = specs
            entries.append(Entry(ruleset.closes(direction), ruleset.priority, name))
        if entries:
            ordered = sorted(entries, key=lambda entry: (entry.closes, entry.priority, entry.name))
            chains[PREFIX + hook] = tuple(entry.spec(hook) for entry in ordered)
            jumps[hook] = (hook_jump(hook),)
    return OwnState(chains, jumps, have.before)


def is_same(have: OwnState, want: OwnState) -> bool:
    """Whether the kernel already says what is wanted."""
    return (
        set(have.chains) == set(want.chains)
        and set(have.jumps) == set(want.jumps)
        and all(same(have.chains[chain], want.chains[chain]) for chain in want.chains)
        and all(same(have.jumps[hook], want.jumps[hook]) for hook in want.jumps)
    )


def restore_text(have: OwnState, want: OwnState) -> str:
    """The one `iptables-restore --noflush` input that leads from `have` to `want`; empty when nothing is to do.

    Everything happens in one table, so that it is one transaction. Declaring a chain of ours empties it.
    """
    if is_same(have, want):
        return ""
    changed = [
        chain for chain in want.chains if chain not in have.chains or not same(have.chains[chain], want.chains[chain])
    ]
    gone = [chain for chain in have.chains if chain not in want.chains]
    lines = [f"*{TABLE}"]
    lines += [f":{chain} - [0:0]" for chain in (*changed, *gone)]
    lines += [f"-A {chain} {spec}" for chain in changed for spec in want.chains[chain]]
    for hook in HOOKS.values():
        present, wanted = have.jumps.get(hook, ()), want.jumps.get(hook, ())
        if same(present, wanted):
            continue
        # The new jump first: between two lines of a transaction nothing is seen, but a reader follows it more easily.
        if wanted:
            place = have.before.get(hook)
            lines.append(f"-I {hook} {place} {wanted[0]}" if place else f"-A {hook} {wanted[0]}")
        lines += [f"-D {hook} {spec}" for spec in present]
    lines += [f"-X {chain}" for chain in gone]
    return "\n".join([*lines, "COMMIT", ""])
