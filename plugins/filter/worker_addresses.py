# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the workers' addresses out of what `bx cs workers` prints."""

from __future__ import annotations

DOCUMENTATION = r"""
name: worker_addresses
short_description: The workers' addresses from the output of bx cs workers
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Reads the table that C(bx cs workers) (later C(ibmcloud ks workers)) prints and returns one column's addresses. This
    is step 1 of the page's section about opening ports.
  - A worker without an address in the column, or a text that is not the table, is an error, because rules made without
    a worker would cut it off.
options:
  _input:
    description: The whole output of the command, as text.
    type: str
    required: true
  column:
    description: Which addresses.
    type: str
    choices: [public, private]
    default: public
requirements:
  - netaddr on the controller
seealso:
  - plugin: iks.hardening.region_rules
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: List the workers
  ansible.builtin.command: bx cs workers mycluster
  register: workers
  changed_when: false
  delegate_to: localhost

- name: What the region requires of them
  ansible.builtin.debug:
    msg: "{{ query('iks.hardening.region_rules', 'us-south',
             worker_addresses=workers.stdout | iks.hardening.worker_addresses) }}"
"""

RETURN = r"""
_value:
  description: The addresses in the order of the table, each without a prefix length.
  type: list
  elements: str
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError

from ..module_utils.errors import HardeningError
from ..plugin_utils.worker_table import worker_addresses


def _filter(text: Any, column: str = "public") -> list[str]:
    try:
        return worker_addresses(text, column)
    except HardeningError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filter under its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"worker_addresses": _filter}
