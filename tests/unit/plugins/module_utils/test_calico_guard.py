# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard refuses what cuts a cluster off, every planted time, and nothing else.

The cluster: a master and two workers, eth1 public and eth0 private, no failsafe ports, so that everything that passes
passes by a policy. Each flow has its own policy, which makes every way to lose one a case.
"""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Callable
from typing import Any, Dict

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_compile import compile_policies
from ansible_collections.iks.hardening.plugins.module_utils.calico_guard import (
    Broken,
    Flow,
    broken_flows,
    flows_of_rules,
    refusal,
)
from ansible_collections.iks.hardening.plugins.module_utils.calico_settings import SETTINGS
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules

Documents = Dict[str, Dict[str, Any]]
NODES = {"master": 10, "w1": 11, "w2": 12}
PRIVATE, PUBLIC = "side == 'private'", "side == 'public'"


def nets(*texts: str) -> tuple[Any, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# name, direction, protocol, peers, port, interface
TABLE = (
    ("ssh", "in", "tcp", ("198.51.100.0/28", "192.0.2.7/32"), 22, "eth1"),
    ("kubelet", "in", "tcp", ("10.0.0.0/24",), 10250, "eth0"),
    ("api-server", "out", "tcp", ("10.0.0.10/32",), 6443, "eth0"),
    ("etcd", "out", "tcp", ("10.0.0.10/32",), 2379, "eth0"),
    ("bgp-in", "in", "tcp", ("10.0.0.0/24",), 179, "eth0"),
    ("bgp-out", "out", "tcp", ("10.0.0.0/24",), 179, "eth0"),
    ("vxlan-in", "in", "udp", ("10.0.0.0/24",), 4789, "eth0"),
    ("vxlan-out", "out", "udp", ("10.0.0.0/24",), 4789, "eth0"),
    ("ipip-in", "in", "4", ("10.0.0.0/24",), None, "eth0"),
    ("typha", "out", "tcp", ("10.0.0.0/24",), 5473, "eth0"),
    ("dns", "out", "udp", ("10.0.80.11/32", "10.0.80.12/32"), 53, "eth0"),
    ("ntp", "out", "udp", ("10.0.77.54/32",), 123, "eth0"),
    ("registry", "out", "tcp", ("169.46.7.0/24",), 443, "eth1"),
)
FLOWS = tuple(
    Flow(name, way, protocol, nets(*peers), port, f"{name} of the cluster", interface=link)
    for name, way, protocol, peers, port, link in TABLE
)


def policy(name: str, selector: str = "all()", **spec: Any) -> dict[str, Any]:
    return {"kind": "GlobalNetworkPolicy", "metadata": {"name": name}, "spec": {"selector": selector, **spec}}


def rule(flow: Flow, action: str = "Allow", **more: Any) -> dict[str, Any]:
    """The rule that is about a flow and nothing else."""
    inwards = flow.direction == "in"
    found: dict[str, Any] = {"action": action, "protocol": 4 if flow.protocol == "4" else flow.protocol.upper()}
    found["source" if inwards else "destination"] = {"nets": [str(net) for net in flow.peers]}
    if flow.port is not None:
        found.setdefault("destination", {})["ports"] = [flow.port]
    return {**found, **more}


def way(flow: Flow) -> str:
    return "ingress" if flow.direction == "in" else "egress"


def cluster() -> Documents:
    """By kind and name, so that a case can change one."""
    found = [{"kind": "FelixConfiguration", "metadata": {"name": "default"},
              "spec": {"failsafeInboundHostPorts": [], "failsafeOutboundHostPorts": []}}]  # fmt: skip
    for name, number in NODES.items():
        for side, link, address in (("public", "eth1", f"203.0.113.{number}"), ("private", "eth0", f"10.0.0.{number}")):
            found.append(
                {"kind": "HostEndpoint", "metadata": {"name": f"{name}-{side}", "labels": {"side": side, "node": name}},
                 "spec": {"node": name, "interfaceName": link, "expectedIPs": [address]}}
            )  # fmt: skip
    for flow in FLOWS:
        selector = PUBLIC if flow.interface == "eth1" else PRIVATE
        found.append(policy(f"allow-{flow.name}", selector, order=1000, **{way(flow): [rule(flow)]}))
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in found}


def judged(change: Callable[[Documents], None], before: Documents | None = None) -> tuple[Broken, ...]:
    before = cluster() if before is None else before
    after = copy.deepcopy(before)
    change(after)
    return broken_flows(compile_policies(before.values()), compile_policies(after.values()), FLOWS)


def add(document: dict[str, Any]) -> Callable[[Documents], None]:
    return lambda documents: documents.update({f"{document['kind']}/{document['metadata']['name']}": document})


def spec_of(name: str, **changed: Any) -> Callable[[Documents], None]:
    return lambda documents: documents[name]["spec"].update(changed)


def removed(name: str) -> Callable[[Documents], None]:
    def change(documents: Documents) -> None:
        del documents[name]

    return change


def lockouts() -> dict[str, tuple[Callable[[Documents], None], str]]:
    """Case -> change and the flow that it breaks."""
    found: dict[str, tuple[Callable[[Documents], None], str]] = {}
    for flow in FLOWS:
        own, direction = f"GlobalNetworkPolicy/allow-{flow.name}", way(flow)
        peer = str(flow.peers[-1][-1])
        side = "source" if flow.direction == "in" else "destination"
        one = rule(flow, "Deny")
        one[side] = {**one.get(side, {}), "nets": [f"{peer}/32"]}
        found[f"{flow.name}: its policy goes"] = (removed(own), flow.name)
        found[f"{flow.name}: denied before"] = (
            add(policy("deny", order=1, **{direction: [rule(flow, "Deny")]})), flow.name)  # fmt: skip
        found[f"{flow.name}: the last peer is denied"] = (add(policy("deny", order=1, **{direction: [one]})), flow.name)
        found[f"{flow.name}: a selector with a mistake"] = (spec_of(own, selector="sid == 'private'"), flow.name)
        found[f"{flow.name}: on one node only"] = (
            spec_of(own, selector="has(side) && node != 'w2'"), flow.name)  # fmt: skip
        if flow.direction == "in":
            found[f"{flow.name}: denied before DNAT"] = (
                add(policy("deny", preDNAT=True, applyOnForward=True, ingress=[rule(flow, "Deny")])), flow.name)  # fmt: skip
        if flow.protocol == "tcp":
            found[f"{flow.name}: untracked one way"] = (
                add(policy("raw", doNotTrack=True, applyOnForward=True, **{direction: [rule(flow)]})), flow.name)  # fmt: skip
    return found


def harmless() -> dict[str, Callable[[Documents], None]]:
    found: dict[str, Callable[[Documents], None]] = {}
    for flow in FLOWS:
        own, direction = f"GlobalNetworkPolicy/allow-{flow.name}", way(flow)
        side = "source" if flow.direction == "in" else "destination"
        other = rule(flow, "Deny")
        other[side] = {**other.get(side, {}), "nets": ["100.64.0.0/10"]}
        found[f"{flow.name}: allowed twice"] = add(policy("again", order=1, **{direction: [rule(flow)]}))
        found[f"{flow.name}: denied to others"] = add(policy("deny", order=1, **{direction: [other]}))
        found[f"{flow.name}: denied after it is allowed"] = add(
            policy("deny", order=2000, **{direction: [rule(flow, "Deny")]})
        )
        found[f"{flow.name}: logged"] = add(policy("log", order=1, **{direction: [{"action": "Log"}]}))
        found[f"{flow.name}: denied at other labels"] = add(
            policy("deny", "side == 'dmz'", order=1, **{direction: [rule(flow, "Deny")]})
        )
        found[f"{flow.name}: its order moves"] = spec_of(own, order=3)
    found["node ports are closed before DNAT"] = add(
        policy("deny-kube-node-port-services", preDNAT=True, applyOnForward=True, order=1,
               ingress=[{"action": "Deny", "protocol": "TCP", "destination": {"ports": ["30000:32767"]}}])
    )  # fmt: skip
    found["pods may not reach the internet"] = add(
        policy("deny", order=1, applyOnForward=True, egress=[{"action": "Deny", "source": {"nets": ["172.30.0.0/16"]}}])
    )
    found["pods' own policies"] = add(
        {
            "kind": "NetworkPolicy",
            "metadata": {"name": "default-deny", "namespace": "web"},
            "spec": {"selector": "all()"},
        }
    )
    found["an endpoint goes"] = removed("HostEndpoint/w2-public")
    found["a worker is added, covered by what is there"] = add(
        {"kind": "HostEndpoint", "metadata": {"name": "w3-private", "labels": {"side": "private"}},
         "spec": {"node": "w3", "interfaceName": "eth0", "expectedIPs": ["10.0.0.13"]}}
    )  # fmt: skip
    found["failsafe ports come back"] = removed("FelixConfiguration/default")
    return found


LOCKOUTS, HARMLESS = lockouts(), harmless()


@pytest.mark.parametrize("name", sorted(LOCKOUTS))
def test_a_planted_lockout_is_refused(name: str) -> None:
    change, flow = LOCKOUTS[name]
    found = judged(change)
    assert flow in {item.flow.name for item in found if item.refuses and item.flow}, found
    told = refusal(found)
    assert f"{flow} (" in told
    assert "allow_lockout: true" in told


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_a_harmless_change_is_accepted(name: str) -> None:
    found = judged(HARMLESS[name])
    assert refusal(found) == "", found
    assert not found


def test_there_are_enough_of_both() -> None:
    assert len(LOCKOUTS) >= 50
    assert len(HARMLESS) >= 50


def test_the_policy_that_decides_is_named() -> None:
    found = judged(LOCKOUTS["ssh: the last peer is denied"][0])
    assert {item.endpoint for item in found} == {f"{name}-public" for name in NODES}
    first = found[0]
    assert (first.node, str(first.peer), first.refuses) == ("master", "192.0.2.7", True)
    assert first.decision is not None
    assert first.decision.policy == "GlobalNetworkPolicy deny"
    assert first.text == (
        "host endpoint master-public of node master: ssh (tcp port 22 from 198.51.100.0/28, 192.0.2.7/32) would be denied "
        "for 192.0.2.7: GlobalNetworkPolicy deny, ingress rule 0; it is needed: ssh of the cluster"
    )


def test_one_address_within_a_network_is_found() -> None:
    deny = {"action": "Deny", "source": {"nets": ["198.51.100.5/32"]}}
    found = judged(add(policy("deny", order=1, ingress=[deny])))
    assert [str(item.peer) for item in found] == ["198.51.100.5"] * 3


def test_answers_of_untracked_connections_need_a_policy_of_their_own() -> None:
    flow = FLOWS[0]
    there = policy("raw-in", doNotTrack=True, applyOnForward=True, ingress=[rule(flow)])
    found = judged(add(there))
    assert "which nobody tracks" in found[0].text
    back = {"action": "Allow", "protocol": "TCP", "source": {"ports": [22]}}

    def both(documents: Documents) -> None:
        add(there)(documents)
        add(policy("raw-out", doNotTrack=True, applyOnForward=True, egress=[back]))(documents)

    assert judged(both) == ()


def test_what_was_broken_before_is_reported_and_refuses_nothing() -> None:
    before = cluster()
    removed("GlobalNetworkPolicy/allow-ntp")(before)
    found = judged(HARMLESS["ssh: allowed twice"], before)
    assert [item.refuses for item in found] == [False] * 3
    assert refusal(found) == ""
    assert "ntp (udp port 123 to 10.0.77.54/32) is already denied" in found[0].text


def test_what_was_half_broken_may_not_get_worse() -> None:
    before = cluster()
    half = {"action": "Deny", "source": {"nets": ["192.0.2.7/32"]}}
    add(policy("half", order=1, ingress=[half]))(before)
    assert not any(item.refuses for item in judged(lambda _documents: None, before))
    whole = {"action": "Deny", "source": {"nets": ["192.0.2.7/32", "198.51.100.0/28"]}}
    found = judged(spec_of("GlobalNetworkPolicy/half", ingress=[whole]), before)
    assert [str(item.peer) for item in found if item.refuses] == ["198.51.100.0"] * 3


def test_F29_a_host_endpoint_without_a_policy_is_refused() -> None:
    bare = {"kind": "HostEndpoint", "metadata": {"name": "w1-new", "labels": {"side": "dmz"}},
            "spec": {"node": "w1", "interfaceName": "eth2"}}  # fmt: skip
    found = judged(add(bare))
    assert [(item.endpoint, item.flow, item.refuses) for item in found] == [("w1-new", None, True)]
    assert "host endpoint w1-new of node w1: no policy selects it" in refusal(found)
    # Whoever has such an endpoint already may change other things.
    before = cluster()
    add(bare)(before)
    assert refusal(judged(HARMLESS["ssh: allowed twice"], before)) == ""
    # A profile decides where no policy does.
    bare["spec"]["profiles"] = ["projectcalico-default-allow"]
    assert judged(add(bare)) == ()


def test_F29_nor_may_an_endpoint_lose_its_last_policy() -> None:
    def change(documents: Documents) -> None:
        for key in [key for key, item in documents.items() if item["spec"].get("selector") == PUBLIC]:
            del documents[key]

    assert {item.endpoint for item in judged(change) if item.flow is None} == {f"{name}-public" for name in NODES}


def test_F29_with_failsafe_ports_as_well() -> None:
    bare = {"kind": "HostEndpoint", "metadata": {"name": "w9"}, "spec": {"node": "w9", "interfaceName": "eth0"}}
    found = broken_flows(compile_policies([]), compile_policies([bare]), (), SETTINGS)
    assert [item.refuses for item in found] == [True]


ONE = {"kind": "HostEndpoint", "metadata": {"name": "w9", "labels": {"a": "b"}},
       "spec": {"node": "w9", "interfaceName": "eth0"}}  # fmt: skip
NO_FAILSAFE = {
    "kind": "FelixConfiguration",
    "metadata": {"name": "default"},
    "spec": {"failsafeInboundHostPorts": "none"},
}
WEB = policy("web", ingress=[{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}}])
SSH = policy("ssh", ingress=[{"action": "Allow", "protocol": "TCP", "destination": {"ports": [22]},
                              "source": {"nets": ["10.0.0.0/8"]}}])  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "refuses"),
    [
        ([ONE, WEB], [ONE, WEB, NO_FAILSAFE], [True]),
        ([NO_FAILSAFE], [ONE, WEB, NO_FAILSAFE], [True]),
        ([ONE, WEB, SSH, NO_FAILSAFE], [ONE, WEB, NO_FAILSAFE], [True]),
        ([ONE, WEB, NO_FAILSAFE], [ONE, WEB, NO_FAILSAFE], [False]),
        ([ONE, WEB], [ONE, WEB, SSH, NO_FAILSAFE], []),
        ([ONE, WEB], [ONE, WEB], []),
    ],
)
def test_B39_no_failsafe_ports_without_an_ssh_rule_is_refused(
    before: list[dict[str, Any]], after: list[dict[str, Any]], refuses: list[bool]
) -> None:
    found = broken_flows(compile_policies(before), compile_policies(after), ())
    assert [item.refuses for item in found] == refuses
    assert ("keep tcp:22 in failsafeInboundHostPorts" in refusal(found)) == (refuses == [True])


def test_B39_is_told_by_the_flow_where_one_says_from_where() -> None:
    flow = Flow("management", "in", "tcp", nets("198.51.100.0/24"), 22, "the controller")
    found = broken_flows(compile_policies([ONE, WEB]), compile_policies([ONE, WEB, NO_FAILSAFE]), [flow])
    assert [item.flow for item in found if item.refuses] == [flow]


def test_flows_of_traffic_rules() -> None:
    rules = read_rules("""
