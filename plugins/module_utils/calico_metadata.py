# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata of Calico resources: names, namespaces, labels, annotations, and what each kind allows there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Dict, Tuple

from .calico_kinds import Kind
from .calico_schema import ListOf, MapOf, Struct, Text, Words
from .calico_values import (
    MOST_ANNOTATIONS,
    ValueRefused,
    canonical_address,
    canonical_network,
    one_of,
    read_address,
    read_annotation,
    read_any_network,
    read_name,
    read_namespaced_policy_name,
    read_policy_name,
    read_tier_name,
    read_v1_label,
    read_v1_name,
    read_v3_label,
)

TIER_LABEL = "projectcalico.org/tier"
NAMESPACE_LABEL = "projectcalico.org/namespace"
# Kubernetes' own bookkeeping: exported files are full of it, and what is sent must not pin an old state.
BOOKKEEPING = frozenset(
    (
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "selfLink",
        "managedFields",
        "ownerReferences",
        "finalizers",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "clusterName",
        "generateName",
    )
)
_V3_METADATA = {
    "name": Text(),
    "namespace": Text(),
    "labels": MapOf(read_v3_label),
    "annotations": MapOf(read_annotation),
}
_V3_NAMES = tuple(_V3_METADATA)
DOCUMENT = ("apiVersion", "kind", "metadata", "spec", "status")
TIERED = frozenset(("GlobalNetworkPolicy", "NetworkPolicy", "StagedGlobalNetworkPolicy", "StagedNetworkPolicy"))
_NAME_READERS = {
    "GlobalNetworkPolicy": read_policy_name,
    "StagedGlobalNetworkPolicy": read_policy_name,
    "NetworkPolicy": read_namespaced_policy_name,
    "StagedNetworkPolicy": read_namespaced_policy_name,
    "Tier": read_tier_name,
}
V1_NEEDED = {"IPPool": ("cidr",), "BGPPeer": ("scope", "peerIP"), "HostEndpoint": ("name", "node")}
_SINGLE = frozenset(("KubeControllersConfiguration", "ClusterInformation", "IPAMConfiguration"))


_ADDRESS = Text(read_address, canonical_address)
_NETWORK = Text(read_any_network, canonical_network)
_NAME = Text()
_V1_LABELS = MapOf(read_v1_label)
# Which fields the metadata of a v1 kind has.
V1_METADATA: Mapping[str, Struct] = {
    "GlobalNetworkPolicy": Struct(
        {"name": Text(read_v1_name), "annotations": MapOf()},
        hints={"labels": "policies of API v1 have none; write annotations", "namespace": "API v1 has no namespaces"},
    ),
    "HostEndpoint": Struct(
        {"name": Text(read_v1_name), "node": Text(read_v1_name), "labels": _V1_LABELS},
        hints={"annotations": "host endpoints of API v1 have none; write labels", "hostname": "it is called node"},
    ),
    "Profile": Struct({"name": Text(read_v1_name), "labels": _V1_LABELS, "tags": ListOf(Text(read_v1_name))}),
    "IPPool": Struct({"cidr": _NETWORK}, hints={"name": "a pool of API v1 is named by its cidr"}),
    "BGPPeer": Struct(
        {"scope": Words(("global", "node"), required=True), "node": Text(read_v1_name), "peerIP": _ADDRESS}
    ),
    "Node": Struct({"name": Text(read_v1_name)}),
    "WorkloadEndpoint": Struct(
        {
            "name": _NAME,
            "workload": _NAME,
            "orchestrator": _NAME,
            "node": _NAME,
            "activeInstanceID": _NAME,
            "labels": _V1_LABELS,
        }
    ),
}


def respelled(fields: Mapping[str, Any], known: Tuple[str, ...]) -> Mapping[str, Any]:
    """calicoctl finds a field whatever its case: public files say `Metadata` and `Spec`."""
    if all(key in known for key in fields):
        return fields
    out: Dict[str, Any] = {}
    for key, value in fields.items():
        name = next((name for name in known if name.lower() == str(key).lower()), None)
        if name is None:
            raise ValueRefused(f"there is no such field here; {one_of(key, known)}", str(key))
        if name in out:
            raise ValueRefused(f"is there twice, in two spellings of {name}", str(key))
        out[name] = value
    return out


def tiered_name(kind: Kind, name: str) -> Tuple[str, bool]:
    """calicoctl up to 3.29 or so hides the default tier's name in front of a policy's, and adds it when asked."""
    if kind.name in TIERED and name.startswith("default.") and len(name) > 8:
        return name[8:], True
    return name, False


def read_v3_metadata(kind: Kind, metadata: Mapping[str, Any]) -> Dict[str, Any]:
    if kind.name == "HostEndpoint" and "node" in metadata:
        raise ValueRefused("in API v3 it belongs under spec", "node")
    out: Dict[str, Any] = {"labels": {}, "annotations": {}}
    own = {key: value for key, value in metadata.items() if key not in BOOKKEEPING}
    for key, value in respelled(own, _V3_NAMES).items():
        if value is None:
            continue
        try:
            out[key] = _V3_METADATA[key].read(value)
        except ValueRefused as error:
            error.path.insert(0, key)
            raise
    if "name" not in out:
        raise ValueRefused("is missing", "name")
    _refusing("name", _NAME_READERS.get(kind.name, read_name), out["name"])
    if kind.namespaced:
        # calicoctl puts a policy without one into the namespace "default".
        _refusing("namespace", read_name, out.setdefault("namespace", "default"))
    elif out.pop("namespace", ""):
        raise ValueRefused(f"a {kind.name} belongs to no namespace; leave it out", "namespace")
    if kind.name in _SINGLE and out["name"] != "default":
        raise ValueRefused(f"{out['name']!r}: there is only one {kind.name}, and it is called default", "name")
    if kind.name in ("GlobalNetworkSet", "NetworkSet") and NAMESPACE_LABEL in out["labels"]:
        raise ValueRefused("Calico sets this label itself; leave it out", "labels", NAMESPACE_LABEL)
    size = sum(len(key) + len(value) for key, value in out["annotations"].items())
    if size > MOST_ANNOTATIONS:
        raise ValueRefused(f"{size} bytes are more than {MOST_ANNOTATIONS}", "annotations")
    return out


def _refusing(key: str, reader: Any, value: str) -> None:
    try:
        reader(value)
    except ValueRefused as error:
        error.path.insert(0, key)
        raise
