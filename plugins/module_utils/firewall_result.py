# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that change a node's rulesets share with Ansible: running commands, and the form of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple

from .errors import HardeningError, UnsavedError, unchanged
from .firewall_state import OwnState
from .firewall_task import Change, Node, commands, states_text
from .node_facts import CONNTRACK_FILES, Conntrack, conntrack, read_text

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from .firewall_shell import Run


def node_runner(module: AnsibleModule) -> Run:
    """Commands as the functional core runs them."""

    def command(argv: List[str], stdin: str) -> Tuple[int, str, str]:
        # A program that ends before it has read its input must not end the module: what was loaded has to be undone.
        options = {"data": stdin, "binary_data": True} if stdin else {}
        try:
            return module.run_command(argv, handle_exceptions=False, **options)
        except OSError as error:
            return 127, "", error.strerror or str(error)

    return command


def connection_table() -> Optional[Conntrack]:
    """How full the node's connection table is."""
    return conntrack(*map(read_text, CONNTRACK_FILES))


# Longer texts are told by their size: a result is read by people, and its way back costs as much as the way here.
_TOLD = 4096


def brief_arguments(params: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    """What a result says of how the module was called; rules that fill pages are told by their number."""
    return {"module_args": {name: _brief(value) for name, value in params.items()}}


def _brief(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _TOLD:
        return f"{value.count(chr(10)) + 1} lines of {len(value)} characters"
    if isinstance(value, list) and len(str(value)) > _TOLD:
        return f"{len(value)} items"
    return value


def failure_of(error: HardeningError) -> Dict[str, Any]:
    """A failed task's message, and whether the node was changed all the same."""
    return {"msg": unchanged(error), "changed": isinstance(error, UnsavedError)}


def result_of(
    node: Optional[Node],
    have: Mapping[str, OwnState],
    want: Mapping[str, OwnState],
    change: Optional[Change] = None,
    with_diff: bool = True,
) -> Dict[str, object]:
    """before, after, commands, diff and what else a task tells. Without a node: as on an empty one."""
    changed = change is not None and change.changed
    before = states_text(have)
    after = states_text(want) if changed or have is not want else before
    told = change.told() if change is not None else []
    diff = [
        {
            "before_header": f"{family} rules of iks.hardening",
            "after_header": f"{family} rules of iks.hardening",
            "before": "".join(f"{line}\n" for line in before[family]),
            "after": "".join(f"{line}\n" for line in after[family]),
        }
        for family in want
        if with_diff and changed and before[family] != after[family]
    ]
    if told and with_diff:
        diff.append({"prepared": "".join(f"{line}\n" for line in told)})
    return {
        "changed": changed,
        "before": before,
        "after": after,
        "commands": commands(have, want),
        "backend": node.backend.name if node is not None else None,
        "notes": node.notes if node is not None else [],
        "saved": told,
        **({"diff": diff} if with_diff else {}),
    }