accept out tcp to 169.46.7.238 port 443 on eth1 name registry # us-south, registry
accept out tcp to 169.46.7.238 port 20000-32767 name masters # us-south, masters
accept in icmp from 10.0.0.0/8 type 8 name ping # pings
drop in tcp from 10.0.0.0/8 port 23 name telnet # never
accept forward tcp port 80 name pods # x
accept out udp on bond+ family ipv4 name all-udp # x
""")
    found = flows_of_rules(rules)
    assert [
        (item.name, item.direction, item.protocol, item.port, item.last_port, item.interface) for item in found
    ] == [
        ("registry", "out", "tcp", 443, 443, "eth1"),
        ("masters", "out", "tcp", 20000, 32767, None),
        ("ping", "in", "icmp", None, None, None),
        ("all-udp", "out", "udp", 1, 65535, "bond*"),
    ]
    assert found[0].reason == "us-south, registry"
    assert [str(net) for net in found[3].peers] == ["0.0.0.0/0"]


def test_a_hole_in_a_range_of_ports_is_found() -> None:
    flow = flows_of_rules(read_rules("accept out tcp to 192.0.2.1 port 20000-32767 name masters # x"))
    allow = [{"action": "Allow"}]
    hole = [{"action": "Deny", "protocol": "TCP", "destination": {"ports": ["21000:21010"]}}]
    found = broken_flows(
        compile_policies([ONE, policy("all", egress=allow)]), compile_policies([ONE, policy("all", egress=hole + allow)]),
        flow, SETTINGS,
    )  # fmt: skip
    assert len(found) == 1
    assert found[0].refuses
