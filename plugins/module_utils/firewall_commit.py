# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirmed commit on the node: begin a trial, confirm it, and the timer that cleans up behind it.

First line: a gate in the kernel, which needs no process (firewall_trial.py). Second line: a systemd timer that loads
the former rules once more and takes the leftovers away. A node that can do neither refuses. Rules are saved for boot
(firewall_saved.py) only after the confirmation.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import time
from dataclasses import dataclass
from typing import Dict, Iterator, Mapping, Optional

from .errors import NodeError
from .firewall_plan import restore_text
from .firewall_saved import prepare_folder
from .firewall_shell import LOCK_WAIT, Backend, Run, apply_states, checked, collect_sets, find_program, read_states
from .firewall_state import OwnState, is_same
from .firewall_trial import (
    GATE,
    arming_text,
    closed_text,
    closing_text,
    gate_seconds,
    gate_sets,
    opening_text,
    trial_state,
)

LOCK_FILE = "/run/iks-firewall.lock"
# Of this boot only: after a reboot there is nothing to undo.
UNDO_FOLDER = "/run/iks-hardening"
UNDO_SCRIPT = f"{UNDO_FOLDER}/undo.sh"
UNIT = "iks-firewall-undo"
# The timer comes after the gate has closed on its own.
TIMER_AFTER = 2


@dataclass(frozen=True)
class Means:
    """What the node has for a trial: the path of ipset, and whether systemd runs."""

    ipset: Optional[str]
    systemd: bool

    @classmethod
    def of_node(cls) -> Means:
        """Looked up on the node."""
        return cls(find_program("ipset"), os.path.isdir("/run/systemd/system"))


@contextlib.contextmanager
def exclusive(path: str = LOCK_FILE, patience: float = 20.0) -> Iterator[None]:
    """One task at a time from reading to loading; two controllers would plan against each other's half.

    Raises NodeError when another task holds the lock for longer than `patience` seconds.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NodeError(f"{path}: cannot be opened: {error.strerror}; nothing was changed") from None
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise NodeError(
                        f"another task has been changing the node's firewall for {patience:.0f} s"
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def begin(
    run: Run,
    backend: Backend,
    means: Means,
    raw: Mapping[str, OwnState],
    have: Mapping[str, OwnState],
    want: Mapping[str, OwnState],
    seconds: int,
) -> str:
    """Put `want` on trial for `seconds`; how it would be undone, in words.

    `raw` is what the kernel holds, `have` the same without leftovers. Raises NodeError, with everything put back.
    """
    if means.ipset is None and not means.systemd:
        raise NodeError(
            "a trial needs ipset or systemd, and the node has neither; "
            "install ipset, or give confirm_timeout: 0 to go without"
        )
    trial = _trial(means, have, want)
    try:
        if means.ipset is not None:
            # Loaded behind a closed gate, where no packet comes; the gate opens for both families in one call.
            _leftovers_away(run, backend, raw, have)
            checked(run, [means.ipset, "restore"], closed_text(), "nothing was changed")
            apply_states(run, backend, have, trial, test=False)
        if means.systemd:
            _start_timer(run, backend, means, trial, have, seconds + TIMER_AFTER)
        if means.ipset is not None:
            checked(run, [means.ipset, "restore"], arming_text(seconds), "")
        else:
            apply_states(run, backend, raw, trial)
    except NodeError:
        if means.ipset is not None:
            _leftovers_away(run, backend, read_states(run, backend), have)
        end(run, means)
        raise
    return "by the kernel" if means.ipset else "by a systemd timer"


def _leftovers_away(run: Run, backend: Backend, raw: Mapping[str, OwnState], have: Mapping[str, OwnState]) -> None:
    """Chains of an ended trial stand behind the very gate that is about to be opened: they go first."""
    if any(restore_text(raw[family], have[family]) for family in have):
        apply_states(run, backend, raw, have)


def _trial(means: Means, have: Mapping[str, OwnState], want: Mapping[str, OwnState]) -> Dict[str, OwnState]:
    if means.ipset is None:
        return dict(want)
    return {family: trial_state(have[family], want[family]) for family in want}


def confirm(
    run: Run,
    backend: Backend,
    means: Means,
    raw: Mapping[str, OwnState],
    have: Mapping[str, OwnState],
    want: Mapping[str, OwnState],
) -> None:
    """Make the rules on trial the rules. Raises NodeError when the trial has ended or is not this one."""
    over = "the time for the confirmation is over: the former rules are back"
    if means.ipset is None:
        for family, state in want.items():
            if not is_same(raw[family], state):
                raise NodeError(over)
        end(run, means)
        return
    trial = _trial(means, have, want)
    for family, state in trial.items():
        if not is_same(raw[family], state):
            raise NodeError(
                f"the {family} rules on trial are not those of this task; they are not confirmed, and end by themselves"
            )
    _stop_timer(run)
    # Looked at last: what comes after is one step.
    if gate_seconds(run([means.ipset, "save", GATE], "")[1]) == 0:
        # The timer that would take them away is stopped.
        _leftovers_away(run, backend, raw, have)
        end(run, means)
        raise NodeError(over)
    checked(run, [means.ipset, "restore"], opening_text(), "nothing was changed")
    settle(run, backend, means, raw, want)


def settle(run: Run, backend: Backend, means: Means, raw: Mapping[str, OwnState], want: Mapping[str, OwnState]) -> None:
    """Give confirmed rules the chains of their final names, and take the gate away."""
    # The gate stays open meanwhile: the same rules decide before, during and after.
    apply_states(run, backend, raw, want, test=False)
    end(run, means)
    collect_sets(run, want)


def end(run: Run, means: Means) -> None:
    """Take timer, gate and undo files away; what is not there is no error."""
    if os.path.exists(UNDO_SCRIPT):
        _stop_timer(run)
    if means.ipset is not None and run([means.ipset, "restore"], closing_text())[0] != 0:
        for name in gate_sets():
            run([means.ipset, "destroy", name], "")
    for path in (UNDO_SCRIPT, *(_undo_file(family) for family in ("ipv4", "ipv6"))):
        with contextlib.suppress(OSError):
            os.unlink(path)


def forget_trial(run: Run, means: Means) -> None:
    """Take the timer of a trial that has ended away, if one is left."""
    if os.path.exists(UNDO_SCRIPT):
        end(run, means)


def remove_undo_folder() -> None:
    """Take away what of ours is below /run."""
    with contextlib.suppress(OSError):
        os.rmdir(UNDO_FOLDER)
    with contextlib.suppress(OSError):
        os.unlink(LOCK_FILE)


def seconds_left(run: Run, means: Means) -> int:
    """How long another task's trial still lives; 0 when none does."""
    if means.ipset is not None:
        return gate_seconds(run([means.ipset, "save", GATE], "")[1]) or 0
    # Without sets the timer is the trial.
    if means.systemd and run(["systemctl", "is-active", "--quiet", f"{UNIT}.timer"], "")[0] == 0:
        return max(1, int(_deadline() - time.clock_gettime(time.CLOCK_BOOTTIME)))
    return 0


