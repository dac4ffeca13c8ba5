# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a probe asks, and whether an answer is one. Pure, but for the random numbers that tell answers apart."""

from __future__ import annotations

import secrets
import struct

DNS_PORT, NTP_PORT = 53, 123
PLAIN = b"iks-reachability\n"
_ECHO_REQUEST = {"icmp": 8, "icmpv6": 128}
_ECHO_REPLY = {"icmp": 0, "icmpv6": 129}


def question(port: int) -> bytes:
    """What is sent to a UDP port: a service that knows its protocol answers only to that."""
    if port == DNS_PORT:
        return dns_query()
    return ntp_request() if port == NTP_PORT else PLAIN


def dns_query() -> bytes:
    """A recursive query for the name servers of the root (RFC 1035 4.1): every server says something to it."""
    header = struct.pack("!HHHHHH", secrets.randbits(16), 0x0100, 1, 0, 0, 0)
    return header + b"\0" + struct.pack("!HH", 2, 1)


def ntp_request() -> bytes:
    """A client's request, version 4 (RFC 5905 7.3), with a random transmit time that the answer repeats."""
    return struct.pack("!B39x", 4 << 3 | 3) + secrets.token_bytes(8)


def said(port: int, packet: bytes, answer: bytes) -> str:
    """What answered. Any datagram from the endpoint proves that it is open, also one of another protocol."""
    if port == DNS_PORT:
        return "answers DNS" if is_dns_answer(packet, answer) else "answers, but not DNS"
    if port == NTP_PORT:
        return "answers NTP" if is_ntp_answer(packet, answer) else "answers, but not NTP"
    return ""


def is_dns_answer(query: bytes, answer: bytes) -> bool:
    """Same id, and the bit of a response."""
    return len(answer) >= 12 and answer[:2] == query[:2] and bool(answer[2] & 0x80)


def is_ntp_answer(request: bytes, answer: bytes) -> bool:
    """From a server (mode 4), to this very request: its originate time is our transmit time."""
    return len(answer) >= 48 and answer[0] & 7 == 4 and answer[24:32] == request[40:48]


def echo_request(protocol: str) -> bytes:
    """An echo request (RFC 792, RFC 4443 4.1). A ping socket puts an identifier of its own into it."""
    body = struct.pack("!HH", secrets.randbits(16), 1) + secrets.token_bytes(16)
    packet = struct.pack("!BBH", _ECHO_REQUEST[protocol], 0, 0) + body
    if protocol == "icmpv6":  # the kernel fills in its checksum, which covers addresses that it chooses
        return packet
    return packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]


def is_echo_reply(protocol: str, request: bytes, answer: bytes, raw: bool) -> bool:
    """Whether this is the reply to our request: same sequence and data and, with a raw socket, identifier."""
    if raw and protocol == "icmp" and answer:
        answer = answer[(answer[0] & 15) * 4 :]  # the kernel hands over the IPv4 header too
    own = slice(4, None) if raw else slice(6, None)
    return len(answer) >= 8 and answer[0] == _ECHO_REPLY[protocol] and answer[own] == request[own]


def checksum(packet: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
