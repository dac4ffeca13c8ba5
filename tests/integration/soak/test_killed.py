# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""F08, F09: whatever ends the module at whatever moment, the node is all OLD or all NEW afterwards, never mixed.

Mixed is judged by packets on both families and by the dump without the inert leftovers of a trial.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.node_state import node_state
from tests.lab import cgroup

from . import names
from .beds import BACKENDS, FORMER, NEW, NEW_SEEN, NODE, OLD_SEEN, Bed, expire, poll, roll_back, seen
from .drive import Answer, Driver, driving
from .figures import tell
from .profile import PROFILE

# Seconds of a trial whose end is brought about, and of one whose end is waited for.
LONG, SHORT = 60, 5
# From less than Python needs to run the module to more than all of it needs.
HUNGRY, FED = 2048, 16384
OLD, NEW_ONE = "OLD", "NEW"


@pytest.fixture(scope="module")
def driver(bed: Bed) -> Iterator[Driver]:
    with driving(bed.lab, NODE) as driver:
        yield driver


@pytest.fixture(scope="module")
def dumps(bed: Bed, driver: Driver) -> dict[str, list[str]]:
    """What the node holds with each ruleset confirmed and nothing of a trial left."""
    found = {}
    for name, ruleset in ((NEW_ONE, NEW), (OLD, FORMER)):
        driver.commit(ruleset)
        found[name] = names.without_inert(node_state(bed.lab, NODE))
    return found


def state_of(bed: Bed, dumps: dict[str, list[str]], *, settled: bool = False) -> str:
    """OLD or NEW, by packets on both families and by the dump; anything else in words.

    Confirmed rules may still stand in chains of their trial, behind the gate that stays open, unless they have to be
    settled: a table that shows the other ruleset beside those chains shows it whole. (A restore of two tables is two
    transactions, one a table.)
    """
    looks = seen(bed)
    for name, look in ((OLD, OLD_SEEN), (NEW_ONE, NEW_SEEN)):
        if looks == {"ipv4": look, "ipv6": look}:
            now = _tables(names.without_inert(node_state(bed.lab, NODE)))
            allowed = (NEW_ONE, OLD) if name == NEW_ONE and not settled else (name,)
            for title in {*now, *_tables(dumps[name])}:
                found, wanted = now.get(title), [_tables(dumps[one]).get(title) for one in allowed]
                if found not in wanted:
                    return f"{name} by packets, but {title} differs: {sorted(set(found or ()) ^ set(wanted[0] or ()))}"
            return name
    return f"MIXED: {looks}"


def _tables(dump: list[str]) -> dict[str, list[str]]:
    """The lines of a dump by backend, tool and table."""
    found: dict[str, list[str]] = {}
    for line in dump:
        title, _colon, text = line.partition(": ")
        found.setdefault(title, []).append(text)
    return found


def afterwards(bed: Bed, driver: Driver, dumps: dict[str, list[str]], what: str, mixed: list[str]) -> str:
    """Judge once the gate has closed, then make the node OLD again by an ordinary run, which has to work."""
    expire(bed)
    state = state_of(bed, dumps)
    if state not in (OLD, NEW_ONE):
        mixed.append(f"{what}: {state}")
    driver.commit(FORMER, LONG)
    after = state_of(bed, dumps, settled=True)
    if after != OLD:
        mixed.append(f"{what}, the next run: {after}")
    return state


def interrupted(driver: Driver, phase: str, **how: object) -> Answer:
    """A run that is killed in its trial, or after a whole trial in its confirmation."""
    if phase == "trial":
        return driver.ask(names.trial(NEW, LONG), **how)
    assert driver.done(names.trial(NEW, LONG))["trial"]
    return driver.ask(names.confirmation(NEW, LONG), **how)


def at_every_step(bed: Bed, driver: Driver, dumps: dict[str, list[str]], phase: str) -> None:
    """In the short form each backend takes every second step, together they take all."""
    mixed: list[str] = []
    found: list[str] = []
    for step in itertools.count(1 + BACKENDS.index(bed.backend) % PROFILE.kill_stride, PROFILE.kill_stride):
        answer = interrupted(driver, phase, kill_before=step)
        found.append(afterwards(bed, driver, dumps, f"{phase}, before command {step}", mixed))
        if answer.result is not None:
            break
    counts = f"{found.count(OLD)} OLD, {found.count(NEW_ONE)} NEW, mixed {mixed}"
    tell(f"F09 {bed.backend} {phase}: killed at {len(found) - 1} of {answer.commands} steps, {counts}")
    assert mixed == []
    # The last was not killed: it ended as such a run does.
    assert found[-1] == (OLD if phase == "trial" else NEW_ONE)


