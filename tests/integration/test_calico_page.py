# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's default policies and its preDNAT example, proven with packets: what it promises, written out by hand.

eth0 is the public interface, eth1 the private one, as on a worker. Each line of `PACKETS` says what the page (and where
it says nothing, Calico's documentation) lets pass; the verdict and the kernel have to agree with it.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.iks.hardening.plugins.module_utils.calico_compile import compile_policies
from ansible_collections.iks.hardening.plugins.module_utils.calico_policy import Node
from ansible_collections.iks.hardening.plugins.module_utils.calico_verdict import decide_packet
from ansible_collections.iks.hardening.plugins.module_utils.verdict import Packet
from tests.felix.programmer import program

from .arena import ADDRESSES
from .judge import Arena
from .random_calico import NAT, NODE
from .random_rules import Case
from .wire import to_bytes

DATA = Path(__file__).parents[1] / "data" / "calico-default-policies.yml"
POLICIES = yaml.safe_load(DATA.read_text(encoding="utf-8"))["policies"]
ENDPOINTS = [
    {"kind": "HostEndpoint", "metadata": {"name": f"worker-{side}", "labels": {"ibm.role": f"worker_{side}"}},
     "spec": {"node": NODE, "interfaceName": link, "expectedIPs": [ADDRESSES[link][0].split("/")[0]]}}
    for side, link in (("public", "eth0"), ("private", "eth1"))
]  # fmt: skip
# The page, "Controlling inbound traffic to NodePort and LoadBalancer services", in the form of API v3.
DENY_NODE_PORTS = {
    "kind": "GlobalNetworkPolicy", "metadata": {"name": "deny-kube-node-port-services"},
    "spec": {"preDNAT": True, "applyOnForward": True, "selector": "ibm.role in { 'worker_public', 'master_public' }",
             "types": ["Ingress"],
             "ingress": [{"action": "Deny", "protocol": name, "destination": {"ports": ["30000:32767"]}}
                         for name in ("TCP", "UDP")]},
}  # fmt: skip
PUBLIC, PRIVATE, POD = "203.0.113.11", "10.171.0.11", "10.7.0.80"
SOMEONE, MANAGEMENT, NEIGHBOUR = "198.51.100.9", "169.47.118.5", "10.7.0.9"

# direction, protocol, source, destination, port, interface, and what passes with: all default policies; those and
# the one that denies node ports; those without allow-all-private-default; none at all.
PACKETS = (
    ("in", "icmp", SOMEONE, PUBLIC, 8, "eth0", "yyyn"),
    ("in", "vrrp", SOMEONE, PUBLIC, None, "eth0", "yyyn"),
    ("in", "tcp", SOMEONE, PUBLIC, 52311, "eth0", "yyyn"),
    ("in", "udp", SOMEONE, PUBLIC, 52311, "eth0", "yyyn"),
    ("in", "tcp", SOMEONE, PUBLIC, 10250, "eth0", "yyyn"),
    ("in", "udp", SOMEONE, PUBLIC, 10250, "eth0", "nnnn"),
    ("in", "tcp", MANAGEMENT, PUBLIC, 3389, "eth0", "yyyn"),
    ("in", "tcp", SOMEONE, PUBLIC, 3389, "eth0", "nnnn"),
    ("in", "tcp", SOMEONE, PUBLIC, 80, "eth0", "nnnn"),
    ("in", "udp", SOMEONE, PUBLIC, 123, "eth0", "nnnn"),
    ("in", "esp", SOMEONE, PUBLIC, None, "eth0", "nnnn"),
    # Failsafe ports, whatever policies say.
    ("in", "tcp", SOMEONE, PUBLIC, 22, "eth0", "yyyy"),
    ("in", "tcp", SOMEONE, PUBLIC, 179, "eth0", "yyyy"),
    ("out", "udp", PUBLIC, SOMEONE, 53, "eth0", "yyyy"),
    # allow-all-outbound.
    ("out", "tcp", PUBLIC, SOMEONE, 443, "eth0", "yyyn"),
    ("out", "udp", PUBLIC, SOMEONE, 123, "eth0", "yyyn"),
    ("out", "esp", PUBLIC, SOMEONE, None, "eth0", "yyyn"),
    # A private host endpoint without its policy cuts the node off.
    ("in", "tcp", NEIGHBOUR, PRIVATE, 10250, "eth1", "yynn"),
    ("out", "tcp", PRIVATE, NEIGHBOUR, 10250, "eth1", "yynn"),
    ("in", "icmp", NEIGHBOUR, PRIVATE, 8, "eth1", "yynn"),
    ("in", "tcp", NEIGHBOUR, PRIVATE, 22, "eth1", "yyyy"),
    # Node ports: 30080 becomes port 8080 of a pod before normal policies are asked, and afterwards they are not.
    ("forward", "tcp", SOMEONE, PUBLIC, 30080, "eth0", "ynyy"),
    # A load balancer's address and port are translated, too, and no node port.
    ("forward", "tcp", SOMEONE, "203.0.113.200", 80, "eth0", "yyyy"),
    # A node port that no service has ends at the host itself.
    ("in", "tcp", SOMEONE, PUBLIC, 31000, "eth0", "nnnn"),
    ("in", "udp", MANAGEMENT, PUBLIC, 32767, "eth0", "ynyn"),
    ("in", "udp", MANAGEMENT, PUBLIC, 29999, "eth0", "yyyn"),
)  # fmt: skip
STAGES: dict[str, list[dict[str, Any]]] = {
    "the default policies": [*ENDPOINTS, *POLICIES],
    "node ports closed before DNAT": [*ENDPOINTS, *POLICIES, DENY_NODE_PORTS],
    "no policy for the private network": [
        *ENDPOINTS,
        *(item for item in POLICIES if item["metadata"]["name"] != "allow-all-private-default"),
    ],
    "host endpoints alone": ENDPOINTS,
}
# A load balancer beside the node port of random_calico.NAT.
LOAD_BALANCER = (
    "-A PREROUTING -i eth0 -d 203.0.113.200 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.7.0.80:8080"
)
BALANCED = NAT[4].replace("COMMIT", f"{LOAD_BALANCER}\nCOMMIT")


def case(number: int, line: tuple[Any, ...]) -> tuple[Case, Packet]:
    """How the packet is sent and seen, and what it was before DNAT."""
    direction, protocol, source, destination, port, link, _passes = line
    has_ports = protocol in ("tcp", "udp")
    original = Packet(
        direction, protocol, ipaddress.ip_address(source), ipaddress.ip_address(destination), link,
        port=port if has_ports else None, source_port=40000 + number if has_ports else None,
        icmp_type=port if protocol == "icmp" else None, icmp_code=0 if protocol == "icmp" else None,
        out_interface="eth1" if direction == "forward" else None, tcp_flags=("SYN",) if protocol == "tcp" else None,
    )  # fmt: skip
    seen = original
    if direction == "forward":
        seen = Packet(
            "forward", "tcp", original.source, ipaddress.ip_address(POD), link, port=8080, source_port=40000 + number,
            out_interface="eth1", states=("new", "dnat"), tcp_flags=("SYN",),
        )  # fmt: skip
    far = {"eth0": "far0", "eth1": "far1"}
    how = "host" if direction == "out" else far[link]
    where = {"in": "host", "out": far[link], "forward": "far1"}[direction]
    return Case(seen, how, where, to_bytes(original, number, ident=number)), original


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("stage", STAGES)
def test_what_the_page_promises(arena: Arena, backend: str, stage: str) -> None:
    documents = STAGES[stage]
    column = list(STAGES).index(stage)
    promised = [line[-1][column] == "y" for line in PACKETS]
    made = [case(number, line) for number, line in enumerate(PACKETS, 1 + 100 * column)]
    policies, felix = compile_policies(documents), program(documents, NODE, ADDRESSES)
    for line, promise, (item, original) in zip(PACKETS, promised, made, strict=True):
        outcome = decide_packet(policies, Node(NODE), item.packet, original)
        assert outcome.allowed == promise, (line, outcome)
    arena.ask({"sets": felix.sets_text()})
    cases = [item for item, _original in made]
    _loaded, passed, _after = arena.judge(backend, BALANCED + felix.whole(4), cases, promised)
    lines = enumerate(zip(PACKETS, promised, strict=True))
    wrong = [line for index, (line, promise) in lines if promise != (index in passed)]
    assert not wrong, f"the kernel does otherwise: {wrong}"
