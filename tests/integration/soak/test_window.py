# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Never a window: rules change under flood, no denied packet is accepted, no allowed one lost, no connection stalls.

Every figure stands beside its positive control: the same flood, the same counters, and a way to replace rules that is
known to leak. A control that shows no leak makes the run void, and void is not passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.playbooks import run_module
from tests.lab.lab import Lab

from . import names
from .beds import BACKENDS, NODE, PEER, Bed, poll, prepare, ruleset
from .drive import Driver, driving
from .figures import tell
from .profile import PROFILE
from .traffic import ALLOWED, DENIED, PINGPONG, STALL, Report, flooding

ALLOWING = (
    f"accept in udp port {ALLOWED} name flood # allowed in both rulesets",
    f"accept in tcp port {PINGPONG} name pingpong # the connection beside",
)
# In the second ruleset the same rules stand far below, so that every swap moves them.
FILLING = tuple(f"accept in tcp port {port} name fill-{port} # only here" for port in range(8000, 8030))
RULESETS = (ruleset(*FILLING, *ALLOWING), ruleset(*ALLOWING))


@pytest.fixture(scope="module", params=BACKENDS)
def bed(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Bed]:
    lab.reset(PEER)
    yield prepare(lab, NODE, request.param)
    lab.reset(NODE)


@pytest.fixture
def driver(bed: Bed) -> Iterator[Driver]:
    with driving(bed.lab, NODE) as driver:
        yield driver
        driver.done(names.at_once({"state": "absent"}))


def flooded(bed: Bed, what: str, work: Callable[[], object]) -> Report:
    """Do `work` under flood, again when the run was void, and print the figures."""
    for _ in range(PROFILE.attempts):
        with flooding(bed.lab, PEER, NODE) as flood:
            work()
        report = flood.report()
        tell(f"FLOOD {bed.backend}, {what}: {report}{f' VOID: {report.void}' if report.void else ''}")
        if not report.void:
            return report
    return pytest.fail(f"void {PROFILE.attempts} times, nothing was proved: {report.void}")


def test_no_window_in_a_swap(bed: Bed, driver: Driver) -> None:
    def confirmed() -> None:
        for number in range(PROFILE.swaps):
            driver.commit(RULESETS[number % 2])

    def at_once() -> None:
        for number in range(PROFILE.swaps_at_once):
            driver.done(names.at_once(RULESETS[number % 2]))

    def expired() -> None:
        for _ in range(PROFILE.expired):
            assert driver.done(names.trial(RULESETS[0], 5))["trial"]
            time.sleep(5)
            poll(lambda: names.GATE_PREFIX not in bed.sh("ipset list -n"), 6, "nothing of the trial is left")

    def by_ansible() -> None:
        for number in range(PROFILE.ansible_swaps):
            result = run_module(bed.lab, NODE, "node_firewall", RULESETS[number % 2])
            assert result.data.get("confirmed"), result.message

    steps = {
        f"{PROFILE.swaps} confirmed swaps": confirmed,
        f"{PROFILE.swaps_at_once} swaps at once": at_once,
        f"{PROFILE.expired} trials that expired": expired,
        f"{PROFILE.ansible_swaps} swaps by Ansible": by_ansible,
    }
    for what, work in steps.items():
        driver.commit(RULESETS[1])
        report = flooded(bed, what, work)
        assert report.leaked == {"ipv4": 0, "ipv6": 0}, f"{what}: denied packets were accepted: {report.gaps}"
        assert report.lost == {"ipv4": 0, "ipv6": 0}, f"{what}: allowed packets were lost: {report.gaps}"
        assert report.broken == {"ipv4": "", "ipv6": ""}, what
        assert max(report.stalls.values()) <= STALL, what


# A table with policy DROP before and after, replaced as a whole: on nft the policy falls away for a moment.
WHOLE = """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -p ipv6-icmp -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{fill}-A INPUT -p udp --dport {allowed} -j ACCEPT
-A INPUT -p tcp --dport {pingpong} -j ACCEPT
COMMIT
"""


def test_the_harness_sees_a_leak(bed: Bed) -> None:
    """Positive control of what was accepted."""
    fills = ("".join(f"-A INPUT -p tcp --dport {port} -j ACCEPT\n" for port in range(8000, 8030)), "")
    for number, fill in enumerate(fills):
        text = WHOLE.format(fill=fill, allowed=ALLOWED, pingpong=PINGPONG)
        bed.lab.write(NODE, f"/run/whole{number}", text)
    if bed.backend == "nft":
        swap = "$tool-restore </run/whole$((number % 2))"
    else:  # where only a rule-by-rule change is known to leak
        rule = f"INPUT -p udp --dport {DENIED} -j DROP"
        swap = f"$tool -P INPUT ACCEPT; $tool -A {rule}; $tool -D {rule}; $tool -P INPUT DROP"
    loop = (
        f"number=0; while [ $number -lt {PROFILE.control_swaps} ]; do number=$((number + 1)); "
        f"for tool in {bed.tool('ipv4')} {bed.tool('ipv6')}; do {swap}; done; done"
    )
    for family in ("ipv4", "ipv6"):
        bed.sh(f"{bed.tool(family, 'restore')} </run/whole1")
    try:
        what = f"{PROFILE.control_swaps} swaps that are known to leak"
        for _ in range(PROFILE.control_rounds):
            if sum(flooded(bed, what, lambda: bed.sh(loop, timeout=300)).leaked.values()):
                return
        pytest.fail(f"void: {PROFILE.control_rounds * PROFILE.control_swaps} swaps that should leak showed no leak")
    finally:
        _empty(bed)


def test_the_harness_sees_a_loss(bed: Bed) -> None:
    """Positive control of what was lost: the allowing rule is taken away and put back."""
    rule = f"INPUT -p udp --dport {ALLOWED} -j ACCEPT"
    for family in ("ipv4", "ipv6"):
        bed.sh(f"{bed.tool(family)} -A {rule}; {bed.tool(family)} -A INPUT -p udp --dport {DENIED} -j DROP")
        bed.sh(f"{bed.tool(family)} -A INPUT -p udp --dport {ALLOWED} -j DROP")
    swap = f"for tool in {bed.tool('ipv4')} {bed.tool('ipv6')}; do $tool -D {rule}; $tool -I {rule}; done; sleep 0.1\n"
    try:
        report = flooded(bed, "5 swaps that lose", lambda: bed.sh(swap * 5))
        assert min(report.lost.values()) > 0
        assert report.leaked == {"ipv4": 0, "ipv6": 0}
    finally:
        _empty(bed)


def _empty(bed: Bed) -> None:
    for family in ("ipv4", "ipv6"):
        bed.sh(f"{bed.tool(family)} -P INPUT ACCEPT; {bed.tool(family)} -F INPUT")
