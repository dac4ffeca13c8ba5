# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of a confirmed commit: come back over a new connection, or say what was restored."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import connection_loader

MODULE = "iks.hardening.node_firewall"
# Connections that cross the network and can be made anew (paramiko keeps its own and would hand it out again).
NETWORK = ("ssh", "smart")
DEFAULT_TIMEOUT = 30
# A multiplexed connection would come through whatever the new rules say.
_SINGLE = "-o ControlMaster=no -o ControlPath=none"


def load_ruleset(action: ActionBase, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
    """Run node_firewall on the node, and confirm what it has put on trial over a new connection."""
    transport = action._connection.transport
    changes = arguments.get("state", "present") in ("present", "absent")
    if changes and transport not in NETWORK and str(arguments.get("confirm_timeout", DEFAULT_TIMEOUT)) != "0":
        raise AnsibleActionFail(
            f"confirm_timeout: a {transport} connection cannot prove that the node stays reachable, as a new ssh "
            "connection does; give confirm_timeout: 0 (iks_confirm_timeout in the roles) to load the rules at once. "
            "Nothing was changed"
        )
    began = time.monotonic()
    result = action._execute_module(MODULE, module_args={**arguments, "phase": "trial"}, task_vars=task_vars)
    trial = result.get("trial")
    if not trial or result.get("failed"):
        return result
    seconds = int(trial["seconds"])
    try:
        answer = _over_new_connection(action, {**arguments, "phase": "confirm"}, task_vars, seconds)
        if answer.get("confirmed"):
            return {**result, "confirmed": True}
        problem = str(answer.get("msg", "the node gave no answer"))
    except AnsibleConnectionFailure as error:
        problem = f"no new connection could be made: {error}"
    # Until the gate has closed and the timers behind it have taken the leftovers away.
    time.sleep(max(0.0, began + seconds + 4 - time.monotonic()))
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


def _found_afterwards(action: ActionBase, result: dict[str, Any], task_vars: dict[str, Any] | None) -> str:
    """Whether the node is reachable again and holds what it held, in words."""
    try:
        now = _over_new_connection(action, {"state": "gathered"}, task_vars, DEFAULT_TIMEOUT)
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
    action: ActionBase, arguments: dict[str, Any], task_vars: dict[str, Any] | None, seconds: int
) -> dict[str, Any]:
    """Run the module over a connection that shares nothing with the present one."""
    present = action._connection
    action._connection = fresh = _like(present, action._play_context, seconds)
    try:
        return action._execute_module(MODULE, module_args=arguments, task_vars=task_vars)
    finally:
        action._connection = present
        fresh.close()


def _like(present: Any, play_context: Any, seconds: int) -> Any:
    """A connection with the options of `present`, but of its own and no more patient than the trial."""
    fresh = connection_loader.get(present.ansible_name, play_context, "/dev/null")
    for name, value in present.get_options().items():
        fresh.set_option(name, value)
    fresh._shell = present._shell
    fresh.set_become_plugin(present.become)
    if "ssh_args" in fresh.get_options():
        fresh.set_option("ssh_args", f"{_SINGLE} {fresh.get_option('ssh_args') or ''}".strip())
    if "timeout" in fresh.get_options():
        fresh.set_option("timeout", max(1, min(int(fresh.get_option("timeout") or 10), seconds - 2)))
    for name in ("retries", "reconnection_retries"):
        if name in fresh.get_options():
            fresh.set_option(name, 0)
    return fresh
