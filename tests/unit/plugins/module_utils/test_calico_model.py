# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources are refused with a reason, sent as they are meant, and compared by what they mean."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_kinds import find_kind
from ansible_collections.iks.hardening.plugins.module_utils.calico_model import (
    CalicoError,
    Identity,
    Resource,
    read_resource,
    stored_resource,
)
from ansible_collections.iks.hardening.plugins.module_utils.calico_values import ValueRefused

VERSION = {"v1": "v1", "v3": "projectcalico.org/v3"}


def document(kind: str, spec: Any, api: str = "v3", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": VERSION[api], "kind": kind, "metadata": {"name": "a", **metadata}, "spec": spec}


def read(kind: str, spec: Any, api: str = "v3", **metadata: Any) -> Resource:
    return read_resource(document(kind, spec, api, **metadata), api, "f.yml")


def refusal(kind: str, spec: Any, api: str = "v3", **metadata: Any) -> str:
    with pytest.raises(CalicoError) as caught:
        read(kind, spec, api, **metadata)
    return str(caught.value)


def v1(spec: dict[str, Any], **metadata: Any) -> str:
    return refusal("policy", {"selector": "all()", **spec}, "v1", **metadata)


def v3(spec: dict[str, Any], **metadata: Any) -> str:
    return refusal("GlobalNetworkPolicy", {"selector": "all()", **spec}, "v3", **metadata)


def v1_rule(**rule: Any) -> str:
    return v1({"ingress": [{"action": "allow", **rule}]})


def v3_rule(**rule: Any) -> str:
    return v3({"ingress": [{"action": "Allow", **rule}]})


RULE = "f.yml: GlobalNetworkPolicy a: spec.ingress[0]"


def test_B36_preDNAT_needs_applyOnForward_in_v3() -> None:
    assert v3({"preDNAT": True}) == (
        "f.yml: GlobalNetworkPolicy a: spec.preDNAT: needs applyOnForward: true beside it in API v3; "
        "write it next to preDNAT"
    )
    assert "doNotTrack: needs applyOnForward" in v3({"doNotTrack": True, "applyOnForward": False})
    assert read("GlobalNetworkPolicy", {"preDNAT": True, "applyOnForward": True}).spec["preDNAT"] is True
    assert read("policy", {"preDNAT": True}, "v1").spec == {"preDNAT": True}


@pytest.mark.parametrize("api", ["v1", "v3"])
def test_B37_preDNAT_has_no_egress(api: str) -> None:
    egress = {"preDNAT": True, "egress": [{"action": "deny" if api == "v1" else "Deny"}]}
    if api == "v3":
        egress["applyOnForward"] = True
    assert "spec.egress: a preDNAT policy has ingress rules only" in (v1 if api == "v1" else v3)(egress)


def test_B37_preDNAT_has_no_egress_type() -> None:
    spec = {"preDNAT": True, "applyOnForward": True, "types": ["Ingress", "Egress"]}
    assert "spec.types: a preDNAT policy cannot have type Egress; write [Ingress]" in v3(spec)


def test_B38_preDNAT_and_doNotTrack() -> None:
    assert "spec.preDNAT: cannot stand beside doNotTrack" in v1({"preDNAT": True, "doNotTrack": True})
    assert "spec.preDNAT: cannot stand beside doNotTrack" in v3(
        {"preDNAT": True, "doNotTrack": True, "applyOnForward": True}
    )


def test_B40_host_endpoint_of_no_interface() -> None:
    said = "spec: neither interfaceName nor expectedIPs is given"
    assert said in refusal("hostEndpoint", {}, "v1", node="n")
    assert said in refusal("hostEndpoint", {"interfaceName": "", "expectedIPs": []}, "v1", node="n")
    assert said in refusal("HostEndpoint", {"node": "n"})
    assert read("HostEndpoint", {"node": "n", "expectedIPs": ["10.0.0.1"]}).identity == Identity("HostEndpoint", "a")


def test_B41_bad_selector_is_placed() -> None:
    assert v1({"selector": "ibm.role = 'x'"}) == (
        """f.yml: policy a: spec.selector: selector "ibm.role = 'x'": position 9, at "= 'x'": """
        "= is no operator; did you mean ==?"
    )
    assert "spec.ingress[0].source.notSelector: selector 'a': position 1" in v3_rule(source={"notSelector": "a"})
    assert "calicoctl 1.x has no operator 'contains'" in v1({"selector": "a contains 'b'"})


# Each: what is said, and the words that must be in it.
SAID = {
    "v1 action": (v1({"ingress": [{"action": "Allow"}]}), "did you mean allow?"),
    "v3 action": (v3({"ingress": [{"action": "allow"}]}), "did you mean Allow?"),
    "no action": (v3({"ingress": [{}]}), "spec.ingress[0].action: is missing; allowed are Allow, Deny, Log, Pass"),
    "v1 protocol": (v1_rule(protocol="TCP"), "did you mean tcp?"),
    "v3 protocol": (v3_rule(protocol="tcp"), "did you mean TCP?"),
    "protocol number": (v3_rule(protocol=300), "300 is not from 1 to 255"),
    "protocol true": (v3_rule(protocol=True), "True is neither a number nor text"),
    "types in v1": (v1({"types": ["ingress"]}), "spec.types: there is no such field here; calicoctl 1.x refuses types"),
    "applyOnForward in v1": (v1({"applyOnForward": True}), "calicoctl 1.x refuses it"),
    "net in v3": (v3_rule(source={"net": "10.0.0.0/8"}), "write nets: [...]"),
    "ports beside source": (
        v3_rule(ports=[1]),
        f"{RULE}.ports: there is no such field here; it belongs under source or",
    ),
    "misspelt": (v3({"ingres": []}), "did you mean ingress?"),
    "named port in v1": (v1_rule(protocol="tcp", destination={"ports": ["https"]}), "knows no port names"),
    "port with a dash": (
        v3_rule(protocol="TCP", destination={"ports": ["1-2"]}),
        "'1-2' is no range of ports; write 1:2",
    ),
    "port as text": (v3_rule(protocol="TCP", destination={"ports": "80"}), "'80' is not a list; write ['80']"),
    "port 0": (v3_rule(protocol="TCP", destination={"ports": [0]}), "0 is not from 1 to 65535"),
    "port 70000": (v3_rule(protocol="TCP", destination={"ports": ["1:70000"]}), "70000 is not from 1 to 65535"),
    "port name": (v3_rule(protocol="TCP", destination={"ports": ["HTTP"]}), "or a port's name"),
    "port fraction": (v3_rule(protocol="TCP", destination={"ports": [1.5]}), "1.5 is neither a number nor text"),
    "ports without protocol": (v3_rule(destination={"ports": [80]}), "the rule has no protocol"),
    "notPorts of icmp": (v3_rule(protocol="ICMP", source={"notPorts": [80]}), "protocol ICMP has no ports"),
    "sctp in v1": (v1_rule(protocol="sctp", source={"ports": [80]}), "protocol sctp has no ports"),
    "host bits": (v3_rule(source={"nets": ["10.1.2.3/8"]}), "write 10.0.0.0/8 for the network or 10.1.2.3/32"),
    "host bits of IPv6": (v3_rule(source={"nets": ["fd00::1/8"]}), "write fd00::/8 for the network or fd00::1/128"),
    "bare address in v3": (
        v3_rule(source={"nets": ["10.0.0.1"]}),
        "'10.0.0.1' has no prefix length; write 10.0.0.1/32",
    ),
    "length 33": (v3_rule(source={"nets": ["10.0.0.0/33"]}), "is not an IPv4 or IPv6 address or CIDR"),
    "octal": (v3_rule(source={"nets": ["010.0.0.0/8"]}), "is not an IPv4 or IPv6 address or CIDR"),
    "netmask": (v1_rule(source={"nets": ["10.0.0.0/255.0.0.0"]}), "is not an IPv4 or IPv6 address or CIDR"),
    "host name": (v3_rule(source={"nets": ["example.org"]}), "names are not resolved"),
    "both versions": (
        v3_rule(source={"nets": ["10.0.0.0/8"]}, destination={"notNets": ["fd00::/8"]}),
        "make two rules",
    ),
    "wrong version": (v3_rule(ipVersion=6, source={"nets": ["10.0.0.0/8"]}), "is IPv4, but the rule's ipVersion is 6"),
    "no such version": (v3_rule(ipVersion=5), "ipVersion: 5 is neither 4 nor 6"),
    "version in quotes": (v3_rule(ipVersion="4"), "ipVersion: '4' is neither 4 nor 6"),
    "order beyond JSON": (v3({"order": float("inf")}), "is not a number that JSON can hold"),
    "icmp needs its version": (v3_rule(ipVersion=6, protocol="ICMP"), "protocol ICMP needs 4"),
    "icmp needs protocol": (v3_rule(icmp={"type": 8}), "icmp: needs protocol ICMP or ICMPv6"),
    "icmp code": (v3_rule(protocol="ICMP", icmp={"code": 0}), "icmp.code: 0 needs a type beside it"),
    "icmp type": (v3_rule(protocol="ICMP", icmp={"type": 255}), "255 is not from 0 to 254"),
    "net and nets": (v1_rule(source={"net": "10.0.0.0/8"}, destination={"nets": ["10.0.0.0/8"]}), "write nets"),
    "http on deny": (
        v3({"ingress": [{"action": "Deny", "http": {"methods": ["GET"]}}]}),
        "needs action Allow, not Deny",
    ),
    "http on udp": (v3_rule(protocol="UDP", http={"methods": ["GET"]}), "needs protocol TCP or none, not UDP"),
    "http on egress": (v3({"egress": [{"action": "Allow", "http": {}}]}), "is allowed in ingress rules only"),
    "http path": (v3_rule(http={"paths": [{"exact": "a"}]}), "http.paths[0].exact: 'a' does not start with /"),
    "http two paths": (v3_rule(http={"paths": [{"exact": "/a", "prefix": "/b"}]}), "exactly one of exact and prefix"),
    "http methods": (v3_rule(http={"methods": ["GET", "GET"]}), "names one twice"),
    "services on ingress": (
        v3_rule(destination={"services": {"name": "s", "namespace": "n"}}),
        "destination.services: is not allowed in the destination of an ingress rule",
    ),
    "services without namespace": (
        v3_rule(source={"services": {"name": "s"}}),
        "source.services.namespace: is missing",
    ),
    "services and nets": (
        v3_rule(source={"services": {"name": "s", "namespace": "n"}, "nets": ["10.0.0.0/8"]}),
        "source.nets: cannot stand beside services",
    ),
    "services and ports": (
        v3(
            {
                "egress": [
                    {"action": "Allow", "protocol": "TCP", "destination": {"services": {"name": "s"}, "ports": [1]}}
                ]
            }
        ),
        "services bring their own ports",
    ),
    "global() in a selector": (v3({"selector": "global()"}), "allowed in the namespaceSelector of a rule only"),
    "global() with more": (v3_rule(source={"namespaceSelector": "global() || has(a)"}), "cannot be combined"),
    "types twice": (v3({"types": ["Ingress", "Ingress"]}), "names one twice"),
    "order in quotes": (v3({"order": "10"}), "spec.order: '10' is not a number; write it without quotes"),
    "order true": (v3({"order": True}), "spec.order: True is not a number"),
    "flag in quotes": (v3({"doNotTrack": "true"}), "'true' is neither true nor false; write it without quotes"),
    "rules as a mapping": (v3({"ingress": {}}), "spec.ingress: {} is not a list"),
    "rule as text": (v3({"ingress": ["x"]}), "spec.ingress[0]: 'x' is not a mapping of fields"),
    "spec as a list": (refusal("GlobalNetworkPolicy", []), "spec: [] is not a mapping of fields"),
    "two spellings": (v1({"preDNAT": True, "predNat": False}), "is there twice, as preDNAT and as predNat"),
    "v1 policy labels": (v1({}, labels={"a": "b"}), "policies of API v1 have none; write annotations"),
    "v3 name": (v3({}, name="Bad_Name"), "did you mean bad-name?"),
    "v3 name of a tier": (v3({}, name="a.b"), "names tier a, but spec.tier is default"),
    "v3 tier without prefix": (v3({"tier": "t"}), "write t.a"),
    "v3 dots": (v3({}, name="default.a.b"), "a dot only after the name of its tier"),
    "v3 namespace": (v3({}, namespace="x"), "a GlobalNetworkPolicy belongs to no namespace"),
    "v3 node in metadata": (
        refusal("HostEndpoint", {"interfaceName": "e"}, node="n"),
        "in API v3 it belongs under spec",
    ),
    "v1 node in spec": (refusal("hostEndpoint", {"node": "n"}, "v1"), "in API v1 it belongs under metadata"),
    "v1 no node": (refusal("hostEndpoint", {"interfaceName": "e"}, "v1"), "metadata.node: is missing"),
    "node is a boolean": (
        refusal("HostEndpoint", {"node": False, "interfaceName": "e"}),
        "YAML reads yes, no, on and off so",
    ),
    "name is a boolean": (v3({}, name=True), "write it in quotes"),
    "v1 interface": (refusal("hostEndpoint", {"interfaceName": "bond0.1"}, "v1", node="n"), "use expectedIPs instead"),
    "interface": (refusal("HostEndpoint", {"node": "n", "interfaceName": "cali*"}), "or * alone"),
    "expected network": (refusal("HostEndpoint", {"node": "n", "expectedIPs": ["10.0.0.1/32"]}), "write 10.0.0.1"),
    "port of an endpoint": (
        refusal(
            "HostEndpoint", {"node": "n", "interfaceName": "e", "ports": [{"name": "x", "protocol": "tcp", "port": 1}]}
        ),
        "did you mean TCP?",
    ),
    "label name": (v3({}, labels={"a b": "c"}), "metadata.labels.a b: 'a b' is not a label's name"),
    "label value": (v3({}, labels={"a": "-c"}), "'-c' is no label's value"),
    "label of sets": (refusal("GlobalNetworkSet", {}, labels={"projectcalico.org/namespace": "x"}), "Calico sets this"),
    "annotation": (v3({}, annotations={"a b": "c"}), "'a b' is not an annotation's name"),
    "annotations too long": (v3({}, annotations={"a": "x" * 300000}), "are more than 262144"),
    "preDNAT in a namespace": (refusal("NetworkPolicy", {"preDNAT": True}), "it is a field of GlobalNetworkPolicy"),
    "set": (refusal("GlobalNetworkSet", {"nets": ["10.0.0.0/40"]}), "spec.nets[0]"),
    "pool": (refusal("IPPool", {"cidr": "10.1.2.3/16"}), "write 10.1.0.0/16"),
    "pool tunnels": (
        refusal("IPPool", {"cidr": "10.0.0.0/16", "ipipMode": "Always", "vxlanMode": "Always"}),
        "is Never",
    ),
    "peer": (refusal("BGPPeer", {"node": "n", "nodeSelector": "all()"}), "cannot stand beside nodeSelector"),
    "felix": (refusal("FelixConfiguration", {"bpfEnable": True}), "did you mean bpfEnabled?"),
    "felix failsafe": (
        refusal("FelixConfiguration", {"failsafeInboundHostPorts": [{"protocol": "TCP", "port": "22"}]}),
        "failsafeInboundHostPorts[0].port: '22' is not a whole number; write it without quotes",
    ),
    "controllers": (refusal("KubeControllersConfiguration", {}), "there is only one KubeControllersConfiguration"),
    "read only": (refusal("ClusterInformation", {}), "they can be read, not written"),
    "unknown kind": (refusal("GlobalNetworkPolcy", {}), "did you mean GlobalNetworkPolicy?"),
    "v1 kind": (refusal("Policy", {}, "v1"), "did you mean policy?"),
}


@pytest.mark.parametrize(("said", "words"), SAID.values(), ids=SAID.keys())
def test_refused_with_the_reason(said: str, words: str) -> None:
    assert words in said
    assert said.startswith("f.yml: ")
    assert "\n" not in said


DOCUMENTS = {
    "v3 for v1": ({**document("GlobalNetworkPolicy", {}), "x": 1}, "v1", "the cluster's is v1: convert it"),
    "v1 for v3": (document("policy", {}, "v1"), "v3", "the cluster's is v3: convert it"),
    "crd": (
        {**document("GlobalNetworkPolicy", {}), "apiVersion": "crd.projectcalico.org/v1"},
        "v3",
        "write projectcalico",
    ),
    "kubernetes": (
        {**document("NetworkPolicy", {}), "apiVersion": "networking.k8s.io/v1"},
        "v3",
        "kubernetes.core.k8s",
    ),
    "no version": ({"kind": "policy"}, "v1", "apiVersion: is missing; write v1"),
    "no kind": ({"apiVersion": "v1"}, "v1", "kind: is missing"),
    "kind is a list": ({"apiVersion": "v1", "kind": []}, "v1", "kind: [] is not one of"),
    "field beside": ({**document("policy", {}, "v1"), "specs": {}}, "v1", "did you mean spec?"),
    "metadata": ({"apiVersion": "v1", "kind": "policy", "metadata": []}, "v1", "metadata: [] is not a mapping"),
    "no mapping": ([], "v1", "a resource is a mapping"),
}


@pytest.mark.parametrize(("written", "api", "words"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_documents_that_are_none(written: Any, api: str, words: str) -> None:
    with pytest.raises(CalicoError) as caught:
        read_resource(written, api, "f.yml")
    assert words in str(caught.value)


def rules(**rule: Any) -> dict[str, Any]:
    return {"ingress": [{"action": "Allow", "protocol": "TCP", **rule}]}


# Each: two specs that mean the same.
SAME = {
    "order of nets": (
        rules(source={"nets": ["10.0.0.0/8", "11.0.0.0/8"]}),
        rules(source={"nets": ["11.0.0.0/8", "10.0.0.0/8"]}),
    ),
    "a net twice": (rules(source={"nets": ["10.0.0.0/8", "10.0.0.0/8"]}), rules(source={"nets": ["10.0.0.0/8"]})),
    "spelling of IPv6": (rules(source={"nets": ["FD00:0::/64"]}), rules(source={"nets": ["fd00::/64"]})),
    "order of ports": (rules(source={"ports": [1, "a", "2:3"]}), rules(source={"ports": ["2:3", "a", 1]})),
    "port in quotes": (rules(source={"ports": ["80", "5:5"]}), rules(source={"ports": [5, 80]})),
    "protocol in quotes": (rules(protocol="6"), rules(protocol=6)),
    "empty sides": (rules(source={}, destination=None), rules()),
    "empty lists": ({"egress": [], "ingress": None}, {}),
    "default types": (rules(), {**rules(), "types": ["Ingress"]}),
    "both types": (
        {**rules(), "egress": [{"action": "Deny"}]},
        {**rules(), "egress": [{"action": "Deny"}], "types": ["Ingress", "Egress"]},
    ),
    "egress type": ({"egress": [{"action": "Deny"}]}, {"egress": [{"action": "Deny"}], "types": ["Egress"]}),
    "order of types": ({**rules(), "types": ["Ingress", "Egress"]}, {**rules(), "types": ["Egress", "Ingress"]}),
    "default tier": ({"tier": "default"}, {}),
    "false": ({"preDNAT": False, "doNotTrack": False}, {}),
    "selector": ({"selector": ""}, {}),
    "order": ({"order": 1500.0}, {"order": 1500}),
    "no order": ({"order": None}, {}),
    "field's case": ({"applyonforward": True}, {"applyOnForward": True}),
}
DIFFERENT = {
    "order of rules": (
        {"ingress": [{"action": "Allow"}, {"action": "Deny"}]},
        {"ingress": [{"action": "Deny"}, {"action": "Allow"}]},
    ),
    "order 0": ({"order": 0}, {}),
    "selector": ({"selector": "all()"}, {"selector": "has(a)"}),
    "types": ({"types": ["Egress"]}, {}),
    "port": (rules(source={"ports": ["80:81"]}), rules(source={"ports": [80]})),
    "not": (rules(source={"nets": ["10.0.0.0/8"]}), rules(source={"notNets": ["10.0.0.0/8"]})),
    "service accounts": (rules(source={"serviceAccounts": {}}), rules()),
    "applyOnForward": ({"applyOnForward": True}, {}),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME.keys())
def test_same(one: Any, other: Any) -> None:
    assert read("GlobalNetworkPolicy", one).normal() == read("GlobalNetworkPolicy", other).normal()
    assert (
        stored_resource(document("GlobalNetworkPolicy", other), "v3").normal()
        == read("GlobalNetworkPolicy", one).normal()
    )


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_different(one: Any, other: Any) -> None:
    assert read("GlobalNetworkPolicy", one).normal() != read("GlobalNetworkPolicy", other).normal()


def test_v1_net_is_a_list_of_one_without_host_bits() -> None:
    one = read("policy", {"ingress": [{"action": "allow", "source": {"net": "10.1.2.3/8"}}]}, "v1")
    other = read("policy", {"ingress": [{"action": "allow", "source": {"nets": ["10.0.0.0/8"]}}]}, "v1")
    assert one.normal() == other.normal()
    assert one.document()["spec"]["ingress"][0]["source"] == {"net": "10.1.2.3/8"}


def test_what_other_kinds_get_by_default() -> None:
    full = {
        "cidr": "10.0.0.0/16",
        "ipipMode": "Never",
        "vxlanMode": "Never",
        "blockSize": 26,
        "nodeSelector": "all()",
        "allowedUses": ["Workload", "Tunnel"],
        "assignmentMode": "Automatic",
        "natOutgoing": False,
    }
    assert read("IPPool", {"cidr": "10.0.0.0/16"}).normal() == stored_resource(document("IPPool", full), "v3").normal()
    assert read("IPPool", {"cidr": "fd00::/64"}).normal()["spec"]["blockSize"] == 122
    assert read("BGPPeer", {"peerIP": "10.0.0.1", "asNumber": "64512"}).normal()["spec"]["asNumber"] == 64512
    assert read("BGPPeer", {"peerIP": "10.0.0.1", "asNumber": "1.1"}).normal()["spec"]["asNumber"] == 65537


def test_a_false_of_felix_says_something() -> None:
    felix = read("FelixConfiguration", {"ipv6Support": False, "failsafeInboundHostPorts": []}, name="default")
    assert felix.normal()["spec"] == {"ipv6Support": False, "failsafeInboundHostPorts": []}
    assert read("FelixConfiguration", {"somethingOfNextYear": 1}).spec == {"somethingOfNextYear": 1}


def test_empty_controllers_are_switched_on() -> None:
    spec = {"controllers": {"node": {}}}
    assert read("KubeControllersConfiguration", spec, name="default").normal()["spec"] == spec


def test_orders_of_any_size() -> None:
    assert read("GlobalNetworkPolicy", {"order": 10**400}).normal()["spec"]["order"] == 10**400
    assert read("GlobalNetworkPolicy", {"order": -3.5}).normal()["spec"]["order"] == -3.5


def test_bookkeeping_is_not_sent_and_makes_no_difference() -> None:
    exported = document(
        "GlobalNetworkPolicy", {}, uid="x", resourceVersion="3", creationTimestamp=None, generation=1, managedFields=[]
    )
    exported["status"] = {}
    resource = read_resource(exported, "v3", "f.yml")
    assert resource.document() == document("GlobalNetworkPolicy", {})
    assert resource.normal() == read("GlobalNetworkPolicy", {}).normal()


def test_the_tier_in_a_policys_name_and_labels() -> None:
    plain, prefixed = read("GlobalNetworkPolicy", {}), read("GlobalNetworkPolicy", {}, name="default.a")
    assert plain.identity == prefixed.identity
    assert plain.normal() == prefixed.normal()
    assert prefixed.document()["metadata"]["name"] == "default.a"
    stored = document("GlobalNetworkPolicy", {"tier": "default"}, labels={"projectcalico.org/tier": "default"})
    assert stored_resource(stored, "v3").normal() == plain.normal()
    assert read("GlobalNetworkPolicy", {"tier": "sec"}, name="sec.a").identity.name == "sec.a"
    assert read("NetworkPolicy", {}, name="knp.default.x.y").identity.name == "knp.default.x.y"


def test_identities() -> None:
    assert read("hostEndpoint", {"interfaceName": "e"}, "v1", node="n").identity == Identity(
        "HostEndpoint", "a", node="n"
    )
    assert read("NetworkPolicy", {}).identity == Identity("NetworkPolicy", "a", "default")
    assert str(read("NetworkPolicy", {}, namespace="x").identity) == "NetworkPolicy x/a"
    pool = {
        "apiVersion": "v1",
        "kind": "ipPool",
        "metadata": {"cidr": "192.168.0.0/16"},
        "spec": {"nat-outgoing": True},
    }
    assert read_resource(pool, "v1", "f.yml").identity == Identity("IPPool", "192.168.0.0/16")
    assert read_resource(pool, "v1", "f.yml").document() == pool
    peer = {
        "apiVersion": "v1",
        "kind": "bgpPeer",
        "metadata": {"scope": "node", "node": "n", "peerIP": "10.0.0.1"},
        "spec": {"asNumber": 1},
    }
    assert read_resource(peer, "v1", "f.yml").document() == peer
    workload = {
        "apiVersion": "v1",
        "kind": "workloadEndpoint",
        "metadata": {"name": "eth0", "workload": "w", "orchestrator": "k8s", "node": "n"},
    }
    assert stored_resource(workload, "v1").identity == Identity("WorkloadEndpoint", "k8s/w/eth0", node="n")
    profile = {
        "apiVersion": "v1",
        "kind": "profile",
        "metadata": {"name": "p", "tags": ["b", "a"], "labels": {"x": "y"}},
        "spec": {},
    }
    assert read_resource(profile, "v1", "f.yml").document()["metadata"] == {
        "name": "p",
        "tags": ["a", "b"],
        "labels": {"x": "y"},
    }


def test_labels_become_text_as_calicoctl_makes_it() -> None:
    labels = read(
        "hostEndpoint", {"interfaceName": "e"}, "v1", node="n", labels={"num": 1, "b": True, "f": 1.5, "e": ""}
    ).labels
    assert labels == {"num": "1", "b": "true", "f": "1.5", "e": ""}


def test_what_is_not_known_is_kept_when_it_comes_from_a_datastore() -> None:
    stored = document(
        "GlobalNetworkPolicy",
        {"novel": {"a": [1]}, "ingress": [{"action": "Warn", "source": {"nets": "odd"}}], "order": "x"},
    )
    resource = stored_resource(stored, "v3")
    assert resource.normal()["spec"]["novel"] == {"a": [1]}
    assert resource.document()["spec"]["novel"] == {"a": [1]}
    with pytest.raises(CalicoError, match="without a name"):
        stored_resource({"kind": "GlobalNetworkPolicy"}, "v3")
    with pytest.raises(CalicoError, match="'Gadget', which is not known"):
        stored_resource({"kind": "Gadget"}, "v3")


@pytest.mark.parametrize("word", ["gnp", "GlobalNetworkPolicies", "globalnetworkpolicy", "policy", "policies", "pol"])
def test_words_for_a_kind(word: str) -> None:
    api = "v1" if word.startswith("pol") else "v3"
    assert find_kind(word, api).name == "GlobalNetworkPolicy"


def test_no_word_for_a_kind() -> None:
    with pytest.raises(ValueRefused, match="did you mean hostEndpoint"):
        find_kind("host-endpoint", "v1")
    with pytest.raises(ValueRefused):
        find_kind("networkpolicy", "v1")
