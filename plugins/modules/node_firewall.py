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
        C(out_interface), C(states), C(families) and C(reason)."
      - "A line reads C(ACTION DIRECTION PROTOCOL [from NETWORKS] [to NETWORKS] [port PORTS] [on INTERFACE] name NAME
        # reason)."
      - For a thousand rules and more prefer lines, which cost the controller little.
    type: raw
  defaults:
    description:
      - "Default verdicts: what becomes of packets that no rule has decided. Each has a C(direction), an C(action)
        (V(drop) or V(reject), V(drop) when not given) and may name an C(interface) and, for V(forward), an
        C(out_interface)."
      - Without it the ruleset only opens, and leaves every other packet to the rules that follow.
    type: list
    elements: dict
    default: []
  state:
    description:
      - V(present) and V(absent) put the ruleset on the node or take every trace of it away.
      - V(rendered) returns what would be loaded, without looking at the node.
      - V(gathered) returns what the node holds of ours.
    type: str
    choices: [present, absent, rendered, gathered]
    default: present
  confirm_timeout:
    description:
      - Seconds for which new rules are on trial, 5 to 600. Until the controller has come back over a new connection and
        confirmed them, the kernel goes back to the former rules by itself when the time is over, whatever died.
      - V(0) loads the rules at once. A connection that does not cross the network (local, container) proves nothing and
        needs it.
    type: int
    default: 30
  phase:
    description:
      - Which half of a confirmed commit this is. The action plugin of the module sets it; leave it alone.
    type: str
    choices: [trial, confirm]
    default: trial
  allow_lockout:
    description: Load the ruleset although it denies new SSH connections from where this task came.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Can run in check mode and return changed status prediction without modifying the target.
  diff_mode:
    support: full
    description: Returns the rules of ours before and after.
  platform:
    support: full
    platforms: linux
    description: Target platform.
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
notes:
  description: What a reader should know, for instance that the kernel has no IPv6.
  returned: always
  type: list
  elements: str
"""

import os
from typing import Dict, List, Mapping, Tuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError, NodeError, unchanged
from ansible_collections.iks.hardening.plugins.module_utils.firewall_commit import (
    Means,
    begin,
    check_timeout,
    confirm,
    exclusive,
    seconds_left,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_guard import check_interfaces, check_lockout
from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import (
    OwnState,
    restore_text,
    with_ruleset,
    without_ruleset,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_shell import (
    Backend,
    apply_states,
    detect_backend,
    families_in_kernel,
    find_program,
    read_states,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_trial import has_trial, without_trial
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, check_ruleset_name, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic import FAMILIES, IPV6
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules

ARGUMENTS = {
    "name": {"type": "str", "default": "node"},
    "priority": {"type": "int", "default": 900},
    "rules": {"type": "raw"},
    "defaults": {"type": "list", "elements": "dict", "default": []},
    "state": {"type": "str", "choices": ["present", "absent", "rendered", "gathered"], "default": "present"},
    "allow_lockout": {"type": "bool", "default": False},
    "confirm_timeout": {"type": "int", "default": 30},
    "phase": {"type": "str", "choices": ["trial", "confirm"], "default": "trial"},
}


def main() -> None:
    """Parameters to model, state, plan, apply, exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        module.exit_json(**run(module))
    except HardeningError as error:
        module.fail_json(msg=unchanged(error))


def run(module: AnsibleModule) -> Dict[str, object]:
    """The task's result."""
    params = module.params
    state, name = params["state"], check_ruleset_name(params["name"])
    ruleset = Ruleset(name, params["priority"], tuple(read_rules(params["rules"])), default_rules(params["defaults"]))
    if state == "rendered":
        empty = {family: OwnState() for family in FAMILIES}
        return _result(Backend(None, ""), empty, _wanted(empty, ruleset), [], False)
    if os.geteuid() != 0:
        raise NodeError("the node's firewall needs root: run the task with become: true")
    if module.check_mode or state == "gathered":
        return _on_node(module, ruleset)
    with exclusive():
        return _on_node(module, ruleset)


def _on_node(module: AnsibleModule, ruleset: Ruleset) -> Dict[str, object]:
    """Read, plan, and load or confirm."""
    params = module.params
    state, name = params["state"], ruleset.name

    def command(argv: List[str], stdin: str) -> Tuple[int, str, str]:
        # A program that ends before it has read its input must not end the module: what was loaded has to be undone.
        options = {"data": stdin, "binary_data": True} if stdin else {}
        try:
            return module.run_command(argv, handle_exceptions=False, **options)
        except OSError as error:
            return 127, "", error.strerror or str(error)

    backend = detect_backend(command)
    raw = read_states(command, backend)
    have = {family: without_trial(own) for family, own in raw.items()}
    means, seconds = Means.of_node(), check_timeout(params["confirm_timeout"])
    notes = [] if IPV6 in families_in_kernel() else ["the kernel has no IPv6; only the IPv4 half is loaded"]
    if backend.name is None:
        notes.append("iptables is not installed; the node counts as empty")
    if find_program("ipset") is None:
        notes.append("ipset is not installed; every address of a list is a rule of its own")
    if state == "gathered":
        return _result(backend, have, have, notes, False)
    if state == "absent":
        want = {family: without_ruleset(own, name) for family, own in have.items()}
    else:
        check_interfaces(ruleset)
        want = _wanted(have, ruleset)
    if params["phase"] == "confirm":
        confirm(command, backend, means, raw, have, want)
        return {"changed": True, "confirmed": True}
    cut = check_lockout(ruleset, command) if state == "present" else ""
    if cut and not params["allow_lockout"]:
        raise NodeError(cut)
    changed = any(restore_text(have[family], want[family]) for family in want)
    result = _result(backend, have, want, notes, changed)
    if not changed or module.check_mode:
        return result
    if backend.name is None:
        raise NodeError("iptables is not installed; install the iptables package, or use the role, which does")
    if any(has_trial(own) for own in raw.values()):
        left = seconds_left(command, means)
        if left:
            raise NodeError(f"other rules are on trial on this node for {left} more seconds; try again after that")
    if not seconds:
        apply_states(command, backend, raw, want)
        return result
    how = begin(command, backend, means, raw, have, want, seconds)
    return {**result, "trial": {"seconds": seconds, "undone": how, "cut": cut}}


def _wanted(have: Mapping[str, OwnState], ruleset: Ruleset) -> Dict[str, OwnState]:
    return {family: with_ruleset(own, ruleset, family) for family, own in have.items()}


def _result(
    backend: Backend, have: Mapping[str, OwnState], want: Mapping[str, OwnState], notes: List[str], changed: bool
) -> Dict[str, object]:
    before = {family: own.lines() for family, own in have.items()}
    after = {family: own.lines() for family, own in want.items()} if changed or have is not want else before
    commands = {
        family: text for family, text in ((family, restore_text(have[family], want[family])) for family in want) if text
    }
    diff = [
        {
            "before_header": f"{family} rules of iks.hardening",
            "after_header": f"{family} rules of iks.hardening",
            "before": "".join(f"{line}\n" for line in before[family]),
            "after": "".join(f"{line}\n" for line in after[family]),
        }
        for family in (want if changed else ())
    ]
    return {
        "changed": changed,
        "before": before,
        "after": after,
        "commands": commands,
        "backend": backend.name,
        "notes": notes,
        "diff": diff,
    }


if __name__ == "__main__":
    main()
