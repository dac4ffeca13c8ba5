# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles of Calico against a datastore: what they write, twice, what they take away, and what they refuse."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.calico.fixtures import (  # noqa: F401  (fixtures are found by their names)
    Calico,
    calico_v1,
    calico_v1_datastore,
    calico_v3,
    calico_v3_datastore,
)
from tests.calico_cluster import MASTER, WORKER

from .playbooks import Run, play, run_playbook

POLICIES = {"allow-all-outbound", "allow-icmp", "allow-icmpv6", "allow-kubelet-port", "allow-node-port-dnat",
            "allow-sys-mgmt", "allow-vrrp"}  # fmt: skip
WRITE = "iks.hardening.calico_policies : Calico's policies of the cluster"
ENDPOINTS = "iks.hardening.calico_host_endpoints : Calico's host endpoints of the cluster"


@pytest.fixture(name="calico", params=["v1", "v3"])
def _calico(request: pytest.FixtureRequest) -> Calico:
    calico: Calico = request.getfixturevalue(f"calico_{request.param}")
    api = "v1" if calico.api == "v1" else "projectcalico.org/v3"
    kind = "node" if calico.api == "v1" else "Node"
    nodes = [
        {"apiVersion": api, "kind": kind, "metadata": {"name": name}} for name in ("worker1", "worker2", "master1")
    ]
    calico.run("apply", "-f", "-", stdin=json.dumps(nodes))
    return calico


def inventory(*workers: str) -> dict[str, Any]:
    second = json.loads(json.dumps(WORKER).replace(".11/", ".12/").replace("::11/", "::12/"))
    facts = {"worker1": {"iks_node": WORKER}, "worker2": {"iks_node": second}}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    return {
        "all": {
            "hosts": {"controller": local},
            "children": {
                "iks_workers": {"hosts": {name: facts[name] for name in workers}},
                "iks_masters": {"hosts": {"master1": {"iks_node": MASTER}}},
            },
        }
    }


def run(
    calico: Calico, *, workers: tuple[str, ...] = ("worker1", "worker2"), check: bool = False, **variables: Any
) -> Run:
    own: Mapping[str, Any] = {"iks_calicoctl_path": str(calico.tool), "iks_calicoctl_config_path": str(calico.config)}
    roles = [{"role": f"iks.hardening.{name}"} for name in ("calico_policies", "calico_host_endpoints")]
    return run_playbook(
        None,  # type: ignore[arg-type]  # no node of the lab takes part
        [play("controller", [], roles=roles)],
        {**own, **variables},
        check=check,
        inventory=inventory(*workers),
    )


def names(calico: Calico, kind: str) -> set[str]:
    spelled = {"policies": ("policy", "globalnetworkpolicy"), "endpoints": ("hostendpoint", "hostendpoint")}[kind]
    found = json.loads(calico.run("get", spelled[calico.api == "v3"], "-o", "json").stdout)
    items = found if isinstance(found, list) else found["items"]
    return {item["metadata"]["name"] for item in items}


def test_twice_and_back(calico: Calico) -> None:
    planned = run(calico, check=True).succeeded()
    assert (names(calico, "policies"), names(calico, "endpoints")) == (set(), set())
    assert planned.one(WRITE).changed

    first = run(calico).succeeded()
    assert (first.one(WRITE).changed, first.one(ENDPOINTS).changed) == (True, True)
    assert names(calico, "policies") == POLICIES
    assert names(calico, "endpoints") == {"worker1-worker-public", "worker2-worker-public"}

    assert run(calico).succeeded().changed == {}

    fewer = run(calico, workers=("worker1",), iks_calico_policies=["allow-all-outbound", "allow-icmp"])
    fewer.succeeded()
    assert names(calico, "policies") == {"allow-all-outbound", "allow-icmp", "allow-icmpv6"}
    assert names(calico, "endpoints") == {"worker1-worker-public"}


def test_isolated_with_services(calico: Calico) -> None:
    variables = {
        "iks_regions": ["us-south"],
        "iks_management_networks": ["10.171.0.1"],
        "iks_calico_private": "isolated",
        "iks_calico_public": "isolated",
        "iks_calico_masters": True,
        "iks_calico_close_node_ports": True,
        "iks_load_balancers": [{"address": "203.0.113.40", "port": 443, "protocol": "tcp"}],
        "iks_calico_allow_lists": [{"name": "partners", "sources": ["198.51.100.0/24"], "ports": [30080]}],
        "iks_calico_edge_only": True,
        "iks_calico_edge_nodes": ["worker1"],
    }
    run(calico, **variables).succeeded()
    assert {"deny-all-private-default", "deny-all-outbound-public", "deny-kube-node-port-services"} < names(
        calico, "policies"
    )
    assert names(calico, "endpoints") == {
        "worker1-worker-public", "worker1-worker-private", "worker2-worker-public", "worker2-worker-private",
        "master1-master-public",
    }  # fmt: skip
    assert run(calico, **variables).succeeded().changed == {}


def test_private_endpoints_come_and_go_in_two_runs(calico: Calico) -> None:
    run(calico, iks_calico_private="open").succeeded()
    refused = run(calico)
    assert refused.status != 0, refused.output
    assert "worker-private" in refused.failures[0].message
    assert "allow-all-private-default" in names(calico, "policies")
    run(calico, iks_calico_private="open", iks_calico_private_endpoints=False).succeeded()
    run(calico).succeeded()
    assert names(calico, "policies") == POLICIES


def test_pods_outside_of_the_networks_stop_the_run(calico: Calico) -> None:
    pool = (
        {"apiVersion": "v1", "kind": "ipPool", "metadata": {"cidr": "192.168.0.0/16"}}
        if calico.api == "v1"
        else {
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": {"name": "default-ipv4-ippool"},
            "spec": {"cidr": "192.168.0.0/16"},
        }
    )
    calico.run("apply", "-f", "-", stdin=json.dumps(pool))
    refused = run(calico)
    assert refused.status != 0
    assert "iks_pod_networks: 172.30.0.0/16 does not hold 192.168.0.0/16" in refused.failures[0].message
    assert names(calico, "endpoints") == set()


@pytest.mark.parametrize("calico", ["v3"], indirect=True)
def test_the_effect_is_awaited_and_told(calico: Calico) -> None:
    """Nothing enforces anything here: what is open stays so, and what is closed was so before."""
    closed = {"from": "controller", "endpoints": ["tcp/127.0.0.1:1"]}
    run(calico, iks_policy_prove=[closed], iks_policy_wait=5).succeeded()
    lasting = {"from": "controller", "endpoints": [calico.etcd.url.replace("https://", "tcp/")]}  # type: ignore[union-attr]
    refused = run(calico, iks_policy_prove=[lasting], iks_policy_wait=5)
    assert refused.status != 0
    text = refused.failures[-1].message
    assert "5 s later they are not enforced, as seen from controller" in text
    assert "is open" in text or ": open" in text


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_B42_an_unknown_region(calico: Calico, check: bool) -> None:
    before = calico.keys()
    refused = run(calico, check=check, iks_regions=["us-suoth"], iks_calico_private="isolated")
    assert refused.status != 0
    text = refused.failures[0].message
    assert "us-suoth" in text
    assert "us-south" in text
    assert calico.keys() == before
