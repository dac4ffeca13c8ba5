# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""API v3's resources in the Kubernetes datastore: custom resources of crd.projectcalico.org/v1, nodes, namespaces.

What the custom resources look like is as upstream's library writes them: `spec` as in API v3, and the metadata that
Kubernetes must not see (labels, annotations, uid) as JSON in the annotation `projectcalico.org/metadata`.
"""

from __future__ import annotations

import json
from typing import List, Tuple
from urllib.parse import quote

from . import v3_kubeconfig, v3_model, v3_policies
from .golang import json_text
from .v3_etcd import Conflict, Exists, Missing, StoreError
from .wire import Connection, Unreachable

GROUP = "/apis/crd.projectcalico.org/v1"
POLICIES = "/apis/networking.k8s.io/v1"
ANNOTATION = "projectcalico.org/metadata"
_VERBS = {"GET": "Get", "POST": "Post", "PUT": "Put", "DELETE": "Delete"}


def opened(settings: dict, patience: float) -> Store:
    """A store for the cluster that the settings or the kubeconfig name; ConfigError if neither does."""
    return Store(v3_kubeconfig.read(settings), patience)


class _Answer(Exception):
    """A failure as the server gave it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Store:
    def __init__(self, access: v3_kubeconfig.Access, patience: float) -> None:
        self.access = access
        self.connection = Connection(access.server, access.tls, patience, access.context())

    def _ask(self, method: str, path: str, body=None) -> dict:
        headers = {"Accept": "application/json"}
        if self.access.token:
            headers["Authorization"] = f"Bearer {self.access.token}"
        content = b""
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json_text(body).encode("utf-8")
        try:
            status, answer = self.connection.request(method, path, content, headers)
        except Unreachable as error:
            raise StoreError(f'{_VERBS[method]} "{self.access.server}{path}": {error}') from None
        try:
            document = json.loads(answer.decode("utf-8"))
        except ValueError:
            document = {}
        if status >= 400:
            raise _Answer(status, document.get("message") or f"the server responded with the status code {status}")
        return document

    def _tried(self, identity: str, method: str, path: str, body=None) -> dict:
        """The server's refusals as the tool's errors."""
        try:
            return self._ask(method, path, body)
        except _Answer as error:
            if error.status == 404:
                raise Missing(f"resource does not exist: {identity} with error: {error}") from None
            if error.status in (401, 403):
                raise StoreError(f"connection is unauthorized: {error}") from None
            if error.status == 409:
                kind, text = (Exists, "resource already exists") if method == "POST" else (Conflict, "update conflict")
                raise kind(f"{text}: {identity}") from None
            raise StoreError(str(error)) from None

    @staticmethod
    def _path(kind: v3_model.Kind, namespace: str, name: str = "") -> str:
        where = f"/namespaces/{namespace}" if kind.namespaced and namespace else ""
        return f"{GROUP}{where}/{kind.plural}" + (f"/{quote(name)}" if name else "")

    def get(self, kind: v3_model.Kind, namespace: str, name: str) -> dict:
        identity = v3_model.identity(kind, namespace, name)
        if kind.name == "Node":
            return _node(self._tried(identity, "GET", f"/api/v1/nodes/{quote(name)}"))
        if kind.name == "Profile":
            if not name.startswith("kns."):
                raise Missing(f"resource does not exist: {identity} with error: <nil>")
            return _profile(self._tried(identity, "GET", f"/api/v1/namespaces/{quote(name[4:])}"))
        if kind.name == "NetworkPolicy" and name.startswith("knp.default."):
            path = f"{POLICIES}/namespaces/{namespace}/networkpolicies/{quote(name[12:])}"
            return v3_policies.converted(self._tried(identity, "GET", path))
        return _from_custom(kind, self._tried(identity, "GET", self._path(kind, namespace, name)))

    def list(self, kind: v3_model.Kind, namespace: str) -> Tuple[List[dict], str]:
        identity = v3_model.identity(kind, namespace, "")
        if kind.name == "Node":
            answer = self._tried(identity, "GET", "/api/v1/nodes")
            return [_node(item) for item in answer["items"]], answer["metadata"]["resourceVersion"]
        if kind.name == "Profile":
            answer = self._tried(identity, "GET", "/api/v1/namespaces")
            return [_profile(item) for item in answer["items"]], answer["metadata"]["resourceVersion"]
        answer = self._tried(identity, "GET", self._path(kind, namespace))
        found = [_from_custom(kind, item) for item in answer["items"]]
        revision = answer["metadata"]["resourceVersion"]
        if kind.name == "NetworkPolicy":
            where = f"/namespaces/{namespace}" if namespace else ""
            others = self._tried(identity, "GET", f"{POLICIES}{where}/networkpolicies")
            found = [v3_policies.converted(item) for item in others["items"]] + found
            revision = f"{others['metadata']['resourceVersion']}/{revision}"
        return found, revision

    def create(self, kind: v3_model.Kind, resource: dict) -> None:
        identity = self._writable("Create", kind, resource)
        path = self._path(kind, resource["metadata"].get("namespace", ""))
        self._tried(identity, "POST", path, _to_custom(resource))

    def update(self, kind: v3_model.Kind, resource: dict) -> None:
        identity = self._writable("Update", kind, resource)
        metadata = resource["metadata"]
        path = self._path(kind, metadata.get("namespace", ""), metadata["name"])
        self._tried(identity, "PUT", path, _to_custom(resource))

    def delete(self, kind: v3_model.Kind, namespace: str, name: str) -> None:
        identity = self._writable("Delete", kind, {"metadata": {"namespace": namespace, "name": name}})
        self._tried(identity, "DELETE", self._path(kind, namespace, name))

    @staticmethod
    def _writable(operation: str, kind: v3_model.Kind, resource: dict) -> str:
        """The identity; StoreError for what Kubernetes owns."""
        metadata = resource["metadata"]
        identity = v3_model.identity(kind, metadata.get("namespace", ""), metadata["name"])
        if kind.name in ("Node", "Profile") or metadata["name"].startswith("knp.default."):
            raise StoreError(f"operation {operation} is not supported on {identity}")
        return identity


