# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole rulesets that are refused: a family left open, established connections cut off, nothing that could confirm."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.confirmation import check_confirmation
from ansible_collections.iks.hardening.plugins.module_utils.errors import NodeError, TrafficError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_guard import check_families
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, check_established, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules

LINKS = {"lo": [], "eth0": ["203.0.113.11/24", "2001:db8:113::11/64"], "eth1": ["10.171.0.11/24"]}
FOUR_ONLY = {"lo": [], "eth0": ["203.0.113.11/24"]}


def ruleset(lines: str, *closes: str) -> Ruleset:
    return Ruleset("node", 900, tuple(read_rules(lines)), default_rules([{"direction": way} for way in closes]))


WEB = ruleset("accept in tcp port 80 name web # x", "in")


def test_B32_a_family_in_which_others_reach_the_node_is_not_left_out() -> None:
    for families, left_out, address in (
        (["ipv4"], "ipv6", "2001:db8:113::11/64"),
        (["ipv6"], "ipv4", "203.0.113.11/24"),
    ):
        with pytest.raises(TrafficError) as caught:
            check_families(WEB, families, LINKS)
        assert f"would leave {left_out} open, and eth0 has the {left_out} address {address}" in str(caught.value)
    check_families(WEB, ["ipv4"], FOUR_ONLY)
    check_families(WEB, ["ipv4", "ipv6"], LINKS)


def test_B14_no_family_is_not_every_family() -> None:
    with pytest.raises(TrafficError, match="families is an empty list"):
        check_families(WEB, [], {})


def test_a_rule_of_the_family_left_out_is_named() -> None:
    with pytest.raises(TrafficError, match="rule ping6: is ipv6 only, which families: .ipv4. leaves out"):
        check_families(ruleset("accept in icmpv6 name ping6 # x"), ["ipv4"], FOUR_ONLY)


CUTS = [
    ("drop in any name x # x", ()),
    ("reject in tcp on eth0 name x # x", ()),
    ("drop in any family ipv4 name x # x", ("out",)),
    ("drop in any state new,established name x # x", ("in",)),
    ("drop out udp state related name x # x", ("out",)),
]
KEEPS = [
    ("drop in any name x # a default above which known connections pass", ("in",)),
    ("drop in any state new name x # x", ()),
    ("drop in any state invalid name x # x", ()),
    ("drop in any from 192.0.2.0/24 name x # x", ()),
    ("drop in any from 192.0.2.0/24 state established name x # cut off", ()),
    ("drop in tcp port 25 name x # x", ()),
    ("drop in tcp connections 5 name x # x", ()),
    ("drop in any rate 5/second name x # x", ()),
    ("drop in icmp name x # x", ()),
    ("accept in any state established name x # x", ()),
]


@pytest.mark.parametrize(("line", "closes"), CUTS)
def test_B33_established_connections_are_not_cut_wholesale(line: str, closes: tuple[str, ...]) -> None:
    with pytest.raises(TrafficError, match="rule x: .*established|rule x: states related"):
        check_established(ruleset(line, *closes))


@pytest.mark.parametrize(("line", "closes"), KEEPS)
def test_denials_that_are_meant(line: str, closes: tuple[str, ...]) -> None:
    check_established(ruleset(line, *closes))


@pytest.mark.parametrize("direction", ["in", "out", "forward"])
def test_B33_a_default_verdict_lets_known_connections_pass_first(direction: str) -> None:
    found = ruleset("drop in any name x # x", direction).for_direction(direction)
    known = next(index for index, rule in enumerate(found) if rule.states == ("established", "related"))
    assert found[known].action == "accept"
    assert all(rule.action == "accept" for rule in found[:known])


GOOD: dict[str, Any] = {
    "confirm_timeout": 30,
    "confirm_port": 22,
    "confirm_address": None,
    "confirm_connect_timeout": None,
}
CONFIRMATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "B34": ({"confirm_timeout": 4}, "confirm_timeout: 4 is not 0 (off) or 5 to 600 seconds"),
    "B35": ({"confirm_connect_timeout": 30}, "confirm_connect_timeout: 30 is not 1 to 29 seconds"),
    "B35-above": ({"confirm_timeout": 5, "confirm_connect_timeout": 10}, "confirm_connect_timeout: 10 is not 1 to 4 seconds"),
    "B35-zero": ({"confirm_connect_timeout": 0}, "confirm_connect_timeout: 0 is not 1 to 29"),
    "B35-off": ({"confirm_timeout": 0, "confirm_connect_timeout": 0}, "confirm_connect_timeout: 0 is not 1 second or more"),
    "B01": ({"confirm_port": 0}, "confirm_port: 0 is outside 1-65535"),
    "B02": ({"confirm_port": 65536}, "confirm_port: 65536 is outside 1-65535"),
    "B04": ({"confirm_address": "192.0.2.1;id"}, "confirm_address: '192.0.2.1;id' is neither an address nor a host name"),
    "B59": ({"confirm_address": "{{ lookup('pipe','id') }}"}, "is neither an address nor a host name"),
    "option": ({"confirm_address": "-oProxyCommand=id"}, "is neither an address nor a host name"),
    "empty": ({"confirm_address": ""}, "confirm_address: '' is neither"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CONFIRMATIONS.values(), ids=CONFIRMATIONS)
def test_refused_confirmations(change: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeError) as caught:
        check_confirmation({**GOOD, **change})
    assert message in str(caught.value)


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "::1", "worker1", "worker1.example.org", None])
def test_accepted_confirmations(address: str | None) -> None:
    assert check_confirmation({**GOOD, "confirm_address": address, "confirm_connect_timeout": 29}) == 30
    assert check_confirmation({**GOOD, "confirm_timeout": 0}) == 0
