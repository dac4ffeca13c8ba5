#!/usr/bin/python
# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: any number of Calico resources in a state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: calico_resource
short_description: Put any number of Calico resources in a state
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Puts Calico resources (policies, host endpoints, network sets and other kinds) in a state, through one C(calicoctl)
    process a kind to read, one to write and one to delete.
  - Everything is checked before the first change, without the datastore. What is equal to what the datastore holds is
    not written again.
  - Resources of API v1 (calicoctl 1.x) and v3 are converted to what the host's calicoctl speaks, where nothing is lost.
  - A change after which a host endpoint would let through less of O(flows) than before, or would have no policy at
    all, is refused.
  - Policies are written before the host endpoints that need them, and deleted after them.
  - What became of every resource is read back from the datastore, not taken from what the tool says.
  - In check mode a host without calicoctl or its configuration counts as one with an empty datastore.
options:
  resources:
    description: A document, a list of documents, or YAML or JSON text that holds them.
    type: raw
  src:
    description:
      - Files of YAML or JSON, or folders whose C(.yml), C(.yaml) and C(.json) files are taken, on the controller.
    type: list
    elements: str
    default: []
  template:
    description: Jinja templates on the controller that render to YAML or JSON.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) writes what differs. V(absent) deletes what is named; kind and name are enough for it.
      - V(exact) is V(present), and deletes what carries the mark of O(owner) and is not given.
      - V(rendered) checks and converts the documents to O(api) and returns them, without calicoctl or a datastore.
    type: str
    choices: [present, absent, exact, rendered]
    default: present
  owner:
    description:
      - The mark that the resources carry (annotation, or in API v1 for a host endpoint label,
        C(iks.hardening/owned-by)). Required for V(exact).
      - A resource that carries the mark of another owner is not touched, which is an error.
    type: str
  calicoctl:
    description: Path of calicoctl on the host.
    type: path
    default: /usr/local/bin/calicoctl
  config:
    description: Path of calicoctl's configuration file on the host, as M(iks.hardening.calicoctl) writes it.
    type: path
    default: /etc/calico/calicoctl.cfg
  api:
    description: The API that calicoctl speaks; what the configuration file says when it is not given.
    type: str
    choices: [v1, v3]
  timeout:
    description: Seconds that one calicoctl process may take; it would wait longer, or for ever, on its own.
    type: int
    default: 60
  atomic:
    description: When a batch fails part-way, take back what was done.
    type: bool
    default: false
  flows:
    description:
      - "What must still pass at every host endpoint. Each has a C(name), a C(direction) (V(in) or V(out)), a
        C(protocol), C(networks) (where it comes from or goes to), C(ports) and a C(reason). C(interfaces) (names or
        labels) is not looked at."
      - A flow that the change breaks at a host endpoint is an error that names the endpoint, the flow and what decides
        it. One that was broken before is a note.
    type: list
    elements: dict
    default: []
  assume:
    description:
      - In check mode, documents that count as if they were in the datastore already, as an earlier task would have
        written them.
    type: list
    elements: dict
    default: []
  allow_lockout:
    description: Write the resources although a host endpoint would lose a flow, or have no policy.
    type: bool
    default: false
  allow_unknown_nodes:
    description: Write host endpoints of nodes that the datastore does not know.
    type: bool
    default: false
extends_documentation_fragment:
  - iks.hardening.attributes.changing
requirements:
  - calicoctl and its configuration file on the host
seealso:
  - module: iks.hardening.calicoctl
  - module: iks.hardening.calico_info
"""

EXAMPLES = r"""
- name: Close every node port to the internet, as the page does
  iks.hardening.calico_resource:
    resources:
      apiVersion: projectcalico.org/v3
      kind: GlobalNetworkPolicy
      metadata:
        name: deny-kube-node-port-services
      spec:
        order: 1100
        preDNAT: true
        applyOnForward: true
        selector: ibm.role in { 'worker_public', 'master_public' }
        ingress:
          - {action: Deny, protocol: TCP, destination: {ports: ["30000:32767"]}}
          - {action: Deny, protocol: UDP, destination: {ports: ["30000:32767"]}}

