# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of one source, the intrusion guard, and long lists of peers, judged by packets of both families."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import Lab

from .node_state import node_state
from .playbooks import HARDEN, Result, run_module, run_playbook

NODE = "worker1"
PORT = 10250
V4, V6 = "203.0.113.11", "2001:db8:113::11"
SOURCES = {V4: "198.51.100.7", V6: "2001:db8:cafe::7"}
FAMILIES = pytest.mark.parametrize("address", [V4, V6], ids=["ipv4", "ipv6"])
DEFAULTS = [{"direction": "in", "interface": "eth0", "log": "iks-drop-in:"}]
# Runs on a node of the lab: opens connections, keeps them, and says how many were answered.
_OPENER = """
import json, selectors, socket, sys
source, address, ports, wait = json.loads(sys.argv[1])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
waiting, answered = selectors.DefaultSelector(), 0
for port in ports:
    attempt = socket.socket(family, socket.SOCK_STREAM)
    attempt.setblocking(False)
    # IP_FREEBIND and IPV6_FREEBIND: the node answers for every address of a route, and has few as its own.
    attempt.setsockopt(*((41, 78) if ":" in address else (0, 15)), 1)
    attempt.bind((source, 0))
    attempt.connect_ex((address, port))
    waiting.register(attempt, selectors.EVENT_WRITE, port)
opened = []
while waiting.get_map():
    ready = waiting.select(wait)
    if not ready:
        break
    for key, _events in ready:
        waiting.unregister(key.fileobj)
        if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            opened.append(key.data)
print(json.dumps(opened))
"""


def opened(lab: Lab, address: str, ports: list[int], source: str | None = None, node: str = "internet") -> list[int]:
    """The ports, of those tried at once from a source, that were answered within a second."""
    given = json.dumps([source or SOURCES[address], address, ports, 1.0])
    return json.loads(lab.run(node, ["python3", "-c", _OPENER, given]).stdout)


def load(lab: Lab, rules: str, **more: Any) -> Result:
    given = {"name": "node", "rules": rules, "defaults": DEFAULTS, "confirm_timeout": 0, **more}
    result = run_module(lab, NODE, "node_firewall", given)
    assert not result.failed, result.message
    again = run_module(lab, NODE, "node_firewall", given)
    assert not again.changed, again.data["saved"]
    return result


@pytest.fixture
def node(lab: Lab) -> Iterator[Lab]:
    lab.reset(NODE)
    lab.run(NODE, ["sh", "-c", "apt-get -q update && apt-get -q -y install iptables ipset >/dev/null"])
    yield lab
    lab.reset(NODE)


@FAMILIES
def test_more_connections_of_one_source_are_dropped(node: Lab, address: str) -> None:
    load(
        node,
        f"drop in tcp port {PORT} connections 5 on eth0 name flood # f\naccept in tcp port {PORT} on eth0 name ok # o",
    )
    assert len(opened(node, address, [PORT] * 20)) == 5


@FAMILIES
def test_connections_faster_than_the_rate_are_dropped(node: Lab, address: str) -> None:
    load(
        node,
        f"drop in tcp port {PORT} state new rate 1/minute burst 4 per source on eth0 name flood # f\n"
        f"accept in tcp port {PORT} on eth0 name ok # o",
    )
    assert len(opened(node, address, [PORT] * 20)) == 4


def test_an_accepting_rule_accepts_up_to_its_rate(node: Lab) -> None:
    load(node, f"accept in tcp port {PORT} state new rate 1/minute burst 6 on eth0 name ok # o")
    assert len(opened(node, V4, [PORT] * 20)) == 6


@FAMILIES
def test_a_scanner_is_held_and_then_reaches_no_port(node: Lab, address: str) -> None:
    never = ["203.0.113.0/24", "169.46.7.238", "2001:db8:113::/48"]
    guard = {"never": never, "rate": "10/minute", "burst": 10, "hold": 120}
    load(node, f"accept in tcp port {PORT} on eth0 name kubelet # k", guard=guard)
    assert opened(node, address, [PORT]) == [PORT]
    assert opened(node, address, list(range(1000, 1040))) == []
    held = run_module(node, NODE, "firewall_info").data["held"]
    assert [(item["address"], item["reason"]) for item in held] == [(SOURCES[address], "probed closed ports")]
    assert 0 < held[0]["seconds_left"] <= 120
    assert opened(node, address, [PORT]) == [], "a held source reaches no port at all"


def test_addresses_of_the_cluster_and_the_catalogue_are_never_held(lab: Lab) -> None:
    """The whole playbook with the guard: a master of the catalogue, another worker and the management scan."""
    lab.reset(NODE, "worker2")
    variables = {"iks_regions": ["us-south"], "iks_intrusion_guard": True, "iks_provider": "ibm"}
    variables["iks_management_networks"] = [f"10.171.{lab.lab_id}.0/24", "198.51.100.128/25"]
    run_playbook(lab, HARDEN, variables, options=["--limit", "localhost:worker1:worker2:master:gateway"]).succeeded()
    closed = list(range(1000, 1060))
    catalogue, management = "169.46.7.238", "198.51.100.200"
    assert opened(lab, V4, closed, catalogue) == []
    assert opened(lab, V4, closed, management) == []
    assert opened(lab, V4, closed, lab.topology.node("master").address("pub") or "", "master") == []
    assert run_module(lab, NODE, "firewall_info").data["held"] == []
    assert opened(lab, V4, closed) == []
    assert [item["address"] for item in run_module(lab, NODE, "firewall_info").data["held"]] == [SOURCES[V4]]
    assert opened(lab, V4, [PORT], catalogue) == [PORT]
    lab.reset(NODE, "worker2", "master", "gateway")


def test_long_lists_of_peers_are_sets_named_by_their_content(node: Lab) -> None:
    def rules(third: int) -> str:
        four = ",".join(f"198.{second}.{third}.0/24" for second in range(30, 60))
        six = ",".join(f"2001:db8:cafe:{second}::/64" for second in range(30, 60))
        return f"accept in tcp from 198.51.100.0/24,{four},2001:db8:cafe::/64,{six} port {PORT} on eth0 name peers # p"

    first = load(node, rules(1))
    sets = [line for line in node_state(node, NODE) if "create iks" in line]
    assert len(sets) == 2
    assert all("maxelem 31" in line for line in sets)
    assert "set iks4-" in "\n".join(first.data["after"]["ipv4"])
    assert [len(opened(node, address, [PORT])) for address in SOURCES] == [1, 1]
    assert opened(node, V4, [PORT], "198.51.101.7") == []
    load(node, rules(2))
    after = [line for line in node_state(node, NODE) if "create iks" in line]
    assert len(after) == 2, "the former sets are gone"
    assert after != sets
    # A member taken out by hand is drift, found and mended.
    name = after[0].split()[3]
    member = next(line.split()[-1] for line in node_state(node, NODE) if f"add {name}" in line)
    node.run(NODE, ["ipset", "del", name, member])
    given = {"name": "node", "rules": rules(2), "defaults": DEFAULTS, "confirm_timeout": 0}
    check = run_module(node, NODE, "node_firewall", given, check=True, diff=True)
    assert check.changed
    assert f"set {name} is filled" in check.data["saved"]
    mended = run_module(node, NODE, "node_firewall", given)
    assert mended.changed
    assert any(f"add {name} {member}" in line for line in node_state(node, NODE))
    absent = run_module(node, NODE, "node_firewall", {"name": "node", "state": "absent", "confirm_timeout": 0})
    assert absent.changed
    assert not [line for line in node_state(node, NODE) if "create iks" in line]
