#!/usr/bin/python
# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a declarative iptables ruleset."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_firewall
short_description: Own a declarative iptables ruleset on a node
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Puts a named ruleset into chains of its own (C(IKS-...)), for IPv4 and IPv6 together, with one
    C(iptables-restore --noflush) a family. Chains and rules of kube-proxy, Calico, Docker or anybody else are never
    written, reordered or flushed.
  - Several rulesets stand beside each other. They are asked in the order of O(priority); those that hold a default
    verdict (O(defaults)) come last.
  - A ruleset with a default verdict always allows loopback, established and related connections, ICMP errors,
    neighbour and router discovery, DHCP and DHCPv6.
  - What a default verdict drops is dropped in the mangle table as well, so that it stays closed although Calico accepts
    it in the filter table before our rules are asked.
  - Lists of more than sixteen networks become ipsets.
  - Confirmed rules are saved, and loaded at boot before the network is up.
  - If one family fails, the other is put back.
options:
  name:
    description: Name of the ruleset; at most 16 characters of a-z, 0-9 and C(-).
    type: str
    default: node
  priority:
    description: Place among the rulesets, 0 to 999; the lowest is asked first.
    type: int
    default: 900
  rules:
    description:
      - The traffic rules, as a list of dictionaries, a list of lines, or one text with a line a rule.
      - "A dictionary has the keys C(name), C(direction) (V(in), V(out), V(forward)), C(action) (V(accept), V(drop),
        V(reject)), C(protocol), C(sources), C(destinations), C(ports), C(source_ports), C(icmp_types), C(interface),
        C(out_interface), C(states), C(families), C(rate), C(burst), C(per), C(connections), C(log) and C(reason)."
      - "A line reads C(ACTION DIRECTION PROTOCOL [from NETWORKS] [to NETWORKS] [port PORTS] [on INTERFACE] name NAME
        # reason)."
      - For a thousand rules and more prefer lines, which cost the controller little.
    type: raw
  defaults:
    description:
      - "Default verdicts: what becomes of packets that no rule has decided. Each has a C(direction), an C(action)
        (V(drop) or V(reject), V(drop) when not given) and may name an C(interface), for V(forward) an
        C(out_interface), and with C(log) a prefix under which a few denied packets a minute are logged."
      - Without it the ruleset only opens, and leaves every other packet to the rules that follow.
    type: list
    elements: dict
    default: []
  families:
    description:
      - The families of which the ruleset speaks. What it says nothing about is closed in both.
      - One that is left out gets no rule of this ruleset, which is refused on a node that has a global address of it.
    type: list
    elements: str
    choices: [ipv4, ipv6]
    default: [ipv4, ipv6]
  state:
    description:
      - V(present) and V(absent) put the ruleset on the node or take every trace of it away.
      - V(rendered) returns what would be loaded, without looking at the node.
      - V(gathered) returns what the node holds of ours.
    type: str
    choices: [present, absent, rendered, gathered]
    default: present
  management_networks:
    description:
      - Networks that may still come by SSH when at boot no saved generation is intact and the emergency ruleset is
        loaded.
      - Where the present SSH session comes from when it is not given.
    type: list
    elements: str
    default: []
  guard:
    description:
      - "The intrusion guard: a source that keeps probing closed ports is held for a while, and then reaches no port at
        all. Keys are C(never) (networks that are never held, required), C(rate) and C(burst) (denied packets of one
        source before it is held, V(10/minute) and 20) and C(hold) (seconds, 600)."
      - Needs ipset on the node, and a default verdict for direction in.
    type: dict
  assume_ipset:
    description:
      - In check mode, plan as if ipset were installed; the role says so where it would install it.
    type: bool
    default: false
  allow_lockout:
    description: Load the ruleset although it denies new SSH connections from where this task came.
    type: bool
    default: false
extends_documentation_fragment:
  - iks.hardening.attributes.changing
  - iks.hardening.confirmed
  - iks.hardening.confirmed.phase
