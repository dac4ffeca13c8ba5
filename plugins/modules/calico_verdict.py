#!/usr/bin/python
# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what Calico makes of a packet, and which policy decides."""

from __future__ import annotations

DOCUMENTATION = r"""
module: calico_verdict
short_description: What Calico's policies make of a packet at a node
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Says whether a packet passes the host endpoints of a node, which policy and rule decides, and every step on the way.
  - The order is Felix's - policies with C(doNotTrack), those with C(preDNAT), then the normal ones for the node's own
    traffic or those with C(applyOnForward) for what it forwards, then profiles; failsafe ports and known connections
    before them.
  - Works offline on O(resources), or on what the datastore holds when they are not given. Rules of others on the node,
    and policies of pods, are not asked.
options:
  resources:
    description:
      - Calico's resources, of API v1 or v3 - policies, host endpoints, network sets, profiles, tiers; and as far as
        they matter FelixConfiguration (failsafe ports), IPPool and Node (tunnels).
      - Without them the datastore is read through O(calicoctl); nothing is written.
    type: list
    elements: dict
  calicoctl:
    description: Path of calicoctl on the host; for the datastore.
    type: path
    default: /usr/local/bin/calicoctl
  config:
    description: Path of calicoctl's configuration file on the host; for the datastore.
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
  node:
    description: Name of the node in the resources.
    type: str
    required: true
  packet:
    description: The packet, as the filter table sees it - after DNAT.
    type: dict
    required: true
    suboptions:
      direction:
        description:
          - V(in) and V(out) are for processes of the node itself, V(forward) for everything else, pods included.
        type: str
        choices: [in, out, forward]
        required: true
      protocol:
        description: Name or number of the protocol.
        type: str
        required: true
      source:
        description: Source address.
        type: str
        required: true
      destination:
        description: Destination address.
        type: str
        required: true
      interface:
        description: Where the packet arrives (in, forward) or leaves (out).
        type: str
        required: true
      out_interface:
        description: Where a forwarded packet leaves.
        type: str
      port:
        description: Destination port.
        type: int
      source_port:
        description: Source port. A rule that asks for one does not match a packet without.
        type: int
      icmp_type:
        description: ICMP type.
        type: int
      icmp_code:
        description: ICMP code.
        type: int
      state:
        description: State of the packet's connection.
        type: str
        choices: [new, established, related, invalid, untracked]
        default: new
      original_destination:
        description: Destination before DNAT, which policies with C(preDNAT) or C(doNotTrack) see.
        type: str
      original_port:
        description: Port before DNAT.
        type: int
  interfaces:
    description:
      - Interfaces of the node with their addresses. Needed only for host endpoints that name no interface but expected
        addresses.
    type: dict
  failsafe_inbound:
    description:
      - Inbound failsafe ports as V(tcp:22), or as V(tcp:10.0.0.0/8:22) for a network; an empty list is none.
      - Without it those of the FelixConfiguration among O(resources), or Felix's defaults.
    type: list
    elements: str
  failsafe_outbound:
    description: Outbound failsafe ports, likewise.
    type: list
    elements: str
extends_documentation_fragment:
  - iks.hardening.attributes.reading
seealso:
  - module: iks.hardening.node_firewall
"""

EXAMPLES = r"""
- name: Would a node port be reachable from the internet?
  iks.hardening.calico_verdict:
    resources: "{{ policies + host_endpoints }}"
    node: worker1
    packet:
      direction: forward
      protocol: tcp
      source: 198.51.100.9
      destination: 172.30.1.5
      port: 8080
      original_destination: 203.0.113.11
      original_port: 30080
      interface: eth1
      out_interface: cali12345
  register: answer

- name: The same, of what the cluster's datastore holds now
  iks.hardening.calico_verdict:
    config: /etc/calico/calicoctl.cfg
    node: worker1
    packet:
      direction: in
      protocol: tcp
      source: 198.51.100.9
      destination: 203.0.113.11
      port: 10250
      interface: eth1

- name: It must not
  ansible.builtin.assert:
    that: not answer.allowed
    fail_msg: "{{ answer.decision.because }}"
"""

RETURN = r"""
allowed:
  description: Whether Calico lets the packet pass.
  returned: always
  type: bool
governed:
  description: Whether any host endpoint is concerned. Where none is, Calico has no say and lets the packet pass.
  returned: always
  type: bool
decision:
  description: The step that decided.
  returned: always
  type: dict
  contains:
    stage:
      description:
        - V(doNotTrack), V(preDNAT), V(normal), V(applyOnForward), V(profile), V(failsafe), V(conntrack), V(tunnel) or
          V(no host endpoint).
      type: str
      returned: always
    action:
      description: V(Allow), V(Deny) or V(Pass).
      type: str
      returned: always
    because:
      description: The reason in words.
      type: str
      returned: always
    endpoint:
      description: Name of the host endpoint, or null.
      type: str
      returned: always
    direction:
      description: V(Ingress), V(Egress) or null.
      type: str
      returned: always
    policy:
      description: Kind and name of the policy or profile, or null when a default decided.
      type: str
      returned: always
    rule:
      description: Index of the rule in the policy's list for that direction, from 0, or null.
      type: int
      returned: always
steps:
  description: Every step, in order, each like RV(decision).
  returned: always
  type: list
  elements: dict
doubts:
  description:
    - Rules of which only the cluster knows whether they match (those of services, for instance). Such a rule counts
      where it denies.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils.calico_question import (
    STATES,
    ask,
    read_datastore,
    read_documents,
)
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import run_program, tool_of
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError, unchanged
from ansible_collections.iks.hardening.plugins.module_utils.traffic import DIRECTIONS

PACKET = {
    "direction": {"type": "str", "choices": list(DIRECTIONS), "required": True},
    "protocol": {"type": "str", "required": True},
    "source": {"type": "str", "required": True},
    "destination": {"type": "str", "required": True},
    "interface": {"type": "str", "required": True},
    "out_interface": {"type": "str"},
    "port": {"type": "int"},
    "source_port": {"type": "int"},
    "icmp_type": {"type": "int"},
    "icmp_code": {"type": "int"},
    "state": {"type": "str", "choices": list(STATES), "default": "new"},
    "original_destination": {"type": "str"},
    "original_port": {"type": "int"},
}
ARGUMENTS = {
    "resources": {"type": "list", "elements": "dict"},
    "calicoctl": {"type": "path", "default": "/usr/local/bin/calicoctl"},
    "config": {"type": "path", "default": "/etc/calico/calicoctl.cfg"},
    "api": {"type": "str", "choices": ["v1", "v3"]},
    "timeout": {"type": "int", "default": 20},
    "node": {"type": "str", "required": True},
    "packet": {"type": "dict", "required": True, "options": PACKET},
    "interfaces": {"type": "dict"},
    "failsafe_inbound": {"type": "list", "elements": "str"},
    "failsafe_outbound": {"type": "list", "elements": "str"},
}
QUESTION = ("node", "packet", "interfaces", "failsafe_inbound", "failsafe_outbound")


def main() -> None:
    """Read the question, answer, exit once."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = {name: module.params[name] for name in QUESTION}
    documents = module.params["resources"]
    try:
        if documents is None:
            resources = read_datastore(run_program, tool_of(module.params))
        else:
            resources = read_documents(documents, "resources")
        answer = ask(resources, **given)
    except HardeningError as error:
        module.fail_json(msg=unchanged(error))
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
