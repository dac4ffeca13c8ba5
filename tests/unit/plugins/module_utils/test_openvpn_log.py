# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What OpenVPN writes and answers, as causes and values."""

from __future__ import annotations

from typing import Dict, Tuple

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.openvpn_log import cipher_of, reason_of
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_management import read_status
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_proof import first_hosts

TIMEOUT = "TLS Error: TLS key negotiation failed to occur within 60 seconds (check your network connectivity)"
CASES: Dict[str, Tuple[Tuple[str, ...], str]] = {
    "F39": (
        ("VERIFY ERROR: depth=0, error=certificate is not yet valid: CN=master, serial=1", TIMEOUT),
        "clock skew",
    ),
    "B54-told": (("VERIFY ERROR: depth=0, error=certificate has expired: CN=master",), "has expired"),
    "B55-told": (
        ("VERIFY ERROR: depth=1, error=unable to get local issuer certificate: CN=x", TIMEOUT),
        "does not trust",
    ),
    "alert": (("OpenSSL: error:0A000418:SSL routines::tlsv1 alert unknown ca:SSL alert number 48",), "does not trust"),
    "list": (("VERIFY ERROR: depth=0, error=CRL has expired: CN=w",), "revocation list has expired"),
    "revoked": (("VERIFY ERROR: depth=0, error=certificate revoked: CN=w",), "was revoked"),
    "name": (("VERIFY X509NAME ERROR: CN=master, must be other",), "server_name"),
    "usage": (("VERIFY EKU ERROR",), "lacks the usage"),
    "tls-crypt": (("TLS Error: tls-crypt unwrapping failed from [AF_INET]10.0.0.1:1194",), "tls-crypt mismatch"),
    "F42": (("TCP/UDP: Socket bind failed on local address [undef]:1194: Address already in use (errno=98)",), "taken"),
    "F43": (("ERROR: Cannot open TUN/TAP dev /dev/net/tun: No such file or directory (errno=2)",), "module tun"),
    "closed": (("read UDPv4 [ECONNREFUSED]: Connection refused (fd=3,code=111)", TIMEOUT), "port is closed"),
    "route": (("write UDPv4: Network is unreachable (fd=3,code=101)", TIMEOUT), "no route"),
    "silent": ((TIMEOUT,), "peer is silent"),
    "unknown": (("something else",), "nothing came back from the peer"),
    "none": ((), "nothing came back from the peer"),
}


@pytest.mark.parametrize(("lines", "reason"), CASES.values(), ids=CASES)
def test_reason(lines: Tuple[str, ...], reason: str) -> None:
    assert reason in reason_of(lines)


def test_no_key_is_repeated() -> None:
    assert "AAAA" not in reason_of(["-----BEGIN PRIVATE KEY-----", "A" * 64])


def test_the_cipher_in_use() -> None:
    assert cipher_of(["Data Channel: cipher 'AES-256-GCM', peer-id: 0"]) == "AES-256-GCM"
    assert cipher_of(["nothing"]) == ""


def test_a_server_and_its_clients() -> None:
    status = read_status(
        ["1795533900,CONNECTED,SUCCESS,172.31.200.1,,,,,fd00:31::1"],
        [
            "TITLE\tOpenVPN 2.6.14",
            "CLIENT_LIST\tworker1\t10.0.0.11:40000\t172.31.200.10\tfd00:31::10\t4000\t5000\tdate\t1795533950\tUNDEF\t0\t0\tAES-256-GCM",
        ],
    )
    assert status.up
    assert (status.address, status.address6) == ("172.31.200.1", "fd00:31::1")
    assert status.shown()["cipher"] == "AES-256-GCM"
    assert status.peers[0].shown()["received"] == 4000


def test_a_client_that_waits() -> None:
    status = read_status(
        ["1795533900,WAIT,,,,,,"], ["OpenVPN STATISTICS", "TCP/UDP read bytes,10", "TCP/UDP write bytes,20"]
    )
    assert not status.up
    assert (status.state, status.received, status.sent) == ("WAIT", 10, 20)
    assert not read_status([], []).up


def test_the_server_is_the_first_host() -> None:
    text = (
        '[{"addr_info":[{"local":"fd00::5","prefixlen":64,"scope":"global"},{"local":"fe80::1","prefixlen":64,"scope":'
        '"link"},{"local":"172.31.200.10","prefixlen":24,"scope":"global"}]}]'
    )
    assert first_hosts(text) == ["172.31.200.1", "fd00::1"]
    assert first_hosts("") == []
