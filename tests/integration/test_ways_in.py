# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirmed changes over every way in: jump hosts, containers, several hosts at once, with and without pipelining.

The lab's user is not root and becomes it, so the SSH peer is always learnt before the escalation.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import ssh
from tests.lab.lab import Lab

from .node_state import node_state
from .playbooks import HERE, Result, play, run_module, run_playbook, task

NODE, JUMP = "worker2", "worker1"
DEFAULTS = [{"direction": "in", "interface": "eth0"}]
SECONDS = 8
PLUGINS = {"ANSIBLE_CONNECTION_PLUGINS": str(HERE / "connection_plugins")}


def arguments(rules: str, **more: Any) -> dict[str, Any]:
    return {"name": "node", "rules": rules, "defaults": DEFAULTS, "confirm_timeout": SECONDS, **more}


def ssh_from(address: str) -> str:
    return f"accept in tcp from {address} port 22 on eth0 name ssh # the way in"


@pytest.fixture(scope="module")
def lab_with_packages(lab: Lab) -> Iterator[Lab]:
    lab.reset(NODE, JUMP)
    for node in (NODE, JUMP):
        lab.run(node, ["sh", "-c", "apt-get -q update && apt-get -q -y install iptables ipset >/dev/null"])
    yield lab
    lab.reset(NODE, JUMP)


@pytest.fixture
def node(lab_with_packages: Lab) -> Iterator[Lab]:
    """A node on which nothing of ours is loaded."""
    yield lab_with_packages
    for name in (NODE, JUMP):
        gone = run_module(lab_with_packages, name, "firewall_rollback", {"to": "removed"})
        assert not gone.failed, gone.message


def tried(lab: Lab, given: dict[str, Any], variables: dict[str, Any], **more: Any) -> Result:
    """node_firewall on the node, reached as `variables` say."""
    known = json.loads(lab.inventory_file.read_text(encoding="utf-8"))["all"]
    hosts = {name: dict(own) for group in known["children"].values() for name, own in group.get("hosts", {}).items()}
    hosts[NODE].update(variables)
    steps = [play(NODE, [task("it", "node_firewall", given, ignore_errors=True)])]
    return run_playbook(lab, steps, inventory={"all": {"vars": known["vars"], "hosts": hosts}}, **more).one("it")


# ---- jump hosts


def jump_config(lab: Lab, path: Path, *, way: str) -> dict[str, Any]:
    """An ssh configuration by which the node is reached through another node alone."""
    options = dict(word.split("=", 1) for word in ssh.options(lab) if "=" in word)
    proxy = {name: options.pop(name) for name in ("ProxyCommand", "ProxyUseFdpass")}
    inner = f"ssh -F {path} -W %h:%p jump"
    sections = {
        "jump": {"HostName": lab.topology.node(JUMP).ssh_address, "User": "iks", **proxy},
        lab.topology.node(NODE).ssh_address: {"ProxyJump": "jump"} if way == "ProxyJump" else {"ProxyCommand": inner},
        "*": options,
    }
    path.write_text(
        "".join(
            f"Host {host}\n" + "".join(f"  {name} {value}\n" for name, value in found.items())
            for host, found in sections.items()
        )
    )
    return {"ansible_ssh_common_args": f"-F {path}"}


@pytest.mark.parametrize("way", ["ProxyJump", "ProxyCommand"])
def test_through_a_jump_host(node: Lab, tmp_path: Path, way: str) -> None:
    """The node's peer is the jump host: that is what has to come in, and what new connections are made by."""
    variables = jump_config(node, tmp_path / "config", way=way)
    jump, controller = node.topology.node(JUMP).ssh_address, f"10.171.{node.lab_id}.1"
    before = node_state(node, NODE)
    refused = tried(node, arguments(ssh_from(controller)), variables)
    assert refused.failed
    assert f"rule default-in-eth0 would drop new SSH connections from {jump} on eth0 port 22" in refused.message
    if way == "ProxyJump":
        undone = tried(node, arguments(ssh_from(controller), allow_lockout=True, confirm_timeout=5), variables)
        assert undone.failed
        assert "The former rules were put back by the kernel" in undone.message
        assert "read back over a new connection, nothing was changed" in undone.message
    assert node_state(node, NODE) == before
    done = tried(node, arguments(ssh_from(jump)), variables)
    assert (done.failed, done.changed, done.data.get("confirmed")) == (False, True, True), done.message
    assert not tried(node, arguments(ssh_from(jump)), variables).changed


# ---- containers


def test_a_container_like_connection_proves_nothing(node: Lab) -> None:
    boxed = {"ansible_connection": "boxed", "boxed_enter": node.enter_command(NODE), "ansible_become": False}
    address = node.topology.node(NODE).ssh_address
    before = node_state(node, NODE)
    opens, cuts = arguments(ssh_from("10.0.0.0/8")), arguments("accept in tcp port 80 on eth0 name web # x")
    for check in (True, False):
        refused = tried(node, opens, boxed, env=PLUGINS, check=check)
        assert refused.failed
        assert "a boxed connection cannot prove that the node stays reachable" in refused.message
        assert "name an inventory host that tries in confirm_from" in refused.message
        assert refused.message.count("Nothing was changed") == 1
    witness = {"confirm_from": JUMP, "confirm_address": address}
    undone = tried(node, {**cuts, **witness, "confirm_timeout": 5, "confirm_connect_timeout": 3}, boxed, env=PLUGINS)
    assert undone.failed
    assert f"{JUMP} (confirm_from) did not reach {address} port 22" in undone.message
    assert node_state(node, NODE) == before
    done = tried(node, {**opens, **witness}, boxed, env=PLUGINS)
    assert (done.failed, done.changed, done.data.get("confirmed")) == (False, True, True), done.message
    at_once = tried(node, {**arguments(ssh_from("10.0.0.0/8,192.0.2.0/24")), "confirm_timeout": 0}, boxed, env=PLUGINS)
    assert (at_once.failed, at_once.changed, "confirmed" in at_once.data) == (False, True, False), at_once.message


