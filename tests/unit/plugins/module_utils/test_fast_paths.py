# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is fast says the same as what is plain."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils import traffic_reading
from ansible_collections.iks.hardening.plugins.module_utils.errors import TrafficError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_result import brief_arguments
from ansible_collections.iks.hardening.plugins.module_utils.peer_sets import (
    HALVES,
    create_text,
    set_members,
    set_text,
)
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset
from ansible_collections.iks.hardening.plugins.module_utils.traffic import Rule
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import parse_network, rule_from_dict

_OCTET = st.one_of(
    st.integers(0, 300).map(str), st.sampled_from(["00", "01", "08", "", " 1", "1 ", "+1", "0x1", "1_0", "١"])
)
_LENGTH = st.one_of(
    st.just(""), st.integers(0, 40).map(lambda n: f"/{n}"), st.sampled_from(["/", "/08", "/-1", "/255.0.0.0", "/٣"])
)
ALMOST_IPV4 = st.tuples(st.lists(_OCTET, min_size=3, max_size=5).map(".".join), _LENGTH).map("".join)
IPV4 = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda two: ipaddress.IPv4Network(two, strict=False)
)
IPV6 = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(
    lambda two: ipaddress.IPv6Network(two, strict=False)
)


def sources_of(values: object) -> object:
    """The sources of a rule, or the text of the refusal."""
    rule = {"name": "x", "direction": "in", "action": "accept", "reason": "x", "sources": values}
    try:
        return rule_from_dict(rule).sources
    except TrafficError as error:
        return str(error)


def plainly(values: list[object]) -> object:
    """The same by parse_network alone."""
    try:
        found = {parse_network("rule x: sources", value) for value in values}
    except TrafficError as error:
        return str(error)
    return tuple(sorted(found, key=lambda net: (net.version, int(net.network_address), net.prefixlen)))


@given(ALMOST_IPV4)
@example("0.0.0.0/0")
@example("10.0.0.1/8")
@example("255.255.255.255")
@example("10.0.0.0/")
@example("1.2.3.4\n")
def test_one_network_is_read_as_parse_network_reads_it(text):
    assert sources_of([text]) == plainly([text])


@given(st.lists(st.one_of(IPV4, IPV6).map(str), min_size=1, max_size=40), st.booleans())
def test_a_list_is_sorted_and_has_nothing_twice(texts, twice):
    texts = texts * 2 if twice else texts
    assert traffic_reading._networks("rule x: sources", texts) == plainly(texts)


@pytest.mark.parametrize("value", [10, 1.5, True, b"10.0.0.0", ipaddress.IPv4Address("10.0.0.1"), ["10.0.0.0"]])
def test_what_is_no_text_goes_the_plain_way(value):
    assert sources_of([value]) == plainly([value])


class TaggedText(str):
    """Ansible hands over texts of a class of its own."""


def test_a_text_of_another_class_is_a_text():
    assert sources_of([TaggedText("10.0.0.0/8")]) == sources_of(["10.0.0.0/8"])


@given(st.lists(IPV4, max_size=30))
def test_members_of_ipv4_sets_are_what_ipaddress_writes(networks):
    written = {str(net)[:-3] if net.prefixlen == 32 else str(net) for net in networks if net.prefixlen}
    whole = set(HALVES["ipv4"]) if any(net.prefixlen == 0 for net in networks) else set()
    assert set_members(networks, "ipv4") == tuple(sorted(written | whole))


@given(st.lists(IPV6, max_size=30))
def test_members_of_ipv6_sets_are_what_ipaddress_writes(networks):
    written = {str(net)[:-4] if net.prefixlen == 128 else str(net) for net in networks if net.prefixlen}
    whole = set(HALVES["ipv6"]) if any(net.prefixlen == 0 for net in networks) else set()
    assert set_members(networks, "ipv6") == tuple(sorted(written | whole))


def test_short_arguments_are_told_as_they_are_and_long_ones_by_their_size():
    params = {"name": "node", "rules": "a rule\n" * 1000, "defaults": [{"direction": "in"}], "priority": 900}
    assert brief_arguments(params)["module_args"] == {**params, "rules": "1001 lines of 7000 characters"}
    assert brief_arguments({"rules": [{"name": "x" * 50}] * 100})["module_args"] == {"rules": "100 items"}


def rule(name: str, action: str, sources: list[str]) -> Rule:
    return rule_from_dict({"name": name, "direction": "in", "action": action, "reason": "x", "sources": sources})


def test_lists_that_differ_only_in_their_middle_are_no_contradiction():
    ends = ["10.0.0.0/8", "198.51.100.0/24"]
    Ruleset("x", 1, (rule("a", "accept", [*ends, "192.0.2.1"]), rule("b", "drop", [*ends, "192.0.2.2"])))
    same = (rule("a", "accept", ends), rule("b", "accept", [*ends, "192.0.2.1"]), rule("c", "drop", ends[::-1]))
    with pytest.raises(TrafficError, match="rule c: action drop contradicts rule a, which says accept"):
        Ruleset("x", 1, same)


@given(st.lists(IPV4.map(str), max_size=30, unique=True))
def test_the_text_of_a_set_is_a_line_for_its_making_and_one_for_each_member(texts):
    members = tuple(sorted(texts))
    first, *lines = create_text("iks4-x", members).splitlines()
    assert first == f"create iks4-x hash:net family inet hashsize 64 maxelem {max(1, len(members))}"
    assert lines == [f"add iks4-x {member}" for member in members]
    assert set_text("iks4-x", members).splitlines() == [
        first.replace("iks4-x", "iks4-x-m"),
        *(line.replace("iks4-x", "iks4-x-m") for line in lines),
        f"{first} -exist",
        "swap iks4-x-m iks4-x",
        "destroy iks4-x-m",
    ]
    assert create_text("iks4-x", members).endswith("\n")
