# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's end of driver.py: the module run in a node thousands of times, by its own entry point."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible

from tests.integration.playbooks import collections_path
from tests.lab.lab import Lab

from . import names

FOLDER = "/opt/iks-driver"
COLLECTION = "ansible_collections/iks/hardening/plugins"


@dataclass(frozen=True)
class Answer:
    """One run of the module. `result` is None when it was killed; `commands` how many programs it ran."""

    result: dict[str, Any] | None
    status: int
    seconds: float
    commands: int | None

    @property
    def failed(self) -> bool:
        return self.result is None or bool(self.result.get("failed"))

    @property
    def message(self) -> str:
        if self.result is None:
            return "killed" if os.WIFSIGNALED(self.status) else "crashed"
        return str(self.result.get("msg", ""))


class Driver:
    """A node's driver process. `node` is its name in the lab."""

    def __init__(self, lab: Lab, node: str, process: subprocess.Popen[str]) -> None:
        self.lab, self.node = lab, node
        self._process = process

    def ask(self, arguments: Mapping[str, Any], **how: Any) -> Answer:
        """Run the module with these arguments; `how` as driver.py has it (`kill_after`, `group`, `kill_before`)."""
        self._send({"arguments": dict(arguments), **how})
        return self._answer()

    def ask_in(self, group: Path, arguments: Mapping[str, Any]) -> Answer:
        """Run the module in a control group of this machine."""
        self._send({"arguments": dict(arguments), "stopped": True})
        pid = self._stopped_child()
        (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
        os.kill(pid, signal.SIGCONT)
        return self._answer()

    def _stopped_child(self) -> int:
        """The module's process id on this machine, once it has stopped: nsenter -> python3 -> the module."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            generation = [self._process.pid]
            for _ in range(2):
                generation = [child for pid in generation for child in _children(pid)]
            for pid in generation:
                if "\nState:\tT" in Path(f"/proc/{pid}/status").read_text(encoding="utf-8"):
                    return pid
            time.sleep(0.005)
        raise AssertionError(f"the module on {self.node} did not stop")

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the driver on {self.node} has ended"
        return Answer(**json.loads(line))

    def done(self, arguments: Mapping[str, Any], **how: Any) -> dict[str, Any]:
        """The same, and it has to succeed."""
        answer = self.ask(arguments, **how)
        assert not answer.failed, answer.message
        assert answer.result is not None
        return answer.result

    def commit(self, arguments: Mapping[str, Any], seconds: int = 60) -> None:
        """Trial and confirmation, as the action plugin asks for them."""
        if self.done(names.trial(arguments, seconds)).get("trial"):
            assert self.done(names.confirmation(arguments, seconds))["confirmed"]


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


@contextlib.contextmanager
def driving(lab: Lab, node: str) -> Iterator[Driver]:
    """A driver on a node, with the code under test as it is now."""
    install(lab, node)
    argv = [*lab.enter_command(node), "python3", f"{FOLDER}/driver.py", FOLDER]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", f"no driver on {node}"
            yield Driver(lab, node, process)
        finally:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def install(lab: Lab, node: str) -> None:
    """What the module imports, and the driver, below FOLDER in the node."""
    ours = collections_path() / COLLECTION
    source = Path(ansible.__file__).parent
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        _add_text(archive, "ansible/__init__.py", "")
        archive.add(source / "module_utils", "ansible/module_utils", filter=_no_cache)
        for part in ("modules", "module_utils"):
            archive.add(ours / part, f"{COLLECTION}/{part}", filter=_no_cache)
        archive.add(Path(__file__).with_name("driver.py"), "driver.py")
    unpack = ["sh", "-c", f"rm -rf {FOLDER} && mkdir -p {FOLDER} && tar -x -C {FOLDER} -f -"]
    subprocess.run([*lab.enter_command(node), *unpack], input=buffer.getvalue(), check=True, timeout=60)


def _no_cache(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name or "powershell" in entry.name else entry


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(text.encode())
    archive.addfile(entry, io.BytesIO(text.encode()))
