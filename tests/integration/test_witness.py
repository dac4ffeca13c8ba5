# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways in that are not a plain SSH connection: a witness for local connections, jump hosts, a user who becomes root."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import Lab

from .node_state import node_state
from .playbooks import play, run_playbook, task

NODE = "worker2"
DEFAULTS = [{"direction": "in", "interface": "eth0"}]
OPEN = "accept in tcp port 22 on eth0 name ssh # the way in"
CUT = "accept in tcp port 80 on eth0 name web # x"


@pytest.fixture
def node(lab: Lab) -> Iterator[Lab]:
    lab.reset(NODE)
    lab.run(NODE, ["sh", "-c", "apt-get -q update && apt-get -q -y install iptables ipset >/dev/null"])
    yield lab
    lab.reset(NODE)


def inside(lab: Lab) -> dict[str, Any]:
    """An inventory in which the node is reached as a container is: by commands that cross no network."""
    known = json.loads(lab.inventory_file.read_text(encoding="utf-8"))["all"]
    hosts = {name: dict(own) for group in known["children"].values() for name, own in group.get("hosts", {}).items()}
    hosts[NODE]["ansible_host"] = lab.topology.node(NODE).ssh_address
    return {"all": {"vars": known["vars"], "hosts": hosts}}


def confirmed_by(lab: Lab, rules: str, witness: str, **more: Any) -> Any:
    """node_firewall on the node over SSH, but judged by a witness as for a connection that proves nothing."""
    given = {"rules": rules, "defaults": DEFAULTS, "confirm_timeout": 8, "confirm_from": witness, **more}
    return run_playbook(
        lab, [play(NODE, [task("it", "node_firewall", given, ignore_errors=True)])], inventory=inside(lab)
    ).one("it")


def test_a_witness_confirms_that_the_node_is_reached(node: Lab) -> None:
    done = confirmed_by(node, OPEN, "worker1", confirm_address=node.topology.node(NODE).address("priv"))
    assert not done.failed, done.message
    assert (done.changed, done.data["confirmed"]) == (True, True)


def test_a_witness_that_does_not_reach_the_node_lets_the_rules_go(node: Lab) -> None:
    before = node_state(node, NODE)
    address = node.topology.node(NODE).address("priv")
    done = confirmed_by(node, CUT, "worker1", confirm_address=address, allow_lockout=True)
    assert done.failed
    assert f"worker1 (confirm_from) did not reach {address} port 22" in done.message
    assert "The former rules were put back by the kernel" in done.message
    assert node_state(node, NODE) == before


def test_an_unknown_witness_is_refused(node: Lab) -> None:
    before = node_state(node, NODE)
    done = confirmed_by(node, OPEN, "worker11")
    assert done.failed
    assert "confirm_from: inventory host: 'worker11' is not one of" in done.message
    assert "did you mean worker1?" in done.message
    assert "Nothing was changed" in done.message
    assert node_state(node, NODE) == before
