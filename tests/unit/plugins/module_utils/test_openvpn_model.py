# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints that cannot be built wrong, and the files that they become."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.openvpn_guard import (
    check_networks,
    check_port,
    check_tun,
    read_routes,
)
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_model import (
    ClientSettings,
    Endpoint,
    Remote,
    VpnError,
    check_common_name,
    check_name,
    read_network,
)
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_text import CONFIG, UNIT_TEXT, render

GOLDEN = Path(__file__).parents[2] / "data" / "openvpn"
SERVER = Endpoint(
    "cluster",
    "server",
    listen=ip_address("10.0.0.10"),
    networks=(ip_network("172.31.200.0/24"), ip_network("fd00:31::/64")),
    pushed=(ip_network("172.21.0.0/16"), ip_network("fd00:21::/64")),
    clients=(
        ClientSettings(
            "worker1", ip_address("172.31.200.10"), ip_address("fd00:31::10"), (ip_network("172.30.1.0/24"),)
        ),
        ClientSettings("worker2", disabled=True),
    ),
    only_listed=True,
    has_crl=True,
    mss=1400,
)
CLIENT = Endpoint(
    "cluster",
    "client",
    protocol="tcp",
    remotes=(Remote("10.0.0.10", 1194), Remote("fd00::11", 1195)),
    routes=(ip_network("172.21.0.0/16"),),
    server_name="master",
    options=(("connect-retry", "2 9"), ("fast-io", "")),
)


@pytest.mark.parametrize(("endpoint", "name"), [(SERVER, "server"), (CLIENT, "client")], ids=["server", "client"])
def test_rendered_as_recorded(endpoint: Endpoint, name: str) -> None:
    text = "".join(f"=== {path}\n{content}" for path, content in sorted(render(endpoint, (2, 6)).items()))
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("IKS_RECORD_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
    assert render(endpoint, (2, 5)) == render(endpoint, (2, 6))


def test_an_old_openvpn_is_refused() -> None:
    with pytest.raises(VpnError, match="2.4 is too old"):
        render(CLIENT, (2, 4))


WRONG: Dict[str, Tuple[Endpoint, Dict[str, Any], str]] = {
    "role": (SERVER, {"role": "sever"}, "did you mean server"),
    "cipher": (SERVER, {"ciphers": ("AES-256-CBC",)}, "ciphers: 'AES-256-CBC'"),
    "no-cipher": (SERVER, {"ciphers": ()}, "ciphers: none"),
    "tls": (SERVER, {"tls_version": "1.1"}, "tls_version"),
    "port": (SERVER, {"port": 0}, "port: 0 is no port"),
    "mtu": (SERVER, {"mtu": 600}, "mtu: 600"),
    "mss": (SERVER, {"mss": 1501}, "mss: 1501"),
    "keepalive": (SERVER, {"keepalive": (10, 15)}, "keepalive"),
    "root": (SERVER, {"user": "root"}, "user: root"),
    "no-network": (SERVER, {"networks": (), "clients": ()}, "network: a server needs"),
    "outside": (SERVER, {"clients": (ClientSettings("w", ip_address("10.9.9.9")),)}, "is not in the tunnel's network"),
    "of-server": (SERVER, {"clients": (ClientSettings("w", ip_address("172.31.200.1")),)}, "belongs to the server"),
    "broadcast": (SERVER, {"clients": (ClientSettings("w", ip_address("172.31.200.255")),)}, "no address of a host"),
    "twice": (SERVER, {"clients": (ClientSettings("w"), ClientSettings("w"))}, "there twice"),
    "B57-slash": (SERVER, {"clients": (ClientSettings("a/b"),)}, "common name 'a/b'"),
    "B57-dots": (SERVER, {"clients": (ClientSettings("a..b"),)}, "common name 'a..b'"),
    "B57-server": (CLIENT, {"server_name": "../x"}, "common name '../x'"),
    "no-remote": (CLIENT, {"remotes": ()}, "at least one server"),
    "any-server": (CLIENT, {"server_name": None}, "server_name: a client needs"),
    "server-only": (CLIENT, {"networks": (ip_network("10.0.0.0/24"),)}, "only a server"),
    "client-only": (SERVER, {"remotes": (Remote("a", 1),)}, "only a client"),
    "own-packets": (CLIENT, {"routes": (ip_network("10.0.0.0/8"),)}, "OpenVPN's own packets"),
    "option": (CLIENT, {"options": (("snbuf", "1"),)}, "did you mean sndbuf"),
    "script": (CLIENT, {"options": (("up", "/bin/sh"),)}, "options: 'up'"),
    "second-line": (CLIENT, {"options": (("sndbuf", "1;x"),)}, "characters that mean something else"),
    "words": (CLIENT, {"options": (("sndbuf", "1 2"),)}, "takes 1 word"),
    "B58-key": (CLIENT, {"options": (("verb", "-----BEGIN PRIVATE KEY-----"),)}, "never as an option's words"),
}


@pytest.mark.parametrize(("endpoint", "given", "said"), WRONG.values(), ids=WRONG)
def test_refused(endpoint: Endpoint, given: Dict[str, Any], said: str) -> None:
    with pytest.raises(VpnError) as caught:
        replace(endpoint, **given)
    assert said in str(caught.value)
    assert "BEGIN" not in str(caught.value)


def test_B58_no_key_in_the_command_of_the_unit() -> None:
    (command,) = [line for line in UNIT_TEXT.splitlines() if line.startswith("ExecStart=")]
    assert command.endswith(f"--config /etc/iks-hardening/openvpn/%i/{CONFIG}")
    assert not set(command.split()) & {"--key", "--tls-crypt-v2", "--secret", "--askpass"}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda: check_name("Cluster"), "no name of an endpoint"),
        (lambda: check_name("abcdefghijkl"), "no name of an endpoint"),
        (lambda: read_network("network", "10.0.0.1/24"), "host bits"),
        (lambda: read_network("network", "10.0.0.1"), "no prefix length"),
        (lambda: read_network("routes", "0.0.0.0/0"), "is everything"),
        (lambda: check_common_name("cert", ".hidden"), "common name"),
    ],
)
def test_words_refused(what: Callable[[], Any], said: str) -> None:
    with pytest.raises(VpnError, match=said):
        what()


