# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that answer only to their own protocol, and one that never answers. Runs on a node of the lab.

    responder.py      DNS on udp 53, NTP on udp 123; tcp and udp 9998 accept and say nothing

Who is asked anything else keeps silent, as real servers do: so only a probe that speaks the protocol finds them.
"""

from __future__ import annotations

import selectors
import socket
import struct

SILENT = 9998
NTP_CLIENT, NTP_SERVER = 3, 4


def dns(query: bytes) -> bytes:
    """REFUSED, the answer of a server that serves other people; nothing to what is no query."""
    if len(query) < 17:
        return b""
    flags, questions = struct.unpack_from("!HH", query, 2)
    if flags & 0x8000 or questions != 1:
        return b""
    return query[:2] + struct.pack("!H", 0x8005 | flags & 0x0100) + query[4:]


def ntp(request: bytes) -> bytes:
    """A time, to a client that gave its own."""
    if len(request) < 48 or request[0] & 7 != NTP_CLIENT:
        return b""
    return bytes([4 << 3 | NTP_SERVER, 1]) + bytes(22) + request[40:48] + bytes(16)


def silence(_anything: bytes) -> bytes:
    return b""


def main() -> None:
    selector = selectors.DefaultSelector()
    for family in (socket.AF_INET, socket.AF_INET6):
        for port, service in ((53, dns), (123, ntp), (SILENT, silence)):
            sock = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("", port))
            selector.register(sock, selectors.EVENT_READ, service)
    # Never accepted: the kernel completes the connection, and nobody ever reads it.
    with socket.create_server(("", SILENT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64):
        while True:
            for key, _ in selector.select():
                data, peer = key.fileobj.recvfrom(2048)  # type: ignore[union-attr]
                answer = key.data(data)
                if answer:
                    key.fileobj.sendto(answer, peer)  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
