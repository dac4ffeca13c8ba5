# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules on trial: which chains they stand in, and that the former rules are what is left without the gate."""

from __future__ import annotations

from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import (
    OwnState,
    is_same,
    restore_text,
    with_ruleset,
    without_ruleset,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_trial import (
    arming_text,
    has_trial,
    open_gates,
    trial_state,
    without_trial,
)
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic import FAMILIES, IPV4
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules


def ruleset(name: str, line: str, closes: bool = False) -> Ruleset:
    defaults = default_rules([{"direction": "in"}]) if closes else ()
    return Ruleset(name, 900, tuple(read_rules(line)), defaults)


REGION = ruleset("region", "accept out tcp port 443 name web # x")
OLD = ruleset("node", "accept in tcp port 22 name ssh # x", closes=True)
NEW = ruleset("node", "accept in tcp port 80 name web # x\naccept out udp port 53 name dns # y", closes=True)


def test_new_rules_stand_behind_the_gate_and_former_ones_after_it() -> None:
    have = with_ruleset(with_ruleset(OwnState(), REGION, IPV4), OLD, IPV4)
    trial = trial_state(have, with_ruleset(have, NEW, IPV4), IPV4)
    gate, *former = trial.chains["IKS-INPUT"]
    assert gate == '-m set --match-set iks-gate4 src -m comment --comment "iks.hardening trial" -g IKS~INPUT'
    assert tuple(former) == have.chains["IKS-INPUT"]
    assert trial.chains["IKS-INPUT-node"] == have.chains["IKS-INPUT-node"]
    assert any("--dport 80" in spec for spec in trial.chains["IKS~INPUT-node"])
    # What does not change is not copied.
    assert [spec.rsplit(" ", 1)[1] for spec in trial.chains["IKS~OUTPUT"]] == ["IKS~OUTPUT-node", "IKS-OUTPUT-region"]


def test_without_the_trial_the_former_state_is_left() -> None:
    for have in (OwnState(), with_ruleset(OwnState(), OLD, IPV4), with_ruleset(OwnState(), REGION, IPV4)):
        for want in (with_ruleset(have, NEW, IPV4), without_ruleset(have, "node")):
            trial = trial_state(have, want, IPV4)
            assert is_same(without_trial(trial), have)
            assert has_trial(trial) == bool(restore_text(have, want))
            assert not has_trial(without_trial(trial))


def test_removing_the_last_ruleset_on_trial() -> None:
    have = with_ruleset(OwnState(), OLD, IPV4)
    trial = trial_state(have, without_ruleset(have, "node"), IPV4)
    assert trial.chains["IKS~INPUT"] == ()
    assert "IKS~INPUT-node" not in trial.chains


def test_a_chain_name_on_trial_is_as_long_as_its_final_one() -> None:
    longest = ruleset("a" * 16, "accept forward tcp port 1 name x # y")
    trial = trial_state(OwnState(), with_ruleset(OwnState(), longest, IPV4), IPV4)
    assert max(map(len, trial.chains)) == 28


def test_sets_are_armed_by_halves_and_read_back() -> None:
    text = arming_text(FAMILIES, 30)
    assert "add iks-gate4 128.0.0.0/1 timeout 30" in text
    assert "add iks-gate6 8000::/1 timeout 30" in text
    assert "/0" not in text
    listing = "create iks-gate4 hash:net family inet timeout 600\nadd iks-gate4 0.0.0.0/1 timeout 27\n"
    assert open_gates(listing) == {"ipv4": 27}
    assert open_gates("create iks-gate6 hash:net family inet6 timeout 600\nadd other ::/1 timeout 5\n") == {}
