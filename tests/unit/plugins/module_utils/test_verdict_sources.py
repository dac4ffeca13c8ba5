# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sources can reach a port: exact prefixes, with the rule that decides each."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.iptables_save import parse
from ansible_collections.iks.hardening.plugins.module_utils.rule_match import Surroundings
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic import Network, Rule
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules
from ansible_collections.iks.hardening.plugins.module_utils.verdict import Packet, decide
from ansible_collections.iks.hardening.plugins.module_utils.verdict_sources import SourceVerdict, sources, sources_saved
from tests.strategies import rules

SAVES = Path(__file__).resolve().parents[2] / "data" / "saves"
RULESET = Ruleset(
    "node",
    900,
    tuple(
        read_rules("""
        drop in any from 10.9.0.0/16 on eth0 name bad # a stolen network
        accept in tcp from 10.0.0.0/8,203.0.113.0/25,2001:db8:7::/48 port 22 on eth0 name ssh # administrators
        accept in tcp from 192.0.2.0/24 source-port 20 on eth0 name ftp # what a source port opens
        """)
    ),
    default_rules([{"direction": "in", "interface": "eth0"}]),
)


def asked(version: int = 4, **more: Any) -> Packet:
    here, there = ("198.51.100.1", "203.0.113.11") if version == 4 else ("2001:db8::1", "2001:db8::2")
    fields = {"interface": "eth0", "port": 22, **more}
    return Packet("in", "tcp", ipaddress.ip_address(here), ipaddress.ip_address(there), **fields)


def covers_everything(networks: Iterable[Network], version: int) -> None:
    nets = sorted(networks, key=lambda net: int(net.network_address))
    end = 0
    for net in nets:
        assert int(net.network_address) == end, f"a gap or an overlap before {net}"
        end = int(net.broadcast_address) + 1
    assert end == 2 ** (32 if version == 4 else 128)


def by_rule(found: list[SourceVerdict]) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for one in found:
        told.setdefault(one.rule.name if one.rule else "", []).append(str(one.network))
    return told


def test_who_reaches_ssh() -> None:
    found = sources(RULESET.for_direction("in"), asked(source_port=50000))
    covers_everything((one.network for one in found), 4)
    told = by_rule(found)
    assert told["bad"] == ["10.9.0.0/16"]
    assert told["ssh"] == ["10.0.0.0/13", "10.8.0.0/16", "10.10.0.0/15", "10.12.0.0/14", "10.16.0.0/12", "10.32.0.0/11",
                           "10.64.0.0/10", "10.128.0.0/9", "203.0.113.0/25"]  # fmt: skip
    assert {one.action for one in found if one.rule and one.rule.name == "default-in-eth0"} == {"drop"}
    assert all(one.certain and not one.unless for one in found)
    six = by_rule(sources(RULESET.for_direction("in"), asked(6, source_port=50000)))
    assert six["ssh"] == ["2001:db8:7::/48"]


def test_what_the_question_leaves_open_is_said() -> None:
    """With a source port of its choice a packet of 192.0.2.0/24 gets in."""
    found = sources(RULESET.for_direction("in"), asked(port=80))
    covers_everything((one.network for one in found), 4)
    uncertain = [one for one in found if not one.certain]
    assert [str(one.network) for one in uncertain] == ["192.0.2.0/24"]
    assert [(rule.name, fields) for rule, fields in uncertain[0].unless] == [("ftp", ("source_port",))]
    assert uncertain[0].action == "drop"


def test_no_rule_decides() -> None:
    found = sources(read_rules("accept in tcp from 10.0.0.0/8 port 22 name ssh # x"), asked(interface="eth7", port=23))
    assert [(str(one.network), one.action, one.rule) for one in found] == [("0.0.0.0/0", "return", None)]


@given(st.lists(rules(), min_size=1, max_size=6), st.data())
def test_every_address_of_a_prefix_is_judged_alike(found: list[Rule], data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([4, 6]))
    query = asked(version, port=data.draw(st.integers(1, 65535)), source_port=data.draw(st.integers(1, 65535)))
    prefixes = sources(found, query)
    covers_everything((one.network for one in prefixes), version)
    for one in data.draw(st.lists(st.sampled_from(prefixes), min_size=1, max_size=5)):
        address = one.network[data.draw(st.integers(0, one.network.num_addresses - 1))]
        verdict = decide(found, Packet(**{**query.__dict__, "source": address}))
        assert (verdict.action, verdict.rule) == (one.action, one.rule)


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [
        ("docker-fail2ban.nft.save", "203.0.113.78", ["203.0.113.77/32", "198.51.100.9/32"]),
        ("calico.nft.save", "198.51.100.1", []),
    ],
)
def test_whole_chains(name: str, accepted: str, refused: list[str]) -> None:
    save = parse((SAVES / name).read_text(encoding="utf-8"))
    node = Surroundings((ipaddress.ip_interface("203.0.113.11/24"),))
    found = sources_saved(save, asked(source_port=50000), node)
    covers_everything((net for net, _verdict in found), 4)
    assert [verdict.action for net, verdict in found if ipaddress.ip_address(accepted) in net] == ["accept"]
    assert sorted(str(net) for net, verdict in found if verdict.action == "reject") == sorted(refused)