def _deadline() -> float:
    try:
        with open(UNDO_SCRIPT, encoding="utf-8") as script:
            return float(script.readlines()[1].split()[-1])
    except (OSError, ValueError, IndexError):
        return 0.0


def is_confirmed(run: Run, means: Means) -> bool:
    """Whether the gate stays open: a trial was confirmed, and what followed was cut off."""
    return means.ipset is not None and gate_seconds(run([means.ipset, "save", GATE], "")[1]) is None


def _undo_file(family: str) -> str:
    return f"{UNDO_FOLDER}/undo-{family}.rules"


def _start_timer(
    run: Run,
    backend: Backend,
    means: Means,
    trial: Mapping[str, OwnState],
    have: Mapping[str, OwnState],
    seconds: int,
) -> None:
    """One transient timer; its service loads the former rules of both families and destroys the gate."""
    systemd_run = find_program("systemd-run")
    if systemd_run is None:
        raise NodeError("systemd runs, but systemd-run is not installed; nothing was changed")
    prepare_folder(UNDO_FOLDER)
    deadline = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
    script = [
        "#!/bin/sh",
        # Read back by _deadline.
        f"# Until {deadline:.0f}",
        "# Written by iks.hardening: the former rules, for the case that the new ones are not confirmed.",
        f"cd {UNDO_FOLDER} || exit 1",
        f"exec 9>{LOCK_FILE} && flock 9",
    ]
    if means.ipset is not None:
        # Entries in it, or none such: the trial was confirmed, or has been cleaned up.
        script += [
            f"{means.ipset} list -terse {GATE} >/dev/null 2>&1 || exit 0",
            f"if {means.ipset} save {GATE} | grep -q '^add'; then exit 0; fi",
        ]
    for family, state in trial.items():
        text = restore_text(state, have[family])
        if text:
            restore = [*backend.command(family, "restore"), "-w", LOCK_WAIT, "--noflush"]
            path = _undo_file(family)
            _write_here(path, text)
            script.append(f"if [ -e {path} ]; then {shlex.join(restore)} <{path}; fi")
    if means.ipset is not None:
        script += [f"{means.ipset} destroy {name}" for name in gate_sets()]
    _write_here(UNDO_SCRIPT, "\n".join([*script, ""]))
    options = ["--quiet", "--collect", f"--unit={UNIT}", f"--on-active={seconds}", "--timer-property=AccuracySec=100ms"]
    command = [systemd_run, *options, "/bin/sh", UNDO_SCRIPT]
    if run(command, "")[0] != 0:
        # One of an earlier trial is still known.
        _stop_timer(run)
        run(["systemctl", "reset-failed", f"{UNIT}.service"], "")
        checked(run, command, "", "nothing was changed")


def _stop_timer(run: Run) -> None:
    run(["systemctl", "stop", f"{UNIT}.timer"], "")


def _write_here(path: str, text: str) -> None:
    """A file below /run, which no power loss outlives; 0600, in a folder that is root's."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise NodeError(f"{path}: cannot be written: {error.strerror}; nothing was changed") from None
