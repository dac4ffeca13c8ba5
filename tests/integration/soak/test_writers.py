# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Others write the same tables: no update of anybody is lost, and nobody fights for a place. F13 to F17."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.node_state import node_state, without_ours
from tests.lab import Probe, run_probes
from tests.lab.lab import Lab

from . import names
from .beds import BACKENDS, FORMER, NEW, NODE, PEER, PRIVATE, TOOLS, Bed, expire, poll, prepare, roll_back
from .drive import Driver, driving
from .figures import tell
from .profile import PROFILE

PROGRAM = Path(__file__).with_name("writers.py")
PLACE = "/opt/iks-writers.py"
FELIX = ("felix-insert", "felix-append")


@pytest.fixture(scope="module", params=BACKENDS)
def bed(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Bed]:
    lab.reset(PEER)
    bed = prepare(lab, NODE, request.param)
    lab.write(NODE, PLACE, PROGRAM.read_text(encoding="utf-8"))
    yield bed
    lab.reset(NODE)


@pytest.fixture
def driver(bed: Bed) -> Iterator[Driver]:
    """A node without rules of ours, and without those of writers afterwards."""
    with driving(bed.lab, NODE) as driver:
        yield driver
        expire(bed)
        driver.done(names.at_once({"state": "absent"}))
    for family in ("ipv4", "ipv6"):
        tool = bed.tool(family)
        bed.sh(f"{tool} -F INPUT; {tool} -F OUTPUT; for c in $({tool} -S | grep -oE '^-N (KUBE|cali)-.*' | cut -c4-); "
               f"do {tool} -F $c; done; for c in $({tool} -S | grep -oE '^-N (KUBE|cali)-.*' | cut -c4-); do {tool} -X $c; done")  # fmt: skip  # noqa: E501


