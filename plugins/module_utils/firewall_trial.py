# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on trial: new ones behind a gate in the kernel, the former ones as soon as the gate has closed. Pure.

    IKS-INPUT   1. source in the set iks-gate (its entries live N seconds)  ->  goto IKS~INPUT, the new rules
                2. the former rules

Nothing has to run for the former rules to come back: the entries of the set expire in the kernel. The gate is one
list:set for both families, both tables and all hooks, so that they change sides together; its members are a set of all
IPv4 and one of all IPv6 addresses. Exchanging it for a set whose entries do not expire is the confirmation, a single
step: whoever dies before it leaves the former rules, whoever dies after it the new ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, Mapping, Optional, Tuple

from .confirmation import TIMEOUTS
from .firewall_early import entry_chain
from .firewall_plan import recomposed
from .firewall_state import (
    FILTER,
    HOOKS_OF,
    PREFIX,
    TRIAL_PREFIX,
    Foreign,
    OwnState,
    OwnTable,
    hook_of,
)
from .iptables_text import same, target_of
from .peer_sets import HALVES, SET_FAMILIES, is_peer_set
from .traffic import FAMILIES, IPV4, IPV6

GATE = "iks-gate"
# What the gate is exchanged for: the same, without an end.
OPEN_GATE = "iks-gate-open"
EVERYONE = {IPV4: "iks-all4", IPV6: "iks-all6"}
_GATE_SPEC = f'-m set --match-set {GATE} src -m comment --comment "iks.hardening trial" -g '


def trial_state(have: OwnState, want: OwnState) -> OwnState:
    """The state in which `want` decides while the gate is open, and `have` afterwards."""
    tables = [
        _trial_table(mine, theirs, name, have.foreign)
        for (name, mine), (_same, theirs) in zip(have.tables(), want.tables())
    ]
    return OwnState(tables[0], tables[1], {**have.sets, **want.sets}, have.foreign)


def _trial_table(have: OwnTable, want: OwnTable, name: str, foreign: Foreign) -> OwnTable:
    chains: Dict[str, Tuple[str, ...]] = dict(have.chains)
    jumps = dict(have.jumps)
    for hook in HOOKS_OF[name]:
        changed = _changed_chains(have, want, hook)
        if not changed:
            continue
        entry = entry_chain(hook, foreign) if name == FILTER else PREFIX + hook
        gated = target_of(have.jumps[hook][0]) if have.jumps.get(hook) else entry
        # The dispatch chain is copied with the chains that it leads to, and the gate leads to the copy.
        dispatch = PREFIX + hook
        renamed = {chain: TRIAL_PREFIX + chain[len(PREFIX) :] for chain in {*changed, dispatch, entry}}
        for chain, trial in renamed.items():
            if chain in want.chains or chain in (dispatch, entry):
                chains[trial] = tuple(_redirected(spec, renamed) for spec in want.chains.get(chain, ()))
        chains[gated] = (f"{_GATE_SPEC}{renamed[entry]}", *have.chains.get(gated, ()))
        if hook not in jumps:
            # Nothing of ours was there: the jump that the new rules will have, to a chain that only holds the gate.
            jumps[hook] = want.jumps[hook]
    return OwnTable(chains, jumps)


def without_trial(state: OwnState) -> OwnState:
    """The state as it is once the gate has closed, with no leftovers of a trial."""
    former = OwnState(_former(state.filter), _former(state.mangle), {}, state.foreign)
    return replace(former, sets=_kept_sets(state, former))


def promoted(state: OwnState) -> OwnState:
    """The state that a confirmed trial stands for, whose last steps were not made: the new rules under their names."""
    filters = _former(state.filter)
    for hook in HOOKS_OF[FILTER]:
        trial = TRIAL_PREFIX + hook
        if trial in state.filter.chains:
            filters = _taken_over(filters, state.filter, hook)
    whole = recomposed(filters, state.foreign)
    return replace(whole, sets=_kept_sets(state, whole))


