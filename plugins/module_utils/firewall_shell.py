# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that runs iptables and ipset to change rules: read, test, apply, undo.

Every function takes `run`, a callable `(argv, stdin) -> (status, stdout, stderr)`, so that it works under a module, in
a test and in a benchmark alike.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Callable, Dict, Iterable, List, Mapping, Optional, Tuple

from .errors import NodeError
from .firewall_plan import first_difference, restore_text
from .firewall_state import OwnState, is_same, read_state
from .intrusion import HELD, held_text
from .iptables_text import read_table
from .peer_sets import changed_sets, is_peer_set, read_members, set_text
from .traffic import FAMILIES, IPV4, IPV6

Run = Callable[[List[str], str], Tuple[int, str, str]]
PROGRAMS = {IPV4: "iptables", IPV6: "ip6tables"}
NAMES_FILES = {IPV4: "/proc/net/ip_tables_names", IPV6: "/proc/net/ip6_tables_names"}
# Seconds to wait for another writer's lock before giving up.
LOCK_WAIT = "10"
_PATH = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin")


@dataclass(frozen=True)
class Backend:
    """How a node's rules are read and written. `name` is nft or legacy, or None when iptables is not installed."""

    name: Optional[str]
    reason: str

    def command(self, family: str, action: str) -> List[str]:
        """The program of one family for `save` or `restore`."""
        path = find_program(f"{PROGRAMS[family]}-{self.name}-{action}") or find_program(f"{PROGRAMS[family]}-{action}")
        if path is None:
            raise NodeError(
                f"{PROGRAMS[family]}-{action} is not installed; nothing was changed. Install the iptables package"
            )
        return [path]


def find_program(name: str) -> Optional[str]:
    """The path of a program, looked for where system administration tools are."""
    for folder in _PATH:
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None


def families_in_kernel() -> Tuple[str, ...]:
    """The families that the running kernel has (no IPv6: `/proc/net/if_inet6` is absent)."""
    return FAMILIES if os.path.exists("/proc/net/if_inet6") else (IPV4,)


def tables_in_kernel(family: str) -> List[str]:
    """The legacy tables that exist; listing one that does not would create it."""
    try:
        with open(NAMES_FILES[family], encoding="ascii") as names:
            return names.read().split()
    except OSError:
        return []


def save_text(run: Run, backend: Backend, family: str) -> str:
    """Everything that a backend holds of one family. Creates no table. Raises NodeError when it cannot be read."""
    argv = backend.command(family, "save")
    if backend.name != "legacy":
        # One call for all tables: the program reads them all, whichever is asked for.
        return checked(run, argv, "", "nothing was changed")
    tables = tables_in_kernel(family)
    return "".join(checked(run, [*argv, "-t", table], "", "nothing was changed") for table in tables)


def read_states(run: Run, backend: Backend, texts: Optional[Mapping[str, str]] = None) -> Dict[str, OwnState]:
    """Our present rules of every family in the kernel, with their sets; none where iptables is not installed.

    `texts` are those that have been read already, by family.
    """
    families = families_in_kernel()
    if backend.name is None:
        return {family: OwnState() for family in families}
    states = {}
    for family in families:
        text = texts[family] if texts and family in texts else save_text(run, backend, family)
        state = read_state(text)
        states[family] = replace(state, sets=read_sets(run, state.sets_referred_to()))
    return states


def read_sets(run: Run, names: Iterable[str]) -> Dict[str, Tuple[str, ...]]:
    """The members of our sets of peers among these names; those of a set that is not there are none."""
    ipset = find_program("ipset")
    found: Dict[str, Tuple[str, ...]] = {}
    for name in names:
        if is_peer_set(name):
            status, output, _error = run([ipset, "save", name], "") if ipset else (1, "", "")
            found[name] = read_members(output, name) if status == 0 else ()
    return found


def nat_chains(run: Run, backend: Backend) -> List[str]:
    """Names of the chains in the IPv4 nat table, read without creating it."""
    if backend.name is None or (backend.name == "legacy" and "nat" not in tables_in_kernel(IPV4)):
        return []
    _status, output, _error = run([*backend.command(IPV4, "save"), "-t", "nat"], "")
    return list(read_table(output, "nat"))


