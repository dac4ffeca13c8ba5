# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on trial: new ones behind a gate in the kernel, the former ones as soon as the gate has closed. Pure.

    IKS-INPUT   1. source in the set iks-gate4 (its entries live N seconds)  ->  goto IKS~INPUT, the new rules
                2. the former rules

Nothing has to run for the former rules to come back: the entries of the set expire in the kernel. Confirming is one
restore that puts the new rules into the chains of their final names and takes the gate away.
"""

from __future__ import annotations

from typing import Dict, Mapping, Tuple

from .firewall_plan import HOOKS, PREFIX, TRIAL_PREFIX, OwnState, hook_jump
from .iptables_text import same, target_of
from .traffic import IPV4, IPV6

GATES = {IPV4: "iks-gate4", IPV6: "iks-gate6"}
_SET_FAMILIES = {IPV4: "inet", IPV6: "inet6"}
# A set refuses /0: two halves are everything.
_EVERYTHING = {IPV4: ("0.0.0.0/1", "128.0.0.0/1"), IPV6: ("::/1", "8000::/1")}
# Seconds that a node may be asked to wait; less than 5 leaves no time for a new connection.
TIMEOUTS = (5, 600)


def trial_state(have: OwnState, want: OwnState, family: str) -> OwnState:
    """The state in which `want` decides while the gate is open, and `have` afterwards."""
    chains: Dict[str, Tuple[str, ...]] = dict(have.chains)
    jumps = dict(have.jumps)
    for hook in HOOKS.values():
        dispatch = PREFIX + hook
        changed = _changed_chains(have, want, hook)
        if not changed:
            continue
        renamed = {chain: TRIAL_PREFIX + chain[len(PREFIX) :] for chain in changed if chain != dispatch}
        for chain, trial in renamed.items():
            if chain in want.chains:
                chains[trial] = want.chains[chain]
        chains[TRIAL_PREFIX + hook] = tuple(_redirected(spec, renamed) for spec in want.chains.get(dispatch, ()))
        chains[dispatch] = (gate_spec(family, hook), *have.chains.get(dispatch, ()))
        jumps.setdefault(hook, (hook_jump(hook),))
    return OwnState(chains, jumps, have.before)


def without_trial(state: OwnState) -> OwnState:
    """The state as it is once the gate has closed, with no leftovers of a trial."""
    chains: Dict[str, Tuple[str, ...]] = {}
    jumps = dict(state.jumps)
    for chain, specs in state.chains.items():
        if chain.startswith(TRIAL_PREFIX):
            continue
        kept = tuple(spec for spec in specs if not target_of(spec).startswith(TRIAL_PREFIX))
        if kept or kept == specs:
            chains[chain] = kept
        else:
            # The trial brought this dispatch chain and the jump to it.
            jumps.pop(chain[len(PREFIX) :], None)
    return OwnState(chains, jumps, state.before)


def has_trial(state: OwnState) -> bool:
    """Whether something of a trial, alive or expired, is there."""
    return any(chain.startswith(TRIAL_PREFIX) for chain in state.chains)


def gate_spec(family: str, hook: str) -> str:
    """The rule that enters the trial chain while the gate is open."""
    return f'-m set --match-set {GATES[family]} src -m comment --comment "iks.hardening trial" -g {TRIAL_PREFIX}{hook}'


def arming_text(families: Tuple[str, ...], seconds: int) -> str:
    """The `ipset restore` input that opens the gates for `seconds`.

    The sets always get the same creation options, so that one left behind is taken over; the entries carry the time.
    """
    lines = []
    for family in families:
        gate = GATES[family]
        lines.append(f"create {gate} hash:net family {_SET_FAMILIES[family]} timeout {TIMEOUTS[1]} -exist")
        lines.append(f"flush {gate}")
        lines += [f"add {gate} {half} timeout {seconds}" for half in _EVERYTHING[family]]
    return "\n".join([*lines, ""])


def open_gates(listing: str) -> Mapping[str, int]:
    """Family -> seconds until the gate closes, from the text of `ipset save`; closed gates are left out."""
    found: Dict[str, int] = {}
    for line in listing.splitlines():
        words = line.split()
        if len(words) >= 5 and words[0] == "add" and words[3] == "timeout":
            for family, gate in GATES.items():
                if words[1] == gate:
                    found[family] = min(int(words[4]), found.get(family, TIMEOUTS[1]))
    return found


def _changed_chains(have: OwnState, want: OwnState, hook: str) -> Tuple[str, ...]:
    """Chains of a hook that are not the same in both states."""
    names = [
        chain
        for chain in {**have.chains, **want.chains}
        if chain == PREFIX + hook or chain.startswith(f"{PREFIX}{hook}-")
    ]
    return tuple(
        chain
        for chain in names
        if chain not in have.chains or chain not in want.chains or not same(have.chains[chain], want.chains[chain])
    )


def _redirected(spec: str, renamed: Mapping[str, str]) -> str:
    target = target_of(spec)
    return f"{spec[: -len(target)]}{renamed[target]}" if target in renamed else spec