- name: Have exactly what the folder holds, or nothing of it
  iks.hardening.calico_resource:
    src: [policies]
    state: exact
    owner: platform-team
    atomic: true
    flows:
      - name: ssh
        direction: in
        protocol: tcp
        networks: [192.0.2.0/24]
        ports: ["22"]
        reason: where operators come from
"""

RETURN = r"""
before:
  description: Title and document of every resource that changes, as the datastore held it; null for one that is new.
  returned: always
  type: dict
after:
  description: The same after the task (in check mode - after a real run); null for one that is deleted.
  returned: always
  type: dict
resources:
  description:
    - Every resource that changes, with C(kind), C(name), C(action) (V(created), V(updated), V(deleted)), and, where it
      was carried out, C(result) (V(applied), V(failed), V(not tried), V(undone), V(unknown)) and C(error).
  returned: always
  type: list
  elements: dict
unchanged:
  description: How many of the resources are as they should be.
  returned: always
  type: int
commands:
  description: What was (in check mode - would be) run to change the datastore.
  returned: always
  type: list
  elements: str
notes:
  description: What does not pass at a host endpoint, and did not before.
  returned: always
  type: list
  elements: str
documents:
  description: The checked documents in O(api).
  returned: when O(state=rendered)
  type: list
  elements: dict
"""

import gc
from typing import Any, Dict, List, Tuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_ahead import (
    documents_of,
    kinds_at_sight,
    reading_ahead,
)
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import reached
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError, unchanged

ARGUMENTS = {
    "resources": {"type": "raw"},
    "src": {"type": "list", "elements": "str", "default": []},
    "template": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "absent", "exact", "rendered"], "default": "present"},
    "owner": {"type": "str"},
    "calicoctl": {"type": "path", "default": "/usr/local/bin/calicoctl"},
    "config": {"type": "path", "default": "/etc/calico/calicoctl.cfg"},
    "api": {"type": "str", "choices": ["v1", "v3"]},
    "timeout": {"type": "int", "default": 60},
    "atomic": {"type": "bool", "default": False},
    "flows": {"type": "list", "elements": "dict", "default": []},
    "assume": {"type": "list", "elements": "dict", "default": []},
    "allow_lockout": {"type": "bool", "default": False},
    "allow_unknown_nodes": {"type": "bool", "default": False},
}


def main() -> None:
    """Options to a request, the request to a result, and exit once."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    # Thousands of documents make no cycles, and the collector would go through all of them again and again.
    gc.disable()
    try:
        documents = documents_of(module.params)
        result, failure = (_rendered if module.params["state"] == "rendered" else _led)(module, documents)
    except HardeningError as error:
        module.fail_json(msg=unchanged(error))
    if failure:
        module.fail_json(msg=failure, **result)
    module.exit_json(**result)


def _rendered(module: AnsibleModule, documents: List[Tuple[str, Any]]) -> Tuple[Dict[str, Any], str]:
    from ansible_collections.iks.hardening.plugins.module_utils.calico_task import request_of, wanted

    request = request_of(module.params, documents)
    found = wanted(request.documents, module.params["api"] or "v3", "present")
    return {"changed": False, "documents": [item.document() for item in found]}, ""


def _led(module: AnsibleModule, documents: List[Tuple[str, Any]]) -> Tuple[Dict[str, Any], str]:
    given, tool = reached(module.params, module.check_mode)
    with reading_ahead(given, tool, kinds_at_sight(documents, tool.api)) as run:
        # Late: the datastore is being read while this is compiled.
        from ansible_collections.iks.hardening.plugins.module_utils.calico_task import (
            failure_of,
            perform,
            request_of,
            result_of,
        )

        done = perform(run, tool, request_of(module.params, documents), module.check_mode)
        return result_of(done, tool, module._diff), failure_of(done)


if __name__ == "__main__":
    main()