def apply_states(
    run: Run, backend: Backend, have: Mapping[str, OwnState], want: Mapping[str, OwnState], test: bool = True
) -> None:
    """Lead every family from `have` to `want`, or leave all as they were. Raises NodeError that says which.

    Sets are filled before anything refers to them. The text of each family is tested before the first is loaded (unless
    no packet can meet what is loaded: `test`), and what was loaded is read back and compared. Sets that nothing refers
    to any more stay (see collect_sets).
    """
    load_sets(run, have, want)
    texts = {family: restore_text(have[family], want[family]) for family in want}
    done: List[str] = []
    try:
        for family, text in texts.items():
            if text and test:
                checked(
                    run,
                    [*backend.command(family, "restore"), "-w", LOCK_WAIT, "--noflush", "--test"],
                    text,
                    "nothing was changed",
                )
        for family, text in texts.items():
            if text:
                # A program that dies half-way may have loaded one of the two tables.
                done.append(family)
                checked(run, [*backend.command(family, "restore"), "-w", LOCK_WAIT, "--noflush"], text, "")
        for family in done:
            now = read_state(save_text(run, backend, family))
            if not is_same(now, want[family]):
                rule = first_difference(now, want[family])
                raise NodeError(
                    f"{PROGRAMS[family]}: what was read back differs from what was loaded, first in {rule!r}"
                )
    except NodeError as error:
        undone = [text for text in (_undo(run, backend, family, have[family]) for family in done) if text]
        collect_sets(run, have)
        raise NodeError(f"{str(error).rstrip(';, ')}; {'; '.join(undone) or 'nothing was changed'}") from None


def load_sets(run: Run, have: Mapping[str, OwnState], want: Mapping[str, OwnState]) -> None:
    """Make and fill the sets that `want` refers to and `have` has not. Raises NodeError."""
    parts: List[str] = []
    filled: List[str] = []
    for family, state in want.items():
        wanted = [name for name in changed_sets(have[family].sets, state.sets) if name not in filled]
        parts += [set_text(name, state.sets[name]) for name in wanted]
        filled += wanted
        if HELD[family] in state.sets_referred_to():
            parts.append(held_text(family))
    if not parts:
        return
    ipset = find_program("ipset")
    if ipset is None:
        raise NodeError("the rules refer to sets of addresses, and ipset is not installed; nothing was changed")
    checked(run, [ipset, "restore"], "".join(parts), "nothing was changed")


def collect_sets(run: Run, states: Mapping[str, OwnState]) -> None:
    """Destroy the sets of ours that nothing refers to; one that is still in use stays, as the kernel refuses."""
    ipset = find_program("ipset")
    if ipset is None:
        return
    used = {name for state in states.values() for name in state.sets_referred_to()}
    for name in run([ipset, "list", "-name"], "")[1].split():
        if (is_peer_set(name) or name in HELD.values()) and name not in used:
            run([ipset, "destroy", name], "")


def _undo(run: Run, backend: Backend, family: str, former: OwnState) -> str:
    """Put one family's own rules back; what happened, in words, empty when there was nothing to put back."""
    try:
        text = restore_text(read_state(save_text(run, backend, family)), former)
        if not text:
            return ""
        checked(run, [*backend.command(family, "restore"), "-w", LOCK_WAIT, "--noflush"], text, "")
    except NodeError as error:
        return f"the {family} rules could NOT be put back ({error})"
    return f"the {family} rules were put back"


def checked(run: Run, argv: List[str], stdin: str, consequence: str) -> str:
    """The output of a command. Raises NodeError with its status and last line."""
    status, output, error = run(argv, stdin)
    if status != 0:
        lines = [line for line in (error or output).strip().splitlines() if line.strip()]
        said = f"{' '.join(argv)} ended with status {status}: {lines[-1].strip() if lines else 'no message'}"
        raise NodeError(f"{said}; {consequence}" if consequence else said)
    return output
