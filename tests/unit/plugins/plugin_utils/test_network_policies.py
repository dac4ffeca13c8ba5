# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes' network policies from what users write."""

from __future__ import annotations

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.plugin_utils.network_policies import network_policies

WEB = {"namespace": "shop", "name": "web"}


def spec(item):
    (made,) = network_policies([item])
    assert (made["apiVersion"], made["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")
    return made["spec"]


@pytest.mark.parametrize(
    ("words", "name", "types"),
    [
        (["ingress", "egress"], "default-deny", ["Ingress", "Egress"]),
        (["egress", "ingress"], "default-deny", ["Ingress", "Egress"]),
        ("ingress", "default-deny-ingress", ["Ingress"]),
        (["egress"], "default-deny-egress", ["Egress"]),
    ],
)
def test_default_deny(words, name, types):
    assert network_policies([{"namespace": "shop", "default_deny": words}]) == [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "name": name,
                "namespace": "shop",
                "labels": {"app.kubernetes.io/managed-by": "iks.hardening"},
            },
            "spec": {"podSelector": {}, "policyTypes": types},
        }
    ]


def test_names_are_still_looked_up_on_request():
    made = network_policies([{"namespace": "shop", "default_deny": ["egress"], "allow_dns": True}])
    assert [item["metadata"]["name"] for item in made] == ["default-deny-egress", "allow-dns"]
    assert made[1]["spec"]["egress"] == [{"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param({}, {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}, id="anything"),
        pytest.param(
            {"pods": {"app": "web"}, "peers": [{"pods": {"app": "router"}, "namespace": "edge"}], "ports": [8080]},
            {
                "podSelector": {"matchLabels": {"app": "web"}},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [
                            {
                                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}},
                                "podSelector": {"matchLabels": {"app": "router"}},
                            }
                        ],
                        "ports": [{"protocol": "TCP", "port": 8080}],
                    }
                ],
            },
            id="label-and-namespace",
        ),
        pytest.param(
            {"direction": "egress", "protocol": "udp", "ports": ["5000-5010", "dns"], "peers": [{"namespace_labels": {"team": "a"}}]},
            {
                "podSelector": {},
                "policyTypes": ["Egress"],
                "egress": [
                    {
                        "to": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}],
                        "ports": [{"protocol": "UDP", "port": 5000, "endPort": 5010}, {"protocol": "UDP", "port": "dns"}],
                    }
                ],
            },
            id="range-and-name",
        ),
        pytest.param(
            {"peers": [{"networks": "10.0.0.0/8", "except": ["10.9.0.0/16"]}], "protocol": "sctp"},
            {
                "podSelector": {},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.9.0.0/16"]}}],
                        "ports": [{"protocol": "SCTP"}],
                    }
                ],
            },
            id="network",
        ),
        pytest.param(
            {"peers": [{"pods": {}}]},
            {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]},
            id="every-pod-of-the-namespace",
        ),
    ],
)  # fmt: skip
def test_allow(more, expected):
    assert spec({**WEB, **more}) == expected


@pytest.mark.parametrize(
    ("item", "text"),
    [
        pytest.param("web", "iks_network_policies[0]: 'web' is not a dictionary", id="text"),
        pytest.param({"namespace": "shop"}, "iks_network_policies[0]: name is missing", id="no-name"),
        pytest.param({**WEB, "port": 1}, "did you mean ports?", id="B42-key"),
        pytest.param({**WEB, "namespace": "Shop"}, "namespace: 'Shop' is not a name", id="namespace"),
        pytest.param({**WEB, "direction": "in"}, "direction: 'in' is not one of ingress, egress", id="direction"),
        pytest.param({**WEB, "protocol": "icmp"}, "protocol: 'icmp' is not one of tcp, udp, sctp", id="protocol"),
        pytest.param({**WEB, "ports": []}, "ports: an empty list", id="B14-ports"),
        pytest.param({**WEB, "peers": []}, "peers: an empty list", id="B14-peers"),
        pytest.param({**WEB, "peers": [{}]}, "peers[0]: nobody is named", id="peer-empty"),
        pytest.param({**WEB, "peers": [{"namespace_labels": {}}]}, "an empty selector is every namespace", id="all-ns"),
        pytest.param({**WEB, "peers": [{"pod": {}}]}, "did you mean pods?", id="peer-key"),
        pytest.param({**WEB, "peers": [{"networks": ["10.0.0.0/8"], "pods": {}}]}, "do not go together", id="mixed"),
        pytest.param({**WEB, "peers": [{"networks": ["10.0.0.0/8", "10.0.0.1"]}]}, "one network a peer, not 2", id="two"),
        pytest.param({**WEB, "peers": [{"except": ["10.0.0.1"]}]}, "one network a peer, not 0", id="except-alone"),
        pytest.param(
            {**WEB, "peers": [{"networks": "10.0.0.0/8", "except": ["11.0.0.0/8"]}]},
            "11.0.0.0/8 does not lie in 10.0.0.0/8", id="except-outside",
        ),
        pytest.param({**WEB, "ports": [70000]}, "ports: ", id="port"),
        pytest.param({**WEB, "pods": {"app": True}}, "pods: app: True is not a label's text; put it in quotes", id="bool"),
        pytest.param({**WEB, "pods": ["app"]}, "is not a dictionary of labels", id="labels-list"),
        pytest.param({"namespace": "shop", "default_deny": []}, "default_deny: an empty list", id="deny-nothing"),
        pytest.param({"namespace": "shop", "default_deny": True}, "default_deny: True is not one of", id="deny-bool"),
        pytest.param(
            {"namespace": "shop", "default_deny": "ingress", "allow_dns": True}, "which default_deny does not close",
            id="dns-for-nothing",
        ),
        pytest.param({"namespace": "shop", "default_deny": "egress", "allow_dns": "y"}, "'y' is not true", id="dns-text"),
    ],
)  # fmt: skip
def test_refused(item, text):
    with pytest.raises(HardeningError) as caught:
        network_policies([item])
    assert text in str(caught.value)


def test_a_name_stands_once_a_namespace():
    network_policies([WEB, {**WEB, "namespace": "other"}])
    with pytest.raises(HardeningError, match="the namespace shop has a policy web already"):
        network_policies([WEB, WEB])
