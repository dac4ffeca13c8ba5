# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task plans: what is loaded, and what is only saved because the kernel does not have a family now."""

from __future__ import annotations

import pytest

from ansible_collections.iks.hardening.plugins.module_utils import firewall_boot, firewall_task
from ansible_collections.iks.hardening.plugins.module_utils.firewall_commit import Means
from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import with_ruleset, without_ruleset
from ansible_collections.iks.hardening.plugins.module_utils.firewall_saved import (
    Saved,
    generation_body,
    generation_states,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_shell import Backend
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import OwnState, is_same
from ansible_collections.iks.hardening.plugins.module_utils.firewall_task import Node, plan
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic import FAMILIES, IPV4, IPV6
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules

RULESET = Ruleset(
    "node",
    900,
    tuple(read_rules("accept in tcp port 22 name ssh # x")),
    default_rules([{"direction": "in"}]),
)
LOADED = {family: with_ruleset(OwnState(), RULESET, family) for family in FAMILIES}


@pytest.fixture(autouse=True)
def _no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall_task, "check_folders", lambda: None)
    monkeypatch.setattr(firewall_boot, "missing_files", lambda files: [])


def node(have: dict[str, OwnState], body: str | None = None) -> Node:
    """A node whose kernel has the families of `have`, with a saved generation or none."""
    saved = Saved(1, body) if body is not None else None
    asleep = firewall_task._asleep(saved, have)
    return Node(Backend("nft", ""), Means("/usr/sbin/ipset", True), have, have, saved, "", {}, asleep)


def test_a_family_that_the_kernel_does_not_have_is_saved_and_not_loaded() -> None:
    found = node({IPV4: OwnState()})
    assert "the kernel has no IPv6; only the IPv4 half is loaded, the other is saved for boot" in found.notes
    want = {family: with_ruleset(own, RULESET, family) for family, own in found.families.items()}
    change = plan(found, want, None, False)
    assert (change.rules, sorted(change.want)) == ((IPV4,), [IPV4])
    _backend, saved = generation_states(change.body or "")
    assert all(is_same(saved[family], LOADED[family]) for family in FAMILIES)


def test_what_is_saved_of_it_is_no_change_and_goes_with_the_ruleset() -> None:
    found = node({IPV4: LOADED[IPV4]}, generation_body(LOADED, "nft"))
    assert is_same(found.families[IPV6], LOADED[IPV6])
    same = plan(
        found, {family: with_ruleset(own, RULESET, family) for family, own in found.families.items()}, None, False
    )
    assert not same.changed
    gone = plan(found, {family: without_ruleset(own, "node") for family, own in found.families.items()}, None, False)
    assert gone.rules == (IPV4,)
    assert "IKS" not in (gone.body or "IKS")


def test_a_kernel_with_both_families_has_none_asleep() -> None:
    found = node(dict(LOADED), generation_body(LOADED, "nft"))
    assert found.asleep == {}
    assert not [note for note in found.notes if "IPv6" in note]
