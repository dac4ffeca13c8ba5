# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Denials in the mangle table: what the filter table denies, denied where nobody accepts before us."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.errors import TrafficError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_early import (
    early_table,
    entry_chain,
    returning_chain,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import with_ruleset
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import Foreign, OwnState
from ansible_collections.iks.hardening.plugins.module_utils.iptables_text import target_of
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic import FAMILIES, IPV4
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules
from tests.strategies import rules

CALICO = Foreign(calico=True)
LINES = """
accept in tcp port 22 on eth0 name ssh # x
reject in tcp port 25 on eth0 log iks-smtp: name smtp # x
drop in udp port 53 rate 5/second on eth0 name dns # x
accept out tcp port 443 name web # x
"""


def state(closes: str = "in", foreign: Foreign = CALICO, lines: str = LINES) -> OwnState:
    defaults = default_rules([{"direction": closes, "log": "iks-drop:"}]) if closes else ()
    return with_ruleset(OwnState(foreign=foreign), Ruleset("node", 900, tuple(read_rules(lines)), defaults), IPV4)


def test_accepting_is_returning_and_a_rejection_is_a_drop_beside_calico() -> None:
    found = [(target_of(spec), spec) for spec in state().mangle.chains["IKS-INPUT"]]
    targets = [target for target, _spec in found]
    assert "ACCEPT" not in targets
    assert "REJECT" not in targets
    smtp = [target for target, spec in found if "smtp" in spec]
    assert smtp == ["LOG", "DROP"]
    assert targets[-2:] == ["LOG", "DROP"]


def test_without_calico_a_rejection_is_left_to_the_filter_table_and_is_logged_there_alone() -> None:
    found = [target_of(spec) for spec in state(foreign=Foreign()).mangle.chains["IKS-INPUT"] if "smtp" in spec]
    assert found == ["RETURN"]


def test_a_packet_is_counted_once_a_table() -> None:
    names = {
        table: [word for spec in chains for word in spec.split() if word.startswith("iks-") and word != "iks-drop:"]
        for table, chains in (
            ("filter", state().filter.chains["IKS-INPUT-node"]),
            ("mangle", state().mangle.chains["IKS-INPUT"]),
        )
    }
    assert not set(names["filter"]) & set(names["mangle"]) - {"iks-smtp:"}


def test_only_what_closes_denies_early_and_only_the_nodes_own_packets_are_met_on_the_way_out() -> None:
    assert state(closes="").mangle.chains == {}
    assert list(state(closes="in").mangle.jumps) == ["INPUT"]
    out = state(closes="out").mangle
    assert list(out.jumps) == ["POSTROUTING"]
    assert out.jumps["POSTROUTING"][0].startswith("-m addrtype --src-type LOCAL ")
    assert state(closes="forward").mangle.chains == {}, "what pods send is Calico's"


def test_where_calico_is_last_it_decides_after_us() -> None:
    foreign = Foreign(append=("INPUT",), calico=True)
    assert entry_chain("INPUT", foreign) == "IKS-INPUT-RETURN"
    assert entry_chain("OUTPUT", foreign) == "IKS-OUTPUT"
    found = [target_of(spec) for spec in returning_chain(state().filter, "INPUT")]
    assert "ACCEPT" not in found
    assert "REJECT" in found


@given(st.lists(rules(), min_size=1, max_size=4), st.booleans(), st.sampled_from(FAMILIES))
def test_no_early_chain_accepts_or_rejects_or_leads_anywhere(found: list[object], calico: bool, family: str) -> None:
    lines = [rule for rule in found if rule.direction != "forward"]  # type: ignore[attr-defined]
    closing = default_rules([{"direction": way} for way in ("in", "out")])
    try:
        ruleset = Ruleset("node", 900, tuple(lines[:1]), closing)  # type: ignore[arg-type]
    except TrafficError:
        return
    filters = with_ruleset(OwnState(), ruleset, family).filter
    table = early_table(filters, Foreign(calico=calico))
    for specs in table.chains.values():
        assert {target_of(spec) for spec in specs} <= {"RETURN", "DROP", "LOG"}
        assert target_of(specs[-1]) == "DROP"
