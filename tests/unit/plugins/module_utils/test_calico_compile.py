# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be compiled is named; sets of addresses and ports answer as a plain search would; speed."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.calico_addresses import (
    AddressSet,
    changes,
    merge_spans,
    within,
)
from ansible_collections.iks.hardening.plugins.module_utils.calico_compile import compile_policies
from ansible_collections.iks.hardening.plugins.module_utils.calico_policy import Node, PolicyError
from ansible_collections.iks.hardening.plugins.module_utils.calico_verdict import decide_packet
from ansible_collections.iks.hardening.plugins.module_utils.verdict import Packet

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (min(pair), max(pair))))


@given(SPANS)
def test_spans_hold_what_was_put_in_and_change_where_they_say(spans: list[tuple[int, int]]) -> None:
    merged = merge_spans(spans)
    found = [within(merged, number) for number in range(-1, 63)]
    assert found == [any(first <= number <= last for first, last in spans) for number in range(-1, 63)]
    turns = {number for number in range(63) if within(merged, number) != within(merged, number - 1)}
    assert set(changes(merged)) == turns


def test_addresses_of_both_families() -> None:
    both = AddressSet.of([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")])
    for text, inside in (("10.255.255.255", True), ("11.0.0.0", False), ("2001:db8::1", True), ("::a00:1", False)):
        assert (ipaddress.ip_address(text) in both) == inside


def policy(**spec: Any) -> list[dict[str, Any]]:
    return [{"kind": "GlobalNetworkPolicy", "metadata": {"name": "p"}, "spec": {"selector": "all()", **spec}}]


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        (policy(selector="a ="), "GlobalNetworkPolicy p: spec.selector: selector 'a ='"),
        (policy(ingress=[{"action": "Drop"}]), "GlobalNetworkPolicy p: spec.ingress[0].action: 'Drop' is not one of"),
        (
            policy(ingress=[{"action": "Allow"}, {"action": "Allow", "source": {"nets": ["10.0.0.0/33"]}}]),
            "GlobalNetworkPolicy p: spec.ingress[1].source.nets: ",
        ),
        (policy(order="first"), "GlobalNetworkPolicy p: spec.order: 'first' is not a number"),
        (
            policy(egress=[{"action": "Allow", "destination": {"selector": "x in {"}}]),
            "GlobalNetworkPolicy p: spec.egress[0].destination.selector: selector 'x in {'",
        ),
        (
            [{"kind": "HostEndpoint", "metadata": {"name": "h"}, "spec": {"node": "w1", "expectedIPs": ["host"]}}],
            "HostEndpoint h: expectedIPs: 'host' is not an IPv4 or IPv6 network",
        ),
        (
            [{"kind": "Node", "metadata": {"name": "w1"}, "spec": {"bgp": {"ipv4Address": "w1/24"}}}],
            "Node w1: 'w1' is not",
        ),
    ],
)
def test_what_cannot_be_compiled_is_named(documents: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(PolicyError) as error:
        compile_policies(documents)
    assert told in str(error.value)


def test_other_kinds_and_bare_documents_are_left_alone() -> None:
    found = compile_policies(
        [{"kind": "BGPPeer", "metadata": {"name": "x"}}, {"kind": "Profile", "metadata": {"name": "x"}}]
    )
    assert found.tiers == ()


def test_ten_thousand_policies_are_compiled_and_asked_quickly() -> None:
    documents: list[dict[str, Any]] = [
        {"kind": "GlobalNetworkPolicy", "metadata": {"name": f"p{number}"},
         "spec": {"order": number, "selector": f"role == 'r{number % 50}'", "types": ["Ingress"],
                  "ingress": [{"action": "Allow", "protocol": "TCP", "source": {"nets": [f"10.{number % 256}.0.0/16"]},
                               "destination": {"ports": [number % 60000 + 1]}}]}}
        for number in range(10000)
    ]  # fmt: skip
    documents.append(
        {
            "kind": "HostEndpoint",
            "metadata": {"name": "h", "labels": {"role": "r7"}},
            "spec": {"node": "n", "interfaceName": "e"},
        }
    )
    start = time.process_time()
    policies = compile_policies(documents)
    source, target = ipaddress.ip_address("10.7.1.1"), ipaddress.ip_address("192.0.2.1")
    packet = Packet("in", "tcp", source, target, "e", port=9508, source_port=1)
    outcome = decide_packet(policies, Node("n"), packet)
    # About 0.5 s of processor here; a machine four times as slow still passes.
    assert time.process_time() - start < 4
    assert outcome.allowed == (9507 % 50 == 7 and 9507 % 256 == 7)
