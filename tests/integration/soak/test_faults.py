# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single faults around a confirmed change: disks, file systems, lost confirmations, names, two hosts, reboots."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.node_state import node_state, states
from tests.integration.playbooks import play, run_module, run_playbook, task
from tests.lab.lab import Lab

from . import names
from .beds import (
    FORMER,
    FORMER_PORT,
    NEW,
    NEW_PORT,
    NEW_SEEN,
    NODE,
    OLD_SEEN,
    PEER,
    Bed,
    expire,
    listen,
    prepare,
    seen,
)
from .drive import Driver, driving
from .lockouts import CUTS_SSH, KEEPS_SSH, rules
from .profile import PROFILE

SECONDS = 5


@pytest.fixture(scope="module", params=PROFILE.fault_backends)
def bed(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Bed]:
    yield prepare(lab, NODE, request.param)
    lab.reset(NODE)


def is_refused(bed: Bed, driver: Driver, word: str) -> None:
    """The trial fails, says why, and nothing was applied: not a line of the dump, in both families."""
    before = node_state(bed.lab, NODE)
    answer = driver.ask(names.trial(NEW, 60))
    assert answer.result is not None, "the module has crashed"
    assert answer.failed
    assert word in answer.message, answer.message
    assert "nothing was changed" in answer.message.lower()
    assert node_state(bed.lab, NODE) == before
    assert seen(bed) == {"ipv4": OLD_SEEN, "ipv6": OLD_SEEN}


@contextlib.contextmanager
def mounted(bed: Bed, mount: str, folder: str) -> Iterator[None]:
    bed.sh(mount)
    try:
        yield
    finally:
        bed.sh(f"umount {folder}")


FOLDERS = (names.STATE_FOLDER, names.UNDO_FOLDER)


@pytest.mark.parametrize("folder", FOLDERS)
def test_F20_disk_full_before_the_backup(bed: Bed, driver: Driver, folder: str) -> None:
    tiny = f"mkdir -p -m 700 {folder}; mount -t tmpfs -o size=4k,mode=700 tiny {folder}"
    with mounted(bed, f"{tiny}; cat /dev/zero >{folder}/full || true", folder):
        is_refused(bed, driver, "No space left on device")
    driver.commit(NEW)
    assert seen(bed) == {"ipv4": NEW_SEEN, "ipv6": NEW_SEEN}


@pytest.mark.parametrize("folder", FOLDERS)
def test_F21_read_only_folder(bed: Bed, driver: Driver, folder: str) -> None:
    with mounted(bed, f"mkdir -p -m 700 {folder}; mount --bind -o ro {folder} {folder}", folder):
        is_refused(bed, driver, "Read-only file system")
    driver.commit(NEW)


def test_F21_read_only_etc(bed: Bed, driver: Driver) -> None:
    """Whoever needs nothing of /etc may go on; whoever does has applied nothing."""
    before = node_state(bed.lab, NODE)
    with mounted(bed, "mount --bind -o ro /etc /etc", "/etc"):
        trial = driver.ask(names.trial(NEW, 60))
        confirmed = None if trial.failed else driver.ask(names.confirmation(NEW, 60))
    assert trial.result is not None
    if confirmed is not None and not confirmed.failed:
        assert seen(bed) == {"ipv4": NEW_SEEN, "ipv6": NEW_SEEN}
        return
    expire(bed)
    assert seen(bed) == {"ipv4": OLD_SEEN, "ipv6": OLD_SEEN}
    assert names.without_inert(node_state(bed.lab, NODE)) == names.without_inert(before)


def test_F20_disk_full_after_the_confirmation(bed: Bed, driver: Driver) -> None:
    """The rules are in force, and that is what is said; the next run saves them."""
    assert driver.done(names.trial(NEW, 60)).get("trial")
    folder = names.STATE_FOLDER
    with mounted(bed, f"mount --bind -o ro {folder} {folder}", folder):
        confirmed = driver.ask(names.confirmation(NEW, 60))
    assert confirmed.failed
    assert confirmed.result is not None
    assert confirmed.result["changed"]
    assert "the rules are loaded and in force, but a reboot would bring the former ones" in confirmed.message
    assert "Read-only file system" in confirmed.message
    assert "nothing was changed" not in confirmed.message.lower()
    assert seen(bed) == {"ipv4": NEW_SEEN, "ipv6": NEW_SEEN}
    again = driver.done({**NEW, "confirm_timeout": 0})
    assert again["saved"] == ["the rules are saved for boot"]
    assert not driver.done({**NEW, "confirm_timeout": 0})["changed"]


def test_F21_the_state_folder_is_missing(bed: Bed, driver: Driver) -> None:
    """It is made anew, for root alone."""
    bed.sh(f"rm -rf {names.STATE_FOLDER}")
    driver.commit(NEW)
    assert bed.sh(f"stat -c '%U %a' {names.STATE_FOLDER}").split() == ["root", "700"]


def test_F27_no_name_is_asked_for(bed: Bed, driver: Driver) -> None:
    """With a name server that never answers everything is as quick as ever; one question would take five seconds."""
    kept = bed.lab.read(NODE, "/etc/resolv.conf")
    bed.lab.write(NODE, "/etc/resolv.conf", "nameserver 192.0.2.53\n")
    try:
        trial = driver.ask(names.trial(NEW, 60))
        confirmed = driver.ask(names.confirmation(NEW, 60))
    finally:
        bed.lab.write(NODE, "/etc/resolv.conf", kept)
    assert not trial.failed, trial.message
    assert not confirmed.failed, confirmed.message
    assert trial.seconds + confirmed.seconds < 5


