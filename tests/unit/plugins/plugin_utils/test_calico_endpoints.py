# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host endpoints of nodes: which interfaces, which names, what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.plugin_utils.calico_endpoints import check_pod_networks, node_name, pools
from tests.calico_cluster import HOSTVARS, SINGLE, WORKER, cluster, named

OPEN = {"calico_private": "open"}


def endpoints(hostvars: dict[str, Any] | None = None, **options: Any) -> dict[str, dict[str, Any]]:
    hosts = HOSTVARS if hostvars is None else {**hostvars, "master1": HOSTVARS["master1"]}
    workers = [name for name in hosts if name != "master1"]
    return named(cluster(hosts, workers, **options).host_endpoints())


def of(**variables: Any) -> dict[str, Any]:
    return {"worker1": {"iks_node": WORKER, **variables}}


def test_every_worker_has_a_public_endpoint_and_no_private_one():
    assert endpoints() == {
        "worker1-worker-public": {
            "apiVersion": "projectcalico.org/v3",
            "kind": "HostEndpoint",
            "metadata": {"name": "worker1-worker-public", "labels": {"ibm.role": "worker_public"}},
            "spec": {"node": "worker1", "interfaceName": "eth1", "expectedIPs": ["203.0.113.11", "2001:db8::11"]},
        }
    }


@pytest.mark.parametrize("private", ["open", "isolated"])
def test_private_endpoints_go_with_what_opens_them(private):
    made = endpoints(calico_private=private)
    assert list(made) == ["worker1-worker-public", "worker1-worker-private"]
    assert made["worker1-worker-private"]["metadata"]["labels"] == {"ibm.role": "worker_private"}
    assert made["worker1-worker-private"]["spec"] == {
        "node": "worker1",
        "interfaceName": "eth0",
        "expectedIPs": ["10.0.0.11"],
    }


def test_private_endpoints_can_be_taken_away_before_their_policies():
    assert list(endpoints(calico_private="open", calico_private_endpoints=False)) == ["worker1-worker-public"]


def test_masters_on_request():
    made = endpoints(calico_masters=True)
    assert made["master1-master-public"]["metadata"]["labels"] == {"ibm.role": "master_public"}
    assert made["master1-master-public"]["spec"]["expectedIPs"] == ["203.0.113.10"]


def test_a_single_interface_is_public():
    made = endpoints({"worker1": {"iks_node": SINGLE}}, **OPEN)
    assert list(made) == ["worker1-worker-public"]
    assert made["worker1-worker-public"]["spec"]["expectedIPs"] == ["10.0.0.12"]


def test_variables_win_over_routes():
    made = endpoints(of(iks_public_interface="eth0", iks_private_interface="eth1"), **OPEN)
    assert made["worker1-worker-public"]["spec"]["interfaceName"] == "eth0"
    assert made["worker1-worker-private"]["spec"]["interfaceName"] == "eth1"


def test_edge_nodes_carry_their_label():
    made = endpoints(calico_edge_nodes=["worker1"])
    assert made["worker1-worker-public"]["metadata"]["labels"] == {"ibm.role": "worker_public", "dedicated": "edge"}


def test_a_name_with_a_dot_is_left_to_the_addresses():
    node = {**WORKER, "interfaces": {**WORKER["interfaces"], "bond0.100": ["198.51.100.11/24"]}}
    made = endpoints({"worker1": {"iks_node": node, "iks_public_interface": "bond0.100"}})
    assert made["worker1-worker-public"]["spec"] == {"node": "worker1", "expectedIPs": ["198.51.100.11"]}


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("kube-dal10-w1.cloud.ibm", "kube-dal10-w1.cloud.ibm-worker-public"),
        ("Kube_W1", "kube-w1-worker-public"),
        ("10.0.0.11", "10.0.0.11-worker-public"),
    ],
)
def test_names_are_dns_names_and_the_node_keeps_its_own(node, name):
    made = endpoints(of(iks_calico_node_name=node))
    assert list(made) == [name]
    assert made[name]["spec"]["node"] == node


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,40}[A-Za-z0-9])?", fullmatch=True))
def test_every_node_name_gives_a_label_of_dns(node):
    name = next(iter(endpoints(of(iks_calico_node_name=node))))
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*[a-z0-9]", name)


