#!/usr/bin/python
# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a node's rulesets as they were confirmed before, or gone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall_rollback
short_description: Put a former generation of a node's rulesets back, or take everything away
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Every confirmed change of M(iks.hardening.node_firewall) is saved on the node as a generation, all rulesets
    together. This module loads one of them, on trial like any other change, and saves it as the newest.
  - With O(to=removed), which opens the node and needs no trial, it takes every chain, jump, set, unit and file of the
    collection's firewall away. What others wrote stays as it is; packages stay too, and are listed in the result.
options:
  to:
    description:
      - V(last) is the newest saved generation (after changes by hand), V(previous) the one before it; a number is that
        generation; V(removed) leaves nothing.
    type: str
    default: previous
extends_documentation_fragment:
  - iks.hardening.attributes.changing
  - iks.hardening.confirmed
  - iks.hardening.confirmed.phase
seealso:
  - module: iks.hardening.node_firewall
"""

EXAMPLES = r"""
- name: Back to what was confirmed before
  iks.hardening.firewall_rollback:

- name: Take everything away
  iks.hardening.firewall_rollback:
    to: removed
"""

RETURN = r"""
before:
  description: Our rules before the task, a list of C(-A) lines for each family.
  returned: always
  type: dict
after:
  description: Our rules after the task (in check mode - after a real run).
  returned: always
  type: dict
commands:
  description: What was (in check mode - would be) given to C(iptables-restore --noflush), for each family that changes.
  returned: always
  type: dict
generation:
  description: The generation that was put back, or null when everything was removed.
  returned: always
  type: int
generations:
  description: Numbers of the generations that are saved and intact, the newest first.
  returned: always
  type: list
  elements: int
packages:
  description: Packages that the roles install and that stay on the node.
  returned: when everything was removed
  type: list
  elements: str
saved:
  description: What changes besides the rules.
  returned: always
  type: list
  elements: str
"""

import os
from typing import Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils.confirmation import check_confirmation
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError, NodeError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_commit import exclusive
from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import recomposed_as, without_all
from ansible_collections.iks.hardening.plugins.module_utils.firewall_result import failure_of, node_runner, result_of
from ansible_collections.iks.hardening.plugins.module_utils.firewall_saved import (
    Saved,
    choose_generation,
    generation_states,
    generations,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_shell import find_program
from ansible_collections.iks.hardening.plugins.module_utils.firewall_task import (
    accept,
    carry_out,
    look,
    plan,
    plan_removal,
    remove,
)

REMOVED = "removed"
ARGUMENTS = {
    "to": {"type": "str", "default": "previous"},
    "confirm_timeout": {"type": "int", "default": 30},
    "confirm_from": {"type": "str"},
    "confirm_port": {"type": "int", "default": 22},
    "confirm_address": {"type": "str"},
    "confirm_connect_timeout": {"type": "int"},
    "phase": {"type": "str", "choices": ["trial", "confirm"], "default": "trial"},
}


def main() -> None:
    """Parameters to states, plan, apply, exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        if os.geteuid() != 0:
            raise NodeError("the node's firewall needs root: run the task with become: true")
        if module.check_mode:
            module.exit_json(**run(module))
        with exclusive():
            result = run(module)
        module.exit_json(**result)
    except HardeningError as error:
        module.fail_json(**failure_of(error))


def run(module: AnsibleModule) -> Dict[str, object]:
    """The task's result."""
    params = module.params
    seconds = check_confirmation(params)
    saved = generations()
    numbers = [item.number for item in saved if item.body is not None]
    if params["to"] == REMOVED:
        return {**_removed(module), "generation": None, "generations": numbers, "packages": _packages()}
    chosen = choose_generation(saved, params["to"])
    return {**_put_back(module, chosen, seconds), "generation": chosen.number, "generations": numbers}


def _put_back(module: AnsibleModule, chosen: Saved, seconds: int) -> Dict[str, object]:
    command = node_runner(module)
    node = look(command)
    backend, states = generation_states(chosen.body or "")
    if node.backend.name not in (None, backend):
        raise NodeError(
            f"generation {chosen.number} was loaded with the {backend} backend, and the node's rules are "
            f"{node.backend.name} ones now. Nothing was changed"
        )
    want = {
        family: recomposed_as(states[family], own) if family in states else without_all(own)
        for family, own in node.families.items()
    }
    change = plan(node, want, None, False)
    if module.params["phase"] == "confirm":
        accept(command, node, change)
        return {"changed": True, "confirmed": True}
    result = result_of(node, node.have, change.want, change, module._diff)
    if change.changed and not module.check_mode:
        trial = carry_out(command, node, change, seconds)
        if trial:
            return {**result, "trial": {**trial, "cut": ""}}
    return result


def _removed(module: AnsibleModule) -> Dict[str, object]:
    command = node_runner(module)
    node = look(command)
    change = plan_removal(node)
    if change.changed and not module.check_mode:
        remove(command, node, change)
    return result_of(node, node.have, change.want, change, module._diff)


def _packages() -> List[str]:
    programs: Dict[str, Optional[str]] = {name: find_program(name) for name in ("iptables", "ipset")}
    return [name for name, path in programs.items() if path]


if __name__ == "__main__":
    main()
