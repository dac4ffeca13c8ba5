# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change on a node: rulesets and the kernel's present rules in, restore text out. Pure.

Only chains that begin with `IKS-` and the jumps to them are ever part of a plan; every other chain is read at most to
find the place of a jump.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import Dict, Tuple

from .firewall_early import early_table, entry_chain, returning_chain
from .firewall_state import (
    FILTER,
    HOOKS,
    HOOKS_OF,
    PREFIX,
    RETURNS,
    Entry,
    Foreign,
    OwnState,
    OwnTable,
    chain_name,
    entries_of,
    is_same,
)
from .intrusion import guard_specs
from .iptables_text import rule_specs, same
from .peer_sets import PeerSets, is_peer_set
from .ruleset import Ruleset

# Loaded at boot when no saved generation is intact (firewall_boot.py); any other ruleset takes its place.
EMERGENCY = "emergency"


def with_ruleset(have: OwnState, ruleset: Ruleset, family: str, use_sets: bool = True) -> OwnState:
    """The state in which `ruleset` is present beside the others. Long lists of peers become sets if `use_sets`."""
    sets = PeerSets(family) if use_sets else None
    guard = guard_specs(ruleset.guard, family, ruleset.guarded_interfaces())
    rules = {}
    for direction, hook in HOOKS.items():
        parts = [
            [spec for rule in part for spec in rule_specs(rule, family, sets)] for part in ruleset.parts(direction)
        ]
        if direction == "in":
            parts = [parts[0], list(guard.first), parts[1], list(guard.last), parts[2]]
        rules[hook] = tuple(spec for part in parts for spec in part)
    entry = {
        hook: Entry(ruleset.closes(direction), ruleset.priority, ruleset.name) for direction, hook in HOOKS.items()
    }
    state = _composed(have, ruleset.name, {hook: (entry[hook], specs) for hook, specs in rules.items() if specs})
    found = {**have.sets, **guard.sets, **(sets.members if sets else {})}
    return replace(state, sets={name: found.get(name, ()) for name in state.sets_referred_to() if is_peer_set(name)})


def without_ruleset(have: OwnState, name: str) -> OwnState:
    """The state in which no trace of the ruleset is left."""
    state = _composed(have, name, {})
    return replace(
        state, sets={name: have.sets.get(name, ()) for name in state.sets_referred_to() if is_peer_set(name)}
    )


def without_all(have: OwnState) -> OwnState:
    """The state in which nothing of ours is left."""
    return OwnState(foreign=have.foreign)


def _composed(have: OwnState, name: str, new: Dict[str, Tuple[Entry, Tuple[str, ...]]]) -> OwnState:
    chains: Dict[str, Tuple[str, ...]] = {}
    for hook in HOOKS.values():
        entries = [entry for entry in entries_of(have.filter, hook) if entry.name not in (name, EMERGENCY)]
        for entry in entries:
            chain = chain_name(hook, entry.name)
            chains[chain] = have.filter.chains.get(chain, ())
        if hook in new:
            entry, specs = new[hook]
            chains[chain_name(hook, name)] = specs
            entries.append(entry)
        if entries:
            ordered = sorted(entries, key=lambda entry: (entry.closes, entry.priority, entry.name))
            chains[PREFIX + hook] = tuple(entry.spec(hook) for entry in ordered)
    return recomposed(OwnTable(chains), have.foreign)


def recomposed(filters: OwnTable, foreign: Foreign) -> OwnState:
    """A whole state from the dispatch chains and the rulesets' chains of the filter table."""
    chains = {name: specs for name, specs in filters.chains.items() if not name.endswith(f"-{RETURNS}")}
    jumps: Dict[str, Tuple[str, ...]] = {}
    for hook in HOOKS.values():
        if PREFIX + hook not in chains:
            continue
        entry = entry_chain(hook, foreign)
        if entry not in chains:
            chains[entry] = returning_chain(OwnTable(chains), hook)
        jumps[hook] = (hook_jump(entry),)
    table = OwnTable(chains, jumps)
    return OwnState(table, early_table(table, foreign), {}, foreign)


def recomposed_as(saved: OwnState, here: OwnState) -> OwnState:
    """A saved state on the node as it is: our jumps where others' rules want them now."""
    return replace(recomposed(saved.filter, here.foreign), sets=saved.sets)


def hook_jump(entry: str) -> str:
    """The rule that leads from a built-in chain of the filter table to our chain."""
    return f'-m comment --comment "iks.hardening" -j {entry}'


def restore_text(have: OwnState, want: OwnState) -> str:
    """The one `iptables-restore --noflush` input that leads from `have` to `want`; empty when nothing is to do.

    Each table is one transaction. Declaring a chain of ours empties it.
    """
    if is_same(have, want):
        return ""
    place = have.foreign.place
    parts = [
        _table_text(name, mine, theirs, place if name == FILTER else {}, have.foreign.late if name == FILTER else ())
        for (name, mine), (_same, theirs) in zip(have.tables(), want.tables())
    ]
    return "".join(parts)


def _table_text(
    name: str, have: OwnTable, want: OwnTable, place: Dict[str, int] | object, late: Tuple[str, ...]
) -> str:
    positions: Dict[str, int] = dict(place)  # type: ignore[call-overload]
    changed = [
        chain for chain in want.chains if chain not in have.chains or not same(have.chains[chain], want.chains[chain])
    ]
    gone = [chain for chain in have.chains if chain not in want.chains]
    lines = [f":{chain} - [0:0]" for chain in (*changed, *gone)]
    lines += [f"-A {chain} {spec}" for chain in changed for spec in want.chains[chain]]
    for hook in HOOKS_OF[name]:
        present, wanted = have.jumps.get(hook, ()), want.jumps.get(hook, ())
        if same(present, wanted) and not (wanted and hook in late):
            continue
        # The former jump first, or it would be the new one that is deleted; nothing is seen between two lines.
        lines += [f"-D {hook} {spec}" for spec in present]
        for spec in wanted:
            lines.append(f"-I {hook} {positions[hook]} {spec}" if hook in positions else f"-A {hook} {spec}")
    lines += [f"-X {chain}" for chain in gone]
    return "\n".join([f"*{name}", *lines, "COMMIT", ""]) if lines else ""


def first_difference(have: OwnState, want: OwnState) -> str:
    """The first line of `want` that `have` has not in its place, or what `have` has too much; for messages."""
    for mine, theirs in zip_longest(have.lines(), want.lines(), fillvalue=""):
        if not same([mine], [theirs]):
            return theirs or mine
    return ""