def test_F19_rules_in_both_backends_of_another_family_and_table(bed: Bed, driver: Driver) -> None:
    """Refused before the first change, both named."""
    other = "legacy" if bed.backend == "nft" else "nft"
    bed.sh(f"ip6tables-{other} -t mangle -A PREROUTING -p tcp --dport 9 -j ACCEPT")
    try:
        is_refused(bed, driver, "in both backends")
        message = driver.ask(names.trial(NEW, 60)).message
        assert "nft" in message
        assert "legacy" in message
    finally:
        bed.sh(f"ip6tables-{other} -t mangle -F PREROUTING")
    driver.commit(NEW)


# Refuses one connection, the second: the one that was to confirm.
REFUSING_SSH = """#!/bin/sh
echo >>{count}
if [ $(wc -l <{count}) -eq 2 ]; then echo "Connection closed by remote host" >&2; exit 255; fi
exec ssh "$@"
"""


def test_F26_the_confirmation_is_lost(bed: Bed, driver: Driver, tmp_path: Path) -> None:
    """The rules are fine, the second connection is not: OLD and a failed task, and the next run works."""
    before = node_state(bed.lab, NODE)
    wrapper = tmp_path / "ssh"
    wrapper.write_text(REFUSING_SSH.format(count=tmp_path / "count"), encoding="utf-8")
    wrapper.chmod(0o755)
    settings = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o ControlPath=none", "ANSIBLE_SSH_EXECUTABLE": str(wrapper)}
    result = run_module(bed.lab, NODE, "node_firewall", {**NEW, "confirm_timeout": SECONDS}, env=settings)
    assert result.failed
    assert not result.changed
    assert f"were not confirmed within {SECONDS} seconds" in result.message
    assert "read back" in result.message
    assert node_state(bed.lab, NODE) == before
    again = run_module(bed.lab, NODE, "node_firewall", {**NEW, "confirm_timeout": SECONDS})
    assert again.data.get("confirmed"), again.message
    assert seen(bed) == {"ipv4": NEW_SEEN, "ipv6": NEW_SEEN}


def test_F26_a_confirmation_that_comes_too_late_is_refused(bed: Bed, driver: Driver) -> None:
    """The gate has closed, the timer has not come yet: nothing is confirmed, and nothing of the trial is left."""
    before = node_state(bed.lab, NODE)
    assert driver.done(names.trial(NEW, 60)).get("trial")
    expire(bed)
    late = driver.ask(names.confirmation(NEW, 60))
    assert late.failed
    assert "the time for the confirmation is over: the former rules are back" in late.message
    assert node_state(bed.lab, NODE) == before
    assert names.UNDO_UNITS.rstrip("*") not in bed.sh("systemctl list-timers --all --plain")
    driver.commit(NEW)


def test_F24_two_hosts_in_parallel_share_no_backup(lab: Lab) -> None:
    """Each is locked out by its own rules and comes back to its own former ones."""
    beds = [prepare(lab, node, "nft") for node in (NODE, PEER)]
    pair = [bed.node for bed in beds]
    own = {
        bed.node: f"{KEEPS_SSH}\naccept in tcp port {port} name own # of {bed.node} alone"
        for bed, port in zip(beds, (8001, 8002))
    }
    for bed in beds:
        with driving(lab, bed.node) as driver:
            driver.commit(rules(bed, own[bed.node], 10))
    before = states(lab, pair)
    assert before[NODE] != before[PEER]
    tasks = [
        task(
            "it",
            "node_firewall",
            rules(bed, CUTS_SSH, SECONDS, allow_lockout=True),
            when=f"inventory_hostname == '{bed.node}'",
        )
        for bed in beds
    ]
    run = run_playbook(lab, [play(",".join(pair), tasks, strategy="free")], options=["--forks", "2"])
    failed = {result.host for result in run.results if result.failed}
    assert failed == set(pair), run.output
    assert states(lab, pair) == before
    for bed in beds:
        lab.reset(bed.node)


def ours(bed: Bed) -> list[str]:
    return [line for line in names.without_inert(node_state(bed.lab, bed.node)) if "IKS-" in line]


def booted_with(bed: Bed, ruleset: dict[str, object], then_trial: dict[str, object] | None) -> tuple[list[str], bool]:
    """Our part of the dump with a ruleset confirmed, and whether the node has it after a power cut."""
    with driving(bed.lab, bed.node) as driver:
        driver.commit(FORMER if ruleset is NEW else NEW)
        driver.commit(ruleset)
        wanted = ours(bed)
        if then_trial is not None:
            assert driver.done(names.trial(then_trial, 60))["trial"]
    bed.lab.power_cut(bed.node)
    return wanted, ours(bed) == wanted


@pytest.fixture
def rebooting(bed: Bed) -> Iterator[Bed]:
    """The node, made anew afterwards: a boot takes more with it than rules."""
    yield bed
    prepare(bed.lab, bed.node, bed.backend)


def test_F10_a_reboot_in_the_trial_boots_OLD(rebooting: Bed) -> None:
    _wanted, same = booted_with(rebooting, FORMER, NEW)
    assert same
    listen(rebooting, FORMER_PORT, NEW_PORT)
    assert {family: look[0] for family, look in seen(rebooting).items()} == {"ipv4": "open", "ipv6": "open"}


def test_F11_a_reboot_after_the_confirmation_boots_NEW(rebooting: Bed) -> None:
    _wanted, same = booted_with(rebooting, NEW, None)
    assert same
    assert rebooting.sh(f"systemctl is-enabled {names.BOOT_UNIT}").strip() == "enabled"
    assert rebooting.sh(f"ls {names.GENERATIONS}").strip()
