# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuses to probe from anywhere but inside a lab: the addresses of the catalogue belong to real machines."""

from __future__ import annotations

import os
from pathlib import Path

from . import node as nodes
from .state import load
from .system import LabError


def namespace_of(path: str) -> tuple[int, int]:
    """What identifies a network namespace: device and inode of the file that stands for it."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def namespaces_of_lab(lab_id: int) -> set[tuple[int, int]]:
    """The lab's own namespace, each node's, and each pod's."""
    state = load(lab_id)
    if state is None:
        return set()
    found = [f"/run/netns/iks{lab_id}"]
    for name in state.nodes:
        pid = nodes.leader(state, name)
        if pid is not None and namespace_of(f"/proc/{pid}/ns/net") not in _machines_own():
            found.append(f"/proc/{pid}/ns/net")
            found += [str(file) for file in Path(f"/proc/{pid}/root/run/netns").glob("*")]
    return {namespace_of(path) for path in found if os.path.exists(path)}


def _machines_own() -> set[tuple[int, int]]:
    """The namespace of the machine's first process, where that may be read (in some containers it may not)."""
    try:
        return {namespace_of("/proc/1/ns/net")}
    except PermissionError:
        return set()


def require_inside_lab(lab_id: int) -> None:
    """Raise unless the calling thread's network namespace is one of the lab's and not the machine's own."""
    here = namespace_of("/proc/thread-self/ns/net")
    if here in _machines_own() or here not in namespaces_of_lab(lab_id):
        raise LabError(
            f"probes refuse to run here: this network namespace ({here[1]}) is not one of lab {lab_id}; "
            f"start them through run_probes() or: python -m tests.lab probe"
        )
