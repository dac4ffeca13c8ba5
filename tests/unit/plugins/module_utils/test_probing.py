# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that are asked and heard, what errors mean, and the engine against listeners on the loopback interface."""

from __future__ import annotations

import errno
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils import probe_packets as packets
from ansible_collections.iks.hardening.plugins.module_utils import probing
from ansible_collections.iks.hardening.plugins.module_utils.endpoints import Outcome, plan
from ansible_collections.iks.hardening.plugins.module_utils.errors import NodeError
from ansible_collections.iks.hardening.plugins.module_utils.probe_manner import Manner
from ansible_collections.iks.hardening.plugins.module_utils.unreachables import (
    IcmpError,
    meaning_of,
    outcome_of_errno,
    read_error,
)

QUICK = Manner(timeout=0.3, retries=0, concurrency=50, time_limit=20)


def extended(number: int, origin: int, kind: int, code: int, offender: bytes) -> bytes:
    return struct.pack("=IBBBBII", number, origin, kind, code, 0, 0, 0) + offender


FOUR = struct.pack("=HH", socket.AF_INET, 0) + socket.inet_aton("192.0.2.9") + bytes(8)
SIX = struct.pack("=HHI", socket.AF_INET6, 0, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8::9") + bytes(4)


def test_an_error_from_the_queue() -> None:
    four = (socket.IPPROTO_IP, 11, extended(errno.ECONNREFUSED, 2, 3, 3, FOUR))
    six = (socket.IPPROTO_IPV6, 25, extended(errno.EACCES, 3, 1, 1, SIX))
    assert read_error(four) == IcmpError(2, 3, 3, errno.ECONNREFUSED, "192.0.2.9")
    assert read_error(six) == IcmpError(3, 1, 1, errno.EACCES, "2001:db8::9")
    assert read_error((socket.SOL_SOCKET, 29, bytes(16))) is None
    assert read_error((socket.IPPROTO_IP, 11, bytes(3))) is None


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=60))
def test_any_control_message_is_read(level: int, kind: int, data: bytes) -> None:
    error = read_error((level, kind, data))
    assert error is None or isinstance(meaning_of(error), (Outcome, type(None)))


@pytest.mark.parametrize(
    ("error", "result", "detail"),
    [
        (IcmpError(2, 3, 3, 0, "192.0.2.9"), "refused", "port unreachable, said by 192.0.2.9"),
        (IcmpError(2, 3, 13, 0, "192.0.2.9"), "refused", "administratively prohibited, said by 192.0.2.9"),
        (IcmpError(2, 3, 10, 0), "refused", "host prohibited"),
        (IcmpError(2, 3, 0, 0, "192.0.2.9"), "unreachable", "network unreachable, said by 192.0.2.9"),
        (IcmpError(2, 3, 1, 0), "unreachable", "host unreachable"),
        (IcmpError(2, 3, 15, 0), "unreachable", "unreachable, code 15"),
        (IcmpError(2, 11, 0, 0), "unreachable", "too many hops"),
        (IcmpError(3, 1, 4, 0), "refused", "port unreachable"),
        (IcmpError(3, 1, 1, 0), "refused", "administratively prohibited"),
        (IcmpError(3, 1, 0, 0, "::9"), "unreachable", "no route, said by ::9"),
        (IcmpError(3, 1, 3, 0), "unreachable", "address unreachable"),
        (IcmpError(3, 3, 0, 0), "unreachable", "too many hops"),
    ],
)
def test_what_an_icmp_error_means(error: IcmpError, result: str, detail: str) -> None:
    assert meaning_of(error) == Outcome(result, None, detail)


def test_errors_that_decide_nothing() -> None:
    assert meaning_of(IcmpError(2, 3, 4, 0)) is None, "fragmentation needed"
    assert meaning_of(IcmpError(2, 4, 0, 0)) is None, "source quench"
    assert meaning_of(IcmpError(3, 2, 0, 0)) is None, "packet too big"
    assert meaning_of(IcmpError(1, 0, 0, errno.EMSGSIZE)) is None, "of this node"


@pytest.mark.parametrize(
    ("number", "result"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.EPERM, "filtered"),
        (errno.EACCES, "refused"),
        (errno.ENETUNREACH, "unreachable"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ETIMEDOUT, "filtered"),
        (errno.EMFILE, "untried"),
        (errno.EADDRNOTAVAIL, "untried"),
        (errno.EINVAL, "untried"),
        (0, "untried"),
    ],
)
def test_what_an_errno_means(number: int, result: str) -> None:
    assert outcome_of_errno(number).result == result


def test_questions_by_port() -> None:
    query, request = packets.question(53), packets.question(123)
    assert (len(query), query[2:]) == (17, bytes.fromhex("0100000100000000000000000200 01".replace(" ", "")))
    assert (len(request), request[0]) == (48, 0x23)
    assert packets.question(443) == packets.PLAIN
    assert query[:2] + request[40:] != packets.question(53)[:2] + packets.question(123)[40:]


def test_answers_of_services() -> None:
    query, request = packets.dns_query(), packets.ntp_request()
    dns = query[:2] + b"\x81\x85" + query[4:]
    ntp = b"\x24" + bytes(23) + request[40:48] + bytes(16)
    assert packets.said(53, query, dns) == "answers DNS"
    assert packets.said(53, query, query) == "answers, but not DNS"
    assert packets.said(123, request, ntp) == "answers NTP"
    assert packets.said(123, request, b"\x24" + bytes(47)) == "answers, but not NTP"
    assert packets.said(443, packets.PLAIN, b"") == ""


