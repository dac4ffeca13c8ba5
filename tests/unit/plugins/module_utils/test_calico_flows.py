# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows of a cluster pass where routes lead them; with the guard they find what a private endpoint would cut."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

from ansible_collections.iks.hardening.plugins.module_utils.calico_compile import compile_policies
from ansible_collections.iks.hardening.plugins.module_utils.calico_flows import ClusterNode, Needs, cluster_flows
from ansible_collections.iks.hardening.plugins.module_utils.calico_guard import broken_flows, refusal


def address(text: str) -> Any:
    return ipaddress.ip_address(text)


def node(name: str, number: int, master: bool = False) -> ClusterNode:
    links = {
        "eth0": (ipaddress.ip_interface(f"10.0.0.{number}/24"),),
        "eth1": (ipaddress.ip_interface(f"203.0.113.{number}/24"),),
    }
    return ClusterNode(name, address(f"10.0.0.{number}"), links, "eth1", master)


NODES = (node("master", 10, master=True), node("w1", 11), node("w2", 12))
NEEDS = Needs(
    management=(ipaddress.ip_network("198.51.100.0/24"),), etcd=(address("10.0.0.10"),), typha=(address("10.0.0.11"),),
    resolvers=(address("10.0.0.53"),), time_servers=(address("192.0.2.123"),), tunnels=("bgp", "vxlan", "ipip"),
)  # fmt: skip


def test_each_flow_is_at_the_interface_that_leads_to_its_peers() -> None:
    found = {
        (flow.name, flow.direction, flow.interface, flow.port, ",".join(str(net.network_address) for net in flow.peers))
        for flow in cluster_flows(NODES, NEEDS)
        if flow.node == "w1"
    }
    assert found == {
        ("ssh", "in", "eth1", 22, "198.51.100.0"),
        ("api-server", "out", "eth0", 6443, "10.0.0.10"),
        ("kubelet", "in", "eth0", 10250, "10.0.0.10"),
        ("etcd", "out", "eth0", 2379, "10.0.0.10"),
        ("typha-in", "in", "eth0", 5473, "10.0.0.10,10.0.0.12"),
        ("bgp", "in", "eth0", 179, "10.0.0.10,10.0.0.12"),
        ("bgp-out", "out", "eth0", 179, "10.0.0.10,10.0.0.12"),
        ("vxlan", "in", "eth0", 4789, "10.0.0.10,10.0.0.12"),
        ("vxlan-out", "out", "eth0", 4789, "10.0.0.10,10.0.0.12"),
        ("ipip", "in", "eth0", None, "10.0.0.10,10.0.0.12"),
        ("ipip-out", "out", "eth0", None, "10.0.0.10,10.0.0.12"),
        ("dns", "out", "eth0", 53, "10.0.0.53"),
        ("dns-tcp", "out", "eth0", 53, "10.0.0.53"),
        ("ntp", "out", "eth1", 123, "192.0.2.123"),
    }


def test_a_master_has_the_other_ends() -> None:
    names = {flow.name for flow in cluster_flows(NODES, NEEDS) if flow.node == "master"}
    assert {"api-server-in", "kubelet-out", "etcd-in", "typha", "ssh"} <= names
    assert not {"etcd", "kubelet", "api-server"} & names


def test_management_may_come_by_another_interface() -> None:
    needs = Needs(management=NEEDS.management, management_interface="eth0")
    assert {flow.interface for flow in cluster_flows(NODES, needs) if flow.name == "ssh"} == {"eth0"}


def endpoint(name: str, link: str, side: str) -> dict[str, Any]:
    return {"kind": "HostEndpoint", "metadata": {"name": f"{name}-{side}", "labels": {"side": side}},
            "spec": {"node": name, "interfaceName": link}}  # fmt: skip


def test_the_guard_with_the_flows_of_a_cluster() -> None:
    """Public endpoints with policies that open outbound traffic and nothing else are fine; private ones are not."""
    outbound = {"kind": "GlobalNetworkPolicy", "metadata": {"name": "out"},
                "spec": {"selector": "has(side)", "egress": [{"action": "Allow"}]}}  # fmt: skip
    public = [endpoint(item.name, "eth1", "public") for item in NODES]
    private = [endpoint(item.name, "eth0", "private") for item in NODES]
    flows = cluster_flows(NODES, NEEDS)
    nothing = compile_policies([])
    assert refusal(broken_flows(nothing, compile_policies([outbound, *public]), flows)) == ""
    told = refusal(broken_flows(nothing, compile_policies([outbound, *public, *private]), flows))
    assert "host endpoint w1-private of node w1: kubelet (tcp port 10250 from 10.0.0.10/32) would be denied" in told
    assert "w1-public" not in told


def test_a_change_on_three_hundred_nodes_is_judged_quickly() -> None:
    nodes = [node("master", 1, master=True)]
    for number in range(300):
        links = {
            "eth0": (ipaddress.ip_interface(f"10.0.{number // 200}.{number % 200 + 2}/16"),),
            "eth1": (ipaddress.ip_interface(f"203.0.{number // 200}.{number % 200 + 2}/16"),),
        }
        nodes.append(ClusterNode(f"w{number}", links["eth0"][0].ip, links, "eth1"))
    documents: list[dict[str, Any]] = [
        {"kind": "GlobalNetworkPolicy", "metadata": {"name": f"p{number}"}, "spec": {
            "order": number, "selector": "has(side)", "types": ["Ingress", "Egress"],
            "ingress": [{"action": "Deny", "source": {"nets": [f"192.{number}.{part}.0/24" for part in range(60)]}}],
            "egress": [{"action": "Deny", "destination": {"nets": [f"192.{number}.{part}.0/24" for part in range(60)]}}],
        }} for number in range(30)
    ]  # fmt: skip
    both = [{"action": "Allow"}]
    documents.append(
        {
            "kind": "GlobalNetworkPolicy",
            "metadata": {"name": "z"},
            "spec": {"selector": "all()", "ingress": both, "egress": both},
        }
    )
    documents += [
        endpoint(item.name, link, side) for item in nodes for link, side in (("eth0", "private"), ("eth1", "public"))
    ]
    needs = Needs(management=NEEDS.management, resolvers=NEEDS.resolvers, tunnels=())
    start = time.process_time()
    flows = cluster_flows(nodes, needs)
    found = broken_flows(compile_policies(documents[:-2]), compile_policies(documents), flows)
    took = time.process_time() - start
    assert found == ()
    # About 1 s of processor here; a machine several times as slow still passes.
    assert took < 8, took