def _to_custom(resource: dict) -> dict:
    metadata = dict(resource["metadata"])
    out = {"name": metadata.pop("name")}
    for name in ("namespace", "resourceVersion"):
        if metadata.get(name):
            out[name] = metadata[name]
        metadata.pop(name, None)
    out["annotations"] = {ANNOTATION: json_text(metadata)}
    return {**resource, "apiVersion": "crd.projectcalico.org/v1", "metadata": out}


def _from_custom(kind: v3_model.Kind, stored: dict) -> dict:
    """Without the annotation (an object that others made) Kubernetes' own metadata is Calico's."""
    held = stored["metadata"]
    metadata = {name: held[name] for name in ("name", "namespace", "resourceVersion") if name in held}
    try:
        own = json.loads((held.get("annotations") or {})[ANNOTATION])
    except (KeyError, ValueError):
        own = {name: held[name] for name in ("uid", "creationTimestamp", "labels", "annotations") if name in held}
    document = {**stored, "kind": kind.name, "apiVersion": v3_model.API, "metadata": {**own, **metadata}}
    resource = v3_model.shaped(document, kind)
    resource["metadata"] = v3_model.ordered_metadata(resource["metadata"])
    return resource


def _node(held: dict) -> dict:
    metadata = held["metadata"]
    annotations = metadata.get("annotations") or {}
    spec: dict = {"addresses": list((held.get("status") or {}).get("addresses") or [])}
    bgp = {}
    for field, name in (("ipv4Address", "IPv4Address"), ("ipv6Address", "IPv6Address")):
        value = annotations.get(f"projectcalico.org/{name}")
        if value:
            bgp[field] = value
    if bgp:
        spec["bgp"] = bgp
    spec["orchRefs"] = [{"nodeName": metadata["name"], "orchestrator": "k8s"}]
    kept = ("name", "uid", "resourceVersion", "creationTimestamp", "labels", "annotations")
    return {
        "kind": "Node",
        "apiVersion": v3_model.API,
        "metadata": v3_model.ordered_metadata({name: metadata[name] for name in kept if metadata.get(name)}),
        "spec": {name: value for name, value in spec.items() if value},
        "status": {},
    }


def _profile(namespace: dict) -> dict:
    metadata = namespace["metadata"]
    labels = {f"pcns.{key}": value for key, value in (metadata.get("labels") or {}).items()}
    labels["pcns.projectcalico.org/name"] = metadata["name"]
    allow = [{"action": "Allow", "source": {}, "destination": {}}]
    made = {"name": f"kns.{metadata['name']}", "resourceVersion": f"{metadata['resourceVersion']}/"}
    return {
        "kind": "Profile",
        "apiVersion": v3_model.API,
        "metadata": v3_model.ordered_metadata(made),
        "spec": {"ingress": allow, "egress": allow, "labelsToApply": {key: labels[key] for key in sorted(labels)}},
    }