def test_a_host_that_was_not_looked_at_is_told_by_the_inventory():
    told = {
        "iks_public_interface": "eth1",
        "iks_public_address": "203.0.113.21",
        "iks_private_interface": "eth0",
        "iks_addresses": ["203.0.113.21", "10.0.0.21"],
    }
    made = endpoints({"worker2": told}, **OPEN)
    assert made["worker2-worker-public"]["spec"]["expectedIPs"] == ["203.0.113.21"]
    assert made["worker2-worker-private"]["spec"]["expectedIPs"] == ["10.0.0.21"]


NO_ROUTE = {**WORKER, "default_interfaces": []}
TWO = {**WORKER, "cards": ["eth0", "eth1", "eth2"], "interfaces": {**WORKER["interfaces"], "eth2": ["10.1.0.1/24"]}}
BARE = {**WORKER, "interfaces": {**WORKER["interfaces"], "eth1": ["fe80::1/64"]}}
OUTSIDE = {**WORKER, "interfaces": {**WORKER["interfaces"], "tunl0": ["192.168.7.0/32"]}}


@pytest.mark.parametrize(
    ("hostvars", "options", "text"),
    [
        pytest.param({"w": {}}, {}, "set iks_addresses for it in the inventory", id="unknown-host"),
        pytest.param(
            {"w": {"iks_addresses": ["10.0.0.3"]}}, {}, "set iks_public_interface and iks_public_address", id="B14-told"
        ),
        pytest.param({"w": {"iks_node": NO_ROUTE}}, {}, "w: the public interface is unknown", id="no-route"),
        pytest.param({"w": {"iks_node": TWO}}, OPEN, "set iks_private_interface for it", id="two-private"),
        pytest.param(of(iks_public_interface="eth9"), {}, "worker1: iks_public_interface: 'eth9'", id="no-such-card"),
        pytest.param({"w": {"iks_node": BARE}}, {}, "interface eth1 has no address", id="link-local-only"),
        pytest.param({"w": {"iks_node": OUTSIDE}}, {}, "iks_pod_networks: 172.30.0.0/16 does not hold 192.168.7.0",
                     id="F-pods-outside"),
        pytest.param(of(iks_calico_node_name="a b"), {}, "worker1: 'a b' is no node's name", id="node-name"),
        pytest.param(
            {**of(iks_calico_node_name="w_1"), "w2": {"iks_node": WORKER, "iks_calico_node_name": "w-1"}},
            {}, "w2: its host endpoint w-1-worker-public would be that of node w_1 too", id="same-name",
        ),
        pytest.param(of(), {"calico_edge_nodes": ["worker"]}, "did you mean worker1?", id="edge-unknown"),
        pytest.param(of(), {"calico_private_endpoints": True}, "would cut every worker off", id="F29-uncovered"),
    ],
)  # fmt: skip
def test_refused(hostvars, options, text):
    with pytest.raises(HardeningError) as caught:
        endpoints(hostvars, **options)
    assert text in str(caught.value)


POOLS = [
    {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": "p"},
        "spec": {"cidr": "10.244.0.0/16"},
    },
    {"apiVersion": "v1", "kind": "ipPool", "metadata": {"cidr": "10.245.0.0/16"}, "spec": {}},
    {"kind": "Node", "metadata": {"name": "n"}, "spec": {"podCIDR": "10.246.0.0/24"}},
    "10.248.0.0/16",
    {"kind": "Node", "metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.247.0.0/24", "fd00::/64"]}},
]


def test_pools_of_every_kind_are_read():
    assert [net for net, _where in pools(POOLS)] == [
        "10.244.0.0/16", "10.245.0.0/16", "10.246.0.0/24", "10.248.0.0/16", "10.247.0.0/24", "fd00::/64",
    ]  # fmt: skip


@pytest.mark.parametrize("document", POOLS, ids=["v3", "v1", "node", "text", "node-dual"])
def test_pods_outside_stop_the_run(document):
    with pytest.raises(HardeningError) as caught:
        check_pod_networks(["172.30.0.0/16"], pools([document]))
    assert "iks_pod_networks: 172.30.0.0/16 does not hold 10.24" in str(caught.value)
    check_pod_networks(["10.240.0.0/12", "fd00::/56"], pools([document]))


def test_a_name_is_the_inventory_s_where_nothing_else_is_said():
    assert node_name("worker1", {}) == "worker1"
