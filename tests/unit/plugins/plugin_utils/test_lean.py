# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lean start of firewall modules: what is packed, when Ansible starts the module instead, and what comes back."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils import lean_module
from ansible_collections.iks.hardening.plugins.modules import firewall_rollback, node_firewall
from ansible_collections.iks.hardening.plugins.plugin_utils import lean

MODULES = {"node_firewall": node_firewall, "firewall_rollback": firewall_rollback}
RENDERED = {"state": "rendered", "rules": "accept in tcp port 22 name ssh # why it is ä"}
VARIABLES = {"ansible_python_interpreter": sys.executable}


def imported(text: str) -> set[str]:
    """Files of module_utils that a text imports, found by the compiler's own parser."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module or ""
        if node.level == 1:
            found |= {module} if module else {alias.name for alias in node.names}
        elif module.startswith("ansible_collections.iks.hardening.plugins.module_utils."):
            found.add(module.rpartition(".")[2])
    return found


class FakeAction:
    """As much of Ansible's action as a lean start asks for; commands run here."""

    def __init__(self, **changes: Any) -> None:
        task = {"async_val": 0, "check_mode": False, "diff": True, "no_log": True, "delegate_to": None}
        self._task = SimpleNamespace(**{**task, **{name: changes[name] for name in task if name in changes}})
        self._templar = SimpleNamespace(template=lambda value: value)
        self._pipelining = changes.get("pipelining", True)
        shell = SimpleNamespace(
            SHELL_FAMILY="sh", build_module_command=lambda environment, shebang, command: shebang.removeprefix("#!")
        )
        self._connection = SimpleNamespace(_shell=shell)
        self.answer: dict[str, Any] | None = changes.get("answer")
        self.programs: list[bytes] = []
        self.started: list[str] = []

    def _is_pipelining_enabled(self, style: str) -> bool:
        return self._pipelining

    def _compute_environment_string(self) -> str:
        return ""

    def _execute_module(self, name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        self.started.append(name)
        return {"by": "Ansible"}

    def _low_level_execute_command(self, command: str, in_data: bytes) -> dict[str, Any]:
        self.programs.append(in_data)
        if self.answer is not None:
            return self.answer
        # Away from the checkout, and with nothing of this environment: what is not packed is not found.
        done = subprocess.run([command, "-I", "-S", "-"], input=in_data, capture_output=True, cwd="/", check=False)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


def run(action: FakeAction, arguments: dict[str, Any], variables: dict[str, Any] | None = None) -> Any:
    return lean.execute(action, "iks.hardening.node_firewall", arguments, VARIABLES if variables is None else variables)


@pytest.mark.parametrize("name", MODULES)
def test_everything_that_is_imported_is_packed(name):
    source = (lean.PLUGINS / "modules" / f"{name}.py").read_text(encoding="utf-8")
    packed = lean.sources(source, name)
    utils = {full.rpartition(".")[2]: text for full, text in packed.items() if ".module_utils." in full and text}
    for text in [source, *utils.values()]:
        assert imported(text) <= set(utils), "an import that the packer does not see"
    assert packed["ansible_collections.iks"] is None


@pytest.mark.parametrize("name", MODULES)
def test_the_argument_spec_is_the_modules_own(name):
    source = (lean.PLUGINS / "modules" / f"{name}.py").read_text(encoding="utf-8")
    assert lean.arguments_of(source) == MODULES[name].ARGUMENTS


def test_a_packed_module_runs_alone_and_gives_its_result():
    action = FakeAction()
    result = run(action, RENDERED)
    assert not action.started
    assert result["after"]["ipv4"][-1].endswith('--comment "ssh: why it is ä" -j ACCEPT')
    assert result["invocation"]["module_args"]["priority"] == 900
    assert "diff" in result


def test_a_users_mistake_fails_with_the_modules_words():
    result = run(FakeAction(), {**RENDERED, "rules": "accept in tcp port 0 name ssh # why"})
    assert result["failed"]
    assert result["msg"].startswith("rule ssh: ports: port 0 is outside 1-65535")


@pytest.mark.parametrize(
    ("changes", "arguments", "variables"),
    [
        pytest.param({"pipelining": False}, {}, None, id="no pipelining"),
        pytest.param({"async_val": 10}, {}, None, id="asynchronous"),
        pytest.param({"delegate_to": "other"}, {}, None, id="delegated"),
        pytest.param({}, {"bogus": 1}, None, id="an option that is refused"),
        pytest.param({}, {"priority": "high"}, None, id="a value that is refused"),
        pytest.param({}, {}, {}, id="unknown interpreter"),
        pytest.param({}, {}, {"ansible_python_interpreter": "auto_silent"}, id="interpreter to be discovered"),
        pytest.param({}, {}, {"ansible_python_interpreter": "/usr/bin/env python3"}, id="interpreter with arguments"),
    ],
)
def test_ansible_starts_the_module_where_something_is_not_as_expected(changes, arguments, variables):
    action = FakeAction(**changes)
    assert run(action, {**RENDERED, **arguments}, variables) == {"by": "Ansible"}
    assert not action.programs


def test_remote_files_that_are_to_be_kept_are_ansibles(monkeypatch):
    monkeypatch.setattr(lean.C, "DEFAULT_KEEP_REMOTE_FILES", True)
    assert run(FakeAction(), RENDERED) == {"by": "Ansible"}


def test_a_discovered_interpreter_is_used():
    action = FakeAction()
    facts = {"ansible_facts": {"discovered_interpreter_python": sys.executable}}
    assert run(action, RENDERED, {"ansible_python_interpreter": "auto", **facts})["changed"] is False
    assert action.programs


def test_a_missing_interpreter_is_ansibles_to_explain():
    action = FakeAction(answer={"rc": 127, "stdout": "", "stderr": "sh: 1: /usr/bin/python9: not found"})
    assert run(action, RENDERED) == {"by": "Ansible"}


@pytest.mark.parametrize("stdout", ["", "{broken", "[1]", "Killed"])
def test_an_end_without_a_result_is_a_failure_and_starts_nothing_again(stdout):
    action = FakeAction(answer={"rc": 137, "stdout": stdout, "stderr": "first\nKilled\n"})
    result = run(action, RENDERED)
    assert result["failed"]
    assert "status 137" in result["msg"]
    assert result["msg"].endswith("Killed")
    assert not action.started


def test_what_a_login_shell_prints_around_the_result_is_passed_over():
    action = FakeAction(answer={"rc": 0, "stdout": 'Welcome {you}\n{"changed": true}\nbye\n', "stderr": ""})
    assert run(action, RENDERED)["changed"] is True


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(lean_module, "given", {"params": {"a": 1}, "check_mode": True, "diff": False, "log": ""})
    return lean_module.AnsibleModule({})


def test_commands_get_their_input_and_give_status_output_and_errors(stand_in):
    assert stand_in.run_command(["sh", "-c", "cat; echo no >&2; exit 3"], data="ä\n", binary_data=True) == (
        3,
        "ä\n",
        "no\n",
    )
    assert stand_in.run_command(["cat"], data="line") == (0, "line\n", "")
    assert stand_in.run_command(["cat"]) == (0, "", "")


def test_a_command_that_does_not_read_its_input_is_no_error(stand_in):
    assert stand_in.run_command(["true"], data="x" * 1_000_000)[0] == 0


def test_a_program_that_is_not_there_is_the_callers(stand_in):
    with pytest.raises(OSError):
        stand_in.run_command(["/nowhere"], handle_exceptions=False)


def test_results_are_one_line_of_json(stand_in, capsys):
    with pytest.raises(SystemExit) as ended:
        stand_in.exit_json(changed=True, text="ä\n")
    assert (ended.value.code, json.loads(capsys.readouterr().out)) == (0, {"changed": True, "text": "ä\n"})
    with pytest.raises(SystemExit) as ended:
        stand_in.fail_json(msg="no")
    assert (ended.value.code, json.loads(capsys.readouterr().out)) == (
        1,
        {"changed": False, "failed": True, "msg": "no"},
    )
