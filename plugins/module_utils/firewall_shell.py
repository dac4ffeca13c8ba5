# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that runs iptables commands: find the backend, read, test, apply, undo.

Every function takes `run`, a callable `(argv, stdin) -> (status, stdout, stderr)`, so that it works under a module, in
a test and in a benchmark alike.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Tuple

from .errors import NodeError
from .firewall_plan import OwnState, is_same, read_state, restore_text
from .iptables_text import first_difference, read_table
from .traffic import FAMILIES, IPV4, IPV6

Run = Callable[[List[str], str], Tuple[int, str, str]]
PROGRAMS = {IPV4: "iptables", IPV6: "ip6tables"}
NAMES_FILES = {IPV4: "/proc/net/ip_tables_names", IPV6: "/proc/net/ip6_tables_names"}
BACKENDS = ("nft", "legacy")
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


def detect_backend(run: Run) -> Backend:
    """The backend that holds rules already, else the distribution's default. Creates no table.

    Listing a legacy table creates it, so those are looked at only when the kernel says that they exist.
    Rules in both: NodeError that names both.
    """
    holders = {backend: _holds_rules(run, backend) for backend in BACKENDS}
    if all(holders.values()):
        raise NodeError(
            f"iptables rules stand in both backends: nft holds {holders['nft']}, legacy holds {holders['legacy']}. "
            "Packets pass both, so no ruleset can be trusted; move the rules of one to the other. Nothing was changed"
        )
    for backend, holder in holders.items():
        if holder:
            return Backend(backend, f"holds {holder}")
    default = find_program("iptables")
    if default is None:
        return Backend(None, "iptables is not installed")
    status, output, _error = run([default, "--version"], "")
    name = "legacy" if status == 0 and "nf_tables" not in output else "nft"
    return Backend(name, "the distribution's default, as no rule exists yet")


def _holds_rules(run: Run, backend: str) -> str:
    """The first chain with rules that a backend holds, in words; empty when it holds none."""
    for family in FAMILIES:
        program = find_program(f"{PROGRAMS[family]}-{backend}-save")
        if program is None:
            continue
        for table in _tables(family) if backend == "legacy" else ("",):
            status, output, _error = run([program, *(["-t", table] if table else [])], "")
            if status != 0:
                continue
            for name in [table] if table else ("filter", "nat", "mangle", "raw"):
                chains = read_table(output, name)
                chain = next((chain for chain, specs in chains.items() if specs), "")
                if chain:
                    return f"chain {chain} of the {family} {name} table"
    return ""


def _tables(family: str) -> List[str]:
    try:
        with open(NAMES_FILES[family], encoding="ascii") as names:
            return names.read().split()
    except OSError:
        return []


def read_states(run: Run, backend: Backend) -> Dict[str, OwnState]:
    """Our present rules of every family in the kernel; empty states where iptables is not installed."""
    families = families_in_kernel()
    if backend.name is None:
        return {family: OwnState() for family in families}
    states = {}
    for family in families:
        argv = [*backend.command(family, "save"), "-t", "filter"]
        if backend.name == "legacy" and "filter" not in _tables(family):
            states[family] = OwnState()
            continue
        states[family] = read_state(checked(run, argv, "", "nothing was changed"))
    return states


def nat_chains(run: Run, backend: Backend) -> List[str]:
    """Names of the chains in the IPv4 nat table, read without creating it."""
    if backend.name is None or (backend.name == "legacy" and "nat" not in _tables(IPV4)):
        return []
    _status, output, _error = run([*backend.command(IPV4, "save"), "-t", "nat"], "")
    return list(read_table(output, "nat"))


def apply_states(run: Run, backend: Backend, have: Mapping[str, OwnState], want: Mapping[str, OwnState]) -> None:
    """Lead every family from `have` to `want`, or leave all as they were. Raises NodeError that says which.

    The text of each family is tested before the first is loaded, and what was loaded is read back and compared.
    """
    texts = {family: restore_text(have[family], want[family]) for family in want}
    for family, text in texts.items():
        if text:
            checked(
                run,
                [*backend.command(family, "restore"), "-w", LOCK_WAIT, "--noflush", "--test"],
                text,
                "nothing was changed",
            )
    done: List[str] = []
    try:
        for family, text in texts.items():
            if text:
                checked(run, [*backend.command(family, "restore"), "-w", LOCK_WAIT, "--noflush"], text, "")
                done.append(family)
        now = read_states(run, backend) if done else {}
        for family in done:
            if not is_same(now[family], want[family]):
                rule = first_difference(want[family].lines(), now[family].lines())
                raise NodeError(
                    f"{PROGRAMS[family]}: what was read back differs from what was loaded, first in {rule!r}"
                )
    except NodeError as error:
        undone = [_undo(run, backend, family, have[family]) for family in done]
        raise NodeError(f"{str(error).rstrip(';, ')}; {'; '.join(undone) or 'nothing was changed'}") from None


def _undo(run: Run, backend: Backend, family: str, former: OwnState) -> str:
    """Put one family's own rules back; what happened, in words."""
    try:
        now = read_states(run, backend)[family]
        text = restore_text(now, former)
        if text:
            checked(run, [*backend.command(family, "restore"), "-w", LOCK_WAIT, "--noflush"], text, "")
    except NodeError as error:
        return f"the {family} rules could NOT be put back ({error})"
    return f"the {family} rules were put back"


def checked(run: Run, argv: List[str], stdin: str, consequence: str) -> str:
    status, output, error = run(argv, stdin)
    if status != 0:
        lines = [line for line in (error or output).strip().splitlines() if line.strip()]
        said = f"{' '.join(argv)} ended with status {status}: {lines[-1].strip() if lines else 'no message'}"
        raise NodeError(f"{said}; {consequence}" if consequence else said)
    return output
