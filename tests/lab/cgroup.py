# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One control group per node, in every hierarchy that systemd or accounting cares about.

They are how the lab knows which processes are its own: whatever a node starts stays in its group, so ending the group's
processes ends the node and nothing else, whoever started it and whether or not that one is still alive.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from .system import LabError

# The version 1 hierarchies of a hybrid machine that are worth a group; "" is the unified one.
HIERARCHIES = ("", "name=systemd", "memory", "pids")


def own_groups(self_table: str, mount_table: str) -> list[Path]:
    """Directories of the calling process's own groups, from /proc/self/cgroup and /proc/self/mountinfo."""
    mounts: dict[str, tuple[str, str]] = {}
    for line in mount_table.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split()[:3]
        root, point = before.split()[3:5]
        if kind == "cgroup2":
            mounts.setdefault("", (root, point))
        elif kind == "cgroup":
            for option in options.split(","):
                mounts.setdefault(option, (root, point))
    found = []
    for line in self_table.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            if name in HIERARCHIES and name in mounts:
                root, point = mounts[name]
                inside = path[len(root) :] if root != "/" and path.startswith(root) else path
                found.append(Path(point) / inside.strip("/"))
    return found


def lab_groups(lab_id: int) -> list[Path]:
    """Where the groups of a lab go: below the calling process's own, but never below another lab's."""
    own = own_groups(
        Path("/proc/self/cgroup").read_text(encoding="utf-8"), Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    )
    if not own:
        raise LabError("no control group hierarchy is mounted; systemd needs one: mount cgroup2 on /sys/fs/cgroup")
    return [group / f"iks-lab-{lab_id}" for group in own]


def make(groups: list[Path]) -> None:
    for group in groups:
        try:
            group.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LabError(f"control group {group} cannot be made, and the lab needs it: {error.strerror}") from error


def join(groups: list[Path], name: str) -> None:
    """Make the node's groups and move the calling process into them."""
    for group in groups:
        folder = group / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def members(groups: list[Path]) -> set[int]:
    """Process ids in the groups and all groups below them."""
    found: set[int] = set()
    for group in groups:
        for folder, _, _ in os.walk(group):  # which, unlike glob, passes over a group that goes away meanwhile
            try:
                found.update(int(word) for word in Path(folder, "cgroup.procs").read_text(encoding="ascii").split())
            except OSError:
                continue  # the group went away, or is a threaded one
    found.discard(0)  # a process of another pid namespace
    return found


def end(groups: list[Path], *, timeout: float = 20.0) -> None:
    """End every process of the groups, then remove the groups."""
    deadline = time.monotonic() + timeout
    while alive := members(groups):
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise LabError(f"processes {sorted(alive)} of {groups[0]} do not end")
        time.sleep(0.02)
    for group in groups:
        _remove(group, deadline)


def _remove(group: Path, deadline: float) -> None:
    folders = [folder for folder, _, _ in os.walk(group, topdown=False)]
    for folder in folders:
        while True:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                break
            except OSError as error:  # busy until its last process is reaped
                if time.monotonic() > deadline:
                    raise LabError(f"control group {folder} cannot be removed: {error.strerror}") from error
                time.sleep(0.02)
            else:
                break
