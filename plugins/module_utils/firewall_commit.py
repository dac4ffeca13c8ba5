# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirmed commit on the node: begin a trial, confirm it, and the timer that cleans up behind it.

First line: a gate in the kernel, which needs no process (firewall_trial.py). Second line: systemd timers that load the
former rules once more and take the leftovers away. A node that can do neither refuses.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Optional

from .errors import NodeError
from .firewall_plan import OwnState, is_same, restore_text
from .firewall_shell import LOCK_WAIT, Backend, Run, apply_states, checked, find_program
from .firewall_trial import GATES, TIMEOUTS, arming_text, open_gates, trial_state

STATE_FOLDER = "/var/lib/iks-hardening"
LOCK_FILE = "/run/iks-firewall.lock"
UNIT = "iks-firewall-undo"
SETS = "sets"
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


def check_timeout(seconds: int) -> int:
    """0 (no trial), or how long the node waits for the confirmation."""
    if seconds != 0 and not TIMEOUTS[0] <= seconds <= TIMEOUTS[1]:
        raise NodeError(f"confirm_timeout: {seconds} is not 0 (off) or {TIMEOUTS[0]} to {TIMEOUTS[1]} seconds")
    return seconds


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
    if means.ipset is None:
        trial: Dict[str, OwnState] = dict(want)
    else:
        trial = {family: trial_state(have[family], want[family], family) for family in want}
    if means.systemd:
        _start_timers(run, backend, means, trial, have, seconds + TIMER_AFTER)
    try:
        if means.ipset is not None:
            checked(run, [means.ipset, "restore"], arming_text(tuple(want), seconds), "nothing was changed")
        apply_states(run, backend, raw, trial)
    except NodeError:
        end(run, means)
        raise
    return "by the kernel" if means.ipset else "by a systemd timer"


def confirm(
    run: Run,
    backend: Backend,
    means: Means,
    raw: Mapping[str, OwnState],
    have: Mapping[str, OwnState],
    want: Mapping[str, OwnState],
) -> None:
    """Make the rules on trial the rules. Raises NodeError when the trial has ended or is not this one."""
    if means.ipset is not None:
        gates = open_gates(checked(run, [means.ipset, "save"], "", "nothing was changed"))
        late = [family for family in want if family not in gates]
        if late:
            raise NodeError(f"the time for the confirmation is over ({', '.join(late)}): the former rules are back")
        trial = {family: trial_state(have[family], want[family], family) for family in want}
        for family, state in trial.items():
            if not is_same(raw[family], state):
                raise NodeError(
                    f"the {family} rules on trial are not those of this task; "
                    "they are not confirmed, and end by themselves"
                )
        _stop_timers(run, means)
        apply_states(run, backend, raw, want)
    else:
        for family, state in want.items():
            if not is_same(raw[family], state):
                raise NodeError(f"the time for the confirmation is over ({family}): the former rules are back")
    end(run, means)


def end(run: Run, means: Means) -> None:
    """Take timers, gates and undo files away; what is not there is no error."""
    _stop_timers(run, means)
    if means.ipset is not None:
        for gate in GATES.values():
            run([means.ipset, "destroy", gate], "")
    for what in (*GATES, SETS):
        with contextlib.suppress(OSError):
            os.unlink(_undo_file(what))


def seconds_left(run: Run, means: Means) -> int:
    """How long another task's trial still lives; 0 when none does."""
    if means.ipset is None:
        return 0
    return max(open_gates(run([means.ipset, "save"], "")[1]).values(), default=0)


def _undo_file(what: str) -> str:
    return f"{STATE_FOLDER}/undo-{what}.rules"


def _start_timers(
    run: Run,
    backend: Backend,
    means: Means,
    trial: Mapping[str, OwnState],
    have: Mapping[str, OwnState],
    seconds: int,
) -> None:
    """One transient timer a family, whose service is the restore itself, and one that destroys the sets after them."""
    prepare_folder(STATE_FOLDER)
    for family in trial:
        text = restore_text(trial[family], have[family])
        if text:
            restore = [*backend.command(family, "restore"), "-w", LOCK_WAIT, "--noflush", _undo_file(family)]
            _start_timer(run, family, text, restore, seconds)
    if means.ipset is not None:
        text = "".join(f"destroy {GATES[family]}\n" for family in trial)
        _start_timer(run, SETS, text, [means.ipset, "-file", _undo_file(SETS), "restore"], seconds + 1)


def _start_timer(run: Run, what: str, text: str, command: List[str], seconds: int) -> None:
    systemd_run = find_program("systemd-run")
    if systemd_run is None:
        raise NodeError("systemd runs, but systemd-run is not installed; nothing was changed")
    _write(_undo_file(what), text)
    unit = f"{UNIT}-{what}"
    run(["systemctl", "stop", f"{unit}.timer"], "")
    run(["systemctl", "reset-failed", f"{unit}.service"], "")
    timer = ["--quiet", "--collect", f"--unit={unit}", f"--on-active={seconds}", "--timer-property=AccuracySec=100ms"]
    checked(run, [systemd_run, *timer, *command], "", "nothing was changed")


def _stop_timers(run: Run, means: Means) -> None:
    if means.systemd:
        run(["systemctl", "stop", *(f"{UNIT}-{what}.timer" for what in (*GATES, SETS))], "")


def prepare_folder(folder: str) -> None:
    """A directory that only root can read and that nobody else prepared. Raises NodeError."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise NodeError(f"{folder}: cannot be made: {error.strerror}; nothing was changed") from None
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise NodeError(
            f"{folder}: not a directory that root owns and nobody else can write "
            f"(owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}); nothing was changed. "
            "Remove it, or correct it"
        )


def _write(path: str, text: str) -> None:
    """The whole file or the former one, 0600."""
    temporary = f"{path}.new"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise NodeError(f"{path}: cannot be written: {error.strerror}; nothing was changed") from None
