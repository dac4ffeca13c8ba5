# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of a confirmed commit: come back over a new connection, or say what was restored."""

from __future__ import annotations

import time
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import connection_loader

from ..module_utils.errors import choices, unchanged
from .lean import execute

MODULE = "iks.hardening.node_firewall"
# Connections that cross the network and can be made anew (paramiko keeps its own and would hand it out again).
NETWORK = ("ssh", "smart")
DEFAULT_TIMEOUT = 30
DEFAULT_PORT = 22
# Until the gate has closed and the timer behind it has taken the leftovers away.
AFTER_TRIAL = 4
_OF_A_HOST = ("ansible_python_interpreter", "ansible_facts", "discovered_interpreter_python", "ansible_host")
# A multiplexed connection would come through whatever the new rules say.
_SINGLE = "-o ControlMaster=no -o ControlPath=none"


def load_ruleset(
    action: ActionBase, arguments: dict[str, Any], task_vars: dict[str, Any] | None, module: str = MODULE
) -> dict[str, Any]:
    """Run a module that changes rulesets on the node, and confirm what it has put on trial over a new connection."""
    _check_proof(action, arguments, task_vars)
    began = time.monotonic()
    result = execute(action, module, {**arguments, "phase": "trial"}, task_vars)
    trial = result.get("trial")
    if not trial or result.get("failed"):
        return result
    # The node is not believed when it asks for more patience than the task has.
    seconds = min(int(trial["seconds"]), int(arguments.get("confirm_timeout", DEFAULT_TIMEOUT)))
    try:
        _prove(action, arguments, task_vars, seconds)
        confirmation = {**arguments, "phase": "confirm"}
        patience = _patience(arguments, seconds)
        answer = _over_new_connection(action, module, confirmation, task_vars, seconds, patience)
        if answer.get("confirmed"):
            return {**result, "confirmed": True}
        if answer.get("failed") and answer.get("changed"):
            # In force, and not saved for boot: there is nothing to wait for.
            return {**result, "failed": True, "confirmed": True, "msg": str(answer.get("msg"))}
        problem = str(answer.get("msg", "the node gave no answer"))
    except AnsibleConnectionFailure as error:
        problem = f"no new connection could be made: {error}"
    time.sleep(max(0.0, began + seconds + AFTER_TRIAL - time.monotonic()))
    found = _found_afterwards(action, result, task_vars)
    return {
        **result,
        "failed": True,
        "changed": False,
        "confirmed": False,
        "after": result["before"],
        "commands": {},
        "diff": [],
        "msg": f"{_told(problem, trial)}; {found}",
    }


