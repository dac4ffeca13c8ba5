# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""calico_verdict on what a datastore holds: the same answers as on the documents that were written there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.calico.cluster import Cluster

PACKET = {
    "direction": "in",
    "protocol": "tcp",
    "source": "198.51.100.9",
    "destination": "203.0.113.11",
    "interface": "eth1",
    "port": 80,
}


def asked(cluster: Cluster, **given: Any) -> dict[str, Any]:
    packet = {**PACKET, **{name: given.pop(name) for name in list(given) if name in PACKET}}
    result = cluster.run("calico_verdict", {"node": "worker1", "packet": packet, **given})
    assert not result.failed, result.message
    assert not result.changed
    return result.data


def test_as_with_the_documents(cluster: Cluster) -> None:
    documents = [cluster.policy("web", 80), cluster.policy("kubelet", 10250), cluster.endpoint("worker1-public")]
    assert not cluster.resource(*documents).failed
    before = cluster.keys()
    for port, passes, policy in ((80, True, "web"), (10250, True, "kubelet"), (443, False, None)):
        live, offline = asked(cluster, port=port), asked(cluster, port=port, resources=documents)
        assert live["allowed"] is passes
        assert live["decision"] == offline["decision"]
        assert live["governed"] is True
        assert (policy or "") in (live["decision"]["policy"] or "")
    assert asked(cluster, interface="eth7")["governed"] is False
    assert cluster.keys() == before


def test_what_an_inbound_policy_does_to_what_is_sent(cluster: Cluster) -> None:
    """Felix of API v1 applied it in both directions."""
    cluster.resource(cluster.policy("web", 80), cluster.endpoint("worker1-public"), allow_lockout=True)
    answer = asked(cluster, direction="out", source="203.0.113.11", destination="198.51.100.9", port=20000)
    assert answer["allowed"] is False
    opened = cluster.policy("out", egress=[{"action": "allow" if cluster.api == "v1" else "Allow"}])
    if cluster.api == "v3":
        opened["spec"]["types"] = ["Egress"]
        del opened["spec"]["ingress"]
    cluster.resource(opened)
    answer = asked(cluster, direction="out", source="203.0.113.11", destination="198.51.100.9", port=20000)
    assert answer["allowed"] is True


@pytest.mark.parametrize("cluster", ["v3", "kube"], indirect=True)
def test_failsafe_ports_and_sets_are_read(cluster: Cluster) -> None:
    version = "projectcalico.org/v3"
    nets = {
        "apiVersion": version,
        "kind": "GlobalNetworkSet",
        "metadata": {"name": "partners", "labels": {"who": "partners"}},
        "spec": {"nets": ["198.51.100.0/24"]},
    }
    felix = {
        "apiVersion": version,
        "kind": "FelixConfiguration",
        "metadata": {"name": "default"},
        "spec": {"failsafeInboundHostPorts": [{"protocol": "TCP", "port": 2222}, {"protocol": "TCP", "port": 22}]},
    }
    rule = {"action": "Allow", "protocol": "TCP", "source": {"selector": "who == 'partners'"}}
    wide = cluster.policy("partners", ingress=[rule])
    done = cluster.resource(nets, felix, wide, cluster.endpoint("worker1-public"))
    assert not done.failed, done.message
    assert asked(cluster)["allowed"] is True
    assert asked(cluster, source="192.0.2.1")["allowed"] is False
    assert asked(cluster, source="192.0.2.1", port=2222)["decision"]["stage"] == "failsafe"
    assert asked(cluster, source="192.0.2.1", port=2222, failsafe_inbound=[])["allowed"] is False


def test_a_datastore_that_is_gone(cluster: Cluster) -> None:
    given = {"node": "worker1", "packet": PACKET, "timeout": 3}
    result = cluster.reached_at("https://127.0.0.1:9").run("calico_verdict", given)
    assert result.failed
    assert "datastore" in result.message
