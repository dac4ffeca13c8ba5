# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a kernel of its own can show: the kernel's log, the clock, sysctls, a reboot. One boot for all of it.

The virtual machine's clock and settings are changed freely, the machine's never. Without KVM everything takes longer
there, so limits of time are for packets seen from outside, and a second more generous than in a container.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab import Probe, run_probes
from tests.lab.lab import Lab
from tests.lab.probe import expecting
from tests.lab.system import LabError

from .playbooks import Result, Run, play, run_module, run_playbook, task

NODE = "vm"
SECONDS = 12
KEEPS_SSH = "accept in tcp port 22 on eth1 name ssh # the way in\naccept in tcp port 10250 on eth1 name kubelet # x"
CUTS_SSH = "accept in tcp port 8080 on eth1 name web # neither SSH nor the kubelet"
DEFAULTS = [{"direction": "in", "interface": "eth1"}]
PREFIX = "iks-drop-in: "


def arguments(rules: str, **more: Any) -> dict[str, Any]:
    return {"rules": rules, "defaults": DEFAULTS, "confirm_timeout": SECONDS, **more}


def address(lab: Lab, version: int = 4) -> str:
    nic = next(nic for nic in lab.topology.node(NODE).nics if nic.bridge == "priv")
    return str(nic.ipv4.ip if version == 4 else nic.ipv6.ip)


def is_open(lab: Lab) -> bool:
    """Whether new connections come through. Not asked of sshd, which is busy for half a second with each."""
    return run_probes(lab, "controller", [Probe("tcp", address(lab), 10250, expected="open")])[0].matched


def shell(lab: Lab, script: str, *, check: bool = True) -> str:
    return lab.run(NODE, ["sh", "-c", script], check=check).stdout


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """When it became so, by the clock of this machine, which nobody sets."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds} s: {what}"
        time.sleep(0.1)
    return time.monotonic()


@pytest.fixture(scope="module")
def machine(vm: Lab) -> Lab:
    """The virtual machine with the packages of a hardened node."""
    shell(vm, "apt-get -q update && apt-get -q -y install iptables ipset conntrack")
    return vm


@pytest.fixture
def hardened(machine: Lab) -> Iterator[Lab]:
    """With a confirmed ruleset that keeps SSH; afterwards it holds the same rules and lets people in."""
    result = run_module(machine, NODE, "node_firewall", arguments(KEEPS_SSH))
    assert not result.failed, result.message
    yield machine
    wait_until(lambda: is_open(machine), "the node is open again", SECONDS + 10)


def held(lab: Lab) -> dict[str, Any]:
    return run_module(lab, NODE, "node_firewall", {"state": "gathered"}).data["after"]


def test_it_has_debians_own_kernel(machine: Lab) -> None:
    assert "cloud" in machine.run(NODE, ["uname", "-r"]).stdout
    assert machine.read(NODE, "/sys/module/apparmor/parameters/enabled") == "Y\n"
    wanted = [Probe("tcp", address(machine), 10250), Probe("icmp", address(machine, 6))]
    outcomes = run_probes(machine, "controller", expecting(wanted, "open"))
    assert [str(outcome) for outcome in outcomes if not outcome.matched] == []
    with pytest.raises(LabError, match="is a virtual machine"):
        run_probes(machine, NODE, wanted)


@pytest.mark.parametrize("version", [4, 6])
def test_denied_packets_are_logged_with_a_prefix_and_a_limit(hardened: Lab, version: int) -> None:
    """Forty packets are dropped; ten of them, and one more each twelve seconds, are in the kernel's log."""
    port = 4440 + version
    logging = [{**DEFAULTS[0], "log": PREFIX.strip()}]
    given = {"rules": KEEPS_SSH, "defaults": logging, "confirm_timeout": 0}
    assert not run_module(hardened, NODE, "node_firewall", given).failed
    # What the machine denied otherwise is counted too: its bucket is full again after a minute at the most.
    before = len(logged(hardened))
    began = time.monotonic()
    outcomes = run_probes(hardened, "controller", [Probe("tcp", address(hardened, version), port)] * 40)
    took = time.monotonic() - began
    assert {outcome.result for outcome in outcomes} == {"filtered"}
    lines = [line for line in logged(hardened)[before:] if f"DPT={port} " in line]
    assert 5 <= len(lines) <= 11 + took / 12, "\n".join(lines)
    for line in lines:
        assert re.search(rf"{PREFIX}IN=eth1 OUT= .*SRC=\S+ DST=\S+ .*PROTO=TCP .*DPT={port} .*SYN", line), line


def logged(lab: Lab) -> list[str]:
    """Lines of the kernel's log with our prefix."""
    return [line for line in shell(lab, "journalctl -q -k -o cat").splitlines() if PREFIX in line]


# ---- F22: the clock jumps during a trial

DAY = 86_400
# A day ahead, which would end a limit by the clock at once; then two back, which would keep it for a day.
JUMPS = f"""
until ipset save | grep -q "^add iks-gate "; do sleep 0.5; done
sleep 1
date -s "@$(( $(date +%s) + {DAY} ))"
sleep 2
date -s "@$(( $(date +%s) - 2 * {DAY} ))"
cut -d " " -f 1 /proc/uptime > /root/jumped
"""


@contextmanager
def in_the_background(lab: Lab, unit: str, script: str) -> Iterator[None]:
    """A script that runs on in the virtual machine when no connection to it can be made."""
    lab.write(NODE, f"/root/{unit}.sh", script)
    lab.run(NODE, ["systemd-run", "--quiet", f"--unit={unit}", "--property=Type=exec", "sh", f"/root/{unit}.sh"])
    try:
        yield
    finally:
        lab.run(NODE, ["systemctl", "stop", unit], check=False)
        lab.run(NODE, ["systemctl", "reset-failed", unit], check=False)