# ---- several hosts, pipelining


@pytest.mark.parametrize("keywords", [{"serial": 1}, {}], ids=["serial", "forks"])
def test_several_hosts(node: Lab, keywords: dict[str, Any]) -> None:
    peer = f"10.171.{node.lab_id}.1"
    given = {**arguments("accept in tcp port 22 name ssh # the way in"), "defaults": [{"direction": "in"}]}
    steps = [play(f"{NODE},{JUMP}", [task("it", "node_firewall", given)], **keywords)]
    run = run_playbook(node, steps, options=["--forks", "5"]).succeeded()
    assert [run.one("it", host).data["confirmed"] for host in (NODE, JUMP)] == [True, True]
    for host in (NODE, JUMP):
        # Learnt before sudo cleared the environment.
        script = node.read(host, "/etc/iks-hardening/firewall-boot.sh")
        assert f"-s {peer}/32 -p tcp -m tcp --dport 22" in script
    assert run_playbook(node, steps).succeeded().changed == {}


def test_without_pipelining(node: Lab) -> None:
    env = {"ANSIBLE_PIPELINING": "0"}
    before = node_state(node, NODE)
    cut = arguments("accept in tcp port 80 on eth0 name web # x", allow_lockout=True, confirm_timeout=5)
    undone = run_module(node, NODE, "node_firewall", cut, env=env)
    assert undone.failed
    assert "The former rules were put back by the kernel" in undone.message
    assert node_state(node, NODE) == before
    done = run_module(node, NODE, "node_firewall", arguments(ssh_from("10.0.0.0/8")), env=env)
    assert (done.failed, done.changed, done.data.get("confirmed")) == (False, True, True), done.message
    left = node.run(
        NODE, ["sh", "-c", "ls -A /home/iks/.ansible/tmp /root/.ansible/tmp 2>/dev/null | grep ansible-tmp || true"]
    )
    assert left.stdout == "", "what was copied is taken away, also behind the trial"


# ---- connections that are older than the change

PORT = 8099
_SERVER = f"""
import os, socket, sys, threading
# Ends with whoever holds its standard input: nobody else can end what was started in another process namespace.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
listener = socket.create_server(("", {PORT}))
print("ready", flush=True)
while True:
    session, _peer = listener.accept()
    while data := session.recv(64):
        session.sendall(data)
"""
# One exchange every 20 ms over one connection; the longest wait for an answer is told at the end.
_CLIENT = f"""
import socket, sys, time, select
session = socket.create_connection((sys.argv[1], {PORT}), timeout=10)
print("ready", flush=True)
count, longest = 0, 0.0
while not select.select([sys.stdin], [], [], 0.02)[0]:
    begun = time.monotonic()
    session.sendall(b"x")
    if session.recv(64) != b"x":
        sys.exit("the session ended")
    count, longest = count + 1, max(longest, time.monotonic() - begun)
print(count, longest)
"""


@contextmanager
def started(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process of this test's own, which has said that it is ready, and is ended with it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(argv, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            if process.stdin and not process.stdin.closed:
                process.stdin.close()
            process.wait(timeout=10)


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_an_established_connection_flows_on(node: Lab, backend: str) -> None:
    """Through a confirmed change to rules that would not let it begin, and through one that is undone."""
    if backend == "legacy":
        node.run(
            NODE,
            ["sh", "-c", "for t in iptables ip6tables; do $t-legacy -N FOREIGN; $t-legacy -A FOREIGN -j RETURN; done"],
        )
    opens = f"{ssh_from('10.0.0.0/8')}\naccept in tcp port {PORT} on eth0 name session # x"
    first = run_module(node, NODE, "node_firewall", arguments(opens))
    assert (first.failed, first.data["backend"]) == (False, backend), first.message
    server = [*node.enter_command(NODE), "python3", "-c", _SERVER]
    client = ["nsenter", f"--net={node.netns}", sys.executable, "-c", _CLIENT, node.topology.node(NODE).ssh_address]
    with started(server), started(client) as session:
        closes = run_module(node, NODE, "node_firewall", arguments(ssh_from("10.0.0.0/8")))
        assert (closes.failed, closes.data.get("confirmed")) == (False, True), closes.message
        cut = arguments("accept in tcp port 80 on eth0 name web # x", allow_lockout=True, confirm_timeout=5)
        assert run_module(node, NODE, "node_firewall", cut).failed
        output, _error = session.communicate("end\n", timeout=20)
    count, longest = output.split()
    assert int(count) > 100, output
    # A lost packet would be sent again after 0.2 s at the earliest, and a blocked one never.
    assert float(longest) < 2, output
    if backend == "legacy":
        node.run(NODE, ["sh", "-c", "for t in iptables ip6tables; do $t-legacy -F FOREIGN; $t-legacy -X FOREIGN; done"])
