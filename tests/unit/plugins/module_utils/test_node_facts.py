# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node says of itself, read from the forms that real nodes print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.iks.hardening.plugins.module_utils import node_facts

ROUTES = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth1	00000000	017100CB	0003	0	0	100	00000000	0	0	0
eth0	00000000	017100CB	0003	0	0	0	00000000	0	0	0
eth1	0001AB0A	00000000	0001	0	0	0	00FFFFFF	0	0	0
*	00000000	00000000	0200	0	0	0	00000000	0	0	0
"""
ROUTES6 = (
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8011300000000000000000001 "
    "00000400 00000001 00000000 00000003     eth0\n"
)


def test_default_interfaces_by_metric() -> None:
    assert node_facts.default_interfaces(ROUTES, ROUTES6) == ["eth0", "eth1"]
    assert node_facts.default_interfaces("", ROUTES6) == ["eth0"]
    assert node_facts.default_interfaces("", "") == []


def test_interfaces_without_link_local() -> None:
    links = [
        {
            "ifname": "eth0",
            "addr_info": [
                {"local": "192.0.2.1", "prefixlen": 24, "scope": "global"},
                {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
            ],
        }
    ]
    assert node_facts.interfaces(lambda argv, stdin: (0, json.dumps(links), "")) == {"eth0": ["192.0.2.1/24"]}
    assert node_facts.interfaces(lambda argv, stdin: (127, "", "not there")) == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("eth0", False),
        ("ens3", False),
        ("bond1", False),
        ("cali12ab", True),
        ("docker0", True),
        ("kube-ipvs0", True),
        ("lo", True),
    ],
)
def test_virtual(name: str, expected: bool) -> None:
    assert node_facts.is_virtual(name) is expected


@pytest.mark.parametrize(
    ("text", "keys", "addresses", "names"),
    [
        (
            "nameserver 10.0.80.11\n# nameserver 9.9.9.9\nnameserver fe80::1%eth0\n",
            "nameserver",
            ["10.0.80.11", "fe80::1%eth0"],
            [],
        ),
        (
            "server 192.0.2.3 iburst\npool ntp.ubuntu.com iburst maxsources 4\n",
            "server|pool",
            ["192.0.2.3"],
            ["ntp.ubuntu.com"],
        ),
        (
            "[Time]\nNTP=192.0.2.4 time.example\n#FallbackNTP=192.0.2.5\n",
            "NTP|FallbackNTP",
            ["192.0.2.4"],
            ["time.example"],
        ),
    ],
)
def test_addresses_in(text: str, keys: str, addresses: list[str], names: list[str]) -> None:
    assert node_facts.addresses_in(text, keys) == (addresses, names)


def test_resolvers_pass_over_the_stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, stub = tmp_path / "real", tmp_path / "stub"
    stub.write_text("nameserver 127.0.0.53\n")
    real.write_text("nameserver 10.0.80.11\n")
    monkeypatch.setattr(node_facts, "RESOLV_FILES", (str(real), str(stub)))
    assert node_facts.resolvers() == ["10.0.80.11"]
    real.unlink()
    assert node_facts.resolvers() == []


def test_ssh_peer_from_the_environment_and_from_an_ancestor(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = {"source": "10.0.0.1", "source_port": 50000, "destination": "10.0.0.2", "port": 22}
    line = "SSH_CONNECTION=10.0.0.1 50000 10.0.0.2 22"
    assert node_facts.ssh_peer({"SSH_CONNECTION": line.split("=", 1)[1]}, 1) == peer
    files = {
        "/proc/9/environ": "A=b",
        "/proc/9/status": "PPid:\t8\n",
        "/proc/8/environ": f"X=y\0{line}\0",
        "/proc/8/status": "PPid:\t1\n",
    }
    monkeypatch.setattr(node_facts, "read_text", lambda path: files.get(path, ""))
    assert node_facts.ssh_peer({}, 9) == peer
    files["/proc/8/environ"] = ""
    assert node_facts.ssh_peer({}, 9) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'PRETTY_NAME="Ubuntu 22.04.3 LTS"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\n',
            {"id": "ubuntu", "version": "22.04", "like": "debian"},
        ),
        ('ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.4"\n', {"id": "rhel", "version": "9.4", "like": "fedora"}),
        ("", {"id": "", "version": "", "like": ""}),
    ],
)
def test_os_release(text: str, expected: dict[str, str]) -> None:
    assert node_facts.os_release(text) == expected


def test_kube_proxy_modes() -> None:
    assert node_facts.kube_proxy_mode([], "", ["kube-ipvs0"]) == "ipvs"
    assert node_facts.kube_proxy_mode([], "table ip kube-proxy\n", []) == "nftables"
    assert node_facts.kube_proxy_mode(["KUBE-SERVICES"], "", []) == "iptables"
    assert node_facts.kube_proxy_mode(["KUBE-FIREWALL"], "table ip filter", ["eth0"]) == "none"


# Of a virtual machine with two processors, kernel 6.1; another kernel prints other columns in another order.
STATISTICS = """entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error
0000001e  00000000 00000002 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000000b 00000004 00000000
0000001e  00000000 00000002 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000000 00000000
"""


def test_conntrack() -> None:
    assert node_facts.conntrack("30\n", "262144\n", STATISTICS) == node_facts.Conntrack(30, 262144, 12)
    assert node_facts.conntrack("30\n", "30\n", "") == node_facts.Conntrack(30, 30)
    assert node_facts.conntrack("30\n", "30\n", "entries found\n0000001e 00000002\n") == node_facts.Conntrack(30, 30)
    assert node_facts.conntrack("", "", STATISTICS) is None, "no module, no file"


@pytest.mark.parametrize(
    ("entries", "maximum", "full"),
    [(0, 100, False), (89, 100, False), (90, 100, True), (101, 100, True), (5, 0, False)],
)
def test_a_full_connection_table(entries: int, maximum: int, full: bool) -> None:
    """A maximum of 0 is no limit."""
    assert node_facts.Conntrack(entries, maximum).is_full is full


def test_what_is_said_of_the_connection_table() -> None:
    """F35."""
    assert node_facts.conntrack_note(None) == ""
    assert node_facts.conntrack_note(node_facts.Conntrack(5, 100, 7)) == "", "who knows when that was"
    assert node_facts.conntrack_note(node_facts.Conntrack(5, 100, 7), node_facts.Conntrack(99, 100, 7)) == ""
    full = node_facts.conntrack_note(node_facts.Conntrack(100, 100, 12))
    assert full == (
        "the connection tracking table holds 100 of 100 entries, 12 packets were dropped for it since the boot: "
        "new connections can be lost whatever the rules say; raise net.netfilter.nf_conntrack_max"
    )
    meanwhile = node_facts.conntrack_note(node_facts.Conntrack(5, 100, 13), node_facts.Conntrack(100, 100, 12))
    assert "holds 5 of 100 entries, 1 packet was dropped for it meanwhile" in meanwhile
