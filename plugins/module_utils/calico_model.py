# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calico resources of both APIs: read strictly from users, leniently from a datastore, compared on a normal form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Dict, Optional

from .calico_kinds import API_VERSIONS, KINDS, SPELLINGS, Kind
from .calico_metadata import (
    BOOKKEEPING,
    DOCUMENT,
    TIER_LABEL,
    TIERED,
    V1_METADATA,
    V1_NEEDED,
    read_v3_metadata,
    respelled,
    tiered_name,
)
from .calico_values import (
    ValueRefused,
    canonical_address,
    canonical_network,
    one_of,
)
from .errors import HardeningError


class CalicoError(HardeningError):
    """A resource that Calico would not take, or that cannot be meant."""


@dataclass(frozen=True)
class Identity:
    """What a datastore knows a resource by.

    `kind` is spelled as in API v3, for v1 too. `node` is the node of a v1 host endpoint or BGP peer, None elsewhere. A
    v1 pool's name is its network, a v1 BGP peer's its address. A policy's name is without the `default.` of its tier.
    """

    kind: str
    name: str
    namespace: Optional[str] = None
    node: Optional[str] = None

    def __str__(self) -> str:
        where = self.namespace or self.node
        return f"{self.kind} {where}/{self.name}" if where else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Resource:
    """One resource of API "v1" or "v3"; `origin` says where it was read, for messages.

    `spec` is in the API's own fields, as it is sent. `extra` is what else the metadata of a v1 kind holds (a profile's
    tags), `prefixed` that the name of a policy was written with the `default.` of its tier.
    """

    api: str
    identity: Identity
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]
    origin: str = field(default="", compare=False)
    extra: Mapping[str, Any] = field(default_factory=dict)
    prefixed: bool = False

    def document(self) -> Dict[str, Any]:
        """The document that calicoctl is fed as JSON, without anything that only the datastore writes."""
        kind = KINDS[self.identity.kind]
        metadata: Dict[str, Any] = _v1_names(self) if self.api == "v1" else {"name": self.identity.name}
        if self.prefixed:
            metadata["name"] = f"default.{self.identity.name}"
        if self.identity.namespace is not None:
            metadata["namespace"] = self.identity.namespace
        metadata.update(self.extra)
        if self.labels:
            metadata["labels"] = dict(self.labels)
        if self.annotations:
            metadata["annotations"] = dict(self.annotations)
        return {
            "apiVersion": API_VERSIONS[self.api],
            "kind": kind.spelling(self.api),
            "metadata": metadata,
            "spec": dict(self.spec),
        }

    def normal(self) -> Dict[str, Any]:
        """A document in which whatever means the same is equal: two resources have equal ones if and only if applying
        one over the other changes nothing that Calico acts on."""
        kind = KINDS[self.identity.kind]
        fields = kind.spec(self.api)
        spec = self.spec if fields is None else fields.canonical(self.spec)
        labels = self.labels
        if TIER_LABEL in labels and self.identity.kind in TIERED:
            # Newer versions write it beside spec.tier.
            labels = {key: value for key, value in labels.items() if key != TIER_LABEL}
        out: Dict[str, Any] = {"kind": self.identity.kind, "name": self.identity.name}
        for name, value in (
            ("namespace", self.identity.namespace),
            ("node", self.identity.node),
            ("labels", dict(labels)),
            ("annotations", dict(self.annotations)),
            ("extra", dict(self.extra)),
        ):
            if value:
                out[name] = value
        out["spec"] = spec
        return out


def read_resource(document: Mapping[str, Any], api: str, origin: str) -> Resource:
    """A resource from what a user wrote, checked as far as it can be without a datastore.

    `api` is "v1" or "v3"; `origin` names the file and place, or the option, for messages. Raises CalicoError with the
    origin, the resource, the path of the field, its value, and what is allowed.
    """
    if not isinstance(document, Mapping):
        raise CalicoError(
            f"{origin}: a resource is a mapping with apiVersion, kind, metadata and spec, not {document!r:.60}"
        )
    subject = origin
    try:
        kind = _kind_of(document, api)
        subject = f"{origin}: {kind.spelling(api)} {_shown_name(document)}"
        document = respelled(document, DOCUMENT)
        metadata = document.get("metadata")
        if metadata is None:
            metadata = {}
        if not isinstance(metadata, Mapping):
            raise ValueRefused(f"{metadata!r:.60} is not a mapping of fields", "metadata")
        read = _read_v1 if api == "v1" else _read_v3
        return read(kind, metadata, document.get("spec"), origin)
    except ValueRefused as error:
        path = _path(error.path)
        raise CalicoError(f"{subject}: {path}{': ' if path else ''}{error}") from None


def stored_resource(document: Mapping[str, Any], api: str) -> Resource:
    """A resource as the datastore gave it back: nothing is refused, what is not known is kept.

    Raises CalicoError only for a document without a kind of this API or without a name.
    """
    kind = SPELLINGS[api].get(document.get("kind", ""))
    metadata = document.get("metadata") or {}
    spec = document.get("spec") or {}
    if kind is None:
        raise CalicoError(f"the datastore gave a resource of kind {document.get('kind')!r}, which is not known")
    labels = dict(metadata.get("labels") or {})
    annotations = dict(metadata.get("annotations") or {})
    if api == "v1":
        identity = _v1_identity(kind, metadata)
        return Resource(api, identity, labels, annotations, spec, "the datastore", _v1_extra(metadata))
    name = metadata.get("name")
    if not name:
        raise CalicoError(f"the datastore gave a {kind.name} without a name")
    name, prefixed = tiered_name(kind, name)
    identity = Identity(kind.name, name, metadata.get("namespace") if kind.namespaced else None)
    return Resource(api, identity, labels, annotations, spec, "the datastore", prefixed=prefixed)


