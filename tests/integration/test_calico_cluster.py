# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""harden_cluster with Calico on the lab's cluster: what it writes is what packets meet, beside the nodes' own rules.

calicoctl and Felix are stand-ins (tests/calico, tests/felix); etcd, iptables and the packets are real.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.calico import lab as calico
from tests.lab import Lab, Probe, run_probes
from tests.lab.topology import topology
from tests.proof.expectations import claims, variables
from tests.proof.table import prove, table, wait_for_paths

from .playbooks import HARDEN, Run, run_playbook

SEED = 20170929
ROLE = "iks.hardening.calico_policies"
WRITE = f"{ROLE} : Calico's policies of the cluster"
NODE_PORT = Probe("tcp", "203.0.113.11", 30080)


def harden(lab: Lab, *, check: bool = False, **changed: Any) -> Run:
    cluster = topology(lab.lab_id)
    chosen = {**variables(cluster, calico=True), **calico.variables(cluster), **changed}
    return run_playbook(lab, HARDEN, chosen, check=check, diff=True)


def held(lab: Lab) -> dict[str, Any]:
    """What etcd holds of policies and host endpoints, asked past the collection."""
    found = {}
    for kind in ("globalnetworkpolicy", "hostendpoint"):
        argv = [calico.PROGRAM, "get", kind, "-o", "json", "--config=/srv/calico/provision.cfg"]
        for item in json.loads(lab.run("master", argv).stdout)["items"]:
            found[f"{kind}/{item['metadata']['name']}"] = item["spec"]
    return found


@pytest.fixture(scope="module")
def hardened(lab: Lab) -> Lab:
    """Fresh nodes with a datastore; check mode, a run, and a second one."""
    lab.reset()
    calico.provision(lab)
    wait_for_paths(lab)
    checked = harden(lab, check=True).succeeded()
    assert held(lab) == {}
    assert checked.one(WRITE).changed
    first = harden(lab).succeeded()
    assert first.one(WRITE).data["diff"] == checked.one(WRITE).data["diff"]
    assert harden(lab).succeeded().changed == {}
    return lab


def test_packets_meet_the_policies_and_the_nodes_rules(hardened: Lab) -> None:
    wanted = claims(topology(hardened.lab_id), SEED, ports=[20001, 32000], calico=True)
    proofs = prove(hardened, wanted)
    assert all(proof.holds for proof in proofs), "\n" + table([proof for proof in proofs if not proof.holds])


def test_a_policy_that_somebody_deleted_comes_back(hardened: Lab) -> None:
    before = held(hardened)
    argv = [calico.PROGRAM, "delete", "gnp", "deny-kube-node-port-services", "--config=/srv/calico/provision.cfg"]
    hardened.run("master", argv)
    mended = harden(hardened).succeeded()
    assert mended.changed == {"master": [WRITE]}
    assert held(hardened) == before


def test_what_is_not_enforced_is_told_by_its_node(hardened: Lab) -> None:
    """The datastore is right and Felix does nothing: the run says so, and names what is still open."""
    opened = harden(hardened, iks_calico_close_node_ports=False, iks_policy_prove=[]).succeeded()
    assert opened.changed == {"master": [WRITE]}
    _wait(hardened, "open")
    hardened.run("worker1", ["systemctl", "stop", "iks-lab-felix"])
    try:
        failed = harden(hardened, iks_policy_wait=8)
        assert "203.0.113.11:30080: open" in failed.failures[-1].message
        assert "8 s later they are not enforced, as seen from master" in failed.failures[-1].message
    finally:
        hardened.run("worker1", ["systemctl", "start", "iks-lab-felix"])
    assert harden(hardened).succeeded().changed == {}
    _wait(hardened, "filtered")


def test_a_policy_that_locks_the_management_out_is_refused(hardened: Lab) -> None:
    """Without allow-all-outbound and allow-management the cluster would lose flows that it needs."""
    before = held(hardened)
    failed = harden(hardened, iks_calico_policies=["allow-icmp"])
    assert failed.status != 0
    assert "denied" in failed.failures[-1].message
    assert failed.failures[-1].message.endswith("Nothing was changed")
    assert held(hardened) == before


def _wait(lab: Lab, expected: str) -> None:
    """Until Felix, which looks every two seconds, has come that far."""
    for _count in range(20):
        found = run_probes(lab, "internet", [NODE_PORT])[0].result
        if found == expected:
            return
    raise AssertionError(f"node port 30080 is {found}, not {expected}")