ROUTES = """[{"dst":"default","gateway":"10.0.0.1","dev":"eth0"},{"dst":"10.0.0.0/24","dev":"eth0"},
{"dst":"172.31.200.0/24","dev":"tun-cluster"},{"dst":"192.168.0.0/16","gateway":"10.0.0.1","dev":"eth0"}]"""


def test_its_own_routes_overlap_nothing() -> None:
    check_networks(SERVER, read_routes(ROUTES), [ip_network("172.21.0.0/16")])


OVERLAPS: Dict[str, Tuple[Endpoint, str, str]] = {
    "B52-local": (replace(SERVER, networks=(ip_network("10.0.0.128/25"),), clients=()), "", "overlaps 10.0.0.0/24"),
    "B52-pods": (replace(SERVER, networks=(ip_network("172.21.4.0/24"),), clients=()), "172.21.0.0/16", "pods'"),
    "B52-route": (replace(CLIENT, routes=(ip_network("192.168.0.0/16"),)), "", "overlaps 192.168.0.0/16"),
    "B52-connected": (
        replace(CLIENT, remotes=(Remote("10.1.0.1", 1194),), routes=(ip_network("10.0.0.0/25"),)),
        "",
        "overlaps 10.0.0.0/24",
    ),
}


@pytest.mark.parametrize(("endpoint", "reserved", "said"), OVERLAPS.values(), ids=OVERLAPS)
def test_overlaps_are_refused(endpoint: Endpoint, reserved: str, said: str) -> None:
    with pytest.raises(VpnError, match=said):
        check_networks(endpoint, read_routes(ROUTES), [ip_network(reserved)] if reserved else [])


def test_F42_a_taken_port_is_refused() -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        taken = replace(SERVER, listen=ip_address("127.0.0.1"), port=port)
        with pytest.raises(VpnError, match=f"udp {port} is taken"):
            check_port(taken)
    check_port(taken)


def test_F43_no_tun_device(tmp_path: Path) -> None:
    with pytest.raises(VpnError, match="modprobe tun"):
        check_tun(str(tmp_path / "tun"))
