# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tunnel between two nodes: up by packets, unchanged the second time, and the former one after every failure."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.openvpn_pki import Cluster

from .playbooks import Result, play, run_playbook, task

NAME, UNIT = "it", "iks-openvpn@it.service"
TUNNEL = "172.31.200.0/24"


def wait_for(what: Callable[[], bool], seconds: float = 15) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if what():
            return True
        time.sleep(0.3)
    return what()


def genkey(lab: Lab, kind: str, server: str = "") -> str:
    """A tls-crypt-v2 key as OpenVPN makes it; a client's comes out of a server's."""
    lab.write("master", "/root/server.key", server, mode=0o600)
    words = ["--tls-crypt-v2", "/root/server.key"] if server else []
    lab.run("master", ["openvpn", *words, "--genkey", f"tls-crypt-v2-{kind}", "/root/made.key"])
    return lab.read("master", "/root/made.key")


@dataclass
class Tunnel:
    """The two ends, and what is given to each."""

    lab: Lab
    cluster: Cluster
    server: dict[str, Any] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)

    def module(self, node: str, check: bool = False, module: str = "openvpn_endpoint", **given: Any) -> Result:
        base = {"master": self.server, "worker1": self.client}[node] if module == "openvpn_endpoint" else {"name": NAME}
        arguments = {name: value for name, value in {**base, **given}.items() if value is not None}
        tasks = [task("it", module, arguments, ignore_errors=True)]
        run = run_playbook(self.lab, [play(node, tasks, become=True)], check=check, diff=True)
        result = run.one("it")
        assert "Traceback" not in run.output, run.output
        assert "PRIVATE KEY" not in run.output + json.dumps(result.data)
        assert "tls-crypt-v2 client key--" not in run.output + json.dumps(result.data)
        return result

    def ping(self, node: str, address: str) -> bool:
        argv = ["ping", "-c1", "-W2", "-I", f"tun-{NAME}", address]
        return self.lab.run(node, argv, check=False).returncode == 0


@pytest.fixture(scope="module")
def tunnel(lab: Lab) -> Tunnel:
    for node in ("master", "worker1"):
        lab.run(node, ["apt-get", "-qq", "update"], timeout=120)
        lab.run(node, ["apt-get", "-qq", "-y", "install", "openvpn"], timeout=180)
    cluster = Cluster()
    key = genkey(lab, "server")
    common = {"name": NAME, "ca_content": cluster.ca}
    one, two = cluster.issue("master", "server"), cluster.issue("worker1", "client")
    made = Tunnel(lab, cluster)
    made.server = {
        **common,
        "role": "server",
        "network": [TUNNEL, "fd00:31::/64"],
        "clients": [{"name": "worker1", "address": "172.31.200.10"}],
        "cert_content": one.cert,
        "key_content": one.key,
        "crl_content": cluster.crl(),
        "tls_crypt_content": key,
    }
    made.client = {
        **common,
        "role": "client",
        "remotes": [{"host": lab.topology.node("master").address("priv")}],
        "server_name": "master",
        "cert_content": two.cert,
        "key_content": two.key,
        "tls_crypt_content": genkey(lab, "client", key),
        "wait": 15,
    }
    for node in ("master", "worker1"):
        made.module(node, state="absent")
    foreseen = made.module("master", check=True)
    assert foreseen.changed, foreseen.message
    assert lab.run("master", ["systemctl", "is-active", UNIT], check=False).stdout.strip() != "active"
    for node in ("master", "worker1"):
        result = made.module(node)
        assert result.changed, result.message
        assert not result.failed, result.message
        if node == "master":
            assert foreseen.data["after"] == result.data["after"]
    return made


def test_packets_cross_both_ways_and_nothing_is_left_to_do(tunnel: Tunnel) -> None:
    for node, address in (
        ("worker1", "172.31.200.1"),
        ("worker1", "fd00:31::1"),
        ("master", "172.31.200.10"),
    ):
        assert tunnel.ping(node, address), (node, address)
    for node in ("master", "worker1"):
        again = tunnel.module(node)
        assert not again.failed, again.message
        assert not again.changed, again.data
    assert tunnel.module("master", peers=["worker1"]).data["tunnel"]["peers"][0]["cipher"] == "AES-256-GCM"
    journal = tunnel.lab.run("worker1", ["journalctl", "-u", UNIT, "-o", "cat"]).stdout
    assert "TLSv1.3" in journal


