# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions as users put them: both APIs, packets read strictly, answers as plain data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_question import ask, read_documents, read_packet
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError

V3 = [
    {"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint", "metadata": {"name": "w1-public", "labels": {"a": "b"}},
     "spec": {"node": "w1", "interfaceName": "eth1"}},
    {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {"name": "default.node-ports"},
     "spec": {"preDNAT": True, "applyOnForward": True, "selector": "a == 'b'", "types": ["Ingress"],
              "ingress": [{"action": "Deny", "protocol": "TCP", "destination": {"ports": ["30000:32767"]}}]}},
]  # fmt: skip
V1 = [
    {"apiVersion": "v1", "kind": "hostEndpoint", "metadata": {"name": "eth1", "node": "w1", "labels": {"a": "b"}},
     "spec": {"interfaceName": "eth1"}},
    {"apiVersion": "v1", "kind": "policy", "metadata": {"name": "web"},
     "spec": {"selector": "a == 'b'", "ingress": [{"action": "allow", "protocol": "tcp", "destination": {"ports": [80]}}]}},
]  # fmt: skip
PACKET = {"direction": "in", "protocol": "tcp", "source": "198.51.100.9", "destination": "203.0.113.11", "port": 80,
          "interface": "eth1"}  # fmt: skip


def asked(documents: list[dict[str, Any]], packet: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    answer = ask(read_documents(documents, "resources"), "w1", {**PACKET, **(packet or {})}, **more)
    assert json.loads(json.dumps(answer)) == answer
    return answer


def test_a_node_port_is_denied_before_it_is_translated() -> None:
    answer = asked(
        V3, {"direction": "forward", "destination": "172.30.1.5", "port": 8080, "out_interface": "cali1",
             "original_destination": "203.0.113.11", "original_port": 30080},
    )  # fmt: skip
    assert answer["allowed"] is False
    assert answer["decision"] == {
        "stage": "preDNAT", "action": "Deny", "endpoint": "w1-public", "direction": "Ingress", "rule": 0,
        "policy": "GlobalNetworkPolicy node-ports",
        "because": "GlobalNetworkPolicy node-ports, ingress rule 0 (preDNAT)",
    }  # fmt: skip


def test_api_v1_is_read_with_the_failsafe_ports_of_its_time() -> None:
    assert asked(V1)["decision"]["policy"] == "GlobalNetworkPolicy web"
    assert asked(V1, {"port": 22})["decision"]["stage"] == "failsafe"
    assert asked(V1, {"port": 6443})["allowed"] is False
    assert asked(V3, {"port": 6443})["decision"]["stage"] == "failsafe"


def test_failsafe_ports_may_be_given() -> None:
    assert asked(V3, {"port": 22}, failsafe_inbound=[])["allowed"] is False
    assert asked(V3, {"port": 22}, failsafe_inbound=["tcp:198.51.100.0/24:22"])["allowed"] is True
    assert asked(V3, {"port": 22}, failsafe_inbound=["tcp:10.0.0.0/8:22", "udp:53"])["allowed"] is False
    assert asked(V3, {"direction": "out", "port": 443}, failsafe_outbound=["443"])["allowed"] is True


def test_no_host_endpoint_means_no_say() -> None:
    answer = asked(V3, {"interface": "eth0"})
    assert (answer["allowed"], answer["governed"]) == (True, False)
    assert answer["decision"]["because"] == "no host endpoint governs eth0 of w1; Calico has no say"


def test_an_endpoint_may_be_known_by_its_address() -> None:
    endpoint = {**V3[0], "spec": {"node": "w1", "expectedIPs": ["203.0.113.11"]}}
    assert asked([endpoint])["governed"] is False
    assert asked([endpoint], interfaces={"eth1": ["203.0.113.11/24"]})["governed"] is True


@pytest.mark.parametrize(
    ("packet", "told"),
    [
        ({"direction": "inn"}, "packet: direction: 'inn' is not one of in, out, forward; did you mean in?"),
        ({"protocol": "tpc"}, "packet: protocol: 'tpc' is not one of"),
        ({"protocol": None}, "packet: protocol"),
        ({"source": "host.example"}, "packet: source: 'host.example' is not an IPv4 or IPv6 network"),
        ({"destination": "2001:db8::1"}, "are of different families"),
        ({"port": None}, "packet: port is missing; protocol tcp has ports"),
        ({"port": 70000}, "packet: port: "),
        ({"port": "1-2"}, "is a range; a packet has one port"),
        ({"protocol": "icmp"}, "packet: port 80 needs protocol tcp, udp or sctp, not icmp"),
        ({"icmp_type": 8}, "packet: icmp_type 8 needs protocol icmp or icmpv6, not tcp"),
        ({"protocol": "icmp", "port": None, "icmp_type": 300}, "packet: icmp_type 300 is not a number from 0 to 255"),
        ({"state": "fresh"}, "packet: state: 'fresh' is not one of"),
        ({"out_interface": "eth0"}, "packet: out_interface eth0 is only for direction forward"),
    ],
)
def test_a_packet_that_cannot_be_is_refused(packet: dict[str, Any], told: str) -> None:
    with pytest.raises(HardeningError) as error:
        read_packet({**PACKET, **packet})
    assert told in str(error.value)


@pytest.mark.parametrize(
    "value", [["tcp:0"], ["tcp:x"], ["nonsense:22"], ["tcp:10.0.0.0/99:22"], [True], [{"port": None}]]
)
def test_failsafe_ports_that_cannot_be_are_refused(value: list[Any]) -> None:
    with pytest.raises(HardeningError, match="failsafe_inbound"):
        asked(V3, failsafe_inbound=value)