def test_F22_the_clock_jumps_during_the_trial(hardened: Lab) -> None:
    """The gate and the timer count seconds that passed, not the time of day."""
    before = held(hardened)
    clock = int(shell(hardened, "date +%s"))
    started = time.monotonic()
    try:
        with in_the_background(hardened, "jump", JUMPS), ThreadPoolExecutor(1) as pool:
            given = arguments(CUTS_SSH, allow_lockout=True)
            run: Future[Result] = pool.submit(run_module, hardened, NODE, "node_firewall", given)
            cut = wait_until(lambda: not is_open(hardened), "the rules on trial are in force", 60)
            back = wait_until(lambda: is_open(hardened), "the former rules are back", SECONDS + 10)
            result = run.result()
        jumped = int(shell(hardened, "date +%s")) - clock - (time.monotonic() - started)
        assert abs(jumped + DAY) < 5, "both jumps were made"
        booted = time.monotonic() - float(shell(hardened, "cat /proc/uptime").split()[0])
        assert booted + float(hardened.read(NODE, "/root/jumped")) < back, "and both during the trial"
    finally:
        shell(hardened, f"date -s '@{int(clock + time.monotonic() - started)}'")
    # The gate is armed before the rules are loaded, and a probe needs a while to see that a port is closed.
    assert SECONDS / 2 <= back - cut <= SECONDS + 2
    assert result.failed
    assert not result.changed
    assert f"were not confirmed within {SECONDS} seconds" in result.message
    assert "The former rules were put back" in result.message
    assert "Traceback" not in result.message
    assert held(hardened) == before


# ---- F35: the connection tracking table is full

# Connections of the machine with itself fill the table: established ones are not thrown away for new ones. The limit
# follows the number of entries down, as those of earlier tests expire.
FILL = """
import socket, time
FOLDER = "/proc/sys/net/netfilter/nf_conntrack_"
def read(name):
    with open(FOLDER + name) as setting:
        return int(setting.read())
def limit(entries):
    with open(FOLDER + "max", "w") as setting:
        setting.write(str(entries))
former = read("max")
server = socket.create_server(("127.0.0.1", 5555), backlog=200)
pairs = [(socket.create_connection(("127.0.0.1", 5555)), server.accept()) for _ in range(60)]
end = time.monotonic() + {seconds}
try:
    while time.monotonic() < end:
        limit(min(read("max"), read("count")))
        open("/run/full", "w").close()
        time.sleep(0.3)
finally:
    limit(former)
"""


def test_F35_the_connection_table_is_full_during_a_swap(hardened: Lab) -> None:
    """No new connection comes through, so nobody can confirm: the change ends old or new, and the table is named."""
    before = held(hardened)
    wanted = arguments(f"{KEEPS_SSH}\naccept in tcp port 80 on eth1 name web # x")
    hardened.write(NODE, "/root/fill.py", FILL.format(seconds=SECONDS + 14))
    hardened.run(NODE, ["rm", "-f", "/run/full"])
    tasks = [
        task("info before", "firewall_info"),
        # The connection that Ansible holds goes on; a new one would be dropped from here on.
        task("fill", "ansible.builtin.shell", {"cmd": "systemd-run --quiet --unit=fill python3 /root/fill.py"}),
        task("full", "ansible.builtin.wait_for", {"path": "/run/full", "timeout": 30, "sleep": 1}),
        task("info", "firewall_info"),
        task("swap", "node_firewall", wanted, ignore_errors=True),
    ]
    with ThreadPoolExecutor(1) as pool:
        future: Future[Run] = pool.submit(run_playbook, hardened, [play(NODE, tasks)])
        lost = wait_until(lambda: not is_open(hardened) or future.done(), "new connections are lost", 60)
        run = future.result()
    assert lost
    wait_until(lambda: is_open(hardened), "there is room for new connections again", SECONDS + 30)
    hardened.run(NODE, ["systemctl", "reset-failed", "fill"], check=False)
    assert run.one("info before").data["notes"] == []
    info, swap = run.one("info").data, run.one("swap")
    assert info["conntrack"]["entries"] >= 0.9 * info["conntrack"]["maximum"]
    (note,) = info["notes"]
    assert "the connection tracking table holds" in note
    assert "raise net.netfilter.nf_conntrack_max" in note
    after = run_module(hardened, NODE, "firewall_info").data
    assert after["conntrack"]["dropped"] > info["conntrack"]["dropped"], "packets of new connections were dropped"
    assert after["notes"] == []
    now = held(hardened)
    if swap.failed:
        assert "were not confirmed within" in swap.message, swap.message
        assert "Traceback" not in swap.message
        assert now == before
    else:
        assert swap.data["confirmed"]
        assert now == swap.data["after"] != before


def test_reboot(hardened: Lab) -> None:
    """Last, as it takes as long as the boot: the confirmed rules are there before the network, nobody else's are."""
    before = held(hardened)
    shell(hardened, "iptables -A INPUT -p icmp -s 192.0.2.1 -j DROP && sync")
    hardened.reboot(NODE)
    assert "192.0.2.1" not in hardened.run(NODE, ["iptables-save"]).stdout
    assert held(hardened) == before
    boot = run_module(hardened, NODE, "firewall_info").data["boot"]
    assert (boot["damaged"], boot["loaded"], boot["unit"]) == ([], boot["generations"][0], True)
    order = "systemctl show -p ActiveEnterTimestampMonotonic --value iks-firewall network-pre.target"
    loaded, network = map(int, shell(hardened, order).split())
    assert 0 < loaded <= network
    assert shell(hardened, "dpkg-query -W -f '${db:Status-Abbrev}' iptables").startswith("ii")
