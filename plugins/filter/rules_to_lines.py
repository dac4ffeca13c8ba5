# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: traffic rules as lines of text."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rules_to_lines
short_description: Traffic rules as lines of text
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Turns traffic rules (dictionaries, lines, or both) into one line a rule, the form in which a person reads them and
    in which a large ruleset is handed to M(iks.hardening.node_firewall) quickly.
  - Every rule is validated, and a name that stands twice is an error.
options:
  _input:
    description: The rules.
    type: list
    elements: raw
    required: true
"""

EXAMPLES = r"""
- name: Read what US South requires
  ansible.builtin.debug:
    msg: "{{ query('iks.hardening.region_rules', 'us-south', worker_addresses=['169.46.1.2'])
             | iks.hardening.rules_to_lines }}"
"""

RETURN = r"""
_value:
  description: The lines, in the order of the rules.
  type: list
  elements: str
  sample:
    - "accept out tcp to 169.46.9.0/27 port 443 family ipv4 name registry.ng.bluemix.net-tcp # registry for us-south"
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..module_utils.errors import HardeningError
from ..module_utils.traffic_lines import read_rules, rule_to_line


def _filter(rules: Any) -> list[str]:
    try:
        return [rule_to_line(rule) for rule in read_rules(rules)]
    except HardeningError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filter under its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rules_to_lines": _filter}