def _kind_of(document: Mapping[str, Any], api: str) -> Kind:
    version, word = document.get("apiVersion"), document.get("kind")
    if word is None:
        raise ValueRefused("is missing", "kind")
    other = "v3" if api == "v1" else "v1"
    if version != API_VERSIONS[api]:
        if version is None:
            raise ValueRefused(f"is missing; write {API_VERSIONS[api]}", "apiVersion")
        reason = f"{version!r} is not {API_VERSIONS[api]}"
        if version == API_VERSIONS[other] and word in SPELLINGS[other]:
            reason += f"; this is a resource of API {other}, and the cluster's is {api}: convert it"
        elif isinstance(version, str) and version.startswith("crd.projectcalico.org/"):
            reason += f"; that is how the Kubernetes datastore keeps it: write {API_VERSIONS['v3']}"
        elif version == "networking.k8s.io/v1":
            reason += "; objects of Kubernetes are written with kubernetes.core.k8s"
        raise ValueRefused(reason, "apiVersion")
    kind = SPELLINGS[api].get(word) if isinstance(word, str) else None
    if kind is None:
        raise ValueRefused(one_of(word, (name for name, kind in SPELLINGS[api].items() if not kind.read_only)), "kind")
    if kind.read_only:
        raise ValueRefused("Calico keeps these itself; they can be read, not written", "kind")
    return kind


def _shown_name(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping):
        return "without a name"
    name = metadata.get("name", metadata.get("cidr", metadata.get("peerIP", "without a name")))
    return str(name)


def _read_spec(kind: Kind, api: str, spec: Any) -> Dict[str, Any]:
    fields = kind.spec(api)
    try:
        return fields.read({} if spec is None else spec) if fields is not None else {}
    except ValueRefused as error:
        error.path.insert(0, "spec")
        raise


def _path(path: Any) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _read_v1(kind: Kind, metadata: Mapping[str, Any], spec: Any, origin: str) -> Resource:
    try:
        read = V1_METADATA[kind.name].read({key: item for key, item in metadata.items() if key not in BOOKKEEPING})
    except ValueRefused as error:
        error.path.insert(0, "metadata")
        raise
    fields = _read_spec(kind, "v1", spec)
    for name in V1_NEEDED.get(kind.name, ("name",)):
        if not read.get(name):
            raise ValueRefused("is missing", "metadata", name)
    if kind.name == "BGPPeer" and (read["scope"] == "node") != bool(read.get("node")):
        raise ValueRefused("is needed with scope node, and only with it", "metadata", "node")
    return Resource(
        "v1",
        _v1_identity(kind, read),
        read.get("labels", {}),
        read.get("annotations", {}),
        fields,
        origin,
        _v1_extra(read),
    )


def _v1_identity(kind: Kind, metadata: Mapping[str, Any]) -> Identity:
    node = metadata.get("node") or None
    if kind.name == "IPPool":
        return Identity(kind.name, canonical_network(metadata.get("cidr", "")))
    if kind.name == "BGPPeer":
        return Identity(kind.name, canonical_address(metadata.get("peerIP", "")), node=node)
    if kind.name == "WorkloadEndpoint":
        parts = (metadata.get(name, "") for name in ("orchestrator", "workload", "name"))
        return Identity(kind.name, "/".join(parts), node=node)
    name = metadata.get("name")
    if not name:
        raise CalicoError(f"the datastore gave a {kind.v1_name} without a name")
    return Identity(kind.name, name, node=node if kind.name == "HostEndpoint" else None)


def _v1_extra(metadata: Mapping[str, Any]) -> Dict[str, Any]:
    tags = metadata.get("tags")
    return {"tags": sorted(set(tags))} if tags else {}


def _v1_names(resource: Resource) -> Dict[str, Any]:
    identity = resource.identity
    if identity.kind == "IPPool":
        return {"cidr": identity.name}
    if identity.kind == "BGPPeer":
        scope = {"scope": "global"} if identity.node is None else {"scope": "node", "node": identity.node}
        return {**scope, "peerIP": identity.name}
    if identity.kind == "WorkloadEndpoint":
        orchestrator, workload, name = identity.name.split("/", 2)
        return {"name": name, "workload": workload, "orchestrator": orchestrator, "node": identity.node}
    return {"name": identity.name} if identity.node is None else {"name": identity.name, "node": identity.node}


def _read_v3(kind: Kind, metadata: Mapping[str, Any], spec: Any, origin: str) -> Resource:
    try:
        read = read_v3_metadata(kind, metadata)
    except ValueRefused as error:
        error.path.insert(0, "metadata")
        raise
    spec = _read_spec(kind, "v3", spec)
    name, prefixed = tiered_name(kind, read["name"])
    if kind.name in TIERED:
        tier = spec.get("tier") or "default"
        before, dot, _rest = read["name"].partition(".")
        if dot and before not in (tier, "knp", "ossg"):
            raise ValueRefused(
                f"{read['name']!r} names tier {before}, but spec.tier is {tier}; write {tier}.{_rest}",
                "metadata",
                "name",
            )
        if not dot and tier != "default":
            raise ValueRefused(
                f"{name!r} stands in tier {tier}, whose name is part of it; write {tier}.{name}", "metadata", "name"
            )
    return Resource(
        "v3",
        Identity(kind.name, name, read.get("namespace")),
        read["labels"],
        read["annotations"],
        spec,
        origin,
        prefixed=prefixed,
    )
