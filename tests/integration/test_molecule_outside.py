# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's scenario in another repository: the collection from its tarball, the lab by its path, no checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = ROOT / "extensions" / "molecule"
TOOLS = Path(sys.executable).parent


@pytest.fixture
def infra_repo(tmp_path: Path) -> Path:
    """A repository that has the scenarios it wants in molecule/, and the collection in collections/."""
    repo = tmp_path / f"infra-{os.getpid()}"
    for name in ("default", "firewall_packages"):
        shutil.copytree(SCENARIOS / name, repo / "molecule" / name)
    shutil.copy(SCENARIOS / "config.yml", repo / "molecule" / "config.yml")
    tarball = max((ROOT / "build").glob("iks-hardening-*.tar.gz"), key=lambda path: path.stat().st_mtime)
    command = [TOOLS / "ansible-galaxy", "collection", "install", "--offline", "-p", repo / "collections", tarball]
    subprocess.run(command, check=True, capture_output=True, cwd=repo, env=environment(repo))
    return repo


def environment(repo: Path) -> dict[str, str]:
    """Nothing of the shell that runs the tests, least of all its PYTHONPATH and ANSIBLE_ variables."""
    return {
        "PATH": f"{TOOLS}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(repo),
        "LANG": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(repo / "collections"),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(repo / ".molecule"),
    }


def test_a_scenario_runs_in_another_repository(lab: Lab, infra_repo: Path) -> None:
    report = infra_repo / "tasks.json"
    callbacks = infra_repo / "callbacks"
    callbacks.mkdir()
    (callbacks / "task_paths.py").write_text(RECORDER, encoding="utf-8")
    more = {
        "IKS_LAB": str(ROOT / "tests" / "lab"),
        "IKS_LAB_ID": str(lab.lab_id),
        "ANSIBLE_CALLBACK_PLUGINS": str(callbacks),
        "ANSIBLE_CALLBACKS_ENABLED": "task_paths",
        "TASK_PATHS": str(report),
    }
    command = [TOOLS / "molecule", "--base-config", "molecule/config.yml", "test", "--destroy=never"]
    done = subprocess.run(
        [*command, "--scenario-name", "firewall_packages"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=400,
        cwd=infra_repo,
        env={**environment(infra_repo), **more},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    ran = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    roles = {path.split("/roles/")[1].split("/")[0] for path in ran if "/roles/" in path}
    assert {"preflight", "firewall_packages"} <= roles
    assert [path for path in ran if not path.startswith(str(infra_repo))] == []
    packages = lab.run("worker1", ["dpkg-query", "--show", "--showformat=${db:Status-Status}", "ipset"]).stdout
    assert packages == "installed"


# Which files the tasks came from: an Ansible callback of a few lines.
RECORDER = """
import json, os
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME, CALLBACK_NEEDS_ENABLED = 2.0, "aggregate", "task_paths", True

    def v2_playbook_on_task_start(self, task, is_conditional):
        with open(os.environ["TASK_PATHS"], "a") as stream:
            stream.write(json.dumps(task.get_path()) + "\\n")
"""
