# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps one node running: mounts its overlay, starts systemd-nspawn, and starts it again when the node reboots.
A virtual machine has no overlay, and its emulator ends with the same status whether it reboots or powers off: there
the kernel's last words tell.

Started by node.py as a program of its own, already inside the lab's network namespace, a private mount namespace
(so the overlay vanishes with this process, however it ends) and the node's control groups. Its one argument is a
JSON file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

REBOOT_STATUS = 133  # what systemd-nspawn exits with when the node asked for a reboot


def main(spec_file: str) -> int:
    with open(spec_file, encoding="utf-8") as handle:
        spec = json.load(handle)
    if "overlay" in spec:
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", spec["overlay"], spec["root"]], check=True)
        with open(spec["lock_note"], "w", encoding="utf-8") as note:
            note.write(lock_name(spec["root"]))
    while True:
        with subprocess.Popen(spec["command"], stdin=subprocess.DEVNULL, env=environment()) as node:
            attach(spec["bridges"], node)
            status = node.wait()
        again = status == REBOOT_STATUS or (status == 0 and rebooting(spec.get("console")))
        print(f"supervise: the node {'reboots' if again else f'ended with status {status}'}", flush=True)
        if not again:
            return status


def rebooting(console: str | None) -> bool:
    if console is None:
        return False
    with open(console, "rb") as handle:
        handle.seek(max(0, os.path.getsize(console) - 500))
        return b"reboot: Restarting system" in handle.read()


def lock_name(root: str) -> str:
    """systemd-nspawn's name for its lock file of a root directory; whoever kills it has to remove the file."""
    root_status = os.stat(root)
    return f"inode-{root_status.st_dev}:{root_status.st_ino}"


def environment() -> dict[str, str]:
    """The node sees one unified control group tree, whatever the machine mounts: newer systemd knows no other."""
    return {"PATH": os.environ.get("PATH", ""), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_LOG_LEVEL": "notice"}


def attach(bridges: dict[str, str], node: subprocess.Popen[bytes]) -> None:
    """Put each host-side interface on its bridge as soon as systemd-nspawn has made it."""
    waiting = dict(bridges)
    deadline = time.monotonic() + 30
    while waiting and node.poll() is None and time.monotonic() < deadline:
        for interface, bridge in list(waiting.items()):
            if interface in interfaces():
                subprocess.run(["ip", "link", "set", interface, "master", bridge, "up"], check=True)
                del waiting[interface]
        time.sleep(0.01)


def interfaces() -> set[str]:
    """Names of this namespace's interfaces; /sys may still show another namespace's."""
    with open("/proc/self/net/dev", encoding="utf-8") as table:
        return {line.split(":")[0].strip() for line in table if ":" in line}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
