#!/usr/bin/python
# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what the firewall has to know of a node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall_info
short_description: What a node's firewall has to know of the node
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Reads interfaces and default routes, name servers and time servers in use, the iptables backend that holds rules,
    kube-proxy's mode, our rulesets, and where the present SSH session comes from. Changes nothing and creates nothing.
extends_documentation_fragment:
  - iks.hardening.attributes.reading
"""

EXAMPLES = r"""
- name: Look at the node
  iks.hardening.firewall_info:
  register: node
"""

RETURN = r"""
backend:
  description: V(nft) or V(legacy); null when iptables is not installed or the rules are mixed.
  returned: always
  type: str
backend_finding:
  description: Why this backend, or what is wrong.
  returned: always
  type: str
boot:
  description:
    - What was loaded at this boot (C(loaded) - a generation's number, V(emergency), V(nothing), or null when our unit
      did not run) and which saved generations were damaged (C(damaged)).
    - C(unit) tells whether the unit is there and enabled, C(generations) which are saved and C(intact) which of them
      are intact.
  returned: always
  type: dict
held:
  description: Sources that the intrusion guard holds - C(address), C(seconds_left), C(reason).
  returned: always
  type: list
  elements: dict
holders:
  description:
    - Who holds rules in which backend, and where (C(nft), C(legacy)); owners of native nftables tables (C(native)).
  returned: always
  type: dict
installed:
  description: Which of iptables, ipset and nft are installed.
  returned: always
  type: dict
interfaces:
  description: Interfaces with their global addresses in CIDR form.
  returned: always
  type: dict
conntrack:
  description:
    - How many entries the connection tracking table holds (C(entries)), may hold (C(maximum)), and how many packets
      were dropped for it since the boot (C(dropped)); null when the kernel tracks no connections yet.
  returned: always
  type: dict
default_interfaces:
  description: Interfaces of the default routes, the preferred one first.
  returned: always
  type: list
  elements: str
cards:
  description: Interfaces that are network cards, not made by container software.
  returned: always
  type: list
  elements: str
ipv6:
  description: Whether the kernel has IPv6.
  returned: always
  type: bool
kube_proxy:
  description: V(iptables), V(nftables), V(ipvs) or V(none).
  returned: always
  type: str
notes:
  description: What a reader should know, for instance that the connection tracking table is full.
  returned: always
  type: list
  elements: str
os:
  description: ID, VERSION_ID and ID_LIKE of the operating system.
  returned: always
  type: dict
resolvers:
  description: Addresses of the name servers that the node asks.
  returned: always
  type: list
  elements: str
rulesets:
  description: Names of our rulesets on the node.
  returned: always
  type: list
  elements: str
ssh_peer:
  description: Source, destination and ports of the present SSH session, or null.
  returned: always
  type: dict
time_servers:
  description: Addresses of the time servers.
  returned: always
  type: list
  elements: str
time_server_names:
  description: Time servers that are configured by a name for which the node knows no address.
  returned: always
  type: list
  elements: str
"""

import os
from dataclasses import asdict
from importlib.util import find_spec
from typing import Dict, List, Tuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils import firewall_boot, firewall_holders, node_facts
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_saved import generations
from ansible_collections.iks.hardening.plugins.module_utils.firewall_shell import (
    Backend,
    families_in_kernel,
    find_program,
    nat_chains,
    read_states,
)
from ansible_collections.iks.hardening.plugins.module_utils.intrusion import HELD, read_held
from ansible_collections.iks.hardening.plugins.module_utils.traffic import IPV6


def main() -> None:
    """Read, and exit once."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    if os.geteuid() != 0:
        module.fail_json(
            msg="reading the node's firewall needs root: run the task with become: true. Nothing was changed"
        )
    module.exit_json(changed=False, **run(module))


def run(module: AnsibleModule) -> Dict[str, object]:
    """Everything that RETURN lists."""

    def command(argv: List[str], stdin: str) -> Tuple[int, str, str]:
        if find_program(argv[0]) is None and not argv[0].startswith("/"):
            return 127, "", f"{argv[0]} is not installed"
        return module.run_command(argv)

    finding, rulesets, backend = "", [], Backend(None, "")
    holders = firewall_holders.look(command, thoroughly=True)
    try:
        backend = firewall_holders.choose_backend(holders, firewall_holders.default_backend(command))
        finding = backend.reason
        rulesets = sorted({name for own in read_states(command, backend).values() for name in own.rulesets()})
    except HardeningError as error:
        finding = str(error)
    links = node_facts.interfaces(command)
    nft = find_program("nft")
    tables = command([nft, "list", "tables"], "")[1] if nft else ""
    servers, names = node_facts.time_servers(command)
    tracked = node_facts.conntrack(*map(node_facts.read_text, node_facts.CONNTRACK_FILES))
    return {
        "backend": backend.name,
        "backend_finding": finding,
        "boot": firewall_boot.boot_state(generations()),
        "held": [item for name in HELD.values() for item in read_held(command(["ipset", "save", name], "")[1])],
        "holders": {**holders.rules, "native": list(holders.native)},
        "installed": {
            **{name: find_program(name) is not None for name in ("iptables", "ipset", "nft")},
            "python_apt": find_spec("apt_pkg") is not None,
        },
        "conntrack": asdict(tracked) if tracked else None,
        "interfaces": links,
        "default_interfaces": node_facts.default_interfaces(
            node_facts.read_text("/proc/net/route"), node_facts.read_text("/proc/net/ipv6_route")
        ),
        "cards": [name for name in links if not node_facts.is_virtual(name)],
        "ipv6": IPV6 in families_in_kernel(),
        "kube_proxy": node_facts.kube_proxy_mode(nat_chains(command, backend), tables, links),
        "notes": [note for note in [node_facts.conntrack_note(tracked)] if note],
        "os": node_facts.os_release(node_facts.read_text("/etc/os-release")),
        "resolvers": node_facts.resolvers(),
        "rulesets": rulesets,
        "ssh_peer": node_facts.ssh_peer(dict(os.environ), os.getppid()),
        "time_servers": servers,
        "time_server_names": names,
    }


if __name__ == "__main__":
    main()
