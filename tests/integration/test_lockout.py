# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""node_firewall does not shut the door through which it came: not for new sessions, and not for the present one."""

from __future__ import annotations

import subprocess

import pytest

from tests.lab import Probe, run_probes, ssh
from tests.lab.lab import Lab

from .firewall_steps import DEFAULTS, carry_out, checked, dump, dumped, firewall, shell
from .playbooks import run_module, task


def test_B31_lockout_is_refused_unless_allowed(lab: Lab) -> None:
    """worker2's only interface is the one by which the task comes."""
    controller = f"10.171.{lab.lab_id}.1"
    address = lab.topology.node("worker2").ssh_address
    door = Probe("tcp", address, 22)
    lab.reset("worker2")
    lab.run("worker2", ["sh", "-c", "apt-get -q -y install iptables >/dev/null"])
    run = carry_out(
        lab,
        "worker2",
        dump("before"),
        checked("check", {"defaults": DEFAULTS}, ignore_errors=True),
        firewall("real", {"defaults": DEFAULTS}, ignore_errors=True),
        dump("after"),
        checked("covered", {"rules": f"accept in tcp from {controller} port 22 name ssh # us", "defaults": DEFAULTS}),
    ).succeeded()
    for name in ("check", "real"):
        found = run.one(name)
        assert found.failed
        assert f"rule default-in-eth0 would drop new SSH connections from {controller} on eth0 port 22" in found.message
        assert f"Set iks_management_networks: [{controller}/32]" in found.message
        assert "allow_lockout: true. Nothing was changed" in found.message
    assert dumped(run, "before") == dumped(run, "after")
    assert run.one("covered").changed

    assert run_probes(lab, "controller", [door])[0].result == "open"
    unconfirmed = {"defaults": DEFAULTS, "allow_lockout": True, "confirm_timeout": 0}
    assert run_module(lab, "worker2", "node_firewall", unconfirmed).changed
    try:
        assert run_probes(lab, "controller", [door])[0].result == "filtered", "the guard was right"
    finally:
        lab.run("worker2", ["iptables", "-F", "IKS-INPUT"])
        lab.run("worker2", ["ip6tables", "-F", "IKS-INPUT"])
    run_module(lab, "worker2", "node_firewall", {"state": "absent"})


def test_the_session_survives_the_beginning_of_connection_tracking(lab: Lab) -> None:
    """On a node without any rule the session that loads the first one is unknown to it; its answers look new.

    The guard asks for a rule for them. The first part shows that without it the session hangs.
    """
    controller = f"10.171.{lab.lab_id}.1"
    node = "master"
    lab.reset(node)
    lab.run(node, ["sh", "-c", "apt-get -q -y install iptables >/dev/null"])
    naive = "*filter\n-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A OUTPUT -o eth1 -j DROP\nCOMMIT\n"
    lab.write(node, "/run/naive", naive)
    load = [*ssh.command(lab, node), "sleep 1; iptables-restore --noflush </run/naive; echo alive"]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(load, capture_output=True, timeout=6, check=True)
    lab.run(node, ["iptables", "-F"])  # an answer that waits behind the rule would keep the node's network alive

    lab.reset(node)
    inwards = f"accept in tcp from {controller} port 22 on eth1 name ssh # us"
    answers = f"accept out tcp source-port 22 to {controller} on eth1 name ssh-answers # sessions older than tracking"
    defaults = [{"direction": way, "interface": "eth1"} for way in ("in", "out")]
    run = carry_out(
        lab,
        node,
        task("install", "ansible.builtin.apt", {"name": "iptables"}),
        firewall("refused", {"rules": inwards, "defaults": defaults}, ignore_errors=True),
        firewall("loaded", {"rules": f"{inwards}\n{answers}", "defaults": defaults}),
        shell("still here", "true"),
    ).succeeded()
    assert f"rule default-out-eth1 would drop the answers of SSH to {controller}" in run.one("refused").message
    assert run.one("loaded").changed
    lab.run(node, ["iptables", "-F"])
    lab.reset(node)