requirements:
  - iptables on the target (in check mode a node without it counts as empty)
"""

EXAMPLES = r"""
- name: Open the kubelet and pings, close the rest of the public interface
  iks.hardening.node_firewall:
    name: node
    rules:
      - "accept in tcp to any port 10250 on eth0 name kubelet # kubectl logs and exec"
      - name: ping
        direction: in
        action: accept
        protocol: icmp
        interface: eth0
        reason: reachability tests
    defaults:
      - {direction: in, interface: eth0}

- name: Take it away again
  iks.hardening.node_firewall:
    name: node
    state: absent
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
backend:
  description: V(nft) or V(legacy), or null when iptables is not installed or was not looked for.
  returned: always
  type: str
confirmed:
  description: Whether the rules were confirmed over a new connection.
  returned: when rules were on trial
  type: bool
trial:
  description: How the former rules would have come back, and within how many seconds.
  returned: when rules were on trial
  type: dict
saved:
  description: What changes besides the rules, for instance that they are saved for boot.
  returned: always
  type: list
  elements: str
notes:
  description: What a reader should know, for instance that the kernel has no IPv6.
  returned: always
  type: list
  elements: str
"""

import gc
import os
from typing import Dict, List, Mapping, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils.confirmation import check_confirmation
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError, NodeError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_boot import Emergency
from ansible_collections.iks.hardening.plugins.module_utils.firewall_commit import exclusive
from ansible_collections.iks.hardening.plugins.module_utils.firewall_guard import (
    Judgement,
    check_families,
    check_interfaces,
    judge,
    present_peer,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import with_ruleset, without_ruleset
from ansible_collections.iks.hardening.plugins.module_utils.firewall_result import (
    brief_arguments,
    connection_table,
    failure_of,
    node_runner,
    result_of,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import EARLY_HOOKS, MANGLE, OwnState
from ansible_collections.iks.hardening.plugins.module_utils.firewall_task import (
    Node,
    accept,
    carry_out,
    look,
    plan,
)
from ansible_collections.iks.hardening.plugins.module_utils.intrusion import read_guard
from ansible_collections.iks.hardening.plugins.module_utils.node_facts import conntrack_note, interfaces
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import (
    Ruleset,
    check_established,
    check_ruleset_name,
    default_rules,
)
from ansible_collections.iks.hardening.plugins.module_utils.traffic import FAMILIES
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import parse_network

ARGUMENTS = {
    "name": {"type": "str", "default": "node"},
    "priority": {"type": "int", "default": 900},
    "rules": {"type": "raw"},
    "defaults": {"type": "list", "elements": "dict", "default": []},
    "families": {"type": "list", "elements": "str", "choices": ["ipv4", "ipv6"], "default": ["ipv4", "ipv6"]},
    "state": {"type": "str", "choices": ["present", "absent", "rendered", "gathered"], "default": "present"},
    "guard": {"type": "dict"},
    "management_networks": {"type": "list", "elements": "str", "default": []},
    "assume_ipset": {"type": "bool", "default": False},
    "allow_lockout": {"type": "bool", "default": False},
    "confirm_timeout": {"type": "int", "default": 30},
    "confirm_from": {"type": "str"},
    "confirm_port": {"type": "int", "default": 22},
    "confirm_address": {"type": "str"},
    "confirm_connect_timeout": {"type": "int"},
    "phase": {"type": "str", "choices": ["trial", "confirm"], "default": "trial"},
}


def main() -> None:
    """Parameters to model, state, plan, apply, exit."""
    # A short life with many small values and hardly a cycle: looking for cycles takes a quarter of it.
    gc.disable()
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    told = brief_arguments(module.params)
    try:
        module.exit_json(**run(module), invocation=told)
    except HardeningError as error:
        module.fail_json(**failure_of(error), invocation=told)


def run(module: AnsibleModule) -> Dict[str, object]:
    """The task's result."""
    params = module.params
    ruleset = Ruleset(
        check_ruleset_name(params["name"]),
        params["priority"],
        tuple(read_rules(params["rules"])),
        default_rules(params["defaults"]),
        read_guard(params["guard"]),
    )
    check_established(ruleset)
    check_confirmation(params)
    if params["state"] == "rendered":
        check_families(ruleset, params["families"], {})
        empty = {family: OwnState() for family in FAMILIES}
        return result_of(None, empty, _wanted(empty, ruleset, params["families"], True), None, module._diff)
    if os.geteuid() != 0:
        raise NodeError("the node's firewall needs root: run the task with become: true")
    if module.check_mode or params["state"] == "gathered":
        return _on_node(module, ruleset)
    with exclusive():
        return _on_node(module, ruleset)


