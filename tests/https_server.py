# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server over HTTPS on loopback that gives what a test tells it to, also wrongly."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from .pki import Pair


@dataclass(frozen=True)
class Answer:
    """What is answered for a path; `sent` bytes of the body, though all are announced."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: Optional[int] = None


@dataclass
class Server:
    """A running server: its URL, what it answers, and which (path, Authorization header) it was asked for."""

    url: str
    answers: Dict[str, Answer] = field(default_factory=dict)
    asked: List[Tuple[str, Optional[str]]] = field(default_factory=list)


@contextmanager
def serve(pair: Optional[Pair], address: str = "127.0.0.1") -> Iterator[Server]:
    """A server with this certificate (without one: plain HTTP) on a free port, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers.get("Authorization")))
            answer = server.answers.get(self.path, Answer(b"not found", 404))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body if answer.sent is None else answer.body[: answer.sent])
            self.close_connection = True

        def log_message(self, *_arguments: object) -> None:
            pass

    listener = ThreadingHTTPServer((address, 0), Handler)
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    server = Server(f"http{'s' if pair else ''}://{address}:{listener.server_address[1]}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