def _check_proof(action: ActionBase, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> None:
    """Refuse, before anything happens, a task of which nobody could prove that the node stays reachable."""
    witness = arguments.get("confirm_from")
    if witness:
        hosts = (task_vars or {}).get("hostvars", {})
        if witness not in hosts:
            raise AnsibleActionFail(unchanged(choices("confirm_from: inventory host", witness, list(hosts))))
        return
    transport = action._connection.transport
    changes = arguments.get("state", "present") in ("present", "absent")
    if changes and transport not in NETWORK and str(arguments.get("confirm_timeout", DEFAULT_TIMEOUT)) != "0":
        raise AnsibleActionFail(
            f"confirm_timeout: a {transport} connection cannot prove that the node stays reachable, as a new ssh "
            "connection does; name an inventory host that tries in confirm_from (iks_confirm_from in the roles), or "
            "give confirm_timeout: 0 (iks_confirm_timeout) to load the rules at once. Nothing was changed"
        )


def _prove(action: ActionBase, arguments: dict[str, Any], task_vars: dict[str, Any] | None, seconds: int) -> None:
    """Have the witness open a new TCP connection to the node. Raises AnsibleConnectionFailure."""
    witness = arguments.get("confirm_from")
    if not witness:
        return
    own = dict(task_vars or {})
    hosts = own["hostvars"]
    address = arguments.get("confirm_address") or own.get("ansible_host") or own.get("inventory_hostname")
    port = int(arguments.get("confirm_port") or DEFAULT_PORT)
    present, context = action._connection, action._play_context
    action._connection, settings = _of_host(action, witness, hosts[witness])
    # The witness has a Python of its own.
    variables = {name: value for name, value in own.items() if name not in _OF_A_HOST}
    try:
        answer = action._execute_module(
            "ansible.builtin.wait_for",
            module_args={
                "host": address,
                "port": port,
                "timeout": _patience(arguments, seconds) or max(1, seconds - 2),
                "connect_timeout": 2,
            },
            task_vars={**variables, **settings},
        )
    finally:
        action._connection.close()
        action._connection, action._play_context = present, context
    if answer.get("failed"):
        raise AnsibleConnectionFailure(
            f"{witness} (confirm_from) did not reach {address} port {port}: {answer.get('msg', 'no answer')}"
        )


def _patience(arguments: dict[str, Any], seconds: int) -> int | None:
    """What the task says of how long to wait for the new connection; None when it says nothing."""
    given = arguments.get("confirm_connect_timeout")
    return None if given is None else min(int(given), max(1, seconds - 1))


def _of_host(action: ActionBase, host: str, hostvars: Any) -> tuple[Any, dict[str, Any]]:
    """A connection to another host of the inventory with that host's own settings, and these."""
    context = action._play_context = action._play_context.copy()
    context.remote_addr = hostvars.get("ansible_host", host)
    kind = hostvars.get("ansible_connection", "local" if host in ("localhost", "127.0.0.1") else "ssh")
    connection = connection_loader.get(kind, context, "/dev/null")
    names = [
        *C.config.get_plugin_vars("connection", connection._load_name),
        *C.config.get_plugin_vars("shell", connection._shell._load_name),
        *_OF_A_HOST,
    ]
    settings = {name: hostvars[name] for name in names if name in hostvars} | {"inventory_hostname": host}
    connection.set_options(var_options=settings)
    connection._shell.set_options(var_options=settings)
    return connection, settings


def _found_afterwards(action: ActionBase, result: dict[str, Any], task_vars: dict[str, Any] | None) -> str:
    """Whether the node is reachable again and holds what it held, in words."""
    try:
        now = _over_new_connection(action, MODULE, {"state": "gathered"}, task_vars, DEFAULT_TIMEOUT)
    except AnsibleConnectionFailure as error:
        return f"the node did not answer afterwards: {error}"
    if now.get("after") == result["before"]:
        return "they were read back over a new connection, nothing was changed"
    return f"but what was read back differs from them: {now.get('msg', 'compare with before')}"


def _told(problem: str, trial: dict[str, Any]) -> str:
    """What happened, what was restored, and which rule is to blame."""
    cut = f" {trial['cut']}." if trial.get("cut") else ""
    return (
        f"The new rules were not confirmed within {trial['seconds']} seconds: {problem.rstrip('. ')}.{cut} "
        f"The former rules were put back {trial['undone']}"
    )


def _over_new_connection(
    action: ActionBase,
    module: str,
    arguments: dict[str, Any],
    task_vars: dict[str, Any] | None,
    seconds: int,
    patience: int | None = None,
) -> dict[str, Any]:
    """Run a module over a connection that shares nothing with the present one.

    It is waited for as long as `patience` says, else as the connection's own timeout does, but within the trial.
    """
    present = action._connection
    if present.transport not in NETWORK:
        # The witness has proved it; such a connection has nothing that could be made anew.
        return execute(action, module, arguments, task_vars)
    action._connection = fresh = _like(present, action._play_context, seconds, patience)
    try:
        return execute(action, module, arguments, task_vars)
    finally:
        action._connection = present
        fresh.close()


def _like(present: Any, play_context: Any, seconds: int, patience: int | None) -> Any:
    """A connection with the options of `present`, but of its own and no more patient than the trial."""
    fresh = connection_loader.get(present.ansible_name, play_context, "/dev/null")
    for name, value in present.get_options().items():
        fresh.set_option(name, value)
    fresh._shell = present._shell
    fresh.set_become_plugin(present.become)
    if "ssh_args" in fresh.get_options():
        fresh.set_option("ssh_args", f"{_SINGLE} {fresh.get_option('ssh_args') or ''}".strip())
    if "timeout" in fresh.get_options():
        usual = max(1, min(int(fresh.get_option("timeout") or 10), seconds - 2))
        fresh.set_option("timeout", patience or usual)
    for name in ("retries", "reconnection_retries"):
        if name in fresh.get_options():
            fresh.set_option(name, 0)
    return fresh
