# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that sends probes; probe.py starts it inside a network namespace of a lab, with a JSON request as input.

Not asyncio on purpose: a whole port range is tens of thousands of sockets; epoll with one queue of deadlines
(all attempts wait equally long) costs much less.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from tests.lab.guard import require_inside_lab
from tests.lab.system import LabError

PAYLOAD = b"iks-probe"


@dataclass
class Attempt:
    """One probe under way."""

    index: int
    proto: str
    dst: str
    port: int
    src: str | None
    retry: bool
    sock: socket.socket | None = None
    due: float = 0.0

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.dst else socket.AF_INET


class Engine:
    """Runs attempts, at most `concurrency` at a time, until all are decided or `deadline` seconds have passed."""

    def __init__(self, attempts: list[Attempt], timeout: float, concurrency: int, deadline: float) -> None:
        self.waiting = deque(attempts)
        self.timeout = timeout
        self.concurrency = concurrency
        self.end = time.monotonic() + deadline
        self.results: dict[int, tuple[str, str]] = {}
        self.poll = select.epoll()
        self.active: dict[int, Attempt] = {}
        self.by_deadline: deque[Attempt] = deque()

    def run(self) -> dict[int, tuple[str, str]]:
        while (self.waiting or self.active) and time.monotonic() < self.end:
            while self.waiting and len(self.active) < self.concurrency:
                self._start(self.waiting.popleft())
            pause = max(0.0, self.by_deadline[0].due - time.monotonic()) if self.by_deadline else 0.0
            for descriptor, _ in self.poll.poll(pause):
                attempt = self.active[descriptor]
                verdict = READERS[attempt.proto](attempt)
                if verdict is not None:
                    self._decide(attempt, verdict)
            self._expire()
        for attempt in [*self.active.values(), *self.waiting]:
            self.results[attempt.index] = ("error", "the deadline of the whole run passed")
        return self.results

    def _start(self, attempt: Attempt) -> None:
        try:
            attempt.sock = SENDERS[attempt.proto](attempt)
        except OSError as error:
            self.results[attempt.index] = verdict_of(error.errno)
            return
        attempt.due = time.monotonic() + self.timeout
        self.active[attempt.sock.fileno()] = attempt
        self.by_deadline.append(attempt)
        self.poll.register(attempt.sock.fileno(), select.EPOLLOUT if attempt.proto == "tcp" else select.EPOLLIN)

    def _decide(self, attempt: Attempt, verdict: tuple[str, str]) -> None:
        self._close(attempt)
        self.results[attempt.index] = verdict

    def _close(self, attempt: Attempt) -> None:
        assert attempt.sock is not None
        self.poll.unregister(attempt.sock.fileno())
        del self.active[attempt.sock.fileno()]
        attempt.sock.close()
        attempt.sock = None

    def _expire(self) -> None:
        now = time.monotonic()
        while self.by_deadline and (self.by_deadline[0].sock is None or self.by_deadline[0].due <= now):
            attempt = self.by_deadline.popleft()
            if attempt.sock is None:
                continue  # decided already
            self._close(attempt)
            if attempt.retry:
                # An answer was expected: a loaded machine may have lost the packet, so ask once more.
                self.waiting.append(
                    Attempt(attempt.index, attempt.proto, attempt.dst, attempt.port, attempt.src, retry=False)
                )
            else:
                self.results[attempt.index] = ("filtered", "")


def verdict_of(number: int | None) -> tuple[str, str]:
    """What an errno says about the path: refused by someone, stopped by our own firewall, or never sent at all."""
    name = errno.errorcode.get(number or 0, str(number))
    if number in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EACCES, errno.ECONNRESET):
        return "refused", name
    if number == errno.EPERM:
        return "filtered", name
    return "error", name


