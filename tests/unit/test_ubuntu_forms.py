# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms that Ubuntu 20.04, 22.04 and 24.04 print: our rules are recognised, others' are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import (
    restore_text,
    with_ruleset,
    without_ruleset,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import read_state
from ansible_collections.iks.hardening.plugins.module_utils.node_facts import os_release
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules

FORMS = Path(__file__).parent / "data" / "ubuntu"
VERSIONS = ("20.04", "22.04", "24.04")
PLATFORMS = Path(__file__).parents[2] / "roles" / "preflight" / "vars" / "main.yml"
RULESET = Ruleset(
    "node",
    900,
    tuple(
        read_rules(
            "accept in tcp port 443,20000-32767 on ens3 name ports # the node's own\n"
            "accept in vrrp on ens3 name vrrp # the provider's routers"
        )
    ),
    default_rules([{"direction": "in", "interface": "ens3"}]),
)


@pytest.mark.parametrize("version", VERSIONS)
def test_our_rules_are_recognised_as_unchanged(version: str) -> None:
    have = read_state((FORMS / f"{version}.save").read_text(encoding="utf-8"))
    assert have.rulesets() == ["node"]
    assert restore_text(have, with_ruleset(have, RULESET, "ipv4")) == ""


@pytest.mark.parametrize("version", VERSIONS)
def test_taking_ours_away_touches_nothing_else(version: str) -> None:
    have = read_state((FORMS / f"{version}.save").read_text(encoding="utf-8"))
    text = restore_text(have, without_ruleset(have, "node"))
    assert "-D INPUT" in text
    assert not [line for line in text.splitlines()[1:-1] if "IKS-" not in line and line not in ("COMMIT", "*mangle")]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_platform_is_known(version: str) -> None:
    found = os_release((FORMS / f"{version}.os-release").read_text(encoding="utf-8"))
    assert found == {"id": "ubuntu", "version": version, "like": "debian"}
    supported = yaml.safe_load(PLATFORMS.read_text(encoding="utf-8"))["iks_supported_platforms"]
    assert found["version"] in supported[found["id"]]
