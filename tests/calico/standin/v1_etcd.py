# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The etcd v2 keys API over HTTP, as calicoctl 1.x drives it."""

from __future__ import annotations

import json
from typing import Dict, List, Optional
from urllib.parse import quote

from .wire import Connection, TlsFiles, Unreachable


class StoreError(Exception):
    """The text is the tool's."""


class Missing(Exception):
    """The key is not there."""


class Exists(Exception):
    """The key is there already."""


class Store:
    """Endpoints in order; a dead one is passed over for the rest of the run."""

    def __init__(self, endpoints: List[str], tls: TlsFiles, user: str, password: str, patience: float) -> None:
        context = tls.context() if any(e.startswith("https") for e in endpoints) else None
        self.connections = [Connection(endpoint, tls, patience, context) for endpoint in endpoints]
        self.headers: Dict[str, str] = {}
        if user:
            import base64

            pair = base64.b64encode(f"{user}:{password}".encode()).decode()
            self.headers["Authorization"] = f"Basic {pair}"

    def _ask(self, method: str, key: str, query: str = "", form: str = "") -> dict:
        headers = dict(self.headers)
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        tails = []
        for connection in list(self.connections):
            try:
                status, body = connection.request(method, f"/v2/keys{quote(key)}{query}", form.encode("utf-8"), headers)
            except Unreachable as error:
                tails.append(str(error))
                continue
            self.connections.remove(connection)
            self.connections.insert(0, connection)
            return self._understood(status, body, key)
        listed = "; ".join(f"error #{number}: {tail}\n" for number, tail in enumerate(tails))
        raise StoreError(f"client: etcd cluster is unavailable or misconfigured; {listed}")

    @staticmethod
    def _understood(status: int, body: bytes, key: str) -> dict:
        try:
            answer = json.loads(body.decode("utf-8"))
        except ValueError:
            answer = None
        if status in (401, 403):
            raise StoreError("connection is unauthorized")
        if not isinstance(answer, dict):
            raise StoreError(
                "client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint."
            )
        code = answer.get("errorCode")
        if code == 100:
            raise Missing(key)
        if code == 105:
            raise Exists(key)
        if code is not None:
            index = answer.get("index", 0)
            raise StoreError(f"{code}: {answer.get('message')} ({answer.get('cause')}) [{index}]")
        return answer

    def get(self, key: str) -> Optional[str]:
        try:
            node = self._ask("GET", key, "?quorum=true")["node"]
        except Missing:
            return None
        return None if node.get("dir") else node.get("value", "")

    def below(self, key: str) -> Dict[str, Optional[str]]:
        """Every key below, sorted, with its value; directories have None."""
        try:
            top = self._ask("GET", key, "?quorum=true&recursive=true&sorted=true")["node"]
        except Missing:
            return {}
        out: Dict[str, Optional[str]] = {}

        def walk(node: dict) -> None:
            for child in node.get("nodes") or []:
                out[child["key"]] = None if child.get("dir") else child.get("value", "")
                walk(child)

        walk(top)
        return out

    def put(self, key: str, value: str, exists: Optional[bool] = None) -> None:
        """`exists`: None sets, False creates (Exists if it is there), True updates (Missing if it is not)."""
        form = "value=" + quote(value, safe="")
        query = "" if exists is None else f"?prevExist={'true' if exists else 'false'}"
        self._ask("PUT", key, query, form)

    def delete(self, key: str, recursive: bool = False) -> None:
        self._ask("DELETE", key, "?recursive=true" if recursive else "")
