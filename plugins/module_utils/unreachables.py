# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an ICMP error or an errno says about the path: a refusal, a firewall of this node, a lost route. Pure."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from typing import Optional, Tuple

from .endpoints import Outcome

# Linux numbers (linux/errqueue.h, linux/in.h, linux/in6.h).
_RECVERR = ((socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25))
_ORIGIN_ICMP, _ORIGIN_ICMP6 = 2, 3
_EXTENDED = struct.Struct("=IBBBBII")
# RFC 792, RFC 1812 5.2.7.1: codes of "destination unreachable". Prohibited is what a firewall says when it rejects.
_ICMP_UNREACHABLE = 3
_ICMP_REFUSED = {
    2: "protocol unreachable",
    3: "port unreachable",
    9: "network prohibited",
    10: "host prohibited",
    13: "administratively prohibited",
}
_ICMP_LOST = {0: "network unreachable", 1: "host unreachable", 6: "network unknown", 7: "host unknown"}
_ICMP_TIME = 11
# RFC 4443 3.1.
_ICMP6_UNREACHABLE = 1
_ICMP6_REFUSED = {
    1: "administratively prohibited",
    4: "port unreachable",
    5: "prohibited by policy",
    6: "route rejected",
}
_ICMP6_LOST = {0: "no route", 2: "beyond scope", 3: "address unreachable"}
_ICMP6_TIME = 3


@dataclass(frozen=True)
class IcmpError:
    """An error that came back for a packet of ours. `offender` is who sent it, empty when unknown."""

    origin: int
    kind: int
    code: int
    number: int
    offender: str = ""


def read_error(control: Tuple[int, int, bytes]) -> Optional[IcmpError]:
    """An error from one control message of the error queue (level, type, data); None when it is another message."""
    level, kind, data = control
    if (level, kind) not in _RECVERR or len(data) < _EXTENDED.size:
        return None
    number, origin, icmp_type, code, _pad, _info, _data = _EXTENDED.unpack_from(data)
    return IcmpError(origin, icmp_type, code, number, _offender(data[_EXTENDED.size :]))


def _offender(data: bytes) -> str:
    """The address in a sockaddr_in or sockaddr_in6."""
    family = struct.unpack_from("=H", data)[0] if len(data) >= 2 else 0
    if family == socket.AF_INET and len(data) >= 8:
        return socket.inet_ntop(socket.AF_INET, data[4:8])
    if family == socket.AF_INET6 and len(data) >= 24:
        return socket.inet_ntop(socket.AF_INET6, data[8:24])
    return ""


def meaning_of(error: IcmpError) -> Optional[Outcome]:
    """What an ICMP error says of the endpoint; None for one that decides nothing (a smaller packet is asked for)."""
    if error.origin not in (_ORIGIN_ICMP, _ORIGIN_ICMP6):
        return None
    six = error.origin == _ORIGIN_ICMP6
    by = f" by {error.offender}" if error.offender else ""
    if error.kind == (_ICMP6_UNREACHABLE if six else _ICMP_UNREACHABLE):
        refused, lost = (_ICMP6_REFUSED, _ICMP6_LOST) if six else (_ICMP_REFUSED, _ICMP_LOST)
        if error.code in refused:
            return Outcome("refused", detail=f"{refused[error.code]}, said{by}" if by else refused[error.code])
        if not six and error.code == 4:  # fragmentation needed
            return None
        words = lost.get(error.code, f"unreachable, code {error.code}")
        return Outcome("unreachable", detail=f"{words}, said{by}" if by else words)
    if error.kind == (_ICMP6_TIME if six else _ICMP_TIME):
        return Outcome("unreachable", detail=f"too many hops, said{by}" if by else "too many hops")
    return None


def outcome_of_errno(number: int) -> Outcome:
    """What the error of a system call says of the endpoint."""
    if number in (errno.ECONNREFUSED, errno.ECONNRESET):
        return Outcome("refused")
    if number == errno.EPERM:
        # The kernel's answer when an output filter drops a packet of its own node (not for TCP, which tries again).
        return Outcome("filtered", detail="by this node's own firewall")
    if number == errno.EACCES:
        return Outcome("refused", detail="administratively prohibited")
    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENODEV, errno.EHOSTDOWN):
        return Outcome("unreachable", detail=_words(number))
    if number == errno.ETIMEDOUT:
        return Outcome("filtered", detail=_words(number))
    # No descriptor, no port, a source that cannot reach there: nothing has left the node, so nothing is proved.
    return Outcome("untried", detail=f"could not be sent: {_words(number)}")


def _words(number: int) -> str:
    return errno.errorcode.get(number, f"error {number}")
