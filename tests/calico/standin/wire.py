# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP over a kept connection, with the complaints of Go's net/http; small because its start has to be fast."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Dict, Optional, Tuple

_HEADER_SECONDS = 30.0
_HANDSHAKE_SECONDS = 10.0


class Unreachable(Exception):
    """No answer; the text is the tail of Go's message."""


class TlsFiles:
    """PEM files by path; a missing one or a pair that does not fit is an error when the context is made."""

    def __init__(self, ca: str = "", cert: str = "", key: str = "") -> None:
        self.ca, self.cert, self.key = ca, cert, key

    def check(self) -> None:
        """FileNotFoundError with the path as its filename, in the order in which Go opens them."""
        for path in (self.cert, self.key, self.ca):
            if path:
                with open(path, "rb"):
                    pass

    def context(self):
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca:
            # As the real tool: a file without certificates leaves the server's unknown, and nothing says why.
            with contextlib.suppress(ssl.SSLError):
                context.load_verify_locations(self.ca)
        else:
            context.load_default_certs()
        if self.cert:
            context.load_cert_chain(self.cert, self.key)
        return context


def split_endpoint(endpoint: str) -> Tuple[bool, str, int, str]:
    """(is TLS, host, port, path without a slash at its end) of http://host:port/path."""
    scheme, _sep, rest = endpoint.partition("://")
    hostport, _slash, path = rest.partition("/")
    host, colon, port = hostport.rpartition(":")
    if not colon:
        host, port = hostport, "443" if scheme == "https" else "80"
    return scheme == "https", host.strip("[]"), int(port), ("/" + path).rstrip("/")


class Connection:
    """One endpoint. `patience` scales the waiting times (1: those of the real tool)."""

    def __init__(self, endpoint: str, tls: TlsFiles, patience: float, context=None) -> None:
        self.endpoint = endpoint
        self.secure, self.host, self.port, self.path = split_endpoint(endpoint)
        self.tls = tls
        self.patience = patience
        self.context = context
        self.socket: Optional[socket.socket] = None
        self.pending = b""

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket, self.pending = None, b""

    def _open(self) -> None:
        where = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        late = f"client: endpoint {self.endpoint} exceeded header timeout"
        try:
            plain = socket.create_connection((self.host, self.port), timeout=_HEADER_SECONDS * self.patience)
        except socket.timeout:
            raise Unreachable(late) from None
        except socket.gaierror:
            raise Unreachable(f"dial tcp: lookup {self.host}: no such host") from None
        except OSError as error:
            raise Unreachable(f"dial tcp {where}: connect: {os.strerror(error.errno or 0).lower()}") from None
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = self._secured(plain) if self.secure else plain

    def _secured(self, plain):
        import ssl

        plain.settimeout(_HANDSHAKE_SECONDS * self.patience)
        try:
            context = self.context or self.tls.context()
            wrapped = context.wrap_socket(plain, server_hostname=self.host)
        except socket.timeout:
            plain.close()
            raise Unreachable("net/http: TLS handshake timeout") from None
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise Unreachable(_x509(error, self.host)) from None
        except (ssl.SSLError, OSError) as error:
            plain.close()
            raise Unreachable(_tls(error)) from None
        wrapped.settimeout(_HEADER_SECONDS * self.patience)
        return wrapped

    def request(self, method: str, path: str, body: bytes = b"", headers: Optional[Dict[str, str]] = None):
        """(status, body); a kept connection that the server has closed is opened anew."""
        fresh = self.socket is None
        lines = [f"{method} {self.path}{path} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body or method in ("PUT", "POST", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        wire = ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8") + body
        try:
            if fresh:
                self._open()
            assert self.socket is not None
            self.socket.sendall(wire)
            return self._answer()
        except socket.timeout:
            self.close()
            raise Unreachable(f"client: endpoint {self.endpoint} exceeded header timeout") from None
        except EOFError:
            self.close()
            if fresh:
                raise Unreachable("EOF") from None
            return self.request(method, path, body, headers)
        except OSError as error:
            self.close()
            if fresh:
                raise Unreachable(_tls(error)) from None
            return self.request(method, path, body, headers)

    def _more(self) -> None:
        assert self.socket is not None
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError
        self.pending += piece

    def _line(self) -> bytes:
        while b"\r\n" not in self.pending:
            self._more()
        line, _end, self.pending = self.pending.partition(b"\r\n")
        return line

    def _exactly(self, length: int) -> bytes:
        pieces = [self.pending]
        have = len(self.pending)
        while have < length:
            self.pending = b""
            self._more()
            pieces.append(self.pending)
            have += len(self.pending)
        whole = b"".join(pieces)
        self.pending = whole[length:]
        return whole[:length]

    def _answer(self):
        start = self._line()
        if not start.startswith(b"HTTP/"):
            raise Unreachable(f'net/http: HTTP/1.x transport connection broken: malformed HTTP response "{start!r}"')
        status = int(start.split()[1])
        headers = {}
        while True:
            line = self._line()
            if not line:
                break
            name, _colon, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            pieces = []
            while True:
                size = int(self._line().split(b";")[0], 16)
                if size == 0:
                    break
                pieces.append(self._exactly(size))
                self._line()
            while self._line():
                pass
            body = b"".join(pieces)
        elif b"content-length" in headers:
            body = self._exactly(int(headers[b"content-length"]))
        else:
            body = b""
        if headers.get(b"connection", b"").lower() == b"close":
            self.close()
        return status, body


def _x509(error, host: str) -> str:
    message = str(getattr(error, "verify_message", "")) or str(error)
    if "mismatch" in message:
        return f"x509: certificate is valid for another name, not {host}"
    if "expired" in message or "not yet valid" in message:
        return "x509: certificate has expired or is not yet valid"
    return "x509: certificate signed by unknown authority"


def _tls(error) -> str:
    """What is left of a handshake or of a read after it: an alert of the peer, or its going away."""
    text = str(error).lower()
    if "alert" in text:
        return "remote error: tls: bad certificate"
    if getattr(error, "errno", None) == errno.ECONNRESET:
        return "read: connection reset by peer"
    return "EOF"
