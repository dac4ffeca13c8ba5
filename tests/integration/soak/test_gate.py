# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate decides alike about what comes in, what leaves and what is forwarded, beside chains like Calico's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Probe, run_probes
from tests.lab.lab import Lab

from . import names
from .beds import BACKENDS, NODE, PEER, SSH, TOOLS, Bed, expire, poll, prepare
from .drive import Driver, driving

# NODE stands between PEER and the on-premises host, which listens on both ports.
FAR = "onprem"
FORMER_PORT, NEW_PORT = 8080, 80
CLOSED = [
    {"direction": "in", "interface": "eth1"},
    {"direction": "out", "interface": "eth2"},
    {"direction": "forward", "out_interface": "eth2"},
]
# A listener of NODE itself for what comes in.
SERVER = (
    "import socket, threading\n"
    "def serve(port):\n"
    "    with socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True) as server:\n"
    "        while True:\n"
    "            server.accept()[0].close()\n"
    f"for port in ({FORMER_PORT}, {NEW_PORT}):\n"
    "    threading.Thread(target=serve, args=(port,)).start()\n"
)
FELIX = "".join(
    f":cali-{hook} - [0:0]\n-A cali-{hook} -m comment --comment cali:test -j RETURN\n-I {hook} 1 -j cali-{hook}\n"
    for hook in ("INPUT", "OUTPUT", "FORWARD")
)


def opening(port: int) -> dict[str, object]:
    """One port, in every direction; nothing else, but SSH."""
    rules = [f"accept {way} tcp port {port} name {way} # what the packets ask for" for way in ("in", "out", "forward")]
    return {"name": "node", "rules": "\n".join((SSH, *rules)), "defaults": CLOSED}


@pytest.fixture(scope="module", params=BACKENDS)
def bed(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Bed]:
    found = prepare(lab, NODE, request.param)
    lab.write(NODE, "/root/server.py", SERVER)
    found.sh("systemd-run --quiet --collect python3 /root/server.py")
    yield found
    lab.reset(NODE)


@pytest.fixture
def driver(bed: Bed) -> Iterator[Driver]:
    with driving(bed.lab, NODE) as driver:
        driver.commit(opening(FORMER_PORT))
        yield driver


def seen(bed: Bed) -> dict[str, list[str]]:
    """Direction -> what the former and the new port look like, in IPv4, then in IPv6."""
    far = next(nic for nic in bed.lab.topology.node(FAR).nics if nic.bridge == "onp")
    abroad = {"ipv4": str(far.ipv4.ip), "ipv6": str(far.ipv6.ip)}
    found = {}
    for way, source, address in (
        ("in", PEER, bed.address),
        ("out", NODE, abroad.__getitem__),
        ("forward", PEER, abroad.__getitem__),
    ):
        probes = [Probe("tcp", address(family), port) for family in TOOLS for port in (FORMER_PORT, NEW_PORT)]
        found[way] = [outcome.result for outcome in run_probes(bed.lab, source, probes, timeout=0.7)]
    return found


FORMER_SEEN = dict.fromkeys(("in", "out", "forward"), ["open", "filtered"] * 2)
NEW_SEEN = dict.fromkeys(("in", "out", "forward"), ["filtered", "open"] * 2)


@pytest.mark.parametrize("felix", [False, True], ids=["alone", "beside-calico"])
def test_the_gate_decides_in_every_direction(bed: Bed, driver: Driver, felix: bool) -> None:
    """Former rules, rules on trial, former rules again when the time is over; then new ones, confirmed."""
    if felix:
        for family in TOOLS:
            bed.sh(f"{bed.tool(family, 'restore')} -w --noflush", stdin=f"*filter\n{FELIX}COMMIT\n")
    assert seen(bed) == FORMER_SEEN
    assert driver.done(names.trial(opening(NEW_PORT), 60))["trial"]
    assert seen(bed) == NEW_SEEN
    expire(bed)
    assert seen(bed) == FORMER_SEEN
    driver.commit(opening(NEW_PORT))
    assert seen(bed) == NEW_SEEN


def test_the_gate_closes_by_itself_in_every_direction(bed: Bed, driver: Driver) -> None:
    """By the kernel's own clock, with nobody there: no timer, no task."""
    assert driver.done(names.trial(opening(NEW_PORT), 5))["trial"]
    bed.sh(f"systemctl stop '{names.UNDO_UNITS}.timer'")
    poll(lambda: seen(bed) == FORMER_SEEN, 12, "the former rules are back")
