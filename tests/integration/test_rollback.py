# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iks.hardening.rollback: a former generation is back, or nothing of ours is left and everything of others' is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import Lab

from .node_state import node_state
from .playbooks import HARDEN, Run, run_module, run_playbook

ROLLBACK = "iks.hardening.rollback"
NODES = ["master", "worker1", "worker2", "gateway"]
OURS = [
    "/var/lib/iks-hardening",
    "/etc/iks-hardening",
    "/run/iks-hardening",
    "/run/iks-firewall.lock",
    "/etc/systemd/system/iks-firewall.service",
    "/etc/systemd/system/sysinit.target.wants/iks-firewall.service",
]
OTHERS = "*filter\n:KUBE-LATER - [0:0]\n-A KUBE-LATER -s 192.0.2.9/32 -j DROP\nCOMMIT\n"


def rollback(lab: Lab, to: str, **more: Any) -> Run:
    return run_playbook(lab, ROLLBACK, {"iks_rollback_to": to}, **more)


def state(lab: Lab, node: str) -> list[str]:
    return [line for line in node_state(lab, node) if not line.startswith("== packages")]


@pytest.fixture
def hardened(lab: Lab) -> Iterator[tuple[Lab, dict[str, list[str]]]]:
    """The cluster, hardened, and what its nodes held before."""
    lab.reset()
    for node in NODES:
        lab.run(node, ["sh", "-c", "apt-get -q update && apt-get -q -y install iptables ipset >/dev/null"])
    untouched = {node: state(lab, node) for node in NODES}
    variables = {"iks_regions": ["us-south"], "iks_egress": "restricted", "iks_intrusion_guard": True}
    variables["iks_management_networks"] = [f"10.171.{lab.lab_id}.0/24"]
    run_playbook(lab, HARDEN, variables).succeeded()
    yield lab, untouched
    lab.reset()


def test_everything_is_removed_but_what_others_wrote(hardened: tuple[Lab, dict[str, list[str]]]) -> None:
    lab, untouched = hardened
    lab.run("worker1", ["iptables-restore", "--noflush"], stdin=OTHERS)
    check = rollback(lab, "removed", check=True, diff=True).succeeded()
    assert sorted(check.changed) == sorted(NODES)
    done = rollback(lab, "removed").succeeded()
    assert done.changed == check.changed
    assert "iptables, ipset stay installed" in done.output
    for node in NODES:
        found = [line for line in state(lab, node) if "KUBE-LATER" not in line]
        assert found == untouched[node], node
        left = lab.run(node, ["sh", "-c", f"ls -d {' '.join(OURS)} 2>/dev/null || true"]).stdout
        assert left == "", node
    assert "-A KUBE-LATER -s 192.0.2.9/32 -j DROP" in "\n".join(state(lab, "worker1"))
    assert rollback(lab, "removed").succeeded().changed == {}
    lab.reboot("worker1")
    assert "IKS" not in "\n".join(state(lab, "worker1"))


def test_the_former_generation_is_back_and_then_the_later_one(hardened: tuple[Lab, dict[str, list[str]]]) -> None:
    lab, _untouched = hardened
    node = "worker2"
    later = state(lab, node)
    former = run_module(lab, node, "firewall_rollback", {"to": "previous"})
    assert (former.changed, former.data["confirmed"], former.data["generation"]) == (True, True, 1), former.message
    held = state(lab, node)
    assert "IKS-INPUT-node" not in "\n".join(held), "the first generation is the region's ruleset alone"
    assert "IKS-OUTPUT-region" in "\n".join(held)
    assert not run_module(lab, node, "firewall_rollback", {"to": "last"}).changed
    back = run_module(lab, node, "firewall_rollback", {"to": "previous"})
    assert back.changed, back.message
    assert state(lab, node) == later
    # Changed by hand: the last confirmed rules are put back.
    tool = "iptables"
    lab.run(node, [tool, "-F", "IKS-INPUT-node"])
    mended = run_module(lab, node, "firewall_rollback", {"to": "last"})
    assert mended.changed
    assert state(lab, node) == later


def test_a_generation_that_is_not_there_is_refused(hardened: tuple[Lab, dict[str, list[str]]]) -> None:
    lab, _untouched = hardened
    for mode in (True, False):
        refused = run_module(lab, "worker2", "firewall_rollback", {"to": "77"}, check=mode)
        assert refused.failed
        assert not refused.changed
        assert "to: '77' is not a saved generation; saved and intact are 2, 1" in refused.message
        assert "Nothing was changed" in refused.message
