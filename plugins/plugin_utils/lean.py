# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall modules, started with nothing but their own code.

Ansible packs a module with everything that it imports by parsing all of it, and sends and starts its own library with
it. For a module of thirty small files that is most of a task's time, here and on the node. This packs the same files as
they are, with a stand-in for Ansible's library (module_utils/lean_module.py), into one program for the node's Python to
read from its standard input: the way that pipelining takes.

The module is the same file and takes the same options, which are checked here with Ansible's own code. Wherever
something is not as expected - no pipelining, an interpreter that has to be discovered, remote files to be kept, options
that are refused, asynchronous tasks - Ansible starts the module as any other, and so it does when the variable
iks_lean_start is false.
"""

from __future__ import annotations

import ast
import base64
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()
# A variable that has Ansible start the modules as any other, for whoever looks for a fault in here.
SWITCH = "iks_lean_start"
PLUGINS = Path(__file__).resolve().parents[1]
COLLECTION = "ansible_collections.iks.hardening"
_UTILS = f"{COLLECTION}.plugins.module_utils"
_STAND_IN = "ansible.module_utils.basic"
_ABSOLUTE = re.compile(rf"^[ \t]*from {re.escape(_UTILS)}\.(\w+) import ", re.MULTILINE)
_RELATIVE = re.compile(r"^[ \t]*from \.(\w*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
_ARGUMENTS = re.compile(r"^ARGUMENTS = (\{.*?^\})", re.MULTILINE | re.DOTALL)
# A Python before 3.8 reads this far and says what it is.
_PROGRAM = """\
import sys
if sys.version_info < (3, 8):
    print('{"failed": true, "msg": "Python 3.8 or later is needed on the node, this is %s"}' % sys.version.split()[0])
    sys.exit(1)
import binascii, json, zlib
from importlib.machinery import ModuleSpec
def unpack(text):
    return json.loads(zlib.decompress(binascii.a2b_base64(text)).decode())
class Files:
    def __init__(self, sources):
        self.sources = sources
    def find_spec(self, name, path=None, target=None):
        if name in self.sources:
            return ModuleSpec(name, self, is_package=self.sources[name] is None)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(self.sources[module.__name__] or "", module.__name__, "exec", dont_inherit=True), module.__dict__)
    def get_source(self, name):
        return self.sources[name]
sys.meta_path.insert(0, Files(unpack("@sources@")))
import ansible.module_utils.basic as basic
basic.given = unpack("@given@")
import @module@ as module
try:
    module.main()
except SystemExit as end:
    if not isinstance(end.code, int):
        raise
    # Taking thousands of objects apart one by one is a fifth of a large task's time.
    sys.stdout.flush()
    sys.stderr.flush()
    import os
    os._exit(end.code)
"""


def execute(action: ActionBase, module: str, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> Any:
    """The result of a firewall module on the action's connection. Raises AnsibleConnectionFailure as Ansible does."""
    found = _program(action, module, arguments, task_vars or {})
    if found is None:
        return action._execute_module(module, module_args=arguments, task_vars=task_vars)
    command, program = found
    answer = action._low_level_execute_command(command, in_data=program)
    result = _result(str(answer.get("stdout", "")))
    if result is not None:
        return result
    if answer.get("rc") in (126, 127):
        # The interpreter is not there: Ansible tells how to name another.
        return action._execute_module(module, module_args=arguments, task_vars=task_vars)
    said = str(answer.get("stderr", "")).strip().splitlines() or ["no message"]
    return {
        "failed": True,
        "msg": f"{module} ended with status {answer.get('rc')} and gave no result: {said[-1]}",
        "module_stdout": answer.get("stdout", ""),
        "module_stderr": answer.get("stderr", ""),
        "rc": answer.get("rc"),
    }


