# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""API v3's resources in etcd v3, through the server's JSON gateway (the real tool speaks gRPC)."""

from __future__ import annotations

import base64
import json
import time
from typing import List, Optional, Tuple

from . import v3_model
from .golang import json_text
from .wire import Connection, TlsFiles, Unreachable

PREFIX = "/calico/resources/v3/projectcalico.org/"


class StoreError(Exception):
    """The text is the tool's."""


class Exists(StoreError):
    """What --skip-exists passes over."""


class Missing(StoreError):
    """What --skip-not-exists passes over."""


class Conflict(StoreError):
    """The resource has changed since it was read."""


def _b64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode("utf-8")


class Store:
    """Without an endpoint that answers it tries for ever, and says nothing: measured on the real tool."""

    def __init__(self, endpoints: List[str], tls: TlsFiles, user: str, password: str, patience: float) -> None:
        context = tls.context() if any(endpoint.startswith("https") for endpoint in endpoints) else None
        self.connections = [Connection(endpoint, tls, patience, context) for endpoint in endpoints]
        self.headers = {"Content-Type": "application/json"}
        self.login = (user, password) if user else None

    def _ask(self, path: str, message: dict) -> dict:
        body = json.dumps(message).encode("utf-8")
        while True:
            for connection in list(self.connections):
                try:
                    status, answer = connection.request("POST", f"/v3/{path}", body, self.headers)
                except Unreachable:
                    continue
                self.connections.remove(connection)
                self.connections.insert(0, connection)
                return self._understood(status, answer)
            time.sleep(0.2)

    def _understood(self, status: int, body: bytes) -> dict:
        try:
            answer = json.loads(body.decode("utf-8"))
        except ValueError:
            answer = {}
        if status in (401, 403) or answer.get("code") in (7, 16):
            raise StoreError(f"connection is unauthorized: {answer.get('error', '')}")
        if status != 200:
            raise StoreError(f"etcdserver: {answer.get('error', status)}")
        return answer

    def _kv(self, path: str, message: dict) -> dict:
        if self.login and "Authorization" not in self.headers:
            answer = self._ask("auth/authenticate", {"name": self.login[0], "password": self.login[1]})
            self.headers["Authorization"] = answer.get("token", "")
        return self._ask(f"kv/{path}", message)

    @staticmethod
    def _key(kind: v3_model.Kind, namespace: str, name: str) -> str:
        return PREFIX + "/".join(part for part in (kind.plural, namespace if kind.namespaced else "", name) if part)

    @staticmethod
    def _loaded(pair: dict) -> Optional[dict]:
        try:
            resource = json.loads(_text(pair["value"]))
        except ValueError:
            return None
        kind = v3_model.KINDS[resource["kind"]]
        resource = v3_model.shaped(resource, kind)
        resource["metadata"]["resourceVersion"] = pair["mod_revision"]
        resource["metadata"] = v3_model.ordered_metadata(resource["metadata"])
        return resource

    def get(self, kind: v3_model.Kind, namespace: str, name: str) -> dict:
        """The resource with its stored name; Missing if there is none."""
        answer = self._kv("range", {"key": _b64(self._key(kind, namespace, name))})
        found = self._loaded(answer["kvs"][0]) if answer.get("kvs") else None
        if found is None:
            raise Missing(f"resource does not exist: {v3_model.identity(kind, namespace, name)} with error: <nil>")
        return found

    def list(self, kind: v3_model.Kind, namespace: str) -> Tuple[List[dict], str]:
        """The resources, and the revision at which they were read; an empty namespace is all of them."""
        key = self._key(kind, namespace, "") + "/"
        answer = self._kv("range", {"key": _b64(key), "range_end": _b64(key[:-1] + "0")})
        found = [self._loaded(pair) for pair in answer.get("kvs", [])]
        return [item for item in found if item is not None], answer["header"]["revision"]

    def _written(self, resource: dict) -> str:
        metadata = {key: value for key, value in resource["metadata"].items() if key != "resourceVersion"}
        return json_text({**resource, "metadata": v3_model.ordered_metadata(metadata)})

    def _put(self, kind: v3_model.Kind, resource: dict, compare: dict) -> bool:
        metadata = resource["metadata"]
        key = _b64(self._key(kind, metadata.get("namespace", ""), metadata["name"]))
        put = {"requestPut": {"key": key, "value": _b64(self._written(resource))}}
        answer = self._kv("txn", {"compare": [{"key": key, "result": "EQUAL", **compare}], "success": [put]})
        return bool(answer.get("succeeded"))

    def create(self, kind: v3_model.Kind, resource: dict) -> None:
        if not self._put(kind, resource, {"target": "VERSION", "version": "0"}):
            raise Exists(f"resource already exists: {_name(kind, resource)}")

    def update(self, kind: v3_model.Kind, resource: dict) -> None:
        """Its resourceVersion must be the stored one's: Conflict."""
        if not self._put(kind, resource, {"target": "MOD", "modRevision": resource["metadata"]["resourceVersion"]}):
            raise Conflict(f"update conflict: {_name(kind, resource)}")

    def delete(self, kind: v3_model.Kind, namespace: str, name: str) -> None:
        answer = self._kv("deleterange", {"key": _b64(self._key(kind, namespace, name))})
        if not int(answer.get("deleted", 0)):
            raise Missing(f"resource does not exist: {v3_model.identity(kind, namespace, name)} with error: <nil>")


def _name(kind: v3_model.Kind, resource: dict) -> str:
    metadata = resource["metadata"]
    return v3_model.identity(kind, metadata.get("namespace", ""), metadata["name"])
