# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A firewall that cannot lock out: whatever dies during the trial, the node is back with its former rules.

The packets of a lock-out are real: SSH to a node with one interface, cut by the rules on trial.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.firewall_trial import arming_text, closed_text, gate_sets
from tests.lab import Probe, run_probes
from tests.lab.lab import Lab

from .node_state import node_state
from .playbooks import Result, controller_of, kill_controller, run_module

NODE = "worker2"
SECONDS = 6
KEEPS_SSH = "accept in tcp port 22 on eth0 name ssh # the way in\naccept in tcp port 10250 on eth0 name kubelet # x"
CUTS_SSH = "accept in tcp port 10250 on eth0 name kubelet # x"
DEFAULTS = [{"direction": "in", "interface": "eth0"}]


def arguments(rules: str, **more: Any) -> dict[str, Any]:
    return {"name": "node", "rules": rules, "defaults": DEFAULTS, "confirm_timeout": SECONDS, **more}


@pytest.fixture(scope="module", params=["nft", "legacy"])
def node(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Lab]:
    """A node with packages and a confirmed ruleset that keeps SSH, on each backend."""
    lab.reset(NODE)
    lab.run(NODE, ["sh", "-c", "apt-get -q update && apt-get -q -y install iptables ipset >/dev/null"])
    if request.param == "legacy":
        lab.run(
            NODE,
            ["sh", "-c", "for t in iptables ip6tables; do $t-legacy -N FOREIGN; $t-legacy -A FOREIGN -j RETURN; done"],
        )
    result = run_module(lab, NODE, "node_firewall", arguments(KEEPS_SSH))
    assert not result.failed, result.message
    assert (result.changed, result.data["confirmed"], result.data["backend"]) == (True, True, request.param)
    yield lab
    lab.reset(NODE)


@pytest.fixture
def former(node: Lab) -> Iterator[list[str]]:
    """What the node held; afterwards it holds the same, to the letter, and lets people in."""
    before = node_state(node, NODE)
    yield before
    assert node_state(node, NODE) == before
    assert reachable(node)


def reachable(lab: Lab) -> bool:
    address = lab.topology.node(NODE).address("priv") or ""
    return run_probes(lab, "controller", [Probe("tcp", address, 22, expected="open")])[0].matched


def trial_on(lab: Lab) -> bool:
    """Whether chains of a trial are there, alive or expired."""
    saved = [lab.run(NODE, [f"iptables-{backend}-save"], check=False).stdout for backend in ("nft", "legacy")]
    return "IKS~INPUT" in "".join(saved)


def traces(lab: Lab) -> bool:
    """Chains or sets of a trial."""
    return trial_on(lab) or "iks-gate" in lab.run(NODE, ["sh", "-c", "ipset list -n || true"]).stdout


def wait_for_trial(lab: Lab) -> None:
    """Until the gate is open: the chains behind it are there before."""
    _poll(lambda: "add iks-gate" in lab.run(NODE, ["ipset", "save"], check=False).stdout, 20, "rules are on trial")


def wait_for_end(lab: Lab) -> None:
    """Until the timers have taken the last leftover away: two seconds after the gate, and one for the sets."""
    _poll(lambda: not traces(lab), SECONDS + 6, "nothing of the trial is left")