@pytest.mark.parametrize(("protocol", "reply"), [("icmp", 0), ("icmpv6", 129)])
def test_echo(protocol: str, reply: int) -> None:
    request = packets.echo_request(protocol)
    answer = bytes([reply]) + request[1:]
    by_ping_socket = answer[:4] + b"\x12\x34" + answer[6:]
    header = bytes([0x45]) + bytes(19) if protocol == "icmp" else b""
    assert packets.is_echo_reply(protocol, request, by_ping_socket, raw=False)
    assert packets.is_echo_reply(protocol, request, header + answer, raw=True)
    assert not packets.is_echo_reply(protocol, request, header + by_ping_socket, raw=True), "somebody else's"
    assert not packets.is_echo_reply(protocol, request, request, raw=False), "our own request, heard on loopback"
    assert not packets.is_echo_reply(protocol, request, b"", raw=True)
    if protocol == "icmp":
        assert packets.checksum(request) == 0


@given(st.sampled_from(["icmp", "icmpv6"]), st.binary(max_size=80), st.booleans())
def test_any_answer_is_judged(protocol: str, answer: bytes, raw: bool) -> None:
    assert packets.is_echo_reply(protocol, packets.echo_request(protocol), answer, raw) is False
    assert packets.said(53, packets.dns_query(), answer)
    assert packets.said(123, packets.ntp_request(), answer)


# ---- the engine, on the loopback interface


def outcomes(text: str, manner: Manner = QUICK) -> dict[str, Outcome]:
    wanted = plan(text, [], "all", "any").wanted
    return {str(item.endpoint): found for item, found in zip(wanted, probing.try_all(wanted, manner))}


@pytest.fixture
def mute() -> Iterator[int]:
    """A port on which a peer accepts, for TCP and UDP, and never says a word."""
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
        stream.bind(("127.0.0.1", 0))
        stream.listen()
        datagram.bind(stream.getsockname())
        yield stream.getsockname()[1]


def test_a_peer_that_never_answers(mute: int) -> None:
    began = time.monotonic()
    found = outcomes(f"tcp/127.0.0.1:{mute}\nudp/127.0.0.1:{mute}")
    assert time.monotonic() - began < 2
    tcp, udp = found.values()
    assert (tcp.result, tcp.latency is not None) == ("open", True)
    assert (udp.result, udp.latency, udp.detail) == ("filtered", None, "no answer within 0.3 s")


def test_refused(mute: int) -> None:
    closed = mute + 1 if mute < 65535 else mute - 1
    found = outcomes(f"tcp/127.0.0.1:{closed}\nudp/127.0.0.1:{closed}")
    assert [item.result for item in found.values()] == ["refused", "refused"]
    assert list(found.values())[1].detail == "port unreachable, said by 127.0.0.1"


def test_the_whole_run_ends_in_time(mute: int) -> None:
    slow = Manner(timeout=0.4, retries=5, concurrency=2, time_limit=1)
    wanted = plan("\n".join(f"udp/127.0.0.{host}:{mute}=open" for host in (1, 1, 1)), [], "ends", "open").wanted * 40
    began = time.monotonic()
    found = probing.try_all(wanted, slow)
    assert time.monotonic() - began < 2
    assert {item.result for item in found} == {"untried"}
    assert found[-1].detail == "the time limit of 1 s for all had passed"


def test_silence_is_asked_again_unless_expected() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

        def answer_the_second() -> None:
            server.settimeout(5)
            server.recvfrom(99)
            _data, peer = server.recvfrom(99)
            server.sendto(b"here", peer)

        thread = threading.Thread(target=answer_the_second)
        thread.start()
        again = Manner(timeout=0.3, retries=1, concurrency=1, time_limit=9)
        asked = plan(f"udp/127.0.0.1:{port}=open", [], "ends", "open").wanted
        assert probing.try_all(asked, again)[0].result == "open"
        thread.join()
        silent = plan(f"udp/127.0.0.1:{port}=filtered", [], "ends", "open").wanted
        assert probing.try_all(silent, again)[0].result == "filtered"
        server.setblocking(False)
        server.recv(99)
        with pytest.raises(BlockingIOError):
            server.recv(99)


def test_more_sockets_than_the_process_may_have(monkeypatch: pytest.MonkeyPatch, mute: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (80, 96))
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: asked.append(limits))
    wanted = plan(f"tcp/127.0.0.1:{mute}", [], "ends", "open").wanted
    manner, notes = probing.on_this_node(wanted, Manner(1, 0, 500, 10))
    assert asked == [(96, 96)]
    assert (manner.concurrency, manner.time_limit) == (32, 10 * 500 / 32)
    assert notes == ["concurrency: 32 instead of 500, as the node allows no more open files (RLIMIT_NOFILE)"]


def test_descriptors_that_are_gone_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_what: object) -> tuple[socket.socket, bool]:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(probing, "_new_socket", none_left)
    (found,) = outcomes("tcp/127.0.0.1:1").values()
    assert found == Outcome("untried", None, "could not be sent: EMFILE")


def test_what_is_wrong_with_the_node_is_said_before() -> None:
    wanted = plan("tcp/127.0.0.1:1", [], "ends", "open").wanted
    with pytest.raises(NodeError, match=r"option source: 192.0.2.77 is no address of this node"):
        probing.on_this_node(wanted, Manner(1, 0, 5, 10, source="192.0.2.77"))
    with pytest.raises(NodeError, match=r"option interface: 'lo0' is not one of .*did you mean lo\?"):
        probing.on_this_node(wanted, Manner(1, 0, 5, 10, interface="lo0"))
