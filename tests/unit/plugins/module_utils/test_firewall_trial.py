# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on trial: which chains they stand in, and that the former rules are what is left without the gate."""

from __future__ import annotations

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import (
    restore_text,
    with_ruleset,
    without_ruleset,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import Foreign, OwnState, is_same
from ansible_collections.iks.hardening.plugins.module_utils.firewall_trial import (
    arming_text,
    closed_text,
    gate_seconds,
    has_trial,
    opening_text,
    promoted,
    trial_state,
    without_trial,
)
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic import IPV4
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules


def ruleset(name: str, line: str, closes: bool = False) -> Ruleset:
    defaults = default_rules([{"direction": "in"}]) if closes else ()
    return Ruleset(name, 900, tuple(read_rules(line)), defaults)


REGION = ruleset("region", "accept out tcp port 443 name web # x")
OLD = ruleset("node", "accept in tcp port 22 name ssh # x", closes=True)
NEW = ruleset("node", "accept in tcp port 80 name web # x\naccept out udp port 53 name dns # y", closes=True)


HAVES = {
    "nothing": OwnState(),
    "closed": with_ruleset(OwnState(), OLD, IPV4),
    "opened": with_ruleset(OwnState(), REGION, IPV4),
    "both": with_ruleset(with_ruleset(OwnState(), REGION, IPV4), OLD, IPV4),
    "calico last": with_ruleset(OwnState(foreign=Foreign(append=("INPUT",), calico=True)), OLD, IPV4),
    "calico last, nothing": OwnState(foreign=Foreign(append=("INPUT",), calico=True)),
}
WANTS = {
    "new rules": lambda have: with_ruleset(have, NEW, IPV4),
    "node gone": lambda have: without_ruleset(have, "node"),
    "region gone": lambda have: without_ruleset(have, "region"),
    "region": lambda have: with_ruleset(have, REGION, IPV4),
}
CHANGES = pytest.mark.parametrize(
    ("have", "want"),
    [(have, make(have)) for have in HAVES.values() for make in WANTS.values()],
    ids=[f"{have}, then {want}" for have in HAVES for want in WANTS],
)


def test_new_rules_stand_behind_the_gate_and_former_ones_after_it() -> None:
    have = HAVES["both"]
    trial = trial_state(have, with_ruleset(have, NEW, IPV4))
    for table in (trial.filter, trial.mangle):
        gate, *_former = table.chains["IKS-INPUT"]
        assert gate == '-m set --match-set iks-gate src -m comment --comment "iks.hardening trial" -g IKS~INPUT'
    assert trial.filter.chains["IKS-INPUT"][1:] == have.filter.chains["IKS-INPUT"]
    assert trial.mangle.chains["IKS-INPUT"][1:] == have.mangle.chains["IKS-INPUT"]
    assert trial.filter.chains["IKS-INPUT-node"] == have.filter.chains["IKS-INPUT-node"]
    assert any("--dport 80" in spec for spec in trial.filter.chains["IKS~INPUT-node"])
    assert any("--dport 80" in spec for spec in trial.mangle.chains["IKS~INPUT"])
    # What does not change is not copied.
    found = [spec.rsplit(" ", 1)[1] for spec in trial.filter.chains["IKS~OUTPUT"]]
    assert found == ["IKS~OUTPUT-node", "IKS-OUTPUT-region"]


@CHANGES
def test_without_the_trial_the_former_state_is_left(have: OwnState, want: OwnState) -> None:
    trial = trial_state(have, want)
    assert is_same(without_trial(trial), have)
    assert has_trial(trial) == bool(restore_text(have, want))
    assert not has_trial(without_trial(trial))


@CHANGES
def test_a_confirmed_trial_that_was_cut_off_stands_for_the_new_state(have: OwnState, want: OwnState) -> None:
    trial = trial_state(have, want)
    assert is_same(promoted(trial), want)
    assert not has_trial(promoted(trial))


@CHANGES
def test_every_change_of_the_trial_stands_behind_the_gate(have: OwnState, want: OwnState) -> None:
    """Without the rules that the gate leads to, the trial's chains are the former ones."""
    trial = trial_state(have, want)
    for (_name, table), (_same, former) in zip(trial.tables(), have.tables()):
        for chain, specs in table.chains.items():
            if not chain.startswith("IKS~"):
                assert [spec for spec in specs if "iks-gate" not in spec] == list(former.chains.get(chain, ()))


def test_removing_the_last_ruleset_on_trial() -> None:
    have = HAVES["closed"]
    trial = trial_state(have, without_ruleset(have, "node"))
    assert trial.filter.chains["IKS~INPUT"] == ()
    assert trial.mangle.chains["IKS~INPUT"] == ()
    assert "IKS~INPUT-node" not in trial.filter.chains


def test_a_chain_name_on_trial_is_as_long_as_its_final_one() -> None:
    longest = ruleset("a" * 16, "accept forward tcp port 1 name x # y")
    trial = trial_state(OwnState(), with_ruleset(OwnState(), longest, IPV4))
    assert max(map(len, trial.filter.chains)) == 28


def test_one_gate_for_both_families_is_armed_and_read_back() -> None:
    text = closed_text() + arming_text(30)
    assert "add iks-all4 128.0.0.0/1 -exist" in text
    assert "add iks-all6 8000::/1 -exist" in text
    assert text.endswith("add iks-gate iks-all4 timeout 30\nadd iks-gate iks-all6 timeout 30\n")
    assert "/0" not in text
    head = "create iks-gate list:set size 2 timeout 600\n"
    assert gate_seconds(f"{head}add iks-gate iks-all4 timeout 27\nadd iks-gate iks-all6 timeout 28\n") == 27
    assert gate_seconds(f"{head}add iks-gate iks-all4 timeout 27\n") == 0
    assert gate_seconds(head) == 0
    assert gate_seconds("") == 0
    assert gate_seconds("add other iks-all4 timeout 5\nadd other iks-all6 timeout 5\n") == 0


def test_confirming_is_one_step_and_the_last_one() -> None:
    *prepared, last = opening_text().splitlines()
    assert last == "swap iks-gate-open iks-gate"
    assert not any(line.split()[1] == "iks-gate" for line in prepared)
    opened = "add iks-gate iks-all4 timeout 0\nadd iks-gate iks-all6 timeout 0\n"
    assert gate_seconds(opened) is None
