# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock-outs: a controller whose rules shut it out, a fault on top, and how long the node stayed away."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.node_state import node_state
from tests.integration.playbooks import environment, play, run_module, task
from tests.lab.lab import Lab
from tests.lab.system import enter_netns

from . import names
from .beds import Bed, poll

# By which a node lets the controller in, and what shuts it out.
KEEPS_SSH = "accept in tcp port 22 name ssh # the way in\naccept in tcp port 10250 name kubelet # x"
CUTS_SSH = "accept in tcp port 10250 name kubelet # x"


def interface(bed: Bed) -> str:
    """The one by which the controller comes."""
    return next(nic.name for nic in bed.lab.topology.node(bed.node).nics if nic.bridge == "priv")


def rules(bed: Bed, text: str, seconds: int, **more: Any) -> dict[str, Any]:
    defaults = [{"direction": "in", "interface": interface(bed)}]
    return {"name": "node", "rules": text, "defaults": defaults, "confirm_timeout": seconds, **more}


class Watch:
    """Asks for a node's SSH again and again from the controller's side; when it went away and when it was back."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.gone: float | None = None
        self.back: float | None = None

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        enter_netns(self._bed.lab.netns)  # of this thread alone
        address = self._bed.address("ipv4")
        while not self._ended.is_set():
            asked = time.monotonic()
            try:
                # A connection that hangs is a lock-out; one that is refused only says that sshd is down.
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection((address, 22), timeout=0.25).close()
                answered = True
            except OSError:
                answered = False
            if not answered and self.gone is None:
                self.gone = asked
            elif answered and self.gone is not None:
                self.back = self.back or time.monotonic()
            elif not answered:
                self.back = None  # it went away once more
            time.sleep(0.03)

    def wait_gone(self, seconds: float) -> None:
        poll(lambda: self.gone is not None, seconds, f"{self._bed.node} is locked", 0.01)

    def wait_back(self, seconds: float) -> None:
        poll(lambda: self.back is not None, seconds, f"{self._bed.node} is back", 0.05)


@contextlib.contextmanager
def controller(bed: Bed, arguments: dict[str, Any], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """An ansible-playbook of its own, in a session of its own, so that it can be killed as a whole."""
    folder.mkdir()
    source = folder / "play.json"
    source.write_text(json.dumps([play(bed.node, [task("it", "node_firewall", arguments)])]), encoding="utf-8")
    record = folder / "record"
    for empty in (record, record.with_name("ansible.cfg")):
        empty.touch()
    # Without a master that outlives it, an ssh client is a process of this controller.
    settings = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o ControlPath=none"}
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(bed.lab.inventory_file), str(source)]
    with subprocess.Popen(
        argv,
        env=environment(record, settings),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            kill_controller(bed, process)


def kill_controller(_bed: Bed, process: subprocess.Popen[str]) -> None:
    """F01: all of it at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def kill_ssh(_bed: Bed, process: subprocess.Popen[str]) -> None:
    """F02: the ssh clients of this controller, and nothing else."""
    for pid in _below(process.pid):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == "ssh":
                os.kill(pid, signal.SIGKILL)


def _below(pid: int) -> list[int]:
    """Every process below one, as they are now."""
    found, waiting = [], [pid]
    while waiting:
        try:
            text = "".join(
                file.read_text(encoding="ascii") for file in Path(f"/proc/{waiting.pop()}/task").glob("*/children")
            )
        except OSError:
            continue
        children = [int(word) for word in text.split()]
        found += children
        waiting += children
    return found


def nothing(_bed: Bed, _process: subprocess.Popen[str]) -> None:
    """F03: the rules themselves cut the network; that is enough."""


def restart_sshd(bed: Bed, _process: subprocess.Popen[str]) -> None:
    """F04."""
    bed.sh("systemctl restart ssh.service")


def end_sshd(bed: Bed, _process: subprocess.Popen[str]) -> None:
    """F05: the daemon and every session of it."""
    bed.sh("systemctl stop ssh.service; for pid in $(pgrep -x sshd); do kill -9 $pid; done")


def end_session(bed: Bed, _process: subprocess.Popen[str]) -> None:
    """F06: every process of the user who has logged in; with logind, its session."""
    bed.sh("loginctl terminate-user iks 2>/dev/null; for pid in $(pgrep -u iks); do kill -9 $pid; done; true")


def kill_timers(bed: Bed, _process: subprocess.Popen[str]) -> None:
    """F07: no timer and no process of it is left, the kernel alone remains."""
    bed.sh(f"systemctl kill -s KILL '{names.UNDO_UNITS}' 2>/dev/null; systemctl stop '{names.UNDO_UNITS}'")


def start_sshd(bed: Bed) -> None:
    bed.sh("systemctl start ssh.service")


FAULTS: dict[str, Callable[[Bed, subprocess.Popen[str]], None]] = {
    "F01": kill_controller,
    "F02": kill_ssh,
    "F03": nothing,
    "F04": restart_sshd,
    "F05": end_sshd,
    "F06": end_session,
    "F07": kill_timers,
}


@dataclass(frozen=True)
class Outcome:
    """One lock-out. `away` is how long the node was, in seconds; `problems` whatever else was not as it should be."""

    fault: str
    seconds: int
    node: str
    away: float
    problems: list[str] = field(default_factory=list)


def lock_out(bed: Bed, fault: str, seconds: int, folder: Path) -> Outcome:
    """Lock a node out with a trial of so many seconds, add the fault, and see the node come back by itself.

    Afterwards the node holds what it held, to the letter once timers or the next run have come by.
    """
    before = node_state(bed.lab, bed.node)
    problems: list[str] = []
    with Watch(bed) as watch, controller(
        bed, rules(bed, CUTS_SSH, seconds, allow_lockout=True), folder / f"{bed.node}-{fault}-{seconds}"
    ) as process:
        watch.wait_gone(30)
        FAULTS[fault](bed, process)
        watch.wait_back(seconds + 10)
        assert watch.back is not None
        assert watch.gone is not None
        away = watch.back - watch.gone
        start_sshd(bed)
        if fault in ("F02", "F03", "F04", "F06"):  # where the controller lives on and can tell
            output = process.communicate(timeout=60)[0]
            if "Traceback" in output or ("failed=1" not in output and "unreachable=1" not in output):
                problems.append(f"the controller said: {output[-600:]}")
    if fault == "F07":
        # Nothing has come to remove the leftovers: the next run does.
        again = run_module(bed.lab, bed.node, "node_firewall", rules(bed, f"{KEEPS_SSH}\n{WEB}", 5))
        back = run_module(bed.lab, bed.node, "node_firewall", rules(bed, KEEPS_SSH, 5))
        problems += [result.message for result in (again, back) if result.failed]
    after = settled(bed.lab, bed.node, before)
    if after != before:
        problems.append(f"the dump differs: {sorted(set(before) ^ set(after))}")
    return Outcome(fault, seconds, bed.node, away, problems)


WEB = "accept in tcp port 80 name web # x"


def settled(lab: Lab, node: str, wanted: list[str], seconds: float = 8) -> list[str]:
    """The node's dump, once it is the wanted one or the time for the timers is over."""
    deadline = time.monotonic() + seconds
    while True:
        found = node_state(lab, node)
        if found == wanted or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
