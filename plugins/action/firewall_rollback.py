# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: what is put back is on trial too, and only the controller can come back over a new connection."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils.confirmed import load_ruleset


class ActionModule(ActionBase):
    """The module on the node, confirmed from here."""

    TRANSFERS_FILES = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        arguments = dict(self._task.args)
        if str(arguments.get("to")) == "removed":
            # Opens the node: there is nothing to prove.
            arguments["confirm_timeout"] = 0
        result = super().run(tmp, task_vars)
        return {**result, **load_ruleset(self, arguments, task_vars, "iks.hardening.firewall_rollback")}
