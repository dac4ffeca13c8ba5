# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node has after a reboot: the last confirmed rules, an older generation, or the emergency ruleset."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Probe, run_probes
from tests.lab.lab import Lab

from .node_state import node_state
from .playbooks import environment, play, run_module, task

NODE = "worker2"
GENERATIONS = "/var/lib/iks-hardening/generations"
DEFAULTS = [{"direction": "in", "interface": "eth0"}]
# Long enough for a set of peers.
PEERS = ",".join(f"198.51.{number}.0/24" for number in range(40))
RULES = f"""
accept in tcp port 22 on eth0 name ssh # the way in
accept in tcp port 10250 on eth0 name kubelet # x
accept in tcp from {PEERS} port 8080 on eth0 name peers # many
"""
MORE = f"{RULES}accept in tcp port 9100 on eth0 name metrics # y\n"


def arguments(rules: str, **more: Any) -> dict[str, Any]:
    return {"name": "node", "rules": rules, "defaults": DEFAULTS, "confirm_timeout": 10, **more}


@pytest.fixture(params=["nft", "legacy"])
def node(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Lab]:
    """A node with two saved generations: RULES, then MORE."""
    lab.reset(NODE)
    lab.run(NODE, ["sh", "-c", "apt-get -q update && apt-get -q -y install iptables ipset >/dev/null"])
    if request.param == "legacy":
        for tool in ("iptables-legacy", "ip6tables-legacy"):
            lab.run(NODE, ["sh", "-c", f"{tool} -N FOREIGN; {tool} -A FOREIGN -j RETURN"])
    for rules in (RULES, MORE):
        result = run_module(lab, NODE, "node_firewall", arguments(rules))
        assert not result.failed, result.message
        assert result.data["backend"] == request.param
    yield lab
    lab.reset(NODE)


def own_rules(lab: Lab) -> list[str]:
    """The packet filter without packages, and without anything of others."""
    foreign = ("== packages", "kube", "FOREIGN")
    return [line for line in node_state(lab, NODE) if not any(word in line for word in foreign)]


def info(lab: Lab) -> dict[str, Any]:
    return run_module(lab, NODE, "firewall_info").data["boot"]


def reach(lab: Lab, port: int) -> str:
    address = lab.topology.node(NODE).address("priv") or ""
    return run_probes(lab, "controller", [Probe("tcp", address, port)])[0].result


def damage(lab: Lab, number: int) -> None:
    lab.run(NODE, ["sh", "-c", f"echo '-A INPUT -j ACCEPT' >>{GENERATIONS}/{number:06d}.rules"])


def test_F11_the_confirmed_rules_are_there_before_the_network(node: Lab) -> None:
    tool = "iptables-legacy" if info(node)["unit"] and "legacy" in str(own_rules(node)) else "iptables-nft"
    before = own_rules(node)
    node.run(NODE, [tool, "-A", "INPUT", "-s", "192.0.2.77", "-j", "ACCEPT"])
    node.reboot(NODE)
    assert own_rules(node) == before, "ours are back, and nothing of anybody else's"
    assert info(node) == {"loaded": 2, "damaged": [], "unit": True, "generations": [2, 1], "intact": [2, 1]}
    times = node.run(
        NODE,
        ["systemctl", "show", "-p", "ActiveEnterTimestampMonotonic", "--value", "iks-firewall", "network-pre.target",
         "systemd-networkd"],
    ).stdout.split()  # fmt: skip
    assert int(times[0]) <= int(times[1]) <= int(times[2]), times
    assert not run_module(node, NODE, "node_firewall", arguments(MORE)).changed
    # Started again on a node in service, it doubles nothing.
    node.run(NODE, ["systemctl", "restart", "iks-firewall"])
    assert own_rules(node) == before


def test_a_damaged_file_falls_back_generation_by_generation_to_the_emergency_ruleset(node: Lab) -> None:
    damage(node, 2)
    node.reboot(NODE)
    found = info(node)
    assert (found["loaded"], found["damaged"], found["intact"]) == (1, [2], [1])
    assert "generation 000002 is damaged" in logged(node)
    damage(node, 1)
    node.reboot(NODE)
    found = info(node)
    assert (found["loaded"], found["damaged"], found["intact"]) == ("emergency", [2, 1], [])
    assert "the emergency ruleset is loaded" in logged(node)
    assert [reach(node, port) for port in (22, 10250)] == ["open", "filtered"]
    mended = run_module(node, NODE, "node_firewall", arguments(MORE))
    assert mended.changed, mended.message
    assert "at boot no saved generation was intact, and the emergency ruleset was loaded" in mended.data["notes"]
    assert "emergency" not in "".join(own_rules(node))
    node.reboot(NODE)
    assert info(node)["loaded"] == 3
    assert [reach(node, port) for port in (22, 10250)] == ["open", "open"]


def logged(lab: Lab) -> str:
    return lab.run(NODE, ["journalctl", "-b", "-u", "iks-firewall", "-o", "cat"]).stdout


def test_F10_a_reboot_in_the_trial_boots_the_former_rules(node: Lab, tmp_path: Path) -> None:
    before = own_rules(node)
    cut = arguments("accept in tcp port 80 on eth0 name web # x", allow_lockout=True, confirm_timeout=60)
    source = tmp_path / "play.json"
    source.write_text(json.dumps([play(NODE, [task("it", "node_firewall", cut)])]))
    record = tmp_path / "record"
    for empty in (record, record.with_name("ansible.cfg")):
        empty.touch()
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(node.inventory_file), str(source)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(argv, env=environment(record), stdin=quiet, stdout=quiet, stderr=quiet) as process:
        deadline = time.monotonic() + 30
        while "IKS~INPUT" not in "".join(own_rules(node)):
            assert time.monotonic() < deadline, "rules never came on trial"
            time.sleep(0.1)
        process.kill()
    node.power_cut(NODE)
    assert own_rules(node) == before
    assert info(node)["loaded"] == 2
    assert reach(node, 22) == "open"


def test_F12_a_power_cut_while_rules_are_saved_leaves_a_whole_file(node: Lab, tmp_path: Path) -> None:
    """Cut at several moments of a run: what is loaded afterwards is the former or the new generation, never a part."""
    for delay in (0.3, 0.6, 0.9):
        rules = f"{RULES}accept in tcp port {8000 + int(delay * 10)} on eth0 name late # z\n"
        source = tmp_path / "play.json"
        source.write_text(json.dumps([play(NODE, [task("it", "node_firewall", arguments(rules, confirm_timeout=0))])]))
        record = tmp_path / "record"
        for empty in (record, record.with_name("ansible.cfg")):
            empty.touch()
        argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(node.inventory_file), str(source)]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(
            argv, env=environment(record), stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        ) as process:
            time.sleep(delay)
            # Its workers as well, or one that still tries to connect would change the node after the boot.
            os.killpg(process.pid, signal.SIGKILL)
            node.power_cut(NODE)
        found = info(node)
        assert found["damaged"] == []
        assert found["loaded"] == found["generations"][0]
        assert found["intact"] == found["generations"]
