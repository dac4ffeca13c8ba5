# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict reads rules as the kernel does."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.firewall_guard import locked_out
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules
from ansible_collections.iks.hardening.plugins.module_utils.verdict import Packet, decide

RULES = read_rules("""
accept in tcp from 10.0.0.0/8 to any port 22 on eth0 name ssh # x
drop in tcp from 10.9.0.0/16 on eth+ name nine # x
accept in udp source-port 67 port 68 family ipv4 name dhcp # x
accept in icmp type 8 name ping # x
accept in any state dnat name dnat # x
reject in any on eth0 name rest # x
""")


def packet(**more: Any) -> Packet:
    fields = {
        "direction": "in",
        "protocol": "tcp",
        "source": "10.1.1.1",
        "destination": "192.0.2.1",
        "interface": "eth0",
        "port": 22,
        **more,
    }
    for key in ("source", "destination"):
        fields[key] = ipaddress.ip_address(fields[key])
    return Packet(**fields)


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({}, "ssh"),
        ({"port": 23}, "rest"),
        ({"source": "11.0.0.1"}, "rest"),
        ({"source": "10.9.0.1", "port": 80}, "nine"),
        ({"source": "10.9.0.1", "port": 80, "interface": "eth7"}, "nine"),
        ({"interface": "eth1"}, None),
        ({"protocol": "udp", "port": 68, "source_port": 67}, "dhcp"),
        ({"protocol": "udp", "port": 68, "source_port": 68}, "rest"),
        ({"protocol": "udp", "port": 68, "source_port": 67, "source": "fd00::1", "destination": "fd00::2"}, "rest"),
        ({"protocol": "icmp", "port": None, "icmp_type": 8}, "ping"),
        ({"protocol": "icmp", "port": None, "icmp_type": 0}, "rest"),
        ({"port": 8080, "states": ("new", "dnat")}, "dnat"),
        ({"direction": "out"}, None),
    ],
)
def test_decide(more: dict[str, Any], rule: str | None) -> None:
    verdict = decide(RULES, packet(**more))
    assert (verdict.rule.name if verdict.rule else None) == rule
    assert verdict.action == (verdict.rule.action if verdict.rule else "return")


def test_lockout_is_told_with_the_rule_and_the_remedy() -> None:
    peer = {"source": "203.0.113.5", "source_port": 50000, "destination": "203.0.113.11", "port": 22}
    links = {"lo": [], "eth0": ["203.0.113.11/24"], "eth1": ["10.0.0.11/24"]}
    closed = Ruleset("node", 900, (), default_rules([{"direction": "in", "interface": "eth0"}]))
    found = locked_out(closed, peer, links)
    assert "rule default-in-eth0 would drop new SSH connections from 203.0.113.5 on eth0 port 22" in found
    assert "iks_management_networks: [203.0.113.5/32]" in found
    opened = Ruleset(
        "node", 900, tuple(read_rules("accept in tcp from 203.0.113.5 port 22 name ssh # x")), closed.defaults
    )
    assert locked_out(opened, peer, links) == ""
    assert locked_out(closed, {**peer, "destination": "10.0.0.11"}, links) == ""


def test_lockout_by_the_way_back() -> None:
    """A session older than connection tracking hung for minutes: its answers were new packets to a closed OUTPUT."""
    peer = {"source": "203.0.113.5", "source_port": 50000, "destination": "203.0.113.11", "port": 22}
    links = {"eth0": ["203.0.113.11/24"]}
    defaults = default_rules([{"direction": way, "interface": "eth0"} for way in ("in", "out")])
    inwards = "accept in tcp from 203.0.113.5 port 22 name ssh # x"
    found = locked_out(Ruleset("node", 900, tuple(read_rules(inwards)), defaults), peer, links)
    assert "rule default-out-eth0 would drop the answers of SSH to 203.0.113.5" in found
    both = f"{inwards}\naccept out tcp to 203.0.113.5 source-port 22 name answers # x"
    assert locked_out(Ruleset("node", 900, tuple(read_rules(both)), defaults), peer, links) == ""
