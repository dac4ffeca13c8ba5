# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locked out, and back within N + 2 seconds whatever died: F01 to F07 for every N of the profile, nodes in parallel."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.integration.node_state import node_state
from tests.integration.playbooks import run_module
from tests.lab.lab import Lab

from . import names
from .beds import Bed, poll, prepare
from .drive import driving
from .figures import tell
from .lockouts import KEEPS_SSH, WEB, Outcome, controller, lock_out, restart_sshd, rules, settled
from .profile import PROFILE

# One at a time on a node, as many nodes as there are. kube-proxy's native tables on worker2 count as nft.
NODES = {"nft": ("gateway", "worker2", "master", "worker1"), "legacy": ("gateway", "master")}
CASES = [(fault, seconds) for seconds in PROFILE.lockout_seconds for fault in PROFILE.lockout_faults]


@pytest.fixture(scope="module", params=PROFILE.lockout_backends)
def beds(request: pytest.FixtureRequest, lab: Lab) -> Iterator[list[Bed]]:
    chosen = [node for node in NODES[request.param] if node in lab.node_names]

    def ready(node: str) -> Bed:
        bed = prepare(lab, node, request.param)
        with driving(lab, node) as driver:
            driver.commit(rules(bed, KEEPS_SSH, 10))
        return bed

    with ThreadPoolExecutor(len(chosen)) as pool:
        beds = list(pool.map(ready, chosen))
    yield beds
    for bed in beds:
        lab.reset(bed.node)


@pytest.fixture(scope="module")
def outcomes(beds: list[Bed], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Outcome]:
    """Every case once, each on the node that is free first."""
    free: SimpleQueue[Bed] = SimpleQueue()
    for bed in beds:
        free.put(bed)
    folder = tmp_path_factory.mktemp("lockouts")

    def one(case: tuple[str, int]) -> Outcome:
        bed = free.get()
        try:
            return lock_out(bed, *case, folder)
        except AssertionError as error:
            return Outcome(*case, bed.node, float("inf"), [str(error)])
        finally:
            free.put(bed)

    # The longest first, so that no node waits alone for the last.
    ordered = sorted(CASES, key=lambda case: -case[1])
    with ThreadPoolExecutor(len(beds)) as pool:
        found = dict(zip(ordered, pool.map(one, ordered)))
    for outcome in found.values():
        tell(f"LOCKOUT {beds[0].backend} {outcome.fault}, N = {outcome.seconds}: away {outcome.away:.2f} s")
    return found


@pytest.mark.parametrize("seconds", PROFILE.lockout_seconds)
@pytest.mark.parametrize("fault", PROFILE.lockout_faults)
def test_F01_to_F07_a_lockout_ends_in_time(outcomes: dict[tuple[str, int], Outcome], fault: str, seconds: int) -> None:
    outcome = outcomes[fault, seconds]
    assert outcome.problems == []
    assert outcome.away <= seconds + 2


def test_F04_sshd_restarted_while_good_rules_are_on_trial(beds: list[Bed], tmp_path: Path) -> None:
    """NEW if the controller says that they were confirmed, else OLD."""
    bed = beds[0]
    before = node_state(bed.lab, bed.node)
    with controller(bed, rules(bed, f"{KEEPS_SSH}\n{WEB}", 5), tmp_path / "good") as process:
        poll(lambda: process.poll() is not None or names.GATE_PREFIX in bed.sh("ipset list -n"), 30, "a trial", 0.01)
        restart_sshd(bed, process)
        output = process.communicate()[0]
    confirmed = "changed=1" in output and "failed=0" in output
    after = settled(bed.lab, bed.node, before, 0 if confirmed else 10)
    tell(f"F04 {bed.backend}: {'NEW' if confirmed else 'OLD'}, as the controller said")
    assert (after == before) is not confirmed, output
    assert not run_module(bed.lab, bed.node, "node_firewall", rules(bed, KEEPS_SSH, 10)).failed
    assert node_state(bed.lab, bed.node) == before
