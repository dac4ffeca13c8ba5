# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources go from one API to the other and back, or it is said what would be lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.calico_convert import ConversionError, to_v1, to_v3
from ansible_collections.iks.hardening.plugins.module_utils.calico_model import Identity, Resource, read_resource

VERSION = {"v1": "v1", "v3": "projectcalico.org/v3"}


def read(kind: str, spec: Any, api: str, **metadata: Any) -> Resource:
    named = metadata if {"cidr", "peerIP"} & set(metadata) else {"name": "a", **metadata}
    return read_resource({"apiVersion": VERSION[api], "kind": kind, "metadata": named, "spec": spec}, api, "f.yml")


def test_as_calicoctl_convert_does() -> None:
    """Case 050 of the measurement of calicoctl 3.25.2."""
    policy = read(
        "policy",
        {
            "preDNAT": True,
            "selector": "ibm.role in { 'worker_public', 'master_public' }",
            "ingress": [
                {
                    "action": "deny",
                    "protocol": "tcp",
                    "source": {"net": "10.1.2.3/8"},
                    "destination": {"ports": ["30000:32767"]},
                }
            ],
        },
        "v1",
        name="deny-kube-node-port-services",
    )
    assert to_v3(policy).document() == {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "deny-kube-node-port-services"},
        "spec": {
            "applyOnForward": True,
            "ingress": [
                {
                    "action": "Deny",
                    "destination": {"ports": ["30000:32767"]},
                    "protocol": "TCP",
                    "source": {"nets": ["10.0.0.0/8"]},
                }
            ],
            "preDNAT": True,
            "selector": "ibm.role in { 'worker_public', 'master_public' }",
            "types": ["Ingress"],
        },
    }


def test_host_endpoint_keeps_its_name_or_is_refused() -> None:
    endpoint = read(
        "hostEndpoint", {"interfaceName": "eth0", "expectedIPs": ["10.0.0.5"]}, "v1", node="w1", labels={"r": "x"}
    )
    converted = to_v3(endpoint)
    assert converted.identity == Identity("HostEndpoint", "a")
    assert converted.spec == {"node": "w1", "interfaceName": "eth0", "expectedIPs": ["10.0.0.5"]}
    assert to_v1(converted).normal() == endpoint.normal()
    with pytest.raises(ConversionError, match=r"did you mean w1-eth0\?.*cannot be converted to API v3"):
        to_v3(read("hostEndpoint", {"interfaceName": "eth0"}, "v1", name="W1/Eth0", node="w1"))


def test_directions_of_a_policy_that_names_none() -> None:
    ingress = read("policy", {"ingress": [{"action": "allow"}]}, "v1")
    egress = read("policy", {"egress": [{"action": "allow"}]}, "v1")
    before = read("policy", {"preDNAT": True}, "v1")
    assert to_v3(ingress).spec["types"] == ["Ingress"]
    assert to_v3(egress).spec["types"] == ["Egress"]
    assert to_v3(ingress, both_directions=True).spec["types"] == ["Ingress", "Egress"]
    assert to_v3(before, both_directions=True).spec["types"] == ["Ingress"]


def test_tags_become_labels() -> None:
    policy = read(
        "policy", {"ingress": [{"action": "allow", "source": {"tag": "t", "selector": "a == 'b' || has(c)"}}]}, "v1"
    )
    assert to_v3(policy).spec["ingress"][0]["source"] == {"selector": "(a == 'b' || has(c)) && t == ''"}
    profile = read("profile", {"ingress": [{"action": "allow"}]}, "v1", tags=["t"], labels={"x": "y"})
    assert to_v3(profile).spec["labelsToApply"] == {"x": "y", "t": ""}
    with pytest.raises(ConversionError, match="t is both a tag and a label"):
        to_v3(read("profile", {}, "v1", tags=["t"], labels={"t": "y"}))


def test_other_kinds() -> None:
    pool = read(
        "ipPool", {"ipip": {"enabled": True, "mode": "cross-subnet"}, "nat-outgoing": True}, "v1", cidr="192.168.0.0/16"
    )
    converted = to_v3(pool)
    assert converted.identity == Identity("IPPool", "192-168-0-0-16")
    assert converted.spec == {"cidr": "192.168.0.0/16", "ipipMode": "CrossSubnet", "natOutgoing": True}
    assert to_v1(converted).normal() == pool.normal()
    peer = read("bgpPeer", {"asNumber": 64512}, "v1", scope="node", node="n", peerIP="fd00::1")
    assert to_v3(peer).identity.name == "n.fd00-0000-0000-0000-0000-0000-0000-0001"
    assert to_v1(to_v3(peer)).normal() == peer.normal()
    node = read("node", {"bgp": {"ipv4Address": "10.0.0.1/24"}}, "v1")
    assert to_v1(to_v3(node)).normal() == node.normal()


