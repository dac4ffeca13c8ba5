# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one setting of the machine that several labs outgrow: inotify instances, of which each systemd takes some.

Kernels allow a user 128 of them, about 18 nodes. While labs run the limit is higher; the last `down` puts it back.
"""

from __future__ import annotations

from pathlib import Path

from .state import RUN, existing_ids
from .system import say

SETTING = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH = 2048


def raise_limit() -> None:
    before = SETTING.read_text(encoding="ascii").strip()
    if int(before) >= ENOUGH:
        return
    RUN.mkdir(parents=True, exist_ok=True)
    _memo().write_text(before, encoding="ascii")
    SETTING.write_text(str(ENOUGH), encoding="ascii")
    say(f"fs.inotify.max_user_instances is {ENOUGH} while labs run (it was {before})")


def restore_limit() -> None:
    """Nothing happens while another lab is there, or when a lab has changed nothing."""
    if existing_ids() or not _memo().exists():
        return
    SETTING.write_text(_memo().read_text(encoding="ascii"), encoding="ascii")
    _memo().unlink()


def _memo() -> Path:
    return RUN / "inotify-instances-before"
