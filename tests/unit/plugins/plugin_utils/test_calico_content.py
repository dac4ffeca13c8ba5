# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policies and what they open: the page's, those that came later, services before DNAT, the isolation sets."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.plugin_utils.calico_content import Cluster
from ansible_collections.iks.hardening.plugins.plugin_utils.calico_settings import POLICIES_BY_DATE, CalicoSettings
from ansible_collections.iks.hardening.plugins.plugin_utils.catalogue import versions
from tests.calico_cluster import HOSTVARS, ISOLATED, SINGLE, cluster, decide, named, selects

UNIT = Path(__file__).resolve().parents[2]
OBSERVED = yaml.safe_load((UNIT / "data/calico_content/observed-policies.yml").read_text(encoding="utf-8"))
MANAGEMENT = (UNIT / "plugins/plugin_utils/fixtures/allow_sys_mgmt.txt").read_text(encoding="utf-8").splitlines()[1:]
PUBLIC, PRIVATE = {"ibm.role": "worker_public"}, {"ibm.role": "worker_private"}
POD = {"projectcalico.org/orchestrator": "k8s"}


def plain(value: Any) -> Any:
    """A document without what Calico adds when it stores one: empty sources and destinations."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item not in ({}, [])}
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("observed", OBSERVED, ids=lambda item: item["metadata"]["name"])
def test_default_policies_are_those_that_were_observed(observed):
    made = plain(named(Cluster({"calico_policy_date": "2020-05-31"}).policies())[observed["metadata"]["name"]])
    if observed["metadata"]["name"] == "allow-sys-mgmt":
        made["spec"]["ingress"][0].pop("source")
    assert made == plain(observed)


def test_management_networks_contain_all_that_were_observed():
    policy = named(Cluster({}).policies())["allow-sys-mgmt"]
    nets = policy["spec"]["ingress"][0]["source"]["nets"]
    assert len(MANAGEMENT) == 59
    assert set(MANAGEMENT) <= set(nets)
    assert nets == sorted(set(nets), key=ipaddress.ip_network)


@pytest.mark.parametrize("date", POLICIES_BY_DATE)
def test_the_sets_of_each_date(date):
    assert list(named(Cluster({"calico_policy_date": date}).policies())) == list(POLICIES_BY_DATE[date])


def test_the_kubelet_is_open_on_the_page_and_no_more_in_2018():
    pages = Cluster({}).policies()
    later = Cluster({"calico_policy_date": "2018-04-23"}).policies()
    assert decide(pages, PUBLIC, "in", "tcp", "192.0.2.9", 10250)[1] == "allow-kubelet-port"
    assert decide(later, PUBLIC, "in", "tcp", "192.0.2.9", 10250) == ("-", "-")
    assert decide(later, PUBLIC, "in", "udp", "192.0.2.9", 52311)[1] == "allow-bigfix-port"


def test_every_policy_has_types_and_rules_of_one_family():
    for options in ({}, ISOLATED, {"calico_masters": True, "management_networks": ["10.1.0.1", "2001:db8:1::/64"]}):
        for item in cluster(**options).policies():
            spec = item["spec"]
            assert [word.lower() for word in spec["types"]] == [key for key in ("ingress", "egress") if key in spec]
            for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
                nets = [net for side in ("source", "destination") for net in rule.get(side, {}).get("nets", ())]
                assert len({":" in net for net in nets}) <= 1, item
            assert spec.get("preDNAT", False) == spec.get("applyOnForward", False)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        pytest.param({"provider": "none"}, {"-allow-sys-mgmt"}, id="no-provider"),
        pytest.param({"calico_private": "open"}, {"allow-all-private-default"}, id="private-open"),
        pytest.param({"calico_ipv6": True}, {"allow-icmpv6"}, id="ipv6-said"),
        pytest.param({"pod_networks": ["172.30.0.0/16", "fd00:1::/64"]}, {"allow-icmpv6"}, id="ipv6-of-pods"),
        pytest.param({"cluster_nodes": ["2001:db8::1"]}, {"allow-icmpv6"}, id="ipv6-of-nodes"),
        pytest.param({"cluster_nodes": ["2001:db8::1"], "calico_ipv6": False}, set(), id="ipv6-denied"),
        pytest.param({"management_networks": ["10.1.0.1"]}, {"allow-management"}, id="management"),
        pytest.param({"calico_masters": True}, {"allow-master-ports"}, id="masters"),
        pytest.param(
            {"single_interface": True, "cluster_nodes": ["10.0.0.1"]}, {"allow-cluster-nodes"}, id="single-interface"
        ),
        pytest.param({"calico_close_node_ports": True}, {"deny-kube-node-port-services"}, id="node-ports"),
    ],
)
def test_settings_add_and_take_away(options, names):
    before, after = set(named(Cluster({}).policies())), set(named(Cluster(options).policies()))
    assert after ^ before == {name.lstrip("-") for name in names}


def test_pod_networks_are_what_node_ports_lead_to():
    policies = Cluster({"pod_networks": ["10.244.0.0/16", "fd00:1::/64"]}).policies()
    nets = [rule["destination"]["nets"] for rule in named(policies)["allow-node-port-dnat"]["spec"]["ingress"]]
    assert nets == [["10.244.0.0/16"], ["fd00:1::/64"]]


def test_single_interface_is_seen_on_the_nodes():
    made = named(cluster({"one": {"iks_node": SINGLE}}, workers=["one"], masters=[]).policies())
    assert made["allow-cluster-nodes"]["spec"]["ingress"] == [{"action": "Allow", "source": {"nets": ["10.0.0.12/32"]}}]
    assert "allow-cluster-nodes" not in named(cluster().policies())


# ---- before DNAT


def test_the_page_s_node_port_policy():
    made = named(Cluster({"calico_close_node_ports": True}).policies())["deny-kube-node-port-services"]
    assert made["spec"] == {
        "preDNAT": True,
        "applyOnForward": True,
        "selector": "ibm.role in { 'worker_public', 'master_public' }",
        "types": ["Ingress"],
        "ingress": [
            {"action": "Deny", "protocol": "TCP", "destination": {"ports": ["30000:32767"]}},
            {"action": "Deny", "protocol": "UDP", "destination": {"ports": ["30000:32767"]}},
        ],
    }


SERVICES = {
    "calico_close_node_ports": True,
    "load_balancers": [{"address": "203.0.113.40", "port": 443}, {"address": "203.0.113.41", "port": 31000}],
    "calico_allow_lists": [
        {"name": "partners", "sources": ["198.51.100.0/24"], "ports": [30080]},
        {"name": "office", "sources": ["198.51.100.7"], "ports": [443], "addresses": ["203.0.113.40"]},
    ],
}
PARTNER, STRANGER, OFFICE = "198.51.100.9", "192.0.2.9", "198.51.100.7"


@pytest.mark.parametrize(
    ("peer", "here", "port", "action", "by"),
    [
        (PARTNER, "203.0.113.11", 30080, "Allow", "allow-list-partners"),
        (STRANGER, "203.0.113.11", 30080, "Deny", "allow-list-partners-rest"),
        (PARTNER, "203.0.113.11", 30081, "Deny", "deny-kube-node-port-services"),
        (OFFICE, "203.0.113.40", 443, "Allow", "allow-list-office"),
        (PARTNER, "203.0.113.40", 443, "Deny", "allow-list-office-rest"),
        (STRANGER, "203.0.113.41", 31000, "Allow", "allow-load-balancers"),
        (STRANGER, "203.0.113.11", 31000, "Deny", "deny-kube-node-port-services"),
        (STRANGER, "203.0.113.11", 443, "-", "-"),
        (STRANGER, "203.0.113.11", 10250, "-", "-"),
    ],
)
def test_who_reaches_services(peer, here, port, action, by):
    policies = Cluster(SERVICES).policies()
    assert decide(policies, PUBLIC, "in", "tcp", peer, port, pre_dnat=True, here=here) == (action, by)


def test_services_on_edge_nodes_only():
    policies = cluster(**SERVICES, calico_edge_only=True, calico_edge_nodes=["worker1"]).policies()
    edge = {**PUBLIC, "dedicated": "edge"}
    for here, port in (("203.0.113.11", 30080), ("203.0.113.40", 443)):
        found = decide(policies, PUBLIC, "in", "tcp", OFFICE, port, pre_dnat=True, here=here)
        assert found == ("Deny", "deny-services-not-edge")
        assert decide(policies, edge, "in", "tcp", OFFICE, port, pre_dnat=True, here=here)[0] == "Allow"


# ---- isolation


def test_required_flows_pass_the_isolation_sets():
    every = {"worker_public", "worker_private", "master_public"}
    subject = cluster(**ISOLATED, management_networks=["10.171.0.1"], calico_masters=True)
    policies, flows = subject.policies(), subject.flows()
    assert {flow["name"] for flow in flows} > {"ssh", "apiserver", "etcd", "kubelet", "bgp", "ipip-out", "ntp-udp"}
    assert {selects(flow["selector"], PRIVATE) for flow in flows if "selector" in flow} == {True, False}
    for flow in flows:
        for role in sorted(every):
            labels = {"ibm.role": role}
            if "selector" in flow and not selects(flow["selector"], labels):
                continue
            for peer in flow["networks"]:
                address = str(ipaddress.ip_network(peer)[0])
                for ports in flow.get("ports", ("",)):
                    port = int(ports.split("-")[0]) if ports else None
                    found = decide(policies, labels, flow["direction"], flow["protocol"], address, port)
                    assert found[0] == "Allow", (flow, role, found)


@pytest.mark.parametrize("options", [{}, {"calico_private": "open"}, {"calico_masters": True}, {"provider": "none"}])
def test_required_flows_pass_without_isolation(options):
    subject = cluster(regions=["eu-central"], management_networks=["10.171.0.1"], **options)
    policies, flows = subject.policies(), subject.flows()
    endpoints = {item["metadata"]["labels"]["ibm.role"] for item in subject.host_endpoints()}
    checked = 0
    for flow in flows:
        for role in endpoints:
            labels = {"ibm.role": role}
            if "selector" in flow and not selects(flow["selector"], labels):
                continue
            address = str(ipaddress.ip_network(flow["networks"][0])[0])
            port = int(flow["ports"][0].split("-")[0]) if "ports" in flow else None
            assert decide(policies, labels, flow["direction"], flow["protocol"], address, port)[0] == "Allow", flow
            checked += 1
    assert checked > 3


@pytest.mark.parametrize(
    ("labels", "direction", "protocol", "peer", "port", "action", "by"),
    [
        (PRIVATE, "in", "tcp", "10.9.9.9", 8080, "Deny", "deny-all-private-default"),
        (PRIVATE, "out", "tcp", "10.9.9.9", 8080, "Deny", "deny-all-private-default"),
        (PRIVATE, "in", "tcp", "10.0.0.10", 8080, "Allow", "allow-all-workers-private"),
        (PRIVATE, "out", "tcp", "172.30.9.9", 8080, "Allow", "allow-all-workers-private"),
        (PRIVATE, "in", "tcp", "10.9.9.9", 10250, "Allow", "allow-ibm-ports-private"),
        (PRIVATE, "in", "icmp", "10.9.9.9", None, "Allow", "allow-icmp-private"),
        (PRIVATE, "in", "112", "10.9.9.9", None, "Allow", "allow-vrrp-private"),
        (PRIVATE, "in", "tcp", "10.0.64.9", 22, "Allow", "allow-sys-mgmt-private"),
        (PRIVATE, "in", "tcp", "10.3.160.9", 22, "Allow", "allow-sys-mgmt-private"),
        (PRIVATE, "in", "icmpv6", "fd00::1", None, "Allow", "allow-icmpv6"),
        (PUBLIC, "out", "tcp", "192.0.2.9", 8080, "Deny", "deny-all-outbound-public"),
        (PUBLIC, "out", "tcp", "192.0.2.9", 443, "Allow", "allow-ibm-ports-public"),
        (PUBLIC, "out", "tcp", "169.46.7.238", 20000, "Allow", "allow-public-service-endpoint"),
        (PUBLIC, "in", "tcp", "192.0.2.9", 8080, "-", "-"),
        (PUBLIC, "in", "112", "192.0.2.9", None, "Allow", "allow-vrrp"),
        (POD, "out", "tcp", "10.9.9.9", 8080, "-", "-"),
        (POD, "out", "tcp", "192.0.2.9", 8080, "Allow", "allow-egress-pods-private"),
        (POD, "out", "udp", "10.9.9.9", 53, "Allow", "allow-egress-pods-private"),
        (POD, "out", "tcp", "172.20.0.1", 2040, "Allow", "allow-egress-pods-private"),
    ],
)
def test_what_the_isolation_sets_open(labels, direction, protocol, peer, port, action, by):
    assert decide(cluster(**ISOLATED).policies(), labels, direction, protocol, peer, port) == (action, by)


def test_pods_lose_the_public_network_with_the_public_set_alone():
    policies = cluster(regions=["us-south"], calico_public="isolated").policies()
    assert decide(policies, POD, "out", "tcp", "192.0.2.9", 8080) == ("-", "-")
    assert decide(policies, POD, "out", "udp", "169.46.7.238", 20000)[1] == "allow-egress-pods-public"


@pytest.mark.parametrize("version", versions())
def test_isolation_is_made_of_every_catalogue(version):
    region = {"2017-09-29": "us-south", "2017-10-12": "us-south"}.get(version, "eu-central")
    options = {**ISOLATED, "regions": [region], "catalogue": version, "private_service_endpoints": ["166.9.12.140"]}
    made = named(cluster(**options).policies())
    assert {"allow-sys-mgmt-private", "allow-public-service-endpoint", "allow-private-service-endpoint"} <= set(made)


# ---- refused


REFUSED = [
    pytest.param({"calico_polices": []}, "setting: 'calico_polices' is not one of", id="B42-setting"),
    pytest.param({"calico_polices": []}, "did you mean calico_policies?", id="B42-nearest"),
    pytest.param({"calico_policies": ["allow-imcp"]}, "iks_calico_policies[0]: 'allow-imcp' is not one of", id="policy"),
    pytest.param({"calico_policy_date": "2017-09-30"}, "iks_calico_policy_date: '2017-09-30'", id="date"),
    pytest.param({"calico_private": "closed"}, "iks_calico_private: 'closed' is not one of none, open", id="word"),
    pytest.param({"calico_masters": "yes"}, "iks_calico_masters: 'yes' is not true or false", id="text-for-bool"),
    pytest.param({"pod_networks": []}, "iks_pod_networks: an empty list", id="no-pods"),
    pytest.param({"pod_networks": ["172.30.0.0/33"]}, "iks_pod_networks[0]: '172.30.0.0/33'", id="cidr"),
    pytest.param({"pod_networks": ["172.30.1.0/16"]}, "host bits set; write 172.30.0.0/16", id="host-bits"),
    pytest.param({"node_ports": "32767-30000"}, "iks_node_ports[0]", id="ports-reversed"),
    pytest.param({"load_balancers": [{"address": "203.0.113.40"}]}, "port is missing", id="lb-port"),
    pytest.param(
        {"load_balancers": [{"address": "203.0.113.40", "port": 1, "protocol": "icmp"}]}, "'icmp' is not", id="lb-icmp"
    ),
    pytest.param({"calico_allow_lists": [{"name": "A", "sources": ["10.0.0.0/8"], "ports": [1]}]}, "'A' is not a name",
                 id="list-name"),
    pytest.param({"calico_allow_lists": [{"name": "a", "sources": [], "ports": [1]}]}, "sources: an empty list",
                 id="list-sources"),
    pytest.param({"calico_allow_lists": [{"name": "a", "source": ["10.0.0.1"], "ports": [1]}]},
                 "did you mean sources?", id="list-key"),
    pytest.param({"calico_allow_lists": [{"name": "a", "sources": ["10.0.0.1"], "ports": [1]}] * 2},
                 "the name a stands twice", id="list-twice"),
    pytest.param(
        {"calico_allow_lists": [{"name": "a", "sources": ["10.0.0.1"], "ports": [1], "addresses": ["2001:db8::1"]}]},
        "iks_calico_allow_lists: a: sources 10.0.0.1/32 and destinations 2001:db8::1/128 have no address family",
        id="list-families",
    ),
    pytest.param({"calico_edge_only": True}, "iks_calico_edge_nodes names no node", id="edge-nobody"),
    pytest.param({"provider": "none", "calico_policies": ["allow-sys-mgmt"]}, "iks_provider is none", id="sys-mgmt"),
    pytest.param({"calico_private_endpoints": True}, "which would cut every worker off", id="F29-private-uncovered"),
    pytest.param({"calico_private": "open", "calico_policies": ["allow-icmp"]}, "Set iks_calico_private to open",
                 id="F29-private-default-left-out"),
    pytest.param({"calico_private": "isolated", "cluster_nodes": ["10.0.0.1"]}, "iks_private_service_endpoints: ",
                 id="no-private-master"),
    pytest.param({"calico_private": "isolated"}, "iks_cluster_nodes: no address of a node is known", id="no-nodes"),
    pytest.param({"calico_private": "isolated", "cluster_nodes": ["10.0.0.1"], "cluster_masters": ["10.0.0.1"]},
                 "iks_regions: no region is named", id="no-region"),
    pytest.param({**ISOLATED, "regions": ["us-sout"], "cluster_nodes": ["10.0.0.1"], "cluster_masters": ["10.0.0.1"]},
                 "nearest first: us-south", id="region"),
    pytest.param({"catalogue": "2017-09-30"}, "catalogue '2017-09-30' is not known", id="catalogue"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "text"), REFUSED)
def test_refused(options, text):
    with pytest.raises(HardeningError) as caught:
        Cluster(options).policies()
    assert text in str(caught.value)


def test_settings_are_canonical_and_none_keeps_the_default():
    made = CalicoSettings.from_options({"pod_networks": None, "cluster_nodes": "10.0.0.1", "node_ports": "30000-31000"})
    assert made.pod_networks == ("172.30.0.0/16",)
    assert made.cluster_nodes == ("10.0.0.1/32",)
    assert made.node_ports == ("30000:31000",)


def test_an_empty_text_is_nothing_as_older_templates_write_it():
    empty = {"calico_ipv6": "", "calico_private_endpoints": "", "catalogue_overlay": "", "locations": ""}
    assert Cluster(empty).policies() == Cluster({}).policies()


def test_what_nodes_use_is_found():
    settings = cluster().settings
    assert settings.resolvers == ("10.0.80.11/32", "198.51.100.53/32", "127.0.0.53/32")
    assert settings.time_servers == ("192.0.2.123/32",)
    assert settings.cluster_masters == ("10.0.0.10/32", "203.0.113.10/32")
    assert HOSTVARS["worker1"]["iks_node"]["resolvers"], "the inventory was not changed"
