# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole plays with pipelining, timed from outside; and programs on a node of the lab, timed there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import yaml

from tests.demo.play import environment
from tests.lab import Lab

TASKS = dict[str, Any]
_INPUT = "/run/iks-bench-input"
_STOPWATCH = """
import subprocess, sys, time
with open(sys.argv[1]) as stream:
    began = time.monotonic()
    subprocess.run(sys.argv[2:], stdin=stream, check=True)
    print(time.monotonic() - began)
"""


@dataclass
class Plays:
    """One host, one inventory, the plays that were written for it, and what they took."""

    inventory: Path
    node: str
    folder: Path
    times: dict[str, list[float]] = field(default_factory=dict)

    # What every play is started with, beside its own options.
    options: ClassVar[tuple[str, ...]] = ()

    def write(self, name: str, *tasks: TASKS, variables: Mapping[str, Any] | None = None) -> Path:
        """A play file with these tasks and no facts."""
        play = {
            "hosts": self.node,
            "gather_facts": False,
            "vars": dict(variables or {}),
            "tasks": list(tasks),
        }
        path = self.folder / f"{name}.yml"
        path.write_text(yaml.safe_dump([play], sort_keys=False, width=1000), encoding="utf-8")
        return path

    def run(
        self,
        play: Path,
        *,
        timed: bool = True,
        expect_changed: int | None = None,
        name: str = "",
        options: Sequence[str] = (),
        collections: Path | None = None,
    ) -> str:
        """Run a play, and keep its wall time under its name (or `name`); what it printed.

        `expect_changed`: how many tasks must say changed. `collections`: a path to look for more collections.
        """
        argv = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            str(self.inventory),
            str(play),
            *self.options,
            *options,
        ]
        settings = environment(self.folder)
        if collections is not None:
            settings["ANSIBLE_COLLECTIONS_PATH"] += f":{collections}"
        began = time.monotonic()
        done = subprocess.run(
            argv,
            cwd=self.folder,
            env=settings,
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        took = time.monotonic() - began
        if done.returncode != 0:
            raise RuntimeError(f"{play.name} failed:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
        if expect_changed is not None and f"changed={expect_changed} " not in done.stdout:
            raise RuntimeError(f"{play.name}: expected changed={expect_changed}:\n{done.stdout[-1500:]}")
        if timed:
            self.times.setdefault(name or play.stem, []).append(took)
        return done.stdout

    def median(self, name: str) -> float:
        return median(self.times[name])


class Bed(Plays):
    """A node of the lab, over real SSH as root, whatever the lab's inventory says."""

    options = ("-e", "ansible_become=false", "-e", "ansible_user=root")

    def __init__(self, lab: Lab, node: str, folder: Path) -> None:
        super().__init__(lab.inventory_file, node, folder)
        self.lab = lab

    def run_on_node(self, name: str, argv: Sequence[str], stdin: str) -> None:
        """Keep the time of a program on the node, as a process of the node's own would measure it."""
        self.lab.write(self.node, _INPUT, stdin)
        done = self.lab.run(self.node, ["python3", "-c", _STOPWATCH, _INPUT, *argv], timeout=300)
        self.times.setdefault(name, []).append(float(done.stdout))
