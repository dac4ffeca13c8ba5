# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of plays that try node_firewall: module tasks, and dumps of the node's packet filter between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.lab.lab import Lab

from .node_state import SCRIPT, parse
from .playbooks import Result, Run, play, run_playbook, task

# Both families, lists of addresses and ports, ICMP, states, an apostrophe: what the backends print in different ways.
RULES = """
accept in tcp from 10.0.0.0/8,192.0.2.0/24,2001:db8::/32 port 22,10250,30000-32767 on eth0 name ports # SSH and others
accept in icmp type 8 on eth0 name ping # pings
accept in icmpv6 type 128 on eth0 name ping6 # pings, said for IPv6
accept in vrrp to 224.0.0.18 on eth0 name vrrp # the provider's routers
accept in any state dnat on eth0 name services # what kube-proxy translated
drop in udp from 192.0.2.1 source-port 53 on eth0 name echo # no answers from there
reject out tcp port 25 on eth0 name smtp # no mail
"""
DEFAULTS = [{"direction": "in", "interface": "eth0"}]
RULESET = {"rules": RULES, "defaults": DEFAULTS}


def dump(name: str) -> dict[str, Any]:
    return task(name, "ansible.builtin.shell", {"cmd": SCRIPT}, changed_when=False)


def shell(name: str, command: str) -> dict[str, Any]:
    return task(name, "ansible.builtin.shell", {"cmd": command})


def firewall(name: str, arguments: Mapping[str, Any], **keywords: Any) -> dict[str, Any]:
    return task(name, "node_firewall", arguments, **keywords)


def checked(name: str, arguments: Mapping[str, Any], **keywords: Any) -> dict[str, Any]:
    return firewall(name, arguments, check_mode=True, diff=True, **keywords)


def carry_out(lab: Lab, node: str, *tasks: dict[str, Any]) -> Run:
    return run_playbook(lab, [play(node, tasks)])


def dumped(run: Run, name: str) -> list[str]:
    return parse(run.one(name).data["stdout"])


def foretold(before: Result, done: Result) -> None:
    """Check mode said exactly what the real run did."""
    assert before.changed == done.changed
    for key in ("before", "after", "commands", "backend", "notes"):
        assert before.data[key] == done.data[key], key
