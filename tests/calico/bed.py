# Part of the stand-ins for calicoctl and its datastores, for tests only.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The datastores that the transcripts name by their ports, on ports that are free now, started when first needed."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Dict, List, Tuple

from . import etcd
from .certificates import Authority

# The address in the transcripts and what stood there.
PLAIN = "127.0.0.1:32379"
PEER = "127.0.0.1:32380"
TLS = "127.0.0.1:33379"
WITHOUT_NAMES = "127.0.0.1:34379"
OTHER_NAME = "127.0.0.1:35379"
SILENT = "127.0.0.1:36379"
PASSWORDS = "127.0.0.1:37379"
WITHOUT_V2 = "127.0.0.1:38379"
DROPPED = ("10.99.0.2:2379", "10.99.0.3:2379")
CERTIFICATES = "/etc/calico/certs"


class Bed:
    """Starts what a text names and rewrites the text: `real` from the recorded addresses, `recorded` back to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = contextlib.ExitStack()
        self.etcds: Dict[str, etcd.Etcd] = {}
        self.names: Dict[str, str] = {CERTIFICATES: str(folder / "certs")}
        self._sockets: List[socket.socket] = []
        self._certificates()

    def close(self) -> None:
        for held in self._sockets:
            held.close()
        self.stack.close()

    def _certificates(self) -> None:
        folder = self.folder / "certs"
        self.authority = Authority(folder)
        self.other = Authority(folder, "otherca")
        self.authority.issue("admin")
        self.other.issue("otheradmin")
        (folder / "garbage.pem").write_text("this is no certificate\n", encoding="utf-8")

    def _etcd(self, address: str, **options) -> None:
        started = self.stack.enter_context(etcd.running(self.folder / address.rpartition(":")[2], **options))
        self.etcds[address] = started
        self.names[address] = started.endpoint
        if address == PLAIN:
            self.names[PEER] = started.peer_url.partition("://")[2]

    def plain(self) -> etcd.Etcd:
        """The one with neither certificates nor passwords, in which most cases ran."""
        if PLAIN not in self.etcds:
            self._etcd(PLAIN)
        return self.etcds[PLAIN]

    def need(self, text: str) -> None:
        """Start what the text names."""
        if PLAIN in text or PEER in text:
            self.plain()
        if TLS in text and TLS not in self.etcds:
            self._etcd(TLS, authority=self.authority)
        if WITHOUT_NAMES in text and WITHOUT_NAMES not in self.etcds:
            self._etcd(WITHOUT_NAMES, authority=self.authority, server=self.authority.issue("nameless"))
        if OTHER_NAME in text and OTHER_NAME not in self.etcds:
            other = self.authority.issue("other", ("127.0.0.9",))
            self._etcd(OTHER_NAME, authority=self.authority, server=other)
        if PASSWORDS in text and PASSWORDS not in self.etcds:
            self._etcd(PASSWORDS)
            self.etcds[PASSWORDS].put_v2("/calico/v1/policy/tier/default/policy/a", '{"selector":"all()"}')
            read = {"read": ["/*"], "write": []}
            self.etcds[PASSWORDS].enable_auth_v2("rootpw", {"ro": ("ropw", read)})
        if WITHOUT_V2 in text and WITHOUT_V2 not in self.etcds:
            self._etcd(WITHOUT_V2, v2=False)
        if SILENT in text and SILENT not in self.names:
            self.names[SILENT] = self._listen(backlog=16)
        for address in DROPPED:
            if address in text and address not in self.names:
                self.names[address] = self._full()

    def _listen(self, backlog: int) -> str:
        listener = socket.socket()
        listener.bind((etcd.LOOPBACK, 0))
        listener.listen(backlog)
        self._sockets.append(listener)
        return f"{etcd.LOOPBACK}:{listener.getsockname()[1]}"

    def _full(self) -> str:
        """An address that drops SYNs: the kernel does so while a listener's queue is full."""
        address = self._listen(backlog=0)
        host, port = address.split(":")
        for _attempt in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect((host, int(port)))
            self._sockets.append(filler)
        return address

    def _pairs(self) -> List[Tuple[str, str]]:
        return sorted(self.names.items(), key=lambda pair: -len(pair[0]))

    def real(self, text: str) -> str:
        for name, actual in self._pairs():
            text = text.replace(name, actual)
        return text

    def recorded(self, text: str) -> str:
        for name, actual in self._pairs():
            text = text.replace(actual, name)
        return text