def _poll(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def controller(node: Lab, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A controller of its own, whose rules are on trial and who cannot confirm them: they cut SSH."""
    given = arguments(CUTS_SSH, allow_lockout=True)
    with controller_of(node, NODE, "node_firewall", given, tmp_path) as process:
        wait_for_trial(node)
        yield process


def test_unchanged_and_check_mode_begin_no_trial(former: list[str], node: Lab) -> None:
    again = run_module(node, NODE, "node_firewall", arguments(KEEPS_SSH))
    assert (again.failed, again.changed, "trial" in again.data) == (False, False, False)
    check = run_module(node, NODE, "node_firewall", arguments(CUTS_SSH, allow_lockout=True), check=True)
    assert (check.failed, check.changed, "trial" in check.data) == (False, True, False)


def test_F03_rules_that_cut_the_connection_are_undone_and_named(former: list[str], node: Lab) -> None:
    result: Result = run_module(node, NODE, "node_firewall", arguments(CUTS_SSH, allow_lockout=True))
    assert result.failed
    assert not result.changed
    for text in ("were not confirmed within 6 seconds", "rule default-in-eth0 would drop new SSH connections from",
                 "The former rules were put back by the kernel", "nothing was changed"):  # fmt: skip
        assert text in result.message
    assert result.data["after"] == result.data["before"]


def test_F01_controller_killed(former: list[str], node: Lab, controller: subprocess.Popen[str]) -> None:
    assert not reachable(node)
    kill_controller(controller)
    time.sleep(SECONDS)
    assert reachable(node)
    wait_for_end(node)


def test_F07_controller_and_timer_killed(node: Lab, controller: subprocess.Popen[str]) -> None:
    """The kernel alone: what is left are chains that no packet enters, and the next run takes them away."""
    kill_controller(controller)
    node.run(NODE, ["systemctl", "stop", "iks-firewall-undo.timer"])
    time.sleep(SECONDS + 1)
    assert trial_on(node)
    assert reachable(node)
    result = run_module(
        node, NODE, "node_firewall", arguments(f"{KEEPS_SSH}\naccept in tcp port 80 on eth0 name web # x")
    )
    assert (result.failed, result.changed) == (False, True), result.message
    assert not trial_on(node)
    assert run_module(node, NODE, "node_firewall", arguments(KEEPS_SSH)).changed


def test_F05_sshd_dies(former: list[str], node: Lab, controller: subprocess.Popen[str]) -> None:
    node.run(NODE, ["systemctl", "stop", "ssh.service"])
    wait_for_end(node)
    node.run(NODE, ["systemctl", "start", "ssh.service"])
    output = controller.communicate(timeout=60)[0]
    assert "were not confirmed within 6 seconds" in output
    assert "Traceback" not in output


def test_F17_what_others_write_during_the_trial_stays(node: Lab, controller: subprocess.Popen[str]) -> None:
    tool = (
        "iptables-legacy"
        if "FOREIGN" in node.run(NODE, ["iptables-legacy-save"], check=False).stdout
        else "iptables-nft"
    )
    node.run(
        NODE,
        [f"{tool}-restore", "--noflush"],
        stdin="*filter\n:KUBE-NEW - [0:0]\n-A KUBE-NEW -s 192.0.2.9/32 -j DROP\nCOMMIT\n",
    )
    wait_for_end(node)
    assert "-A KUBE-NEW -s 192.0.2.9/32 -j DROP" in node.run(NODE, [f"{tool}-save"]).stdout
    node.run(NODE, [tool, "-F", "KUBE-NEW"])
    node.run(NODE, [tool, "-X", "KUBE-NEW"])


def test_F23_a_second_controller_gets_a_clean_error(former: list[str], node: Lab) -> None:
    gate = closed_text() + arming_text(30)
    saved = node_state(node, NODE)
    node.run(NODE, ["ipset", "restore"], stdin=gate)
    tool = (
        "iptables-legacy"
        if "FOREIGN" in node.run(NODE, ["iptables-legacy-save"], check=False).stdout
        else "iptables-nft"
    )
    node.run(NODE, [f"{tool}-restore", "--noflush"], stdin="*filter\n:IKS~INPUT - [0:0]\nCOMMIT\n")
    result = run_module(
        node, NODE, "node_firewall", arguments(f"{KEEPS_SSH}\naccept in tcp port 80 on eth0 name web # x")
    )
    assert result.failed
    assert "other rules are on trial on this node for" in result.message
    node.run(NODE, [tool, "-X", "IKS~INPUT"])
    for name in gate_sets():
        node.run(NODE, ["ipset", "destroy", name], check=False)
    assert node_state(node, NODE) == saved


def test_F23_two_controllers_at_once(former: list[str], node: Lab) -> None:
    """One wins; the other loads after it or is told that rules are on trial. Nothing is mixed."""
    wanted = [arguments(f"{KEEPS_SSH}\naccept in tcp port {port} on eth0 name web # x") for port in (80, 81)]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda more: run_module(node, NODE, "node_firewall", more), wanted))
    winners = [result for result in results if not result.failed]
    assert winners
    assert all("other rules are on trial" in result.message for result in results if result.failed)
    held = run_module(node, NODE, "node_firewall", {"state": "gathered"}).data["after"]
    assert held in [result.data["after"] for result in winners]
    assert run_module(node, NODE, "node_firewall", arguments(KEEPS_SSH)).changed


def test_F25_a_state_folder_of_somebody_else(former: list[str], node: Lab) -> None:
    node.run(NODE, ["chmod", "777", "/var/lib/iks-hardening"])
    try:
        result = run_module(
            node, NODE, "node_firewall", arguments(f"{KEEPS_SSH}\naccept in tcp port 80 on eth0 name web # x")
        )
        assert result.failed
        assert "/var/lib/iks-hardening: not a directory that root owns and nobody else can write" in result.message
    finally:
        node.run(NODE, ["chmod", "700", "/var/lib/iks-hardening"])


def test_F36_without_sets_the_timer_undoes(former: list[str], node: Lab) -> None:
    node.run(NODE, ["mv", "/usr/sbin/ipset", "/usr/sbin/ipset.away"])
    try:
        result = run_module(node, NODE, "node_firewall", arguments(CUTS_SSH, allow_lockout=True))
        assert result.failed
        assert "put back by a systemd timer" in result.message
    finally:
        node.run(NODE, ["mv", "/usr/sbin/ipset.away", "/usr/sbin/ipset"])


def test_a_connection_that_proves_nothing_is_refused(lab: Lab) -> None:
    result = run_module(lab, "localhost", "node_firewall", arguments(KEEPS_SSH), connection="local")
    assert result.failed
    assert "a local connection cannot prove that the node stays reachable" in result.message
    assert "confirm_timeout: 0" in result.message