def _on_node(module: AnsibleModule, ruleset: Ruleset) -> Dict[str, object]:
    """Read, plan, and load or confirm."""
    params = module.params
    state = params["state"]
    command = node_runner(module)
    node = look(command)
    if state == "gathered":
        return result_of(node, node.have, node.have, None, module._diff)
    if state == "absent":
        want = {family: without_ruleset(own, ruleset.name) for family, own in node.families.items()}
    else:
        check_interfaces(ruleset)
        links = interfaces(command) if len(set(params["families"])) < len(FAMILIES) else {}
        check_families(ruleset, params["families"], links)
        want = _wanted(node.families, ruleset, params["families"], _uses_sets(module, node, ruleset))
    management = [parse_network("management_networks", item) for item in params["management_networks"]]
    change = plan(node, want, _emergency(ruleset, state, management), bool(management))
    if params["phase"] == "confirm":
        accept(command, node, change)
        return {"changed": True, "confirmed": True}
    found = Judgement("", [])
    if state == "present":
        early = [(MANGLE, hook) for way, hook in EARLY_HOOKS.items() if ruleset.closes(way)]
        found = judge(ruleset, command, node.texts, early)
    if found.cut and not params["allow_lockout"]:
        raise NodeError(found.cut)
    result = result_of(node, node.have, change.want, change, module._diff)
    result["notes"] = [*node.notes, *found.notes]
    if change.changed and not module.check_mode:
        table = connection_table()
        trial = carry_out(command, node, change, params["confirm_timeout"])
        full = conntrack_note(connection_table(), table)
        if full:
            result["notes"] = [*node.notes, *found.notes, full]
        if trial:
            return {**result, "trial": {**trial, "cut": found.cut}}
    return result


def _wanted(have: Mapping[str, OwnState], ruleset: Ruleset, families: List[str], use_sets: bool) -> Dict[str, OwnState]:
    return {
        family: with_ruleset(own, ruleset, family, use_sets)
        if family in families
        else without_ruleset(own, ruleset.name)
        for family, own in have.items()
    }


def _uses_sets(module: AnsibleModule, node: Node, ruleset: Ruleset) -> bool:
    """Whether long lists become sets; a node on which nothing is installed yet counts as one that will have ipset."""
    found = node.means.ipset is not None or (
        module.check_mode and (module.params["assume_ipset"] or node.backend.name is None)
    )
    if ruleset.guard is not None and not found:
        raise NodeError("guard: the intrusion guard needs ipset on the node; install it, or leave guard out")
    return found


def _emergency(ruleset: Ruleset, state: str, management: List[object]) -> Optional[Emergency]:
    """What the node falls back to at boot; only the ruleset that closes knows it."""
    interfaces: Tuple[Optional[str], ...] = ruleset.guarded_interfaces()
    if state != "present" or not interfaces:
        return None
    peer = present_peer()
    networks = management or ([parse_network("SSH peer", peer["source"])] if peer else [])
    return Emergency(interfaces, tuple(networks))


if __name__ == "__main__":
    main()
