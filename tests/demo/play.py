# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the playbook as a user does: from the installed tarball, by its full name, away from the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = Path(os.environ.get("IKS_COLLECTIONS_PATH", ROOT / "build" / "collections"))
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")


@dataclass(frozen=True)
class Run:
    """How a run ended: its status, and for each host how many tasks changed something or failed."""

    status: int
    changed: dict[str, int]
    failed: dict[str, int]
    seconds: float

    @property
    def clean(self) -> bool:
        return self.status == 0 and bool(self.changed) and not any(self.failed.values())


def environment(folder: Path) -> dict[str, str]:
    """Ansible's settings for the lab; nothing of the caller's own configuration. `folder` gets an empty one."""
    (folder / "ansible.cfg").touch()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_") and key != "PYTHONPATH"}
    return {
        **kept,
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_FORCE_COLOR": "true" if sys.stdout.isatty() else "false",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "ANSIBLE_TIMEOUT": "20",
        "PYTHONUNBUFFERED": "1",
    }


def playbook(inventory: Path, variables: Path, folder: Path, log: Path, *options: str, program: str = "") -> Run:
    """Run iks.hardening.harden_cluster; every line is shown as it comes and kept in `log`.

    `program` is another environment's ansible-playbook.
    """
    import time

    argv = [
        program or str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        str(inventory),
        "iks.hardening.harden_cluster",
    ]
    began = time.monotonic()
    changed: dict[str, int] = {}
    failed: dict[str, int] = {}
    command = [*argv, "-e", f"@{variables}", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    with open(log, "w", encoding="utf-8") as kept, subprocess.Popen(
        command, cwd=folder, env=environment(folder), text=True, **pipes
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            print(f"   | {line.rstrip()}" if line.strip() else "   |", flush=True)
            match = _RECAP.match(re.sub(r"\x1b\[[0-9;]*m", "", line))
            if match and match.group(1) != "localhost":
                changed[match.group(1)] = int(match.group(3))
                failed[match.group(1)] = int(match.group(4)) + int(match.group(5))
    return Run(process.returncode, changed, failed, time.monotonic() - began)


def examined(inventory: Path, folder: Path, host: str, config: str) -> list[str]:
    """Calico's policies as calico_info prints them, a line each."""
    argv = [
        str(Path(sys.executable).parent / "ansible"),
        *("-i", str(inventory), host, "-b", "-m", "iks.hardening.calico_info", "-a", f"config={config}"),
        *("--tree", str(folder / "calico")),
    ]
    subprocess.run(
        argv, cwd=folder, env=environment(folder), check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    return json.loads((folder / "calico" / host).read_text(encoding="utf-8"))["table"]


def gathered(inventory: Path, folder: Path, hosts: str) -> dict[str, dict[str, Any]]:
    """What node_firewall reads back from every host (`state: gathered`)."""
    argv = [
        str(Path(sys.executable).parent / "ansible"),
        "-i",
        str(inventory),
        hosts,
        "-b",
        "-m",
        "iks.hardening.node_firewall",
        "-a",
        "state=gathered",
        "--tree",
        str(folder / "gathered"),
    ]
    subprocess.run(
        argv, cwd=folder, env=environment(folder), check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "gathered").iterdir())}
