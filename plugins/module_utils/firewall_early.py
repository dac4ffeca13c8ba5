# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Denials where nobody accepts before us. Pure.

Felix accepts in the filter table above our jump (policies of host endpoints, and its failsafe ports accept SSH from
anywhere). So what a closing ruleset denies is denied once more in the mangle table, in INPUT and POSTROUTING, in which
neither Felix (it returns there) nor kube-proxy accepts. One flat chain a hook: the rules of all rulesets in the order
of the filter table, in which accepting is returning, so that whatever stands behind our jump is still asked.

POSTROUTING and not OUTPUT: there addresses of services have been translated, and `-o` is where the packet really goes.
"""

from __future__ import annotations

import re
from typing import Dict, Iterable, List, Tuple

from .firewall_state import (
    EARLY_HOOKS,
    HOOKS,
    PREFIX,
    RETURNS,
    Foreign,
    OwnState,
    OwnTable,
    chain_name,
    entries_of,
    same_table,
)
from .iptables_text import target_of

_TARGET = re.compile(r"-j (ACCEPT|REJECT --reject-with \S+)$")
# A second table of its own, or each packet would be counted twice against its limit.
_LIMIT = re.compile(r"(--hashlimit-name \S+)")
# Packets of the node itself: what it forwards passes POSTROUTING too.
_OWN_PACKETS = "-m addrtype --src-type LOCAL "


def early_table(filters: OwnTable, foreign: Foreign) -> OwnTable:
    """The mangle table that belongs to a filter table."""
    chains: Dict[str, Tuple[str, ...]] = {}
    jumps: Dict[str, Tuple[str, ...]] = {}
    for direction, hook in EARLY_HOOKS.items():
        entries = entries_of(filters, HOOKS[direction])
        if any(entry.closes for entry in entries):
            chains[PREFIX + hook] = tuple(_early(_flat(filters, HOOKS[direction]), foreign.calico))
            where = _OWN_PACKETS if direction == "out" else ""
            jumps[hook] = (f'{where}-m comment --comment "iks.hardening" -j {PREFIX}{hook}',)
    return OwnTable(chains, jumps)


def returning_chain(filters: OwnTable, hook: str) -> Tuple[str, ...]:
    """The rules of a hook in which accepting is returning, for Calico to decide after us."""
    return tuple(_TARGET.sub(_returned, spec) for spec in _flat(filters, hook))


def _returned(match: re.Match[str]) -> str:
    return "-j RETURN" if match.group(1) == "ACCEPT" else match.group()


def _flat(filters: OwnTable, hook: str) -> List[str]:
    return [
        spec for entry in entries_of(filters, hook) for spec in filters.chains.get(chain_name(hook, entry.name), ())
    ]


def _early(specs: List[str], calico: bool) -> Iterable[str]:
    """The mangle table cannot reject. What is rejected is left to the filter table, unless Calico might accept it."""
    early = [_early_spec(spec, calico) for spec in specs]
    for index, spec in enumerate(early):
        # What returns is logged by the filter table, once.
        logs = target_of(spec) == "LOG"
        if not (logs and index + 1 < len(early) and target_of(early[index + 1]) == "RETURN"):
            yield _LIMIT.sub(r"\1+", spec)


def _early_spec(spec: str, calico: bool) -> str:
    match = _TARGET.search(spec)
    if match is None:
        return spec
    returns = match.group(1) == "ACCEPT" or not calico
    return f"{spec[: match.start()]}-j {'RETURN' if returns else 'DROP'}"


def entry_chain(hook: str, foreign: Foreign) -> str:
    """The chain of the filter table that the jump of a hook leads to."""
    return f"{PREFIX}{hook}-{RETURNS}" if hook in foreign.append else PREFIX + hook


def told(state: OwnState) -> List[str]:
    """The state's lines for results and diffs, in which early denials that say what they should are one line a hook."""
    expected = early_table(state.filter, state.foreign)
    if not same_table(state.mangle, expected):
        return state.lines()
    shown = [line for line in state.lines() if not line.startswith("-t mangle ")]
    early = [
        f"-t mangle -A {hook} -j {PREFIX}{hook}: the {len(state.mangle.chains[PREFIX + hook])} rules of "
        f"{HOOKS[direction]} once more, accepting is returning"
        for direction, hook in EARLY_HOOKS.items()
        if PREFIX + hook in state.mangle.chains
    ]
    return shown + early
