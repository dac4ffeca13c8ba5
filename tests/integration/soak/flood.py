# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that floods, counts and plays ping-pong; traffic.py starts it inside a network namespace of a lab.

The first line of standard input is the request, a line of JSON; `ready` is the answer to it. It works until standard
input ends, then prints its counts as JSON.

Packets leave by sendmmsg in small bursts, because one call a packet costs more than the kernel's own work on it, and
larger bursts overflow the queue behind a veth. Each packet carries its number, and numbers never leave a flow's order.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import struct
import sys
import time
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))))

from tests.lab.guard import require_inside_lab

BURST = 16
TICK = 0.001
# A sender that was not scheduled for a while catches up with this much, not with everything.
CATCH_UP = 0.01
SO_RCVBUFFORCE = 33
SIZE = 8


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vector", ctypes.POINTER(Iovec)),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = [("header", Header), ("length", ctypes.c_uint)]


class Flow:
    """One stream of numbered datagrams."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.name, self.rate = request["name"], request["rate"]
        self.socket = open_socket(request["address"], socket.SOCK_DGRAM)
        self.socket.connect((request["address"], request["port"]))
        self.sent = 0
        self.errors = 0
        self.buffer = bytearray(SIZE * BURST)
        base = ctypes.addressof((ctypes.c_char * len(self.buffer)).from_buffer(self.buffer))
        self.vectors = (Iovec * BURST)(*(Iovec(base + SIZE * place, SIZE) for place in range(BURST)))
        self.messages = (Message * BURST)()
        for place in range(BURST):
            self.messages[place].header.vector = ctypes.pointer(self.vectors[place])
            self.messages[place].header.vector_length = 1

    def send(self, libc: Any, count: int) -> int:
        """Send up to `count` packets; how many left."""
        count = min(count, BURST)
        struct.pack_into(f"={count}Q", self.buffer, 0, *range(self.sent, self.sent + count))
        left = libc.sendmmsg(self.socket.fileno(), self.messages, count, 0)
        if left < 0:
            self.errors += 1
            return 0
        self.sent += left
        return left


def open_socket(address: str, kind: socket.SocketKind) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)


def send(request: dict[str, Any]) -> dict[str, Any]:
    """Send every flow at its rate."""
    libc = ctypes.CDLL(None, use_errno=True)
    flows = [Flow(item) for item in request["flows"]]
    began = time.monotonic()
    skipped = 0.0
    while not ended(0):
        now = time.monotonic() - began - skipped
        for flow in flows:
            due = int(now * flow.rate) - flow.sent
            if due > CATCH_UP * flow.rate:
                late = due / flow.rate - CATCH_UP
                skipped, now = skipped + late, now - late
                due = int(CATCH_UP * flow.rate)
            while due > 0:
                left = flow.send(libc, due)
                if not left:
                    break
                due -= left
        time.sleep(TICK)
    seconds = time.monotonic() - began
    return {"seconds": seconds, "flows": {flow.name: {"sent": flow.sent, "errors": flow.errors} for flow in flows}}


def receive(request: dict[str, Any]) -> dict[str, Any]:
    """Count what arrives on each port; `gaps` are the first places where numbers are missing, as (number, how many)."""
    poll = select.epoll()
    counts: dict[int, dict[str, Any]] = {}
    sockets = {}
    for item in request["flows"]:
        sock = open_socket(item["address"], socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        sock.bind((item["address"], item["port"]))
        sock.setblocking(False)
        sockets[sock.fileno()] = sock
        counts[sock.fileno()] = {"name": item["name"], "received": 0, "next": 0, "gaps": []}
        poll.register(sock.fileno(), select.EPOLLIN)
    poll.register(0, select.EPOLLIN | select.EPOLLHUP)
    before = counters()
    report_ready()
    number = bytearray(SIZE)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == 0:
                for sock in sockets.values():  # what is still in a buffer
                    drain(sock, counts[sock.fileno()], number)
                after = counters()
                return {
                    "flows": {count.pop("name"): count for count in counts.values()},
                    "kernel": {name: after[name] - before.get(name, 0) for name in after},
                }
            drain(sockets[descriptor], counts[descriptor], number)


def drain(sock: socket.socket, count: dict[str, Any], number: bytearray) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recv_into(number)
            (found,) = struct.unpack("=Q", number)
            count["received"] += 1
            if found != count["next"] and len(count["gaps"]) < 50:
                count["gaps"].append((count["next"], found - count["next"]))
            count["next"] = found + 1


# Packets that came as far as the IP layer, before any rule; and those that a full socket lost behind all rules.
COUNTED = {"Ip": ("InReceives",), "Udp": ("RcvbufErrors",)}


def counters() -> dict[str, int]:
    found = {}
    with open("/proc/thread-self/net/snmp", encoding="ascii") as table:
        lines = table.read().splitlines()
    for titles, values in zip(lines[::2], lines[1::2]):
        protocol = titles.partition(":")[0]
        pairs = dict(zip(titles.split()[1:], values.split()[1:]))
        found.update({f"{protocol}{name}": int(pairs[name]) for name in COUNTED.get(protocol, ())})
    with open("/proc/thread-self/net/snmp6", encoding="ascii") as table:
        for line in table:
            name, value = line.split()
            if name in ("Ip6InReceives", "Udp6RcvbufErrors"):
                found[name] = int(value)
    return found


def serve_ping(request: dict[str, Any]) -> dict[str, Any]:
    """Give back what comes, on TCP."""
    poll = select.epoll()
    listeners, peers = {}, {}
    for address in request["addresses"]:
        sock = open_socket(address, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, request["port"]))
        sock.listen(16)
        listeners[sock.fileno()] = sock
        poll.register(sock.fileno(), select.EPOLLIN)
    poll.register(0, select.EPOLLIN | select.EPOLLHUP)
    report_ready()
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == 0:
                return {}
            if descriptor in listeners:
                peer, _address = listeners[descriptor].accept()
                peers[peer.fileno()] = peer
                poll.register(peer.fileno(), select.EPOLLIN)
                continue
            try:
                data = peers[descriptor].recv(64)
            except OSError:
                data = b""
            if data:
                peers[descriptor].sendall(data)
            else:
                poll.unregister(descriptor)
                peers.pop(descriptor).close()


def ping(request: dict[str, Any]) -> dict[str, Any]:
    """A connection to each address, a round trip every few milliseconds; `worst` is the longest one's seconds."""
    links = []
    for address in request["addresses"]:
        sock = open_socket(address, socket.SOCK_STREAM)
        sock.settimeout(5)
        sock.connect((address, request["port"]))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        links.append({"address": address, "socket": sock, "rounds": 0, "worst": 0.0, "broken": ""})
    report_ready()
    while not ended(0.004):
        for link in links:
            if link["broken"]:
                continue
            began = time.monotonic()
            try:
                link["socket"].sendall(b"ping")
                if not link["socket"].recv(64):
                    link["broken"] = "closed by the other side"
            except OSError as error:
                link["broken"] = str(error)
            link["worst"] = max(link["worst"], time.monotonic() - began)
            link["rounds"] += 1
    return {link["address"]: {key: link[key] for key in ("rounds", "worst", "broken")} for link in links}


def ended(seconds: float) -> bool:
    """Whether standard input ends within that time."""
    return bool(select.select([0], [], [], seconds)[0])


def report_ready() -> None:
    print("ready", flush=True)


def main() -> int:
    request = json.loads(read_line())
    require_inside_lab(int(request["lab"]))
    modes = {"send": send, "receive": receive, "serve": serve_ping, "ping": ping}
    if request["mode"] == "send":
        report_ready()
    print(json.dumps(modes[request["mode"]](request)), flush=True)
    return 0


def read_line() -> str:
    """One line of standard input and nothing more, so that its end can be waited for."""
    text = b""
    while not text.endswith(b"\n"):
        part = os.read(0, 1)
        if not part:
            break
        text += part
    return text.decode()


if __name__ == "__main__":
    sys.exit(main())
