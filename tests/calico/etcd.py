# Part of the stand-ins for calicoctl and its datastores, for tests only.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real etcd (Debian's, 3.4) on loopback: started, asked and stopped by tests. Both its APIs, v2 and v3."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

from .certificates import Authority, Pair

START_SECONDS = 30.0
LOOPBACK = "127.0.0.1"


class EtcdError(Exception):
    """etcd is not installed, did not start, or refused a request."""


def free_port(host: str = LOOPBACK) -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Etcd:
    """A running etcd. `client` is the pair its own requests are made with, if it wants certificates."""

    url: str
    peer_url: str
    ca: Optional[Path] = None
    client: Optional[Pair] = None

    @property
    def endpoint(self) -> str:
        """host:port"""
        return self.url.partition("://")[2]

    def _context(self) -> Optional[ssl.SSLContext]:
        if self.ca is None:
            return None
        context = ssl.create_default_context(cafile=str(self.ca))
        # One of the servers under test has a certificate for another name, on purpose.
        context.check_hostname = False
        if self.client:
            context.load_cert_chain(self.client.cert, self.client.key)
        return context

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str = "application/json",
        auth: Optional[Tuple[str, str]] = None,
    ) -> Tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, data=body or None, method=method)
        request.add_header("Content-Type", content_type)
        if auth:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(auth).encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._context()) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def keys_v2(self) -> Dict[str, Optional[str]]:
        """Every key of the v2 API with its value; an empty directory as `name/` with None."""
        status, body = self.request("GET", "/v2/keys/?recursive=true&quorum=true")
        if status != 200:
            raise EtcdError(f"etcd at {self.url}: listing keys gave {status}")
        out: Dict[str, Optional[str]] = {}

        def walk(node: dict) -> None:
            for child in node.get("nodes") or []:
                if child.get("dir"):
                    if not child.get("nodes"):
                        out[child["key"] + "/"] = None
                    walk(child)
                else:
                    out[child["key"]] = child.get("value", "")

        walk(json.loads(body)["node"])
        return out

    def put_v2(self, key: str, value: Optional[str]) -> None:
        """None makes a directory."""
        form = urllib.parse.urlencode({"dir": "true"} if value is None else {"value": value}).encode()
        path = "/v2/keys" + urllib.parse.quote(key.rstrip("/"))
        status, body = self.request("PUT", path, form, "application/x-www-form-urlencoded")
        if status not in (200, 201):
            raise EtcdError(f"etcd at {self.url}: writing {key} gave {status} {body!r}")

    def replace_v2(self, keys: Dict[str, Optional[str]]) -> None:
        """Make the v2 API hold exactly these keys."""
        _status, body = self.request("GET", "/v2/keys/")
        for node in json.loads(body)["node"].get("nodes") or []:
            self.request("DELETE", "/v2/keys" + urllib.parse.quote(node["key"]) + "?recursive=true")
        for key, value in keys.items():
            self.put_v2(key, value)

    def _v3(self, operation: str, **message: object) -> dict:
        status, body = self.request("POST", f"/v3/kv/{operation}", json.dumps(message).encode())
        if status != 200:
            raise EtcdError(f"etcd at {self.url}: {operation} gave {status} {body!r}")
        return dict(json.loads(body))

    def keys_v3(self) -> Dict[str, str]:
        """Every key of the v3 API with its value."""
        answer = self._v3("range", key=_b64("\0"), range_end=_b64("\0"))
        return {_text(pair["key"]): _text(pair.get("value", "")) for pair in answer.get("kvs", [])}

    def put_v3(self, key: str, value: str) -> None:
        self._v3("put", key=_b64(key), value=_b64(value))

    def replace_v3(self, keys: Dict[str, str]) -> None:
        """Make the v3 API hold exactly these keys; those that are right already are not written again."""
        held = self.keys_v3()
        for key in held.keys() - keys.keys():
            self._v3("deleterange", key=_b64(key))
        for key, value in keys.items():
            if held.get(key) != value:
                self.put_v3(key, value)

    def enable_auth_v2(self, root_password: str, users: Dict[str, Tuple[str, dict]]) -> None:
        """Passwords for the v2 API: `users` are name: (password, permissions); guests may do nothing."""
        root = ("root", root_password)
        self._auth("/v2/auth/users/root", {"user": "root", "password": root_password}, None)
        self._auth("/v2/auth/enable", None, root)
        for name, (password, permissions) in users.items():
            self._auth(f"/v2/auth/roles/{name}", {"role": name, "permissions": {"kv": permissions}}, root)
            self._auth(f"/v2/auth/users/{name}", {"user": name, "password": password, "roles": [name]}, root)
        self.request("DELETE", "/v2/auth/roles/guest", auth=root)

    def _auth(self, path: str, body: Optional[dict], auth: Optional[Tuple[str, str]]) -> None:
        status, answer = self.request("PUT", path, json.dumps(body).encode() if body else b"", auth=auth)
        if status not in (200, 201):
            raise EtcdError(f"etcd at {self.url}: {path} gave {status} {answer!r}")


def _b64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode("utf-8")


@contextlib.contextmanager
def running(
    folder: Path,
    v2: bool = True,
    authority: Optional[Authority] = None,
    server: Optional[Pair] = None,
    host: str = LOOPBACK,
) -> Iterator[Etcd]:
    """An etcd with its data below `folder`; with an authority it speaks TLS and wants clients' certificates.

    `server` replaces the certificate that the authority would issue for the host.
    """
    program = shutil.which("etcd")
    if program is None:
        raise EtcdError("etcd is not installed: the package is etcd-server (make setup installs it)")
    folder.mkdir(parents=True, exist_ok=True)
    scheme = "https" if authority else "http"
    url, peer = f"{scheme}://{host}:{free_port(host)}", f"http://{host}:{free_port(host)}"
    command = [program, "--data-dir", str(folder / "data"), "--enable-v2=" + ("true" if v2 else "false")]
    command += ["--listen-client-urls", url, "--advertise-client-urls", url]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}", "--log-level", "error", "--quota-backend-bytes", "67108864"]
    client = None
    if authority:
        served = server or authority.issue("server", (host, "localhost"), file_name=f"server-{folder.name}")
        client = authority.issue("etcd-helper", file_name=f"helper-{folder.name}")
        command += ["--cert-file", str(served.cert), "--key-file", str(served.key)]
        command += ["--client-cert-auth", "--trusted-ca-file", str(authority.ca)]
    etcd = Etcd(url, peer, authority.ca if authority else None, client)
    with (folder / "etcd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        _wait(etcd, process, folder / "etcd.log")
        yield etcd
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(etcd: Etcd, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            status, body = etcd.request("GET", "/health")
            if status == 200 and json.loads(body).get("health") == "true":
                return
        time.sleep(0.05)
    raise EtcdError(f"etcd at {etcd.url} did not start: {log.read_text(errors='replace')[-800:]}")
