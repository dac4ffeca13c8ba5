# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenVPN's management interface: one question at a time over its socket, and what the answers mean.

Formats: management-notes.txt of OpenVPN 2.5 and 2.6 (`state`, `status 3`).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

_SECONDS = 3.0
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Peer:
    """One connected client, as its server sees it."""

    name: str
    real: str
    address: str
    address6: str
    received: int
    sent: int
    since: int
    cipher: str

    def shown(self) -> Dict[str, Any]:
        """As a result tells it."""
        return dict(vars(self))


@dataclass(frozen=True)
class Status:
    """State (CONNECTED, WAIT, ...), the own address in the tunnel, the remote, peers (server), bytes (client)."""

    state: str = "unreachable"
    address: str = ""
    address6: str = ""
    remote: str = ""
    peers: Tuple[Peer, ...] = ()
    received: int = 0
    sent: int = 0

    @property
    def up(self) -> bool:
        return self.state == "CONNECTED"

    def shown(self) -> Dict[str, Any]:
        """As a result tells it."""
        ciphers = sorted({peer.cipher for peer in self.peers if peer.cipher})
        return {**vars(self), "peers": [peer.shown() for peer in self.peers], "cipher": ",".join(ciphers)}


def ask(path: str, *commands: str) -> Optional[List[List[str]]]:
    """The answer to each command, as lines; None when nobody answers at the socket."""
    answers: List[List[str]] = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(path)
            with connection.makefile("r", encoding="utf-8", errors="replace") as stream:
                for command in commands:
                    connection.sendall(f"{command}\n".encode())
                    answers.append(_answer(stream))
    except OSError:
        return None
    return answers


def _answer(stream: Any) -> List[str]:
    lines: List[str] = []
    size = 0
    for line in stream:
        size += len(line)
        # What OpenVPN says unasked begins with '>'.
        if line.startswith(">"):
            continue
        if line.strip() == "END" or line.startswith(("SUCCESS:", "ERROR:")) or size > _LARGEST:
            break
        lines.append(line.rstrip("\r\n"))
    return lines


def status_of(path: str) -> Status:
    """What an endpoint tells of itself now."""
    answers = ask(path, "state", "status 3")
    return Status() if answers is None else read_status(*answers)


def read_status(state: List[str], status: List[str]) -> Status:
    """Both answers as a value."""
    words = state[-1].split(",") if state else []
    words += [""] * (9 - len(words))
    return Status(
        words[1] or "unknown",
        words[3],
        words[8],
        ":".join(word for word in words[4:6] if word),
        tuple(_peer(line.split("\t")) for line in status if line.startswith("CLIENT_LIST\t")),
        _number(status, "TCP/UDP read bytes"),
        _number(status, "TCP/UDP write bytes"),
    )


def _peer(words: List[str]) -> Peer:
    words = words + [""] * (13 - len(words))
    received, sent, since = (int(words[index]) if words[index].isdigit() else 0 for index in (5, 6, 8))
    return Peer(words[1], words[2], words[3], words[4], received, sent, since, words[12])


def _number(lines: List[str], name: str) -> int:
    value = next((line.split(",")[1] for line in lines if line.startswith(f"{name},")), "0")
    return int(value) if value.isdigit() else 0
