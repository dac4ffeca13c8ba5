# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the content makes is what the modules take: documents that are valid, and required flows that pass the guard."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_compile import compile_policies
from ansible_collections.iks.hardening.plugins.module_utils.calico_convert import to_v1, to_v3
from ansible_collections.iks.hardening.plugins.module_utils.calico_flows import read_flows
from ansible_collections.iks.hardening.plugins.module_utils.calico_guard import broken_flows
from ansible_collections.iks.hardening.plugins.module_utils.calico_model import read_resource
from ansible_collections.iks.hardening.plugins.module_utils.calico_settings import Settings
from tests.calico_cluster import ISOLATED, SINGLE, WORKER, cluster

MANAGED = {"management_networks": ["10.171.0.1", "2001:db8:7::/64"]}
SERVICES = {
    "calico_close_node_ports": True,
    "load_balancers": [{"address": "203.0.113.40", "port": 443}],
    "calico_allow_lists": [{"name": "a", "sources": ["198.51.100.0/24", "2001:db8:9::/64"], "ports": ["8000-8010"]}],
    "calico_edge_only": True,
    "calico_edge_nodes": ["worker1"],
}
CLUSTERS: dict[str, dict[str, Any]] = {
    "page": {},
    "2018": {"calico_policy_date": "2018-04-23"},
    "2020": {"calico_policy_date": "2020-05-31", "calico_private": "open"},
    "masters": {"calico_masters": True, "operator_networks": ["192.0.2.0/24"]},
    "services": SERVICES,
    "private": {"regions": ["us-south"], "calico_private": "isolated"},
    "public": {"regions": ["us-south", "eu-central"], "calico_public": "isolated"},
    "isolated": {**ISOLATED, "calico_masters": True, **SERVICES},
    "dual-stack-pods": {**ISOLATED, "pod_networks": ["172.30.0.0/16", "fd00:10::/64"]},
}
# With no failsafe port at all, the policies alone have to keep the cluster alive.
BARE = Settings(inbound=(), outbound=())


@pytest.mark.parametrize("options", CLUSTERS.values(), ids=list(CLUSTERS))
def test_every_document_is_valid(options):
    subject = cluster(**options, **MANAGED)
    documents = [*subject.policies(), *subject.host_endpoints()]
    made = [read_resource(item, "v3", "content") for item in documents]
    assert len({item.identity for item in made}) == len(documents)


@pytest.mark.parametrize("options", CLUSTERS.values(), ids=list(CLUSTERS))
def test_required_flows_pass_the_guard_without_failsafe_ports(options):
    subject = cluster(**options, **MANAGED)
    documents = [read_resource(item, "v3", "x").document() for item in (*subject.policies(), *subject.host_endpoints())]
    flows = read_flows(subject.flows())
    assert any(flow.name == "ssh" for flow in flows)
    found = broken_flows(compile_policies([]), compile_policies(documents, BARE), flows, BARE)
    assert [item.text for item in found] == []


def test_a_single_interface_keeps_the_cluster_together():
    master = {**SINGLE, "interfaces": {"lo": [], "eth0": ["10.0.0.10/24"]}}
    hosts = {"worker1": {"iks_node": SINGLE}, "master1": {"iks_node": master}}
    subject = cluster(hosts, calico_masters=True, **MANAGED)
    documents = [*subject.policies(), *subject.host_endpoints()]
    flows = read_flows(subject.flows())
    assert {"apiserver", "apiserver-in", "etcd-in", "bgp", "ipip-out"} <= {flow.name for flow in flows}
    assert not broken_flows(compile_policies([]), compile_policies(documents, BARE), flows, BARE)


@pytest.mark.parametrize(
    ("left_out", "broken"),
    [
        ("allow-all-workers-private", "etcd"),
        ("allow-management", "ssh"),
        ("allow-time-public", "ntp-udp"),
        ("allow-public-service-endpoint", "us-south-master-tcp"),
        ("allow-private-services", "private-dal10-tcp"),
    ],
)
def test_F29_a_policy_less_and_the_guard_says_what_breaks(left_out, broken):
    node = {**WORKER, "time_servers": ["192.0.2.123"]}
    subject = cluster({"worker1": {"iks_node": node}, "master1": {"iks_node": WORKER | {"interfaces": {
        "lo": [], "eth0": ["10.0.0.10/24"], "eth1": ["203.0.113.10/24"]}}}}, **ISOLATED, **MANAGED)  # fmt: skip
    policies = subject.policies()
    kept = [item for item in policies if item["metadata"]["name"] != left_out]
    assert len(kept) == len(policies) - 1
    documents = [*kept, *subject.host_endpoints()]
    found = broken_flows(compile_policies([]), compile_policies(documents, BARE), read_flows(subject.flows()), BARE)
    assert broken in {item.flow.name for item in found if item.flow is not None and item.refuses}


@pytest.mark.parametrize("options", CLUSTERS.values(), ids=list(CLUSTERS))
def test_every_document_has_a_form_in_v1(options):
    subject = cluster(**options, **MANAGED)
    for item in (*subject.policies(), *subject.host_endpoints()):
        resource = read_resource(item, "v3", "content")
        assert to_v3(to_v1(resource)).normal() == resource.normal()
