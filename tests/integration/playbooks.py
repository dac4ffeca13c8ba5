# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible against the lab's nodes, as a user runs it, and its results as data.

The collection is the one that was built and installed from the tarball (IKS_COLLECTIONS_PATH, set by make); without it,
the checkout under its collection name, which tests/conftest.py prepares.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.lab import Lab

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
Popen = subprocess.Popen[str]
HARDEN = "iks.hardening.harden_cluster"
FAILED = ("failed", "ignored", "unreachable")


@dataclass(frozen=True)
class Result:
    """What one task gave on one host. `status`: ok, failed, ignored (a failure), skipped or unreachable."""

    host: str
    task: str
    status: str
    data: dict[str, Any]

    @property
    def failed(self) -> bool:
        return self.status in FAILED

    @property
    def changed(self) -> bool:
        return bool(self.data.get("changed"))

    @property
    def message(self) -> str:
        """The failure's text, those of a loop's items and of a set of argument errors included."""
        parts = [str(self.data.get("msg", ""))]
        parts += [str(item.get("msg", "")) for item in self.data.get("results", ()) if item.get("failed")]
        parts += [str(item) for item in self.data.get("argument_errors", ())]
        return "\n".join(part for part in parts if part)


@dataclass(frozen=True)
class Run:
    """A whole ansible-playbook run: its status, what it printed, and every result in the order of arrival."""

    status: int
    output: str
    results: list[Result] = field(default_factory=list)

    @property
    def changed(self) -> dict[str, list[str]]:
        """Host -> tasks that changed it; a host with none is left out."""
        found: dict[str, list[str]] = {}
        for result in self.results:
            if result.changed:
                found.setdefault(result.host, []).append(result.task)
        return found

    @property
    def failures(self) -> list[Result]:
        return [result for result in self.results if result.status in ("failed", "unreachable")]

    def of(self, task: str, host: str | None = None) -> list[Result]:
        """Results of the tasks with this name (roles' tasks are `role : name`)."""
        return [item for item in self.results if item.task == task and host in (None, item.host)]

    def one(self, task: str, host: str | None = None) -> Result:
        found = self.of(task, host)
        assert len(found) == 1, f"{len(found)} results of task {task!r}\n{self.output}"
        return found[0]

    def succeeded(self) -> Run:
        """The same run, or a failed test that shows what it printed."""
        assert self.status == 0, self.output
        return self


def collections_path() -> Path:
    installed = os.environ.get("IKS_COLLECTIONS_PATH")
    return Path(installed) if installed else ROOT / "build" / "checkout"


def environment(record: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the caller's own Ansible settings; a cluster's controller with pipelining, as the docs advise."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONPATH"))}
    return {
        **inherited,
        "ANSIBLE_COLLECTIONS_PATH": str(collections_path()),
        "ANSIBLE_CONFIG": str(record.with_name("ansible.cfg")),
        "ANSIBLE_HOME": str(record.parent / "home"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
        "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": "iks_record",
        "IKS_RECORD": str(record),
        **(extra or {}),
    }


def run_playbook(
    lab: Lab,
    playbook: str | Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any] | None = None,
    *,
    check: bool = False,
    diff: bool = False,
    inventory: Path | Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> Run:
    """Run a playbook: its name (`iks.hardening.harden_cluster`), its path, or plays as data.

    `inventory` is a file or an inventory as data; the lab's own without it. `options` are more words for the command
    line (`--limit worker1`, `--tags firewall`).
    """
    with tempfile.TemporaryDirectory(prefix="iks-playbook-") as folder:
        place = Path(folder)
        record = place / "results.jsonl"
        for empty in (record, record.with_name("ansible.cfg")):
            empty.touch()
        source = inventory if inventory is not None else lab.inventory_file
        argv = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            *("-i", source if isinstance(source, Path) else _write(place / "inventory.yml", source)),
            *("-e", f"@{_write(place / 'variables.json', variables or {})}"),
            *(["--check"] if check else []),
            *(["--diff"] if diff else []),
            *options,
            playbook if isinstance(playbook, str) else _write(place / "playbook.yml", playbook),
        ]
        done = subprocess.run(
            [str(word) for word in argv],
            cwd=folder,
            env=environment(record, env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )
        entries = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    results = [Result(item["host"], item["task"], item["status"], item["result"]) for item in entries]
    return Run(done.returncode, done.stdout, results)


def _write(path: Path, data: Any) -> Path:
    """Data as JSON, which is YAML too."""
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def play(hosts: str, tasks: Sequence[Mapping[str, Any]], **keywords: Any) -> dict[str, Any]:
    """One play without fact gathering."""
    return {"name": f"Test on {hosts}", "hosts": hosts, "gather_facts": False, "tasks": list(tasks), **keywords}


def task(name: str, module: str, arguments: Mapping[str, Any] | None = None, **keywords: Any) -> dict[str, Any]:
    """One task; a module of the collection by its short name."""
    full = module if "." in module else f"iks.hardening.{module}"
    return {"name": name, full: dict(arguments or {}), **keywords}


@contextmanager
def controller_of(lab: Lab, host: str, module: str, arguments: Mapping[str, Any], folder: Path) -> Iterator[Popen]:
    """A controller of its own that runs one module, for tests in which it dies; it is ended afterwards in any case."""
    record = folder / "results.jsonl"
    for empty in (record, record.with_name("ansible.cfg")):
        empty.touch()
    source = _write(folder / "play.json", [play(host, [task("it", module, arguments)])])
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(lab.inventory_file), str(source)]
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(argv, env=environment(record), text=True, **streams) as process:
        try:
            yield process
        finally:
            kill_controller(process)


def kill_controller(process: Popen) -> None:
    """With its workers, which have sessions of their own and would go on without it, and their SSH clients."""
    if process.poll() is not None:
        return
    doomed = [process.pid]
    for pid in doomed:
        with suppress(FileNotFoundError):
            doomed += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())
    for pid in doomed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def run_module(
    lab: Lab,
    host: str,
    module: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    check: bool = False,
    diff: bool = False,
    env: Mapping[str, str] | None = None,
    **keywords: Any,
) -> Result:
    """One module on one host; a failure is a result like any other (see `Result.failed`)."""
    run = run_playbook(lab, [play(host, [task("it", module, arguments, **keywords)])], check=check, diff=diff, env=env)
    return run.one("it")
