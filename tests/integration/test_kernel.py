# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel as judge: what is rendered loads, and reads back as the same, with both backends and both families."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.errors import TrafficError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import restore_text, with_ruleset
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import OwnState, is_same, read_state
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic import FAMILIES, Rule
from tests.lab import Lab
from tests.strategies import rules

PROGRAMS = {"ipv4": "iptables", "ipv6": "ip6tables"}
NODE = "master"
_LISTS = st.integers(1, 8).flatmap(lambda count: st.tuples(*(rules(name=f"r{number}") for number in range(count))))


@pytest.fixture(scope="module")
def node(lab: Lab) -> Lab:
    lab.reset(NODE)
    lab.run(NODE, ["apt-get", "update"])
    lab.run(NODE, ["apt-get", "install", "-y", "--no-install-recommends", "iptables"])
    return lab


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_random_rulesets_load_and_read_back(node: Lab, backend: str) -> None:
    """One ruleset after the other over the same chains, so that the change from any to any other is tried too."""
    have = {family: OwnState() for family in FAMILIES}

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_LISTS)
    def check(found: tuple[Rule, ...]) -> None:
        unique = {(rule.direction, str(rule.protocol), str(rule)): rule for rule in found}.values()
        try:
            ruleset = Ruleset("node", 900, tuple(unique), default_rules([{"direction": "in", "interface": "eth0"}]))
        except TrafficError:
            return
        for family in FAMILIES:
            # Read anew, so that a failure does not spoil the examples that shrink it.
            have[family] = read_state(node.run(NODE, [f"{PROGRAMS[family]}-{backend}-save"]).stdout)
            want = with_ruleset(have[family], ruleset, family)
            text = restore_text(have[family], want)
            program = f"{PROGRAMS[family]}-{backend}"
            if text:
                node.run(NODE, [f"{program}-restore", "-w", "5", "--noflush"], stdin=text)
            now = read_state(node.run(NODE, [f"{program}-save"]).stdout)
            assert is_same(now, want), "\n".join(set(now.lines()) ^ set(want.lines()))
            assert restore_text(now, with_ruleset(now, ruleset, family)) == ""

    check()
    for family in FAMILIES:
        for table in ("filter", "mangle"):
            node.run(NODE, [f"{PROGRAMS[family]}-{backend}", "-t", table, "-F"])
            node.run(NODE, [f"{PROGRAMS[family]}-{backend}", "-t", table, "-X"])