def test_F09_killed_before_each_command_of_the_trial(bed: Bed, driver: Driver, dumps: dict[str, list[str]]) -> None:
    at_every_step(bed, driver, dumps, "trial")


def test_F09_killed_before_each_command_of_the_confirmation(
    bed: Bed, driver: Driver, dumps: dict[str, list[str]]
) -> None:
    at_every_step(bed, driver, dumps, "confirm")


def test_F09_killed_at_random_moments(bed: Bed, driver: Driver, dumps: dict[str, list[str]]) -> None:
    """Every other time the programs that the module has just started die with it."""
    chance = random.Random(9)
    usual = {}
    for phase in ("trial", "confirm"):
        usual[phase] = interrupted(driver, phase).seconds
        expire(bed)
        driver.commit(FORMER, LONG)
    mixed: list[str] = []
    found = []
    for number in range(PROFILE.kills):
        phase = ("trial", "confirm")[number // 2 % 2]
        moment, group = chance.uniform(0, usual[phase] * 1.1), bool(number % 2)
        interrupted(driver, phase, kill_after=moment, group=group)
        what = f"{phase}, after {moment * 1000:.0f} ms{' with its children' if group else ''}"
        if not group:
            # A restore that was under way goes on to its end.
            poll(lambda: not bed.sh("pgrep 'xtables|tables|ipset' || true").strip(), 10, "no program of it runs", 0.02)
        found.append(afterwards(bed, driver, dumps, what, mixed))
    tell(f"F09 {bed.backend}: {len(found)} kills, {found.count(OLD)} OLD, {found.count(NEW_ONE)} NEW, mixed {mixed}")
    assert mixed == []


def test_F09_killed_and_waited_for(bed: Bed, driver: Driver, dumps: dict[str, list[str]]) -> None:
    """The same with nobody's help: after N + 2 seconds, and without leftovers once the timers have come."""
    chance = random.Random(10)
    for _ in range(PROFILE.kills_waited):
        driver.ask(names.trial(NEW, SHORT), kill_after=chance.uniform(0.05, 0.2))
        bed.sh(f"sleep {SHORT + 2}")
        assert state_of(bed, dumps) == OLD


def test_F09_the_timer_of_a_killed_trial_undoes_no_later_run(
    bed: Bed, driver: Driver, dumps: dict[str, list[str]]
) -> None:
    """Wherever the trial died, rules that the next run loads at once stay, also when that trial's timer comes."""
    undone = []
    for step in itertools.count(1 + BACKENDS.index(bed.backend) % PROFILE.kill_stride, PROFILE.kill_stride):
        driver.done(names.at_once(FORMER))
        ended = interrupted(driver, "trial", kill_before=step).result is not None
        if driver.ask(names.at_once(NEW)).failed:
            # Rules are on trial: once their time is over it works.
            expire(bed)
            driver.done(names.at_once(NEW))
        roll_back(bed)
        state = state_of(bed, dumps, settled=True)
        if state != NEW_ONE:
            undone.append(f"killed before command {step}: {state}")
        if ended:
            break
    driver.done(names.at_once(FORMER))
    assert undone == []


@contextlib.contextmanager
def starving(bed: Bed, kilobytes: int) -> Iterator[Path]:
    """A control group below the node's own with so little memory."""
    parents = [group for group in cgroup.lab_groups(bed.lab.lab_id) if "memory" in group.parts]
    if not parents:
        pytest.skip("no memory controller of version 1 to limit a node's process with")
    group = parents[0] / bed.node / "starving"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(kilobytes << 10), encoding="ascii")
        yield group
    finally:
        cgroup.end([group])


def test_F08_out_of_memory(bed: Bed, driver: Driver, dumps: dict[str, list[str]]) -> None:
    """Too little for Python, for iptables, or at last for nobody: the kernel kills whoever asks for more."""
    mixed: list[str] = []
    found = []
    for number in range(PROFILE.starved):
        phase = ("trial", "confirm")[number % 2]
        kilobytes = HUNGRY + (FED - HUNGRY) * (number // 2) // (PROFILE.starved // 2 - 1)
        if phase == "confirm":
            assert driver.done(names.trial(NEW, LONG))["trial"]
        with starving(bed, kilobytes) as group:
            answer = driver.ask_in(group, (names.trial if phase == "trial" else names.confirmation)(NEW, LONG))
        what = f"{phase}, {kilobytes} KiB"
        found.append((what, answer.message or "worked", afterwards(bed, driver, dumps, what, mixed)))
    tell(f"F08 {bed.backend}: {found}, mixed {mixed}")
    assert mixed == []
    assert {"killed", "worked"} <= {message for _what, message, _state in found}, (
        "void: memory was never short, or always"
    )
