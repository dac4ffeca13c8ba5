# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets as bytes, with checksums that a kernel accepts, so that connection tracking takes them for good."""

from __future__ import annotations

import struct
from functools import lru_cache

from ansible_collections.iks.hardening.plugins.module_utils.traffic import PROTOCOLS
from ansible_collections.iks.hardening.plugins.module_utils.verdict import Packet

from .arena import MAGIC

_TCP_BITS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32}


def to_bytes(packet: Packet, number: int, quoted: bytes = b"", ident: int = 0) -> bytes:
    """The IP packet; it ends with MAGIC and its number. `quoted` is what an ICMP error is about."""
    protocol = PROTOCOLS.get(packet.protocol) or int(packet.protocol)
    mark = MAGIC + number.to_bytes(4, "big")
    version = packet.destination.version
    source, destination = packet.source.packed, packet.destination.packed
    body = _body(packet, protocol, mark, quoted, ident)
    if version == 6:
        pseudo = source + destination + struct.pack("!II", len(body), protocol)
        header = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + source + destination
    else:
        pseudo = source + destination + struct.pack("!BBH", 0, protocol, len(body))
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), number & 0xFFFF, 0, 64, protocol, 0)
        header += source + destination
        header = header[:10] + struct.pack("!H", _sum(header)) + header[12:]
    place = {6: 16, 17: 6, 1: 2, 58: 2}.get(protocol)
    if place is not None:
        value = _sum((b"" if protocol == 1 else pseudo) + body) or 0xFFFF
        body = body[:place] + struct.pack("!H", value) + body[place + 2 :]
    elif protocol == 132:
        body = body[:8] + struct.pack("<I", _crc32c(body)) + body[12:]
    return header + body


def _body(packet: Packet, protocol: int, mark: bytes, quoted: bytes, ident: int) -> bytes:
    ports = struct.pack("!HH", packet.source_port or 0, packet.port or 0)
    if protocol == 6:
        bits = sum(_TCP_BITS[flag] for flag in packet.tcp_flags or ("SYN",))
        return ports + struct.pack("!IIBBHHH", 1000, 1000 if bits & 16 else 0, 0x50, bits, 4096, 0, 0) + mark
    if protocol == 17:
        return ports + struct.pack("!HH", 8 + len(mark), 0) + mark
    if protocol in (1, 58):
        # An error has four unused bytes where a question has its identifier.
        middle = bytes(4) + quoted if quoted else struct.pack("!HH", ident, 1)
        return struct.pack("!BBH", packet.icmp_type or 0, packet.icmp_code or 0, 0) + middle + mark
    if protocol == 132:
        # An INIT chunk with one parameter that nobody knows (RFC 9260, sections 3.3.2 and 3.2.1).
        parameter = struct.pack("!HH", 0xC000, 4 + len(mark)) + mark
        chunk = struct.pack("!BBHIIHHI", 1, 0, 20 + len(parameter), 77, 4096, 1, 1, 1) + parameter
        return ports + bytes(8) + chunk
    if protocol == 51:
        # Nothing behind it, and its length in words, less two (RFC 4302, section 2).
        return struct.pack("!BB", 59, 4) + bytes(14) + mark
    return bytes(16) + mark


def _sum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@lru_cache(maxsize=1)
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


def _crc32c(data: bytes) -> int:
    """SCTP's checksum (RFC 9260, appendix A)."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF
