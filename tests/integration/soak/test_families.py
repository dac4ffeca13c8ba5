# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both families are one firewall: they change sides together, and what is denied on one is denied on the other."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import Probe, run_probes
from tests.lab.lab import Lab

from . import names
from .beds import FORMER, FORMER_PORT, NEW, NEW_PORT, Bed, poll
from .drive import Driver, driving
from .figures import tell
from .profile import PROFILE

# Seconds between the first and the last of the two ports in two families that changes its side.
TOGETHER = 0.1
# A gap in the observation that is longer proves nothing about a time that is shorter.
BLIND = 0.03
SIDES = Path(__file__).with_name("sides.py")


@dataclass(frozen=True)
class Seen:
    """For each port in each family the moments at which it changed sides; the longest time without a look, seconds."""

    changes: list[list[float]]
    blind: float

    @property
    def width(self) -> float:
        """Between the first and the last change."""
        moments = [moment for moments in self.changes for moment in moments]
        return max(moments) - min(moments)


def watched(bed: Bed, change: Callable[[], object]) -> Seen:
    """What packets from outside see while `change` is made; every port has to change exactly once."""
    targets = [(bed.address(family), port) for family in ("ipv4", "ipv6") for port in (FORMER_PORT, NEW_PORT)]
    with subprocess.Popen(
        ["nsenter", f"--net={bed.lab.netns}", sys.executable, "-I", str(SIDES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"lab": bed.lab.lab_id, "targets": targets}) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.05)
            change()
            time.sleep(0.05)
            found = json.loads(process.communicate(timeout=30)[0])
        finally:
            process.kill()
    assert [len(moments) for moments in found["changes"]] == [1] * len(targets), found["changes"]
    return Seen(found["changes"], found["blind"])


def together(bed: Bed, what: str, changes: Iterable[Callable[[], object]], times: int) -> None:
    """So many changes, each within TOGETHER; one that nobody looked at closely enough is made up for by another."""
    seen: list[Seen] = []
    for change in changes:
        found = watched(bed, change)
        if found.width <= TOGETHER or found.blind <= BLIND:
            seen.append(found)
        if len(seen) == times:
            break
    assert len(seen) == times, f"void: of {times} changes only {len(seen)} were looked at closely enough"
    widths = sorted(found.width * 1000 for found in seen)
    tell(f"SIDES {bed.backend}, {times} x {what}: within {widths[0]:.1f} to {widths[-1]:.1f} ms")
    assert widths[-1] <= TOGETHER * 1000


def test_both_families_change_sides_together_in_a_confirmed_change(bed: Bed, driver: Driver) -> None:
    """Once, when the trial begins; the confirmation is not to be seen."""
    rulesets = (NEW, FORMER) * (PROFILE.timed * PROFILE.attempts)
    changes = [functools.partial(driver.commit, ruleset) for ruleset in rulesets]
    together(bed, "confirmed change", changes, PROFILE.timed)


def test_both_families_change_sides_together_when_a_trial_expires(bed: Bed, driver: Driver) -> None:
    def trial_and_expiry() -> None:
        poll(lambda: names.GATE_PREFIX not in bed.sh("ipset list -n"), 10, "nothing of a former trial is left")
        assert driver.done(names.trial(NEW, 5))["trial"]

    def expiries() -> Iterator[Callable[[], object]]:
        for _ in range(PROFILE.timed_expiries * PROFILE.attempts):
            trial_and_expiry()
            yield lambda: time.sleep(5.5)

    together(bed, "expiry", expiries(), PROFILE.timed_expiries)


# What a scan from outside asks for: everything with a listener, and what people forget. (30080 leads to a pod.)
LISTENING = (22, 8081, 10250, 30999)
SCANNED = tuple(sorted({*LISTENING, *range(1, 1025), 2379, 2380, 4001, 4194, 6443, 9099, 10255, 10256, 30081}))


def scan(lab: Lab, node: str, source: str) -> dict[str, dict[str, str]]:
    """Family -> port -> what it looks like, on the node's public addresses."""
    nic = next(nic for nic in lab.topology.node(node).nics if nic.bridge == "pub")
    found = {}
    for family, address in (("ipv4", str(nic.ipv4.ip)), ("ipv6", str(nic.ipv6.ip))):
        probes = [Probe("tcp", address, port) for port in SCANNED]
        probes += [Probe("udp", address, port) for port in (53, 123, 30999)]
        outcomes = run_probes(lab, source, probes, timeout=0.4, concurrency=len(probes))
        found[family] = {f"{item.probe.proto} {item.probe.port}": item.result for item in outcomes}
    return found


def test_a_port_denied_on_one_family_is_denied_on_the_other(lab: Lab) -> None:
    """Rules that name no family, scanned from outside; without the rules the same scan finds the listeners."""
    node, source = "worker1", "internet"
    for needed in (node, source):
        if needed not in lab.node_names:
            pytest.skip(f"the lab was brought up without {needed}")
    lab.reset(node)
    lab.run(node, ["sh", "-c", "apt-get -q -y install iptables ipset >/dev/null"])
    rules = {
        "name": "node",
        "rules": "accept in tcp port 10250 on eth0 name kubelet # the only one",
        "defaults": [{"direction": "in", "interface": "eth0"}],
    }
    open_before = scan(lab, node, source)
    with driving(lab, node) as driver:
        driver.done(names.at_once(rules))
        closed = scan(lab, node, source)
        driver.done(names.at_once({"state": "absent"}))
    lab.reset(node)
    for family in ("ipv4", "ipv6"):
        found = {port for port, result in open_before[family].items() if result == "open"}
        assert {f"tcp {port}" for port in LISTENING} <= found, "void: the scan does not see what listens"
        assert {port for port, result in closed[family].items() if result != "filtered"} == {"tcp 10250"}, family
    assert closed["ipv4"] == closed["ipv6"]
