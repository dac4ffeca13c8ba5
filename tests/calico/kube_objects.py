# A stand-in for the Kubernetes API server, for tests only: it is not the real one.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of the API stand-in, in memory: versions, conflicts, patches, and refusals as the API words them."""

from __future__ import annotations

import copy
import datetime
import json
import threading
import uuid
from typing import Any, Dict, List, Optional, Tuple

from .kube_schema import RESOURCES, Resource, refusals

Key = Tuple[str, str, str, str]


class Refused(Exception):
    """An answer other than success: its status, reason and message make the API's Status object."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason

    def document(self) -> Dict[str, Any]:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.status,
        }


def merged(held: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(held, dict) or not isinstance(patch, dict):
        return patch
    out = dict(held)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key, {} if isinstance(value, dict) else None), value)
    return out


def patched(held: Any, operations: List[Dict[str, Any]]) -> Any:
    """RFC 6902: add, replace, remove, test."""
    out = copy.deepcopy(held)
    for operation in operations:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        target = out
        for part in parts[:-1]:
            target = target[int(part) if isinstance(target, list) else part]
        last: Any = parts[-1]
        if isinstance(target, list):
            last = len(target) if last == "-" else int(last)
        action = operation["op"]
        if action == "add" and isinstance(target, list):
            target.insert(last, operation["value"])
        elif action in ("add", "replace"):
            target[last] = operation["value"]
        elif action == "remove":
            del target[last]
        elif action == "test" and target[last] != operation["value"]:
            raise Refused(422, "Invalid", "the server rejected our request due to an error in our request")
    return out


class Objects:
    """Every object by (group, plural, namespace, name). All methods may be called from several threads."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.revision = 1000
        self.held: Dict[Key, Dict[str, Any]] = {}
        for name in ("default", "kube-system", "kube-public"):
            self.create(RESOURCES["", "namespaces"], "", {"metadata": {"name": name}})

    @staticmethod
    def _missing(row: Resource, name: str) -> Refused:
        return Refused(404, "NotFound", f'{row.qualified} "{name}" not found')

    def get(self, row: Resource, namespace: str, name: str) -> Dict[str, Any]:
        with self.lock:
            found = self.held.get((row.group, row.plural, namespace, name))
            if found is None:
                raise self._missing(row, name)
            return copy.deepcopy(found)

    def list(self, row: Resource, namespace: str = "") -> List[Dict[str, Any]]:
        """Sorted by namespace and name; an empty namespace is all of them."""
        with self.lock:
            return [
                copy.deepcopy(value)
                for key, value in sorted(self.held.items())
                if key[:2] == (row.group, row.plural) and (not namespace or key[2] == namespace)
            ]

    def _checked(self, row: Resource, namespace: str, document: Dict[str, Any]) -> Dict[str, Any]:
        """A copy with kind, version and place, after the schema; 404 for a namespace that is not there."""
        document = copy.deepcopy(document)
        metadata = document.setdefault("metadata", {})
        given = document.get("kind"), document.get("apiVersion")
        if given[0] not in (None, row.kind) or given[1] not in (None, row.api_version):
            reason = f"the object provided is unrecognized (must be of type {row.kind}): {given[1]}, {given[0]}"
            raise Refused(400, "BadRequest", reason)
        if metadata.get("namespace") not in (None, "", namespace):
            text = "the namespace of the provided object does not match the namespace sent on the request"
            raise Refused(400, "BadRequest", text)
        if row.namespaced:
            metadata["namespace"] = namespace
            if ("", "namespaces", "", namespace) not in self.held:
                raise self._missing(RESOURCES["", "namespaces"], namespace)
        found = refusals(row, document)
        if found:
            causes = found[0] if len(found) == 1 else "[" + ", ".join(found) + "]"
            title = f"{row.kind}.{row.group}" if row.group else row.kind
            raise Refused(422, "Invalid", f'{title} "{metadata.get("name", "")}" is invalid: {causes}')
        return {"apiVersion": row.api_version, "kind": row.kind, **_without_type(document)}

    def _store(self, row: Resource, document: Dict[str, Any]) -> Dict[str, Any]:
        self.revision += 1
        metadata = document["metadata"]
        metadata["resourceVersion"] = str(self.revision)
        self.held[row.group, row.plural, metadata.get("namespace", ""), metadata["name"]] = document
        return copy.deepcopy(document)

    def create(self, row: Resource, namespace: str, document: Dict[str, Any]) -> Dict[str, Any]:
        with self.lock:
            metadata = document.get("metadata") or {}
            if metadata.get("generateName") and not metadata.get("name"):
                name = metadata["generateName"] + uuid.uuid4().hex[:5]
                document = {**document, "metadata": {**metadata, "name": name}}
            made = self._checked(row, namespace, document)
            metadata = made["metadata"]
            if metadata.get("resourceVersion"):
                raise Refused(400, "BadRequest", "resourceVersion should not be set on objects to be created")
            if (row.group, row.plural, namespace, metadata["name"]) in self.held:
                raise Refused(409, "AlreadyExists", f'{row.qualified} "{metadata["name"]}" already exists')
            metadata["uid"] = str(uuid.uuid4())
            metadata["creationTimestamp"] = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            metadata["generation"] = 1
            return self._store(row, made)

    def replace(self, row: Resource, namespace: str, name: str, document: Dict[str, Any]) -> Dict[str, Any]:
        """With a resourceVersion other than the stored one: 409. An object that stays the same keeps its version."""
        with self.lock:
            held = self.get(row, namespace, name)
            made = self._checked(row, namespace, document)
            metadata = made["metadata"]
            if metadata.get("name") != name:
                text = f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({name})"
                raise Refused(400, "BadRequest", text)
            given = metadata.get("resourceVersion")
            if given and given != held["metadata"]["resourceVersion"]:
                text = "the object has been modified; please apply your changes to the latest version and try again"
                raise Refused(409, "Conflict", f'Operation cannot be fulfilled on {row.qualified} "{name}": {text}')
            if not given and row.group == "crd.projectcalico.org":
                path = "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
                raise Refused(422, "Invalid", f'{row.qualified} "{name}" is invalid: {path}')
            for field in ("uid", "creationTimestamp", "generation", "resourceVersion"):
                metadata[field] = held["metadata"][field]
            if made == held:
                return held
            metadata["generation"] += made.get("spec") != held.get("spec")
            return self._store(row, made)

    def patch(self, row: Resource, namespace: str, name: str, kind: str, body: bytes) -> Dict[str, Any]:
        """`kind` is the media type. Strategic merges are merged as plain ones: enough for lists without merge keys."""
        with self.lock:
            change = json.loads(body)
            try:
                held = self.get(row, namespace, name)
            except Refused:
                if kind != "application/apply-patch+yaml":
                    raise
                return self.create(row, namespace, change)
            made = patched(held, change) if kind == "application/json-patch+json" else merged(held, change)
            return self.replace(row, namespace, name, made)

    def delete(self, row: Resource, namespace: str, name: str) -> Dict[str, Any]:
        with self.lock:
            held = self.get(row, namespace, name)
            del self.held[row.group, row.plural, namespace, name]
            if row.kind == "Namespace":
                self.held = {key: value for key, value in self.held.items() if key[2] != name}
            self.revision += 1
            details = {"name": name, "group": row.group, "kind": row.plural, "uid": held["metadata"]["uid"]}
            return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _without_type(document: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in document.items() if key not in ("kind", "apiVersion")}


def labelled(document: Dict[str, Any], selector: Optional[str]) -> bool:
    """Equality selectors only: `a=b,c!=d,e`."""
    labels = document["metadata"].get("labels") or {}
    for part in filter(None, (selector or "").split(",")):
        if "!=" in part:
            key, _op, value = part.partition("!=")
            if labels.get(key.strip()) == value.strip():
                return False
        elif "=" in part:
            key, _op, value = part.replace("==", "=").partition("=")
            if labels.get(key.strip()) != value.strip():
                return False
        elif part.strip() not in labels:
            return False
    return True
