#!/usr/bin/python
# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what a region requires, as a ruleset. The work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: region_ports
short_description: Open what a cloud region requires
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Makes the rules of a region from the catalogue, on the controller, and puts them on the node as a ruleset of its own
    with M(iks.hardening.node_firewall). On a worker they are about what leaves it, on a Linux gateway about what it
    forwards.
  - The ruleset only opens. What is not opened is closed by the ruleset that holds the default verdict.
options:
  regions:
    description:
      - Regions of the cluster, by any name that people use (V(us-south), V(US South), V(dal10)).
      - Required unless O(state=absent).
    type: list
    elements: str
  locations:
    description:
      - More locations in use. One of another region adds that whole region; one without a master adds its private
        range.
      - It never narrows. The masters of all locations of a region are opened in any case.
    type: list
    elements: str
  services:
    description:
      - What to open, of V(master), V(registry), V(monitoring), V(logging) and V(private).
      - The default is master, registry and private, as far as the catalogue's version publishes their addresses.
    type: list
    elements: str
  catalogue:
    description: Date of the catalogue.
    type: str
    default: "2017-09-29"
  overlay:
    description: A file on the controller, or a dictionary, that is laid over the catalogue.
    type: raw
  worker_addresses:
    description: Public addresses of the workers (the page's step 1).
    type: list
    elements: str
  worker_private_addresses:
    description:
      - The workers' private addresses, from which a gateway opens the private ranges of step 5.
      - Without it, those of O(worker_addresses) count that are private.
    type: list
    elements: str
  load_balancers:
    description: Load balancers to open from outside (step 6), each with C(address), C(port) and C(protocol).
    type: list
    elements: dict
  ingress:
    description: Ingress controllers to open from outside (step 7), each with C(address) and C(port) 80 or 443.
    type: list
    elements: dict
  operator_networks:
    description:
      - Networks of operators that run kubectl and calicoctl from behind the gateway (the page's third situation).
    type: list
    elements: str
  point:
    description: Where the rules are enforced.
    type: str
    choices: [worker, gateway]
    default: worker
  interface:
    description: The public interface. Without it the rules name none.
    type: str
  private_interface:
    description: The private interface. Without it the rules name none.
    type: str
  name:
    description: Name of the ruleset.
    type: str
    default: region
  priority:
    description: Place among the rulesets, 0 to 999; the lowest is asked first.
    type: int
    default: 500
  assume_ipset:
    description: See O(iks.hardening.node_firewall#module:assume_ipset).
    type: bool
    default: false
  state:
    description:
      - V(present) and V(absent) change the node; V(rendered) only returns the rules, without a connection to it.
    type: str
    choices: [present, absent, rendered]
    default: present
extends_documentation_fragment:
  - iks.hardening.attributes.changing
  - iks.hardening.confirmed
requirements:
  - netaddr and PyYAML on the controller
  - iptables on the target
seealso:
  - module: iks.hardening.node_firewall
  - plugin: iks.hardening.region_rules
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Open what us-south requires
  iks.hardening.region_ports:
    regions: [us-south]
    worker_addresses: [203.0.113.11, 203.0.113.12]
"""

RETURN = r"""
rules:
  description: The rules, one line each.
  returned: always
  type: list
  elements: str
before:
  description: Our rules before the task, a list of C(-A) lines for each family.
  returned: when the node was looked at
  type: dict
after:
  description: Our rules after the task.
  returned: when the node was looked at
  type: dict
commands:
  description: What was (in check mode - would be) given to C(iptables-restore --noflush), for each family that changes.
  returned: when the node was looked at
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils.region_arguments import ARGUMENTS


def main() -> None:
    """Reached only when somebody runs the module without its action plugin."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.fail_json(
        msg="region_ports reads the catalogue on the controller; run it as a task, not as a module. Nothing was changed"
    )


if __name__ == "__main__":
    main()
