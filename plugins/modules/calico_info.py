#!/usr/bin/python
# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what a cluster's Calico datastore holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: calico_info
short_description: Read nodes, host endpoints and policies of a Calico datastore
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - The page's step "Examine the existing network policies", as data - C(calicoctl get) of nodes, host endpoints and
    policies, and which policies each host endpoint has.
  - Policies that Calico made from Kubernetes' own are listed apart.
  - In check mode a host without calicoctl or its configuration counts as one with an empty datastore.
options:
  calicoctl:
    description: Path of calicoctl on the host.
    type: path
    default: /usr/local/bin/calicoctl
  config:
    description: Path of calicoctl's configuration file on the host.
    type: path
    default: /etc/calico/calicoctl.cfg
  api:
    description: The API that calicoctl speaks; what the configuration file says when it is not given.
    type: str
    choices: [v1, v3]
  timeout:
    description: Seconds that one calicoctl process may take.
    type: int
    default: 20
extends_documentation_fragment:
  - iks.hardening.attributes.reading
requirements:
  - calicoctl and its configuration file on the host
seealso:
  - module: iks.hardening.calico_resource
"""

EXAMPLES = r"""
- name: Examine the network policies
  iks.hardening.calico_info:
  register: calico

- name: Print them
  ansible.builtin.debug:
    msg: "{{ calico.table }}"
"""

RETURN = r"""
api:
  description: V(v1) or V(v3).
  returned: always
  type: str
version:
  description: The version of calicoctl.
  returned: always
  type: str
nodes:
  description: Names of the nodes that the datastore knows.
  returned: always
  type: list
  elements: str
host_endpoints:
  description: The host endpoints, as the datastore holds them.
  returned: always
  type: list
  elements: dict
policies:
  description: The policies that people wrote, in the order in which they are asked.
  returned: always
  type: list
  elements: dict
converted_policies:
  description: The policies that Calico made from Kubernetes' own; they are never written or deleted by this collection.
  returned: always
  type: list
  elements: dict
network_sets:
  description: Global network sets.
  returned: always
  type: list
  elements: dict
ip_pools:
  description: The networks of the pods.
  returned: always
  type: list
  elements: str
selected:
  description: Name of every host endpoint with the names of the policies that select it, in their order.
  returned: always
  type: dict
table:
  description: The policies for people to read, a line each.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils.calico_report import gathered
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import reached
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError, unchanged

ARGUMENTS = {
    "calicoctl": {"type": "path", "default": "/usr/local/bin/calicoctl"},
    "config": {"type": "path", "default": "/etc/calico/calicoctl.cfg"},
    "api": {"type": "str", "choices": ["v1", "v3"]},
    "timeout": {"type": "int", "default": 20},
}


def main() -> None:
    """Read, and exit once."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = gathered(*reached(module.params, module.check_mode))
    except HardeningError as error:
        module.fail_json(msg=unchanged(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
