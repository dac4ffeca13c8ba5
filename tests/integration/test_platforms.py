# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other systems that the collection supports: harden_cluster on one worker of each, judged by packets.

The lab's usual nodes are Debian 12. Here are the oldest and the newest Debian, with their own Python and iptables: what
those print and accept differs. The first run builds each root file system, which takes about a minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab import Probe, run_probes
from tests.lab import lab as labs
from tests.lab.lab import Lab
from tests.lab.recipe import Recipe
from tests.lab.rootfs import image_for
from tests.lab.state import resolve_id
from tests.lab.system import LabError

from .playbooks import HARDEN, Run, run_playbook

NODE = "worker1"
MASTER, PUBLIC = "169.46.7.238", "203.0.113.11"
# Suite -> VERSION_ID, the node's Python, its iptables.
SUITES = {"bullseye": ("11", "3.9", "1.8.7"), "trixie": ("13", "3.13", "1.8.11")}
UBUNTU = ("20.04", "22.04", "24.04")


@pytest.fixture(scope="module", params=SUITES)
def other(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A small lab of another suite."""
    suite = request.param
    try:
        image_for(Recipe(suite=suite))
    except LabError as error:
        pytest.skip(f"no root file system of {suite}: {error}")
    lab_id = resolve_id("auto")
    try:
        yield labs.up(lab_id, names=[NODE, "internet"], suite=suite)
    finally:
        labs.down(lab_id)


@pytest.fixture(scope="module")
def runs(other: Lab) -> dict[str, Run]:
    inventory = json.loads(other.inventory_file.read_text(encoding="utf-8"))
    variables = {"iks_regions": ["us-south"], "iks_egress": "restricted"}
    found = {}
    for name in ("check", "first", "second"):
        found[name] = run_playbook(other, HARDEN, variables, inventory=inventory, check=name == "check").succeeded()
    return found


def test_it_is_that_system(other: Lab) -> None:
    version, python, iptables = SUITES[other.state.suite]
    assert f'VERSION_ID="{version}"' in other.read(NODE, "/etc/os-release")
    assert other.run(NODE, ["python3", "--version"]).stdout.startswith(f"Python {python}.")
    assert f"v{iptables} " in other.run(NODE, ["iptables", "--version"]).stdout


def rules_of(run: Run, role: str) -> dict[str, list[str]]:
    """What a role's module says the node's rules are after it."""
    (result,) = [item for item in run.results if item.task.startswith(f"iks.hardening.{role}") and "after" in item.data]
    after: dict[str, list[str]] = result.data["after"]
    return after


def test_first_run_changes_second_does_not(runs: dict[str, Run]) -> None:
    changed = runs["first"].changed[NODE]
    for role in ("firewall_packages", "region_ports", "node_firewall"):
        assert any(task.startswith(f"iks.hardening.{role} ") for task in changed), changed
    assert runs["second"].changed == {}
    assert rules_of(runs["check"], "region_ports") == rules_of(runs["first"], "region_ports"), "check mode told it"
    assert rules_of(runs["second"], "node_firewall") == rules_of(runs["first"], "node_firewall")


def test_packets_agree(other: Lab, runs: dict[str, Run]) -> None:
    assert runs["second"].status == 0
    outwards = [Probe("tcp", MASTER, port, expected="open") for port in (443, 20000, 32767)]
    outwards += [Probe("tcp", MASTER, port, expected="closed") for port in (444, 19999, 32768)]
    inwards = [
        Probe("tcp", PUBLIC, 10250, expected="open"),
        Probe("tcp", PUBLIC, 30081, expected="open"),
        Probe("tcp", PUBLIC, 22, expected="filtered"),
        Probe("tcp", "2001:db8:113::11", 22, expected="filtered"),
        Probe("icmp", PUBLIC, expected="open"),
    ]
    outcomes = [*run_probes(other, NODE, outwards), *run_probes(other, "internet", inwards)]
    assert [str(item) for item in outcomes if not item.matched] == []


@pytest.mark.parametrize("version", UBUNTU)
def test_ubuntu(version: str) -> None:
    pytest.skip(f"the lab builds root file systems from Debian's archive alone: no node runs Ubuntu {version}")
