# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try endpoints from this node, many at a time, and say what came of each.

The only place that opens sockets for a reachability check. Every wait has an end: an endpoint waits `timeout` seconds a
try, the whole run `time_limit` seconds, whatever vanishes meanwhile.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import struct
import time
from dataclasses import replace
from typing import Iterator, List, Optional, Sequence, Tuple

from .endpoints import Endpoint, Outcome, Wanted, is_met
from .errors import NodeError, choices
from .probe_manner import Manner
from .probe_packets import echo_request, is_echo_reply, question, said
from .unreachables import IcmpError, meaning_of, outcome_of_errno, read_error

# Linux numbers that Python's socket module does not name (linux/in.h, linux/in6.h).
_IP_RECVERR, _IPV6_RECVERR, _IP_BIND_ADDRESS_NO_PORT = 11, 25, 24
# Descriptors that the interpreter, the event loop and Ansible need beside the probes.
_SPARE_DESCRIPTORS = 64
_ECHO_PROTOCOL = {"icmp": socket.IPPROTO_ICMP, "icmpv6": socket.IPPROTO_ICMPV6}
_LARGEST_ANSWER = 4096


def on_this_node(wanted: Sequence[Wanted], manner: Manner) -> Tuple[Manner, List[str]]:
    """The manner within the node's limits, and notes on what they took away.

    Raises NodeError for what would fail with every endpoint alike: source, interface, missing privileges.
    """
    names = [name for _index, name in socket.if_nameindex()]
    if manner.interface is not None and manner.interface not in names:
        raise NodeError(choices("option interface", manner.interface, sorted(names)))
    for protocol in sorted({item.endpoint.protocol for item in wanted}):
        _check_socket(next(item.endpoint for item in wanted if item.endpoint.protocol == protocol), manner)
    room = room_for(manner.concurrency)
    if room == manner.concurrency:
        return manner, []
    note = f"concurrency: {room} instead of {manner.concurrency}, as the node allows no more open files (RLIMIT_NOFILE)"
    rounds = manner.concurrency / room
    return replace(manner, concurrency=room, time_limit=manner.time_limit * rounds), [note]


def room_for(concurrency: int) -> int:
    """How many sockets this process may hold at once, at most `concurrency`; its own soft limit is raised for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = concurrency + _SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, soft - _SPARE_DESCRIPTORS)
    return concurrency


def _check_socket(endpoint: Endpoint, manner: Manner) -> None:
    protocol = endpoint.protocol
    try:
        _new_socket(endpoint, manner)[0].close()
    except PermissionError:
        what = f"protocol {protocol}" if protocol in _ECHO_PROTOCOL else f"option interface: {manner.interface}"
        raise NodeError(f"{what} needs root: run the task with become: true") from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise NodeError(f"option source: {manner.source} is no address of this node") from None
        raise NodeError(f"{protocol} to {endpoint.address}: no socket could be made: {error.strerror}") from None


def try_all(wanted: Sequence[Wanted], manner: Manner) -> List[Outcome]:
    """The outcome of every endpoint, in the order given."""
    return asyncio.run(_try_all(wanted, manner))


async def _try_all(wanted: Sequence[Wanted], manner: Manner) -> List[Outcome]:
    end = time.monotonic() + manner.time_limit
    late = Outcome("untried", detail=f"the time limit of {manner.time_limit:g} s for all had passed")
    outcomes = [late] * len(wanted)
    queue = iter(enumerate(wanted))

    async def work() -> None:
        for index, item in queue:
            if time.monotonic() >= end:
                return
            outcomes[index] = await _try_one(item, manner, end) or late

    await asyncio.gather(*(work() for _worker in range(min(manner.concurrency, len(wanted)))))
    return outcomes


async def _try_one(wanted: Wanted, manner: Manner, end: float) -> Optional[Outcome]:
    """What came of one endpoint. Silence that is not expected is asked again: a busy network loses packets.

    None when the time of the whole run ended before an answer was due.
    """
    silence = Outcome("filtered", detail=f"no answer within {manner.timeout:g} s")
    for _round in range(1 + manner.retries):
        seconds = min(manner.timeout, max(0.0, end - time.monotonic()))
        began = time.monotonic()
        outcome = await _ask(wanted.endpoint, manner, seconds)
        if outcome is not None:
            answered = outcome.result in ("open", "refused")
            return replace(outcome, latency=round((time.monotonic() - began) * 1000, 2)) if answered else outcome
        if seconds < manner.timeout:
            return None
        if is_met(wanted.expected, silence.result) and wanted.expected != "any":
            break
    return silence


async def _ask(endpoint: Endpoint, manner: Manner, seconds: float) -> Optional[Outcome]:
    """One try; None when nothing came back within `seconds`."""
    sock = None
    end = time.monotonic() + seconds
    try:
        sock, raw = _new_socket(endpoint, manner)
        packet = _send(sock, endpoint)
        while await _ready(sock, endpoint.protocol == "tcp", end - time.monotonic()):
            outcome = _hear(sock, endpoint, packet, raw)
            if outcome is not None:
                return outcome
    except OSError as error:
        # A filter of this node that rejects says why, beside the error that it gives to the sender.
        return (_told_by_icmp(sock) if sock is not None else None) or outcome_of_errno(error.errno or 0)
    finally:
        if sock is not None:
            sock.close()
    return None


async def _ready(sock: socket.socket, writable: bool, seconds: float) -> bool:
    """Whether the socket becomes writable (or readable) within `seconds`, or has an error to tell."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()

    def decide(answer: bool) -> None:
        if not done.done():
            done.set_result(answer)

    (loop.add_writer if writable else loop.add_reader)(sock, decide, True)
    timer = loop.call_later(max(0.0, seconds), decide, False)
    try:
        return await done
    finally:
        timer.cancel()
        (loop.remove_writer if writable else loop.remove_reader)(sock)