def _taken_over(former: OwnTable, state: OwnTable, hook: str) -> OwnTable:
    """The former table with one hook as the trial has it."""
    chains = {name: specs for name, specs in former.chains.items() if hook_of(name) != hook}
    names = {name: PREFIX + name[len(TRIAL_PREFIX) :] for name in state.chains if name.startswith(TRIAL_PREFIX)}
    dispatch = tuple(_redirected(spec, names) for spec in state.chains[TRIAL_PREFIX + hook])
    if dispatch:
        chains[PREFIX + hook] = dispatch
    for spec in dispatch:
        target = target_of(spec)
        trial = TRIAL_PREFIX + target[len(PREFIX) :]
        chains[target] = state.chains.get(trial, former.chains.get(target, ()))
    return OwnTable(chains)


def _former(table: OwnTable) -> OwnTable:
    chains: Dict[str, Tuple[str, ...]] = {}
    jumps = dict(table.jumps)
    for chain, specs in table.chains.items():
        if chain.startswith(TRIAL_PREFIX):
            continue
        kept = tuple(spec for spec in specs if not target_of(spec).startswith(TRIAL_PREFIX))
        # A chain that holds nothing but the gate was brought by the trial.
        if kept or kept == specs:
            chains[chain] = kept
    for hook, specs in table.jumps.items():
        if any(target_of(spec) not in chains for spec in specs):
            del jumps[hook]
    return OwnTable(chains, jumps)


def _kept_sets(state: OwnState, kept: OwnState) -> Dict[str, Tuple[str, ...]]:
    return {name: state.sets.get(name, ()) for name in kept.sets_referred_to() if is_peer_set(name)}


def has_trial(state: OwnState) -> bool:
    """Whether something of a trial, alive or expired, is there."""
    return any(chain.startswith(TRIAL_PREFIX) for _name, table in state.tables() for chain in table.chains)


def closed_text() -> str:
    """The `ipset restore` input that makes the gate, closed.

    The sets always get the same creation options, so that those left behind are taken over.
    """
    lines = []
    for family, everyone in EVERYONE.items():
        lines.append(f"create {everyone} hash:net family {SET_FAMILIES[family]} maxelem 2 -exist")
        lines += [f"add {everyone} {half} -exist" for half in HALVES[family]]
    return "\n".join([*lines, *_empty_gate(GATE), ""])


def arming_text(seconds: int) -> str:
    """The input that opens the gate for `seconds`; it has to be there."""
    return "".join(f"add {GATE} {everyone} timeout {seconds}\n" for everyone in EVERYONE.values())


def opening_text() -> str:
    """The input that confirms: the gate stays open. Its last line is the step that counts."""
    members = [f"add {OPEN_GATE} {everyone} timeout 0" for everyone in EVERYONE.values()]
    return "\n".join([*_empty_gate(OPEN_GATE), *members, f"swap {OPEN_GATE} {GATE}", ""])


def closing_text() -> str:
    """The input that takes the gate away after a confirmation."""
    return "".join(f"destroy {name}\n" for name in gate_sets())


def _empty_gate(name: str) -> Tuple[str, str]:
    return f"create {name} list:set size 2 timeout {TIMEOUTS[1]} -exist", f"flush {name}"


def gate_sets() -> Tuple[str, ...]:
    """The sets of a trial in the order in which they can be destroyed."""
    return (GATE, OPEN_GATE, *EVERYONE.values())


def gate_seconds(listing: str) -> Optional[int]:
    """Seconds until the gate closes, from the text of `ipset save`: 0 when it has closed, None when it stays open."""
    times = {}
    for line in listing.splitlines():
        words = line.split()
        if words[:2] == ["add", GATE] and len(words) >= 5 and words[3] == "timeout":
            times[words[2]] = int(words[4])
    if len(times) < len(FAMILIES):
        return 0
    return None if not any(times.values()) else min(times.values())


def _changed_chains(have: OwnTable, want: OwnTable, hook: str) -> Tuple[str, ...]:
    """Chains of a hook that are not the same in both states."""
    names = [chain for chain in {**have.chains, **want.chains} if hook_of(chain) == hook]
    return tuple(
        chain
        for chain in names
        if chain not in have.chains or chain not in want.chains or not same(have.chains[chain], want.chains[chain])
    )


def _redirected(spec: str, renamed: Mapping[str, str]) -> str:
    target = target_of(spec)
    return f"{spec[: -len(target)]}{renamed[target]}" if target in renamed else spec
