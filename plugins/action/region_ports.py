# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: region_ports reads the catalogue on the controller and hands the node finished rules."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

from ..module_utils.errors import HardeningError, unchanged
from ..module_utils.region_arguments import ARGUMENTS
from ..module_utils.traffic_lines import rule_to_line
from ..module_utils.traffic_reading import rule_from_dict
from ..plugin_utils.confirmed import load_ruleset
from ..plugin_utils.names import check_overlay_path

# Options of the ruleset itself; all others describe the region.
_CONFIRMATION = (
    "confirm_timeout",
    "confirm_from",
    "confirm_port",
    "confirm_address",
    "confirm_connect_timeout",
)
_RULESET = ("name", "priority", "state", "assume_ipset", *_CONFIRMATION)


class ActionModule(ActionBase):
    """Rules on the controller, node_firewall on the node."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _validated, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        rules, warnings = [], []
        if options["state"] != "absent":
            try:
                rules, warnings = self._rules({key: value for key, value in options.items() if key not in _RULESET})
            except HardeningError as error:
                raise AnsibleActionFail(unchanged(error)) from None
        if options["state"] == "rendered":
            return {**result, "changed": False, "rules": rules, "warnings": warnings}
        given = {key: options[key] for key in _RULESET if options[key] is not None}
        arguments = given | {"rules": "\n".join(rules)}
        done = load_ruleset(self, arguments, task_vars)
        return {**result, **done, "rules": rules, "warnings": [*done.get("warnings", []), *warnings]}

    def _rules(self, options: dict[str, Any]) -> tuple[list[str], list[str]]:
        """The rules as lines, and what the catalogue's sources print wrongly about them."""
        # Late: netaddr is only needed here, and its absence is reported by what needs it.
        from ..plugin_utils.region_rules import rules_and_slips

        options["overlay"] = self._overlay(options["overlay"])
        rules, slips = rules_and_slips(options)
        return [rule_to_line(rule_from_dict(rule)) for rule in rules], list(slips)

    def _overlay(self, overlay: Any) -> Any:
        """A file is looked for as Ansible looks for files: beside the role and the playbook."""
        if not isinstance(overlay, str):
            return overlay
        check_overlay_path(overlay)
        try:
            return self._find_needle("files", overlay)
        except AnsibleError:
            raise HardeningError(
                f"option overlay: there is no file {overlay} on the controller, neither beside the role nor beside the "
                "playbook; put it there or give its whole path"
            ) from None
