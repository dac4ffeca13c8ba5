# A stand-in for the Kubernetes API server, for tests only: it is not the real one.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API server stores, and what it refuses with 422: custom resources by their published schemas.

Calico's CRDs (crd.projectcalico.org/v1) have structural schemas: a value of a wrong type is refused, a field that is
not in the schema is dropped in silence. The fields are those of the stand-in's own tables of API v3.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Tuple

from .standin import decode, v3_model

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_NAME_REASON = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character"
)
_TYPE_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


@dataclass(frozen=True)
class Resource:
    """One row of discovery: where objects live and what they are called."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: Tuple[str, ...] = ("create", "delete", "get", "list", "patch", "update")

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As messages name it: globalnetworkpolicies.crd.projectcalico.org"""
        return f"{self.plural}.{self.group}" if self.group else self.plural


CALICO = "crd.projectcalico.org"
NETWORKING = "networking.k8s.io"
# Custom resources that the stand-in's tables of API v3 do not have.
_MORE = (("ipamblocks", "IPAMBlock"), ("blockaffinities", "BlockAffinity"), ("ipreservations", "IPReservation"))
RESOURCES: Dict[Tuple[str, str], Resource] = {
    (row.group, row.plural): row
    for row in (
        Resource("", "v1", "namespaces", "Namespace", False),
        Resource("", "v1", "nodes", "Node", False),
        Resource("", "v1", "pods", "Pod", True),
        Resource("", "v1", "configmaps", "ConfigMap", True),
        Resource("", "v1", "services", "Service", True),
        Resource("", "v1", "serviceaccounts", "ServiceAccount", True),
        Resource("apps", "v1", "daemonsets", "DaemonSet", True),
        Resource("apps", "v1", "deployments", "Deployment", True),
        Resource(NETWORKING, "v1", "networkpolicies", "NetworkPolicy", True),
        *(
            Resource(CALICO, "v1", kind.plural, kind.name, kind.namespaced)
            for kind in v3_model.KINDS.values()
            # Their sources are core v1's nodes and namespaces.
            if kind.name not in ("Node", "Profile")
        ),
        *(Resource(CALICO, "v1", plural, kind, False) for plural, kind in _MORE),
    )
}


def refusals(row: Resource, document: Dict[str, Any]) -> List[str]:
    """What is wrong with an object, one text a cause; the object's `spec` is pruned to its schema."""
    out = []
    name = document["metadata"].get("name", "")
    if not _NAME.match(name):
        out.append(f'metadata.name: Invalid value: "{name}": {_NAME_REASON}')
    spec = document.get("spec")
    if row.group == CALICO and row.kind in v3_model.KINDS and spec is not None:
        out += _typed(spec, v3_model.KINDS[row.kind].spec, "spec")
    if row.group == NETWORKING:
        out += _network_policy(spec if isinstance(spec, dict) else {})
    return out


def _typed(value: Any, kind: Any, path: str) -> Iterator[str]:
    wanted = _wanted(kind)
    if wanted and not (isinstance(value, wanted[0]) and not (isinstance(value, bool) and bool not in wanted[0])):
        found = _TYPE_NAMES.get(type(value), "null")
        yield f'{path}: Invalid value: "{found}": {path} in body must be of type {wanted[1]}: "{found}"'
        return
    if isinstance(kind, decode.Many):
        for index, item in enumerate(value):
            yield from _typed(item, kind.of, f"{path}[{index}]")
    elif isinstance(kind, decode.Labels):
        for key, item in value.items():
            yield from _typed(item, decode.Text(), f"{path}.{key}")
    elif isinstance(kind, decode.Struct):
        for key in [key for key in value if key not in kind.exact or value[key] is None]:
            del value[key]
        if kind.name == "Rule" and "action" not in value:
            yield f"{path}.action: Required value"
        for key, item in value.items():
            yield from _typed(item, kind.exact[key][1], f"{path}.{key}")


def _wanted(kind: Any) -> Any:
    """((Python types), the schema's name), or None where anything goes."""
    for classes, types, name in (
        ((decode.Text,), (str,), "string"),
        ((decode.Flag,), (bool,), "boolean"),
        ((decode.Float,), (int, float), "number"),
        ((decode.Int,), (int,), "integer"),
        ((decode.Port, decode.Protocol), (int, str), "integer,string"),
        ((decode.Many,), (list,), "array"),
        ((decode.Labels, decode.Struct), (dict,), "object"),
    ):
        if isinstance(kind, classes):
            return types, name
    return None


def _network_policy(spec: Dict[str, Any]) -> Iterator[str]:
    for index, name in enumerate(spec.get("policyTypes") or []):
        if name not in ("Ingress", "Egress"):
            supported = 'supported values: "Egress", "Ingress"'
            yield f'spec.policyTypes[{index}]: Unsupported value: "{name}": {supported}'
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or []):
            path = f"spec.{direction}[{index}]"
            for number, port in enumerate(rule.get("ports") or []):
                yield from _network_port(port, f"{path}.ports[{number}]")
            for number, peer in enumerate(rule.get(peers) or []):
                yield from _network_peer(peer, f"{path}.{peers}[{number}]")


def _network_port(port: Dict[str, Any], path: str) -> Iterator[str]:
    if port.get("protocol", "TCP") not in ("TCP", "UDP", "SCTP"):
        supported = 'supported values: "SCTP", "TCP", "UDP"'
        yield f'{path}.protocol: Unsupported value: "{port["protocol"]}": {supported}'
    number = port.get("port")
    if isinstance(number, int) and not 1 <= number <= 65535:
        yield f"{path}.port: Invalid value: {number}: must be between 1 and 65535, inclusive"


def _network_peer(peer: Dict[str, Any], path: str) -> Iterator[str]:
    block = peer.get("ipBlock")
    if block is None:
        if not peer:
            yield f"{path}: Required value: must specify a peer"
        return
    if "podSelector" in peer or "namespaceSelector" in peer:
        yield f"{path}: Forbidden: may not specify both ipBlock and another peer"
    try:
        ipaddress.ip_network(str(block.get("cidr", "")), strict=False)
    except ValueError:
        reason = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        yield f'{path}.ipBlock.cidr: Invalid value: "{block.get("cidr", "")}": {reason}'
