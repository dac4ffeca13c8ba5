# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever rule the model allows, it survives every form in which the collection writes it."""

from __future__ import annotations

from hypothesis import given

from ansible_collections.iks.hardening.plugins.module_utils.iptables_text import (
    canonical,
    comment_of,
    rule_specs,
    target_of,
)
from ansible_collections.iks.hardening.plugins.module_utils.traffic import FAMILIES, Rule
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import rule_from_line, rule_to_line
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import rule_from_dict, rule_to_dict
from tests.strategies import rules


@given(rules())
def test_dictionary_and_line_read_back(rule: Rule) -> None:
    assert rule_from_dict(rule_to_dict(rule)) == rule
    assert rule_from_line(rule_to_line(rule)) == rule


@given(rules())
def test_every_family_of_a_rule_is_rendered_and_no_other(rule: Rule) -> None:
    for family in FAMILIES:
        assert bool(list(rule_specs(rule, family))) == (family in rule.families)


@given(rules())
def test_rendered_text_is_one_line_whose_comment_reads_back(rule: Rule) -> None:
    for family in rule.families:
        for spec in rule_specs(rule, family):
            assert "\n" not in spec
            assert comment_of(spec) == rule.comment
            assert target_of(spec) in ("ACCEPT", "DROP", "REJECT", *(["LOG"] if rule.log else []))
            assert canonical(spec) != canonical(spec.replace("-m comment", "-i eth7 -m comment"))
