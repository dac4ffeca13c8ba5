# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses and networks as Go's net package reads and prints them (the ipaddress module is slow to import)."""

from __future__ import annotations

import socket
from typing import Optional, Tuple


def packed(text: str) -> Optional[bytes]:
    """4 or 16 bytes, or None if the text is no address."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (OSError, UnicodeEncodeError, ValueError):
            continue
    return None


def spelled(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def network(text: str) -> Optional[Tuple[bytes, int]]:
    """(address, prefix length); an address alone has its full length; None if it is neither."""
    host, slash, length = text.partition("/")
    address = packed(host)
    if address is None:
        return None
    bits = len(address) * 8
    if not slash:
        return address, bits
    if not length.isdigit() or (length != "0" and length.startswith("0")) or int(length) > bits:
        return None
    return address, int(length)


def masked(address: bytes, length: int) -> bytes:
    bits = len(address) * 8
    value = int.from_bytes(address, "big") >> (bits - length) << (bits - length)
    return value.to_bytes(len(address), "big")


def cidr(address: bytes, length: int) -> str:
    return f"{spelled(address)}/{length}"
