# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers on ports, so that only a firewall can make one look closed. Runs inside nodes and pods.

    echo.py --tcp 8081,10250 --udp 30999      listen on these ports
    echo.py --every-port 7                    receive every port's traffic through a tproxy rule to port 7

TCP greets with "iks-echo ADDRESS PORT", the address and port that were asked for, and closes; UDP answers
the same text. Standard library only.
"""

from __future__ import annotations

import argparse
import ipaddress
import selectors
import socket
import struct
from collections.abc import Callable

# Linux numbers that Python's socket module does not name.
IP_PKTINFO, IP_TRANSPARENT, IP_RECVORIGDSTADDR = 8, 19, 20
IPV6_PKTINFO, IPV6_RECVORIGDSTADDR, IPV6_TRANSPARENT = 50, 74, 75

Handler = Callable[[socket.socket], None]


def greeting(address: str, port: int) -> bytes:
    return f"iks-echo {plain(address)} {port}\n".encode()


def plain(address: str) -> str:
    """An IPv4 address that came through an IPv6 socket, as people write it."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def listen(kind: socket.SocketKind, family: socket.AddressFamily, port: int, transparent: bool) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    level, option, original = (
        (socket.IPPROTO_IPV6, IPV6_TRANSPARENT, IPV6_RECVORIGDSTADDR)
        if family == socket.AF_INET6
        else (socket.IPPROTO_IP, IP_TRANSPARENT, IP_RECVORIGDSTADDR)
    )
    if transparent:
        sock.setsockopt(level, option, 1)
    if kind == socket.SOCK_DGRAM:
        sock.setsockopt(level, original, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(("", port))
    if kind == socket.SOCK_STREAM:
        sock.listen(4096)
    sock.setblocking(False)
    return sock


def accept_all(sock: socket.socket) -> None:
    while True:
        try:
            peer, _ = sock.accept()
        except OSError:
            return
        with peer:
            try:
                address, port = peer.getsockname()[:2]
                peer.send(greeting(address, port))
            except OSError:
                continue  # the other side is gone already


def answer_all(sock: socket.socket) -> None:
    """Answer each datagram from the address and port it was sent to."""
    while True:
        try:
            _, ancillary, _, source = sock.recvmsg(2048, 256)
        except OSError:
            return
        for _level, _kind, data in ancillary:
            address, port = original_destination(data)
            answer(sock, address, port, source)


def original_destination(data: bytes) -> tuple[str, int]:
    """Unpack a sockaddr_in or sockaddr_in6."""
    family = struct.unpack_from("=H", data)[0]
    port = struct.unpack_from("!H", data, 2)[0]
    raw = data[8:24] if family == socket.AF_INET6 else data[4:8]
    return socket.inet_ntop(family, raw), port


def answer(sock: socket.socket, address: str, port: int, source: tuple[str, int]) -> None:
    """Reply from the very address and port that were asked."""
    text, raw = greeting(address, port), socket.inet_pton(sock.family, address)
    six = sock.family == socket.AF_INET6
    try:
        if port == sock.getsockname()[1]:
            info = struct.pack("=16si", raw, 0) if six else struct.pack("=i4s4s", 0, raw, bytes(4))
            level, kind = (socket.IPPROTO_IPV6, IPV6_PKTINFO) if six else (socket.IPPROTO_IP, IP_PKTINFO)
            sock.sendmsg([text], [(level, kind, info)], 0, source)
            return
        with socket.socket(sock.family, socket.SOCK_DGRAM) as reply:
            reply.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            level, option = (socket.IPPROTO_IPV6, IPV6_TRANSPARENT) if six else (socket.IPPROTO_IP, IP_TRANSPARENT)
            reply.setsockopt(level, option, 1)
            reply.bind((address, port))
            reply.sendto(text, source)
    except OSError:
        return  # a firewall on the way out, or the address has just gone


def port_list(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tcp", type=port_list, default=[])
    parser.add_argument("--udp", type=port_list, default=[])
    parser.add_argument("--every-port", type=int)
    options = parser.parse_args()
    transparent = options.every_port is not None
    tcp = [options.every_port] if transparent else options.tcp
    udp = [options.every_port] if transparent else options.udp

    selector = selectors.DefaultSelector()
    for family in (socket.AF_INET, socket.AF_INET6):
        for port in tcp:
            selector.register(listen(socket.SOCK_STREAM, family, port, transparent), selectors.EVENT_READ, accept_all)
        for port in udp:
            selector.register(listen(socket.SOCK_DGRAM, family, port, transparent), selectors.EVENT_READ, answer_all)
    while True:
        for key, _ in selector.select():
            handler: Handler = key.data
            handler(key.fileobj)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