def _new_socket(endpoint: Endpoint, manner: Manner) -> Tuple[socket.socket, bool]:
    """A socket that blocks on nothing, and whether it is a raw one. Raises OSError."""
    six = endpoint.address.version == 6
    family = socket.AF_INET6 if six else socket.AF_INET
    sock, raw = _bare_socket(family, endpoint.protocol)
    try:
        sock.setblocking(False)
        level, option = (socket.IPPROTO_IPV6, _IPV6_RECVERR) if six else (socket.IPPROTO_IP, _IP_RECVERR)
        sock.setsockopt(level, option, 1)
        if endpoint.protocol == "tcp":
            # Closed by a reset: thousands of probes must not leave as many waiting connections in the node's and the
            # firewalls' connection tables.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if manner.interface:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, manner.interface.encode() + b"\0")
        if manner.source:
            if endpoint.port:
                # A port is taken for a connection, not for the address: else 28,000 probes would use up all of them.
                sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((manner.source, 0))
    except OSError:
        sock.close()
        raise
    return sock, raw


def _bare_socket(family: int, protocol: str) -> Tuple[socket.socket, bool]:
    if protocol not in _ECHO_PROTOCOL:
        return socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM), False
    try:
        # A ping socket hears the answers to its own questions only. Which groups may have one is a setting of the node
        # (net.ipv4.ping_group_range), to which root is no exception.
        return socket.socket(family, socket.SOCK_DGRAM, _ECHO_PROTOCOL[protocol]), False
    except PermissionError:
        return socket.socket(family, socket.SOCK_RAW, _ECHO_PROTOCOL[protocol]), True


def _send(sock: socket.socket, endpoint: Endpoint) -> bytes:
    """Connect, and ask what there is to ask; the packet sent. Raises OSError."""
    status = sock.connect_ex((str(endpoint.address), endpoint.port))
    if status not in (0, errno.EINPROGRESS):
        raise OSError(status, "connect")
    if endpoint.protocol == "tcp":
        return b""
    packet = question(endpoint.port) if endpoint.protocol == "udp" else echo_request(endpoint.protocol)
    sock.send(packet)
    return packet


def _hear(sock: socket.socket, endpoint: Endpoint, packet: bytes, raw: bool) -> Optional[Outcome]:
    """What the socket has to tell; None when it was not meant for this probe. Raises OSError."""
    told = _told_by_icmp(sock)
    if told is not None:
        return told
    if endpoint.protocol == "tcp":
        status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return Outcome("open") if status == 0 else outcome_of_errno(status)
    try:
        answer = sock.recv(_LARGEST_ANSWER)
    except BlockingIOError:
        return None
    if endpoint.protocol == "udp":
        return Outcome("open", detail=said(endpoint.port, packet, answer))
    return Outcome("open") if is_echo_reply(endpoint.protocol, packet, answer, raw) else None


def _told_by_icmp(sock: socket.socket) -> Optional[Outcome]:
    return next(filter(None, map(meaning_of, _queued_errors(sock))), None)


def _queued_errors(sock: socket.socket) -> Iterator[IcmpError]:
    """What came back as ICMP, with who sent it: an errno alone does not tell a firewall's refusal from a lost route."""
    while True:
        try:
            _data, control, _flags, _peer = sock.recvmsg(_LARGEST_ANSWER, 512, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            return
        for part in control:
            error = read_error(part)
            if error is not None:
                yield error
