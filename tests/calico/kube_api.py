# A stand-in for the Kubernetes API server, for tests only: it is not the real one.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An API server on loopback, in the test's own process: TLS, client certificates and tokens, discovery, CRUD.

It knows what Calico and the collection use of Kubernetes (kube_schema.RESOURCES). A client without a certificate of its
authority and without a token gets 401; one that is named a reader gets 403 for writing.
"""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from .certificates import Authority, Pair
from .kube_objects import Objects, Refused, labelled
from .kube_schema import CALICO, RESOURCES, Resource

# Clients insist on every one of these.
VERSION = {
    "major": "1",
    "minor": "26",
    "gitVersion": "v1.26.15+stand-in",
    "gitCommit": "0",
    "gitTreeState": "clean",
    "buildDate": "2024-03-14T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}
READERS = frozenset({"reader"})
_WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass
class KubeApi:
    """A running server. `requests` has every (method, path, user) that was answered, for tests that count them.

    `faults` are asked before a request is acted on, with its method and path: each may raise Refused, or wait.
    """

    url: str
    authority: Authority
    admin: Pair
    reader: Pair
    objects: Objects
    tokens: Dict[str, str] = field(default_factory=dict)
    requests: List[Tuple[str, str, str]] = field(default_factory=list)
    faults: List[Callable[[str, str], None]] = field(default_factory=list)

    def kubeconfig(self, pair: Optional[Pair] = None, token: str = "", inline: bool = False) -> str:
        """JSON (which is YAML) for a client: the admin's by default; `inline` holds the PEM text itself."""
        user: Dict[str, Any] = {}
        if token:
            user["token"] = token
        else:
            pair = pair or self.admin
            user.update(_pem("client-certificate", pair.cert, inline), **_pem("client-key", pair.key, inline))
        cluster = {"server": self.url, **_pem("certificate-authority", self.authority.ca, inline)}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "cluster",
                "clusters": [{"name": "cluster", "cluster": cluster}],
                "users": [{"name": "user", "user": user}],
                "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "user"}}],
            },
            indent=1,
        )

    def put(self, plural: str, document: Dict[str, Any], group: str = "", namespace: str = "") -> Dict[str, Any]:
        """Create an object, past authentication: what a cluster has before the test begins."""
        return self.objects.create(RESOURCES[group, plural], namespace, document)

    def add_node(self, name: str, address: str, labels: Optional[Dict[str, str]] = None) -> Dict[str, Any]:
        """A worker as calico/node leaves it: its address is in an annotation."""
        annotations = {"projectcalico.org/IPv4Address": f"{address}/26"}
        metadata = {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, **(labels or {})},
            "annotations": annotations,
        }
        status = {"addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]}
        return self.put("nodes", {"metadata": metadata, "status": status})

    def set_cluster_version(self, version: str) -> None:
        """What calicoctl compares its own version with."""
        row = RESOURCES[CALICO, "clusterinformations"]
        spec = {
            "calicoVersion": version,
            "clusterType": "typha,kdd,k8s,bgp",
            "datastoreReady": True,
            "clusterGUID": "0",
        }
        with contextlib.suppress(Refused):
            self.objects.delete(row, "", "default")
        self.objects.create(row, "", {"metadata": {"name": "default"}, "spec": spec})

    def custom(self, plural: str) -> Dict[str, Dict[str, Any]]:
        """The objects of one of Calico's custom resources by name (or namespace/name)."""
        return {
            "/".join(filter(None, (item["metadata"].get("namespace"), item["metadata"]["name"]))): item
            for item in self.objects.list(RESOURCES[CALICO, plural])
        }


def _pem(name: str, path: Path, inline: bool) -> Dict[str, str]:
    if inline:
        return {f"{name}-data": base64.b64encode(path.read_bytes()).decode("ascii")}
    return {name: str(path)}


@contextlib.contextmanager
def running(folder: Path, host: str = "127.0.0.1", names: Tuple[str, ...] = (), port: int = 0) -> Iterator[KubeApi]:
    """A server with empty namespaces, certificates below `folder`; `names` are added to its own certificate."""
    authority = Authority(folder)
    served = authority.issue("apiserver", (host, "localhost", *names))
    api = KubeApi(
        "",
        authority,
        authority.issue("kube-admin", organisation="system:masters", file_name="kube-admin"),
        authority.issue("reader"),
        Objects(),
        {"admin-token": "token-admin", "reader-token": "reader"},
    )
    server = _Server((host, port), _Handler)
    server.api = api
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(served.cert, served.key)
    context.load_verify_locations(str(authority.ca))
    # Without a certificate a client is not turned away by TLS: it may have a token, or gets its 401.
    context.verify_mode = ssl.CERT_OPTIONAL
    server.context = context
    api.url = f"https://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    api: KubeApi
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake is made in the connection's own thread: a slow client holds up nobody else."""
        request.settimeout(30)
        try:
            secured = self.context.wrap_socket(request, server_side=True)
        except OSError:
            return
        with secured:
            self.RequestHandlerClass(secured, client_address, self)  # type: ignore[arg-type]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    # One small answer after another on a kept connection.
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """The test's own output stays readable."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        try:
            status, document = self._handled(body)
        except Refused as refused:
            status, document = refused.status, refused.document()
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            refused = Refused(400, "BadRequest", f"the request body could not be understood: {error}")
            status, document = refused.status, refused.document()
        content = json.dumps(document).encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def _user(self) -> str:
        certificate = self.connection.getpeercert() or {}  # type: ignore[attr-defined]
        for relative in certificate.get("subject", ()):
            for key, value in relative:
                if key == "commonName":
                    return str(value)
        scheme, _blank, token = (self.headers.get("Authorization") or "").partition(" ")
        user = self.server.api.tokens.get(token) if scheme == "Bearer" else None
        if user is None:
            raise Refused(401, "Unauthorized", "Unauthorized")
        return user

    def _handled(self, body: bytes) -> Tuple[int, Dict[str, Any]]:
        user = self._user()
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        parts = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
        self.server.api.requests.append((self.command, url.path, user))
        found = _discovery(parts) if self.command == "GET" else None
        if found is not None:
            return 200, found
        row, namespace, name, rest = _place(parts)
        if self.command in _WRITES and user in READERS:
            where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
            what = f'{_WRITES[self.command]} resource "{row.plural}" in API group "{row.group}"'
            text = f'User "{user}" cannot {what}{where}'
            named = f' "{name}"' if name else ""
            raise Refused(403, "Forbidden", f"{row.qualified}{named} is forbidden: {text}")
        for fault in list(self.server.api.faults):
            fault(self.command, url.path)
        if rest not in ([], ["status"]):
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        return self._acted(row, namespace, name, query, body)

    def _acted(
        self, row: Resource, namespace: str, name: str, query: Dict[str, str], body: bytes
    ) -> Tuple[int, Dict[str, Any]]:
        objects = self.server.api.objects
        dry = query.get("dryRun") == "All"
        if self.command == "GET" and name:
            return 200, objects.get(row, namespace, name)
        if self.command == "GET":
            return 200, self._listed(row, namespace, query)
        with objects.lock:
            before = dict(objects.held), objects.revision
            if self.command == "POST" and not name:
                out = 201, objects.create(row, namespace, json.loads(body))
            elif self.command == "PUT" and name:
                out = 200, objects.replace(row, namespace, name, json.loads(body))
            elif self.command == "PATCH" and name:
                kind = (self.headers.get("Content-Type") or "").partition(";")[0]
                out = 200, objects.patch(row, namespace, name, kind, body)
            elif self.command == "DELETE" and name:
                out = 200, objects.delete(row, namespace, name)
            else:
                raise Refused(
                    405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
                )
            if dry:
                objects.held, objects.revision = before
            return out

    def _listed(self, row: Resource, namespace: str, query: Dict[str, str]) -> Dict[str, Any]:
        objects = self.server.api.objects
        wanted = query.get("fieldSelector", "").replace("==", "=").partition("metadata.name=")[2]
        items = [
            {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}
            for item in objects.list(row, namespace)
            if labelled(item, query.get("labelSelector")) and wanted in ("", item["metadata"]["name"])
        ]
        if row.group:
            items = [{"apiVersion": row.api_version, "kind": row.kind, **item} for item in items]
        metadata = {"resourceVersion": str(objects.revision)}
        return {"kind": f"{row.kind}List", "apiVersion": row.api_version, "metadata": metadata, "items": items}


def _groups() -> Dict[str, List[Resource]]:
    out: Dict[str, List[Resource]] = {}
    for row in RESOURCES.values():
        out.setdefault(row.api_version, []).append(row)
    return out


def _discovery(parts: List[str]) -> Optional[Dict[str, Any]]:
    """/version, /api, /apis and what is below them up to a version; None for an object's path."""
    if parts == ["version"]:
        return VERSION
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    groups = [_group(version) for version in sorted(_groups()) if "/" in version]
    if parts == ["apis"]:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if len(parts) == 2 and parts[0] == "apis":
        for group in groups:
            if group["name"] == parts[1]:
                return {"kind": "APIGroup", "apiVersion": "v1", **group}
    version = "/".join(parts[1:])
    if parts[0] in ("api", "apis") and version in _groups():
        rows = [
            {
                "name": row.plural,
                "singularName": row.kind.lower(),
                "namespaced": row.namespaced,
                "kind": row.kind,
                "verbs": list(row.verbs),
            }
            for row in _groups()[version]
        ]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": rows}
    return None


def _group(version: str) -> Dict[str, Any]:
    group, _slash, number = version.partition("/")
    entry = {"groupVersion": version, "version": number}
    return {"name": group, "versions": [entry], "preferredVersion": entry}


def _place(parts: List[str]) -> Tuple[Resource, str, str, List[str]]:
    """(resource, namespace, name, what follows) of an object's path; 404 for one that is not served."""
    missing = Refused(404, "NotFound", "the server could not find the requested resource")
    if parts[:2] == ["api", "v1"]:
        group, rest = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3 and parts[2] == "v1":
        group, rest = parts[1], parts[3:]
    else:
        raise missing
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    row = RESOURCES.get((group, rest[0])) if rest else None
    if row is None or (namespace and not row.namespaced):
        raise missing
    return row, namespace, rest[1] if len(rest) > 1 else "", rest[2:]
