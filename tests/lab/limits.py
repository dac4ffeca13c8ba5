# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one limit of the machine that several labs outgrow: inotify instances, of which each node's systemd takes some.

The lab changes no setting of the machine; it says beforehand when nodes could not boot.
"""

from __future__ import annotations

from pathlib import Path

from .state import existing_ids, load
from .system import LabError

SETTING = Path("/proc/sys/fs/inotify/max_user_instances")
# Counted on running nodes: systemd, journald, networkd, logind, dbus.
A_NODE = 7
# For everything else on the machine.
SPARE = 2


def check_room(new: int) -> None:
    """LabError when `new` more nodes beside those of all labs would not get their inotify instances."""
    running = sum(len(state.nodes) for state in map(load, existing_ids()) if state is not None)
    allowed = int(SETTING.read_text(encoding="ascii"))
    if (running + new) * A_NODE + SPARE > allowed:
        raise LabError(
            f"{running} nodes run already, and fs.inotify.max_user_instances = {allowed} leaves no room for {new}: "
            "end a lab (python -m tests.lab down --id N), or raise the setting"
        )