def lost(kind: str, spec: Any, **metadata: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        to_v1(read(kind, spec, "v3", **metadata))
    return str(caught.value)


def policy(**spec: Any) -> str:
    return lost("GlobalNetworkPolicy", spec)


def rule(**fields: Any) -> str:
    return policy(ingress=[{"action": "Allow", **fields}])


LOST = {
    "namespaced": (lost("NetworkPolicy", {}), "API v1 has no NetworkPolicy"),
    "set": (lost("GlobalNetworkSet", {}), "API v1 has no GlobalNetworkSet"),
    "types": (policy(types=["Ingress", "Egress"]), "types ['Egress', 'Ingress'] do not follow from its rules"),
    "forward": (policy(applyOnForward=True), "applyOnForward without preDNAT or doNotTrack"),
    "tier": (lost("GlobalNetworkPolicy", {"tier": "t"}, name="t.a"), "tier t: API v1 has one tier only"),
    "namespaceSelector": (policy(namespaceSelector="has(a)"), "namespaceSelector: API v1 has nothing like it"),
    "serviceAccountSelector": (policy(serviceAccountSelector="has(a)"), "serviceAccountSelector: API v1"),
    "labels": (lost("GlobalNetworkPolicy", {}, labels={"a": "b"}), "it cannot have labels (a)"),
    "named port": (
        rule(protocol="TCP", destination={"ports": [80, "http"]}),
        "ingress[0].destination.ports: port http",
    ),
    "services": (rule(source={"services": {"name": "s", "namespace": "n"}}), "ingress[0].source.services: API v1"),
    "service accounts": (rule(source={"serviceAccounts": {"names": ["x"]}}), "serviceAccounts: API v1"),
    "http": (rule(http={"methods": ["GET"]}), "ingress[0].http: API v1"),
    "rule metadata": (rule(metadata={"annotations": {"a": "b"}}), "ingress[0].metadata: API v1"),
    "namespaces in a rule": (rule(source={"namespaceSelector": "has(a)"}), "source.namespaceSelector: API v1"),
    "selector": (policy(selector="a starts with 'b'"), "calicoctl 1.x has no operator 'starts with'"),
    "sctp": (rule(protocol="SCTP", destination={"ports": [80]}), "protocol sctp has no ports"),
    "interface": (lost("HostEndpoint", {"node": "n", "interfaceName": "*"}), "use expectedIPs instead"),
    "vlan": (lost("HostEndpoint", {"node": "n", "interfaceName": "bond0.100"}), "use expectedIPs instead"),
    "annotations": (
        lost("HostEndpoint", {"node": "n", "interfaceName": "e"}, annotations={"a": "b"}),
        "annotations (a)",
    ),
    "pool": (lost("IPPool", {"cidr": "10.0.0.0/16", "vxlanMode": "Always"}), "vxlanMode: API v1"),
    "block size": (lost("IPPool", {"cidr": "10.0.0.0/16", "blockSize": 24}), "blockSize: API v1"),
    "uses": (lost("IPPool", {"cidr": "10.0.0.0/16", "allowedUses": ["Tunnel"]}), "allowedUses: API v1"),
    "peer": (
        lost("BGPPeer", {"peerIP": "10.0.0.1", "asNumber": 1, "password": {"secretKeyRef": {}}}),
        "password: API v1",
    ),
    "peer without address": (lost("BGPPeer", {"peerSelector": "all()"}), "peerSelector: API v1"),
    "node": (lost("Node", {"wireguard": {}}), "wireguard: API v1"),
}


@pytest.mark.parametrize(("said", "words"), LOST.values(), ids=LOST.keys())
def test_what_would_be_lost_is_named(said: str, words: str) -> None:
    assert words in said
    assert said.startswith("f.yml: ")
    assert "cannot be converted to API v1" in said


def test_the_same_api_is_left_alone() -> None:
    one, three = read("policy", {}, "v1"), read("GlobalNetworkPolicy", {}, "v3")
    assert to_v1(one) is one
    assert to_v3(three) is three


NETS = st.lists(st.sampled_from(["10.0.0.0/8", "10.1.2.3/8", "192.168.1.7", "172.16.0.0/12"]), min_size=1, max_size=3)
SIDE = st.fixed_dictionaries(
    {},
    optional={
        "nets": NETS,
        "notNets": NETS,
        "selector": st.sampled_from(["all()", "a == 'b'", ""]),
        "ports": st.lists(st.sampled_from([22, "80", "1000:2000"]), max_size=3),
    },
)
V1_RULES = st.lists(
    st.fixed_dictionaries(
        {"action": st.sampled_from(["allow", "deny", "log", "pass"]), "protocol": st.sampled_from(["tcp", "udp", 6])},
        optional={"source": SIDE, "destination": SIDE},
    ),
    max_size=3,
)
V1_POLICIES = st.fixed_dictionaries(
    {"ingress": V1_RULES, "selector": st.just("all()")},
    optional={"order": st.integers(0, 9), "doNotTrack": st.booleans(), "egress": V1_RULES},
)


@given(V1_POLICIES)
def test_policies_of_v1_come_back_as_they_were(spec: dict[str, Any]) -> None:
    resource = read("policy", spec, "v1", annotations={"managed-by": "us"})
    converted = to_v3(resource)
    assert to_v1(converted).normal() == resource.normal()
    assert to_v3(to_v1(converted)).normal() == converted.normal()