def _program(
    action: ActionBase, module: str, arguments: dict[str, Any], task_vars: Mapping[str, Any]
) -> tuple[str, bytes] | None:
    """The command and its standard input, or None where Ansible has to start the module."""
    interpreter = _interpreter(action, task_vars)
    if interpreter is None or C.DEFAULT_KEEP_REMOTE_FILES or action._task.async_val:
        return None
    if not boolean(action._templar.template(task_vars.get(SWITCH, True)), strict=False):
        return None
    if not action._is_pipelining_enabled("new") or getattr(action._connection._shell, "SHELL_FAMILY", "") != "sh":
        return None
    path = PLUGINS / "modules" / f"{module.rpartition('.')[2]}.py"
    source = path.read_text(encoding="utf-8")
    try:
        checked = ArgumentSpecValidator(arguments_of(source)).validate(arguments)
    except ValueError:
        return None
    if checked.error_messages:
        return None
    given = {
        "params": checked.validated_parameters,
        "check_mode": bool(action._task.check_mode),
        "diff": bool(action._task.diff),
        "log": "" if _is_silent(action, task_vars) else module,
    }
    try:
        parts = {"sources": _packed(sources(source, path.stem)), "given": _packed(given)}
    except (TypeError, ValueError):
        return None
    text = _PROGRAM.replace("@module@", f"{COLLECTION}.plugins.modules.{path.stem}")
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    display.vvv(f"Using module file {path}")
    environment = action._compute_environment_string()
    command = action._connection._shell.build_module_command(environment, f"#!{interpreter}", "").strip()
    return command, text.encode()


def _is_silent(action: ActionBase, task_vars: Mapping[str, Any]) -> bool:
    """Whether the node's log must not tell of the task."""
    off = C.config.get_config_value("DEFAULT_NO_TARGET_SYSLOG", variables=task_vars)
    return bool(action._task.no_log or off)


def _interpreter(action: ActionBase, task_vars: Mapping[str, Any]) -> str | None:
    """The node's Python, when it is known already."""
    if action._task.delegate_to:
        return None
    named = action._templar.template(task_vars.get("ansible_python_interpreter") or "")
    if not named or str(named).startswith("auto"):
        facts = task_vars.get("ansible_facts") or {}
        named = facts.get("discovered_interpreter_python") or ""
    return str(named) if re.fullmatch(r"/[\w./+-]+", str(named)) else None


def arguments_of(source: str) -> dict[str, Any]:
    """The argument spec of a module, read from its text: importing it would compile all that it imports."""
    match = _ARGUMENTS.search(source)
    if match is None:
        raise ValueError("a module without ARGUMENTS")
    return dict(ast.literal_eval(match.group(1)))


def sources(source: str, name: str) -> dict[str, str | None]:
    """Name -> text of a module and all that it imports, the stand-in included; None for a package."""
    found: dict[str, str | None] = {f"{COLLECTION}.plugins.modules.{name}": source}
    waiting = set(_ABSOLUTE.findall(source))
    while waiting:
        util = waiting.pop()
        text = (PLUGINS / "module_utils" / f"{util}.py").read_text(encoding="utf-8")
        found[f"{_UTILS}.{util}"] = text
        waiting |= {other for other in _imported(text) if f"{_UTILS}.{other}" not in found}
    found[_STAND_IN] = (PLUGINS / "module_utils" / "lean_module.py").read_text(encoding="utf-8")
    for full in list(found):
        words = full.split(".")
        found.update({".".join(words[:count]): None for count in range(1, len(words))})
    return found


def _imported(text: str) -> set[str]:
    """Names of the files beside it that a file imports, at its head or later."""
    found: set[str] = set()
    for module, names in _RELATIVE.findall(text):
        found |= {module} if module else set(re.findall(r"(\w+)(?: as \w+)?", names.split("#")[0]))
    return found


def _packed(data: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(data).encode(), 1)).decode("ascii")


def _result(output: str) -> dict[str, Any] | None:
    """The module's result, whatever a login shell printed around it."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                # As Ansible does: what begins so is the controller's to say, whatever a node answers.
                told = {name: value for name, value in found.items() if not name.startswith("_ansible_")}
                return {**told, "_ansible_parsed": True}
    return None