def new_socket(attempt: Attempt, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    sock = socket.socket(attempt.family, kind, protocol)
    sock.setblocking(False)
    if attempt.src:
        sock.bind((attempt.src, 0))
    return sock


def send_tcp(attempt: Attempt) -> socket.socket:
    sock = new_socket(attempt, socket.SOCK_STREAM)
    # Closed by a reset: tens of thousands of probes must not leave as many waiting connections behind.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return started(sock, lambda: _connect(sock, attempt))


def _connect(sock: socket.socket, attempt: Attempt) -> None:
    status = sock.connect_ex((attempt.dst, attempt.port))
    if status not in (0, errno.EINPROGRESS):
        raise OSError(status, os.strerror(status))


def send_udp(attempt: Attempt) -> socket.socket:
    sock = new_socket(attempt, socket.SOCK_DGRAM)

    def ask() -> None:
        sock.connect((attempt.dst, attempt.port))
        sock.send(PAYLOAD)

    return started(sock, ask)


def send_icmp(attempt: Attempt) -> socket.socket:
    six = attempt.family == socket.AF_INET6
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    sock = new_socket(attempt, socket.SOCK_RAW, protocol)
    header = struct.pack("!BBHHH", 128 if six else 8, 0, 0, os.getpid() & 0xFFFF, attempt.index & 0xFFFF)
    packet = header + PAYLOAD + b"."
    if not six:  # the kernel fills in ICMPv6's checksum
        packet = packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
    return started(sock, lambda: sock.sendto(packet, (attempt.dst, 0)))


def started(sock: socket.socket, send: Callable[[], object]) -> socket.socket:
    """The socket, once `send` has succeeded; closed when it has not."""
    try:
        send()
    except OSError:
        sock.close()
        raise
    return sock


def checksum(packet: bytes) -> int:
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def read_tcp(attempt: Attempt) -> tuple[str, str] | None:
    assert attempt.sock is not None
    status = attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return ("open", "") if status == 0 else verdict_of(status)


def read_udp(attempt: Attempt) -> tuple[str, str] | None:
    assert attempt.sock is not None
    try:
        attempt.sock.recv(2048)
    except OSError as error:
        return verdict_of(error.errno)
    return "open", ""


def read_icmp(attempt: Attempt) -> tuple[str, str] | None:
    """A raw socket hears every ICMP message of the node: only the answer to our own question counts."""
    assert attempt.sock is not None
    data, source = attempt.sock.recvfrom(2048)
    if attempt.family == socket.AF_INET:
        data = data[(data[0] & 15) * 4 :]
    if len(data) < 8 or source[0] != attempt.dst:
        return None
    kind, _, _, ident, sequence = struct.unpack_from("!BBHHH", data)
    reply = 129 if attempt.family == socket.AF_INET6 else 0
    ours = (kind, ident, sequence) == (reply, os.getpid() & 0xFFFF, attempt.index & 0xFFFF)
    return ("open", "") if ours else None


SENDERS = {"tcp": send_tcp, "udp": send_udp, "icmp": send_icmp}
READERS = {"tcp": read_tcp, "udp": read_udp, "icmp": read_icmp}


def probe(request: dict) -> list[tuple[str, str]]:  # type: ignore[type-arg]
    attempts = [
        Attempt(index, proto, dst, port or 0, src, retry)
        for index, (proto, dst, port, src, retry) in enumerate(request["probes"])
    ]
    results = Engine(attempts, request["timeout"], request["concurrency"], request["deadline"]).run()
    return [results[index] for index in range(len(attempts))]


def send(request: dict) -> list[str]:  # type: ignore[type-arg]
    """Send raw packets; for each the name of the error, or nothing."""
    answers = []
    for protocol, dst, src, mark in request["packets"]:
        family = socket.AF_INET6 if ":" in dst else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
                if src:
                    sock.bind((src, 0))
                choose_interface(sock, dst, src)
                # Twenty bytes that look like the start of a VRRP advertisement, then the mark.
                sock.sendto(bytes([0x21, 51, 100, 1, 0, 1, 0, 0]) + bytes(12) + mark.encode(), (dst, 0))
            answers.append("")
        except OSError as error:
            answers.append(errno.errorcode.get(error.errno or 0, str(error)))
    return answers


def choose_interface(sock: socket.socket, dst: str, src: str | None) -> None:
    """Multicast leaves by the interface of `src`, or by eth0."""
    if sock.family == socket.AF_INET6 and dst.startswith("ff"):
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("eth0"))
    elif sock.family == socket.AF_INET and 224 <= int(dst.split(".")[0]) <= 239:
        interface = b"" if src else struct.pack("=4s4si", bytes(4), bytes(4), socket.if_nametoindex("eth0"))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface or socket.inet_aton(src or ""))


def listen(request: dict) -> list[str]:  # type: ignore[type-arg]
    """Receive raw packets for a while. A raw socket stands behind the input filter: what it hears was let in."""
    sockets = []
    for protocol in request["protocols"]:
        for family in (socket.AF_INET, socket.AF_INET6):
            sock = socket.socket(family, socket.SOCK_RAW, protocol)
            join_groups(sock, [group for group in request["groups"] if (":" in group) == (family == socket.AF_INET6)])
            sockets.append(sock)
    print("ready", flush=True)
    heard = []
    end = time.monotonic() + request["wait"]
    while (left := end - time.monotonic()) > 0:
        for sock in select.select(sockets, [], [], left)[0]:
            heard.append(sock.recv(2048)[-32:].decode("ascii", "replace"))
    return heard


def join_groups(sock: socket.socket, groups: list[str]) -> None:
    for group in groups:
        for index, _ in socket.if_nameindex():
            if sock.family == socket.AF_INET6:
                level, option = socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP
                value = socket.inet_pton(socket.AF_INET6, group) + struct.pack("=i", index)
            else:
                level, option = socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP
                value = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), index)
            try:
                sock.setsockopt(level, option, value)
            except OSError:
                continue  # an interface without multicast, such as lo


def main() -> int:
    request = json.loads(sys.stdin.readline())
    try:
        require_inside_lab(int(request["lab"]))
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    modes = {"probe": probe, "send": send, "listen": listen}
    print(json.dumps(modes[request["mode"]](request)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