def test_it_gave_up_its_rights_and_B58_no_key_is_in_a_command_line(tunnel: Tunnel) -> None:
    pid = tunnel.lab.run("master", ["systemctl", "show", "--value", "-p", "MainPID", UNIT]).stdout.strip()
    status = tunnel.lab.read("master", f"/proc/{pid}/status")
    assert "Uid:\t65534" in status, status
    assert "KEY" not in tunnel.lab.read("master", f"/proc/{pid}/cmdline")
    socket = f"/run/iks-openvpn/{NAME}/management.sock"
    refused = tunnel.lab.run("master", ["setpriv", "--reuid=65534", "--clear-groups", "ls", socket], check=False)
    assert refused.returncode != 0
    # The unprivileged daemon reads the revocation list at every connection.
    readable = ["setpriv", "--reuid=65534", "--clear-groups", "cat", f"/etc/iks-hardening/openvpn/{NAME}/crl.pem"]
    assert "X509 CRL" in tunnel.lab.run("master", readable).stdout


def test_info_tells_peers_and_days(tunnel: Tunnel) -> None:
    told = tunnel.module("master", module="openvpn_info").data
    assert told["tunnel"]["state"] == "CONNECTED"
    assert [peer["name"] for peer in told["tunnel"]["peers"]] == ["worker1"]
    assert told["days_left"] == {"certificate": 59, "ca": 89, "crl": 29}
    assert tunnel.module("worker1", module="openvpn_info").data["tunnel"]["cipher"] == "AES-256-GCM"


def put_back(tunnel: Tunnel, result: Result, *words: str) -> None:
    assert result.failed
    assert "put back" in result.message, result.message
    assert all(word in result.message for word in words), result.message
    assert wait_for(lambda: tunnel.ping("worker1", "172.31.200.1")), "the former tunnel does not come up again"
    again = tunnel.module("worker1")
    assert not again.changed, again.message
    assert not again.failed, again.message


def test_a_wrong_tls_crypt_key_is_told_and_put_back(tunnel: Tunnel) -> None:
    other = genkey(tunnel.lab, "client", genkey(tunnel.lab, "server"))
    put_back(tunnel, tunnel.module("worker1", tls_crypt_content=other, wait=8), "tls-crypt")


def test_a_closed_port_is_told_and_put_back(tunnel: Tunnel) -> None:
    put_back(tunnel, tunnel.module("worker1", port=1195, wait=8), "port is closed")


def test_another_server_name_is_told_and_put_back(tunnel: Tunnel) -> None:
    put_back(tunnel, tunnel.module("worker1", server_name="somebody", wait=8), "server_name")


def test_B54_B55_the_server_refuses_what_the_client_trusts(tunnel: Tunnel) -> None:
    other = Cluster("other")
    pair = other.issue("worker1", "client")
    wrong = {"ca_content": other.ca + tunnel.cluster.ca, "cert_content": pair.cert, "key_content": pair.key}
    put_back(tunnel, tunnel.module("worker1", wait=8, **wrong), "does not trust")
    expired = tunnel.cluster.issue("worker1", "client", -3, -1)
    refused = tunnel.module("worker1", cert_content=expired.cert, key_content=expired.key)
    assert "expired on" in refused.message
    assert "Nothing was changed" in refused.message


def test_a_new_revocation_list_costs_no_packet_and_locks_the_revoked_out(tunnel: Tunnel) -> None:
    pid = ["systemctl", "show", "--value", "-p", "MainPID", UNIT]
    before = tunnel.lab.run("master", pid).stdout
    other = tunnel.cluster.issue("worker9", "client")
    changed = tunnel.module("master", crl_content=tunnel.cluster.crl(other))
    assert changed.changed, changed.message
    assert tunnel.lab.run("master", pid).stdout == before
    refused = tunnel.module("worker1", cert_content=other.cert, key_content=other.key, wait=8)
    put_back(tunnel, refused)
    assert not tunnel.module("master", state="present").failed


def test_F41_a_killed_daemon_comes_back(tunnel: Tunnel) -> None:
    tunnel.lab.run("worker1", ["systemctl", "kill", "-s", "KILL", UNIT])
    assert wait_for(lambda: tunnel.ping("worker1", "172.31.200.1"))
    assert not tunnel.module("worker1").failed


def test_F42_a_taken_port_and_F43_a_missing_tun_are_refused_before_anything(tunnel: Tunnel) -> None:
    taken = tunnel.module("master", port=22, protocol="tcp")
    assert "is taken by another program" in taken.message
    tunnel.lab.run("master", ["mount", "-t", "tmpfs", "none", "/dev/net"])
    try:
        missing = tunnel.module("master")
    finally:
        tunnel.lab.run("master", ["umount", "/dev/net"])
    assert "/dev/net/tun" in missing.message
    assert "modprobe tun" in missing.message
    assert "Nothing was changed" in missing.message