class Writing:
    """One writer at work."""

    def __init__(self, bed: Bed, like: str, writes: int, pause: float = 0.0, **more: Any) -> None:
        request = {"like": like, "backend": bed.backend, "writes": writes, "pause": pause, **more}
        environment = [f"{name}={value}" for name, value in request.pop("environment", {}).items()]
        self.like = like
        self.process = subprocess.Popen(
            [*bed.lab.enter_command(NODE), *environment, "python3", PLACE, json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    @property
    def busy(self) -> bool:
        return self.process.poll() is None

    def end(self) -> dict[str, Any]:
        """What it counted, when it has written all it was to write."""
        assert self.process.stdout is not None
        found = json.loads(self.process.stdout.read())
        self.process.wait(timeout=30)
        assert isinstance(found, dict)
        return found

    def stop(self) -> dict[str, Any]:
        """What it has counted so far; it writes no more."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.end()


@contextlib.contextmanager
def writing(bed: Bed, *writers: str, writes: int, pause: float = 0.0, **more: Any) -> Iterator[list[Writing]]:
    """Writers that have written at least once each, and are ended with the block."""
    found: list[Writing] = []
    try:
        for like in writers:
            found.append(Writing(bed, like, writes, pause, **more))
            # One after the other: each finds the other's jumps in their places.
            jump = "KUBE-SERVICES" if like == "kube-proxy" else "cali-INPUT"
            poll(lambda: all(jump in targets(bed, "INPUT", family) for family in TOOLS), 20, f"{like} has begun")  # noqa: B023
        yield found
    finally:
        for writer in found:
            if writer.busy:
                writer.stop()


def targets(bed: Bed, hook: str, family: str = "ipv4") -> list[str]:
    """Targets of a built-in chain, in order."""
    lines = bed.sh(f"{bed.tool(family, 'save')} -t filter").splitlines()
    return [line.split(" -j ")[1].split()[0] for line in lines if line.startswith(f"-A {hook} ") and " -j " in line]


def others(bed: Bed) -> list[str]:
    return without_ours(names.without_inert(node_state(bed.lab, NODE)))


@pytest.mark.parametrize("felix", FELIX)
def test_F15_nobody_loses_an_update(bed: Bed, driver: Driver, felix: str) -> None:
    """Two writers as fast as they can, ours as fast as it can; then everything stands as its owner wrote it."""
    # Legacy restores are so quick that ours would hardly come between them.
    pause = 0.01 if bed.backend == "legacy" else 0.0
    with writing(bed, "kube-proxy", felix, writes=PROFILE.writes, pause=pause) as writers:
        driver.commit(FORMER)
        count, drifts = 0, []
        while any(writer.busy for writer in writers):
            wanted = (NEW, FORMER)[count % 2]
            driver.commit(wanted)
            count += 1
            again = driver.done(names.at_once(wanted))
            if again["changed"]:
                drifts.append(again["commands"])
        found = {writer.like: writer.end() for writer in writers}
    tell(f"WRITERS {bed.backend}: {count} confirmed swaps of ours, {len(drifts)} lost; {found}")
    assert drifts == []
    for writer in found.values():
        assert writer["writes"] == PROFILE.writes
        assert writer["lost"] == []
    assert count > 0, "void: ours never ran beside them"
    assert found[felix]["repairs"] == 0, "ours pushed Felix's jump from its place"

    before = others(bed)
    driver.commit((NEW, FORMER)[count % 2])
    assert others(bed) == before, "chains of others keep their text and their order"
    driver.done(names.at_once({"state": "absent"}))
    assert others(bed) == before


def test_F15_a_jump_above_ours_is_no_change(bed: Bed, driver: Driver) -> None:
    """kube-proxy and Felix go first, with every pass anew; ours stays where it is and says unchanged."""
    for like in ("kube-proxy", "felix-insert"):
        with writing(bed, like, writes=4) as (writer,):
            writer.end()
    driver.commit(FORMER)
    for family in TOOLS:  # as after a restart of theirs
        bed.sh(f"{bed.tool(family)} -D INPUT 1")
    for like in ("kube-proxy", "felix-insert"):
        with writing(bed, like, writes=4) as (writer,):
            writer.end()
    before = node_state(bed.lab, NODE)
    order = targets(bed, "INPUT")
    assert order[0] == "cali-INPUT"
    assert order.index("KUBE-SERVICES") < order.index("IKS-INPUT")
    for _ in range(3):
        assert not driver.done(names.at_once(FORMER))["changed"]
    assert node_state(bed.lab, NODE) == before


def closed_bed(bed: Bed) -> dict[str, Any]:
    """SSH only from the controller, outbound only to one port of the peer: Felix would let both through."""
    controller = f"10.171.{bed.lab.lab_id}.1,fd00:171:{bed.lab.lab_id}::1"
    rules = (
        f"accept in tcp from {controller} port 22 on {PRIVATE} name ssh # the controller\n"
        f"accept out tcp port 8081 on {PRIVATE} name app # the only way out\n"
    )
    defaults = [{"direction": direction, "interface": PRIVATE} for direction in ("in", "out")]
    return {"name": "node", "rules": rules, "defaults": defaults}


def looks(bed: Bed) -> dict[str, str]:
    """What packets meet: SSH from the controller and from the peer, and the peer's ports from the node."""
    peer = next(nic for nic in bed.lab.topology.node(PEER).nics if nic.bridge == "priv")
    found = {}
    for family, there in (("ipv4", str(peer.ipv4.ip)), ("ipv6", str(peer.ipv6.ip))):
        here = bed.address(family)
        for what, source, probe in (
            ("ssh from the controller", "controller", Probe("tcp", here, 22)),
            ("ssh from a stranger", PEER, Probe("tcp", here, 22)),
            ("out to the allowed port", NODE, Probe("tcp", there, 8081)),
            ("out to another port", NODE, Probe("tcp", there, 10250)),
        ):
            found[f"{family} {what}"] = run_probes(bed.lab, source, [probe])[0].result
    return found


OPEN = ("ssh from the controller", "out to the allowed port")
CLOSED = ("ssh from a stranger", "out to another port")


@pytest.mark.parametrize("felix", FELIX)
def test_closed_stays_closed_although_felix_accepts_it(bed: Bed, driver: Driver, felix: str) -> None:
    """Its failsafe port 22 and an accept of all outbound stand before ours, or in Append mode behind."""
    for like in ("kube-proxy", felix):  # alone in a chain, Felix's jump would be the first and the last
        with writing(bed, like, writes=4) as (writer,):
            writer.end()
    before = looks(bed)
    assert set(before.values()) == {"open"}, f"void: not everything was open before: {before}"
    driver.done(names.at_once(closed_bed(bed)))
    with writing(bed, felix, writes=4) as (writer,):
        assert writer.end()["lost"] == []
    found = looks(bed)
    for family in ("ipv4", "ipv6"):
        assert {what: found[f"{family} {what}"] for what in OPEN} == dict.fromkeys(OPEN, "open")
        assert {what: found[f"{family} {what}"] for what in CLOSED} == dict.fromkeys(CLOSED, "filtered")
    assert not driver.done(names.at_once(closed_bed(bed)))["changed"]


def test_F13_the_lock_is_held_by_another(bed: Bed, driver: Driver) -> None:
    """A clear word after a bounded time, and nothing changed. (The nft tools take no lock, and just work.)"""
    driver.commit(FORMER)
    before = node_state(bed.lab, NODE)
    bed.sh(f"systemd-run --quiet --collect --unit=soak-lock flock {names.XTABLES_LOCK} sleep 60")
    try:
        answer = driver.ask(names.trial(NEW, 60))
        if bed.backend == "nft":
            assert not answer.failed
            expire(bed)
            return
        assert answer.failed
        assert answer.seconds < 45
        assert "lock" in answer.message
        assert "othing was changed" in answer.message or "put back" in answer.message
    finally:
        bed.sh("systemctl stop soak-lock")
    assert node_state(bed.lab, NODE) == before
    driver.commit(NEW)


def test_F14_a_writer_that_does_not_share_the_lock(bed: Bed, driver: Driver) -> None:
    """It may undo what we wrote (legacy); then the task has failed and said so, or the next look finds it."""
    driver.commit(FORMER)
    unseen, told = [], 0
    with writing(bed, "kube-proxy", writes=0, environment={"XTABLES_LOCKFILE": "/run/soak-other.lock"}) as (writer,):
        for number in range(PROFILE.unshared):
            wanted = (NEW, FORMER)[number % 2]
            answer = driver.ask(names.at_once(wanted))
            if answer.failed:
                told += 1
                assert "othing was changed" in answer.message or "put back" in answer.message, answer.message
            elif driver.done(names.at_once(wanted))["changed"]:
                unseen.append(number)
        assert writer.process.stdin is not None
        writer.process.stdin.close()
        writer.process.wait(timeout=30)
    tell(f"F14 {bed.backend}: {PROFILE.unshared} runs, {told} failed and said so, {len(unseen)} undone after their end")
    assert unseen == []


def test_F16_a_refresh_takes_our_jump_away(bed: Bed, driver: Driver) -> None:
    """Somebody saves, edits and restores the whole table; the next run sees the drift and mends it."""
    driver.commit(FORMER)
    wanted = node_state(bed.lab, NODE)
    for family in ("ipv4", "ipv6"):
        save, restore = bed.tool(family, "save"), bed.tool(family, "restore")
        bed.sh(f"{save} -t filter | grep -v -- '-j IKS-INPUT$' | {restore}")
    assert node_state(bed.lab, NODE) != wanted
    assert driver.ask(names.at_once(FORMER)).result is not None
    assert node_state(bed.lab, NODE) == wanted
    assert not driver.done(names.at_once(FORMER))["changed"]


def test_F17_no_rollback_undoes_what_others_wrote(bed: Bed, driver: Driver) -> None:
    with writing(bed, "kube-proxy", "felix-insert", writes=0, pause=0.05) as writers:
        driver.commit(FORMER)
        for _ in range(PROFILE.rollbacks):
            assert driver.done(names.trial(NEW, 60))["trial"]
            time.sleep(0.1)
            roll_back(bed)
            assert not driver.done(names.at_once(FORMER))["changed"], "the rollback left something of the trial"
        found = {writer.like: writer.stop() for writer in writers}
    tell(f"F17 {bed.backend}: {PROFILE.rollbacks} rollbacks beside {found}")
    for writer in found.values():
        assert writer["writes"] > 0
        assert writer["lost"] == []
