# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calico resources from one API to the other, where nothing is lost; where something would be, an error names it.

Source: libcalico-go lib/upgrade/converters (what `calicoctl convert` and the upgrade from Calico 2.6 do). Names are
the exception: those tools append a hash to a name that API v3 does not allow, here that is an error, because a name
that nobody wrote is found by nobody.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .calico_metadata import TIER_LABEL
from .calico_model import CalicoError, Resource, read_resource
from .calico_rules import default_types
from .calico_values import PROTOCOLS, canonical_network, canonical_port, canonical_protocol
from .errors import HardeningError

_NEGATED = (("net", "nets"), ("notNet", "notNets"))
_TO_V3 = dict(zip(PROTOCOLS["v1"], PROTOCOLS["v3"]))
_TO_V1 = {name: word for word, name in _TO_V3.items()}
_DIRECTIONS = ("ingress", "egress")
_SIDES = ("source", "destination")


class ConversionError(HardeningError):
    """A resource that says something which the other API cannot say."""


def to_v3(resource: Resource, both_directions: bool = False) -> Resource:
    """The resource in API v3.

    A policy of API v1 names no directions. As with `calicoctl convert`, its types follow from its rules: a policy
    without egress rules is [Ingress]. Felix before 2.6 applied every policy in both directions, so that an endpoint
    which only such policies select could send nothing: `both_directions` says that (libcalico-go
    converters/policy.go, BackendV1ToAPIV3), and is what a verdict on a cluster of that time needs.
    Raises ConversionError.
    """
    if resource.api == "v3":
        return resource
    identity = resource.identity
    convert = {
        "GlobalNetworkPolicy": _policy_to_v3,
        "HostEndpoint": _endpoint_to_v3,
        "Profile": _profile_to_v3,
        "IPPool": _pool_to_v3,
        "BGPPeer": _peer_to_v3,
        "Node": _node_to_v3,
    }.get(identity.kind)
    if convert is None:
        raise _lost(resource, "it has no counterpart in API v3 that could be written")
    metadata, spec = convert(resource)
    if identity.kind == "GlobalNetworkPolicy" and both_directions and not spec.get("preDNAT"):
        spec["types"] = ["Ingress", "Egress"]
    return _checked(resource, "v3", {"apiVersion": "projectcalico.org/v3", "kind": identity.kind}, metadata, spec)


def to_v1(resource: Resource) -> Resource:
    """The resource in API v1, as calicoctl 1.x takes it. Raises ConversionError, naming what API v1 cannot say."""
    if resource.api == "v1":
        return resource
    converters = {
        "GlobalNetworkPolicy": ("policy", _policy_to_v1),
        "HostEndpoint": ("hostEndpoint", _endpoint_to_v1),
        "Profile": ("profile", _profile_to_v1),
        "IPPool": ("ipPool", _pool_to_v1),
        "BGPPeer": ("bgpPeer", _peer_to_v1),
        "Node": ("node", _node_to_v1),
    }
    if resource.identity.kind not in converters:
        raise _lost(resource, f"API v1 has no {resource.identity.kind}")
    word, convert = converters[resource.identity.kind]
    metadata, spec = convert(resource)
    return _checked(resource, "v1", {"apiVersion": "v1", "kind": word}, metadata, spec)


def _lost(resource: Resource, reason: str) -> ConversionError:
    origin = f"{resource.origin}: " if resource.origin else ""
    other = "v1" if resource.api == "v3" else "v3"
    return ConversionError(f"{origin}{resource.identity} cannot be converted to API {other}: {reason}")


def _checked(
    resource: Resource, api: str, head: Mapping[str, str], metadata: Dict[str, Any], spec: Dict[str, Any]
) -> Resource:
    """Read as a user's, so that whatever the other API refuses (a name, a port's name, a selector) is told."""
    document = {**head, "metadata": metadata, "spec": spec}
    try:
        return read_resource(document, api, resource.origin or "the converted resource")
    except CalicoError as error:
        raise ConversionError(f"{error}; {resource.identity} cannot be converted to API {api} as it is") from None


def _metadata(resource: Resource, *parts: str) -> Dict[str, Any]:
    out: Dict[str, Any] = {"name": resource.identity.name}
    for part in ("labels", "annotations"):
        found = dict(getattr(resource, part))
        if resource.identity.kind == "GlobalNetworkPolicy":
            found.pop(TIER_LABEL, None)
        if found and part not in parts:
            raise _lost(resource, f"there, it cannot have {part} ({', '.join(sorted(found))})")
        if found:
            out[part] = found
    return out


def _policy_to_v3(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    spec: Dict[str, Any] = {key: value for key, value in resource.spec.items() if key not in _DIRECTIONS}
    _rules_to_v3(resource, spec)
    if spec.get("preDNAT") or spec.get("doNotTrack"):
        # Both work on forwarded traffic by nature, and API v3 wants it said.
        spec["applyOnForward"] = True
    spec["types"] = default_types(spec)
    return _metadata(resource, "annotations"), spec


def _rules_to_v3(resource: Resource, spec: Dict[str, Any]) -> None:
    for direction in _DIRECTIONS:
        rules = resource.spec.get(direction)
        if rules:
            spec[direction] = [_rule_to_v3(rule) for rule in rules]


def _rule_to_v3(rule: Mapping[str, Any]) -> Dict[str, Any]:
    out = dict(rule)
    out["action"] = str(rule["action"]).capitalize()
    for name in ("protocol", "notProtocol"):
        if name in rule:
            protocol = canonical_protocol(rule[name])
            out[name] = _TO_V3.get(protocol, protocol)
    for side in _SIDES:
        if side in rule:
            out[side] = _entity_to_v3(rule[side])
    return out


def _entity_to_v3(entity: Mapping[str, Any]) -> Dict[str, Any]:
    out = {key: value for key, value in entity.items() if key not in ("net", "notNet", "tag", "notTag")}
    for one, many in _NEGATED:
        nets = [*entity.get(many, ()), *([entity[one]] if one in entity else ())]
        if nets:
            out[many] = [canonical_network(net) for net in nets]
    for tag, selector in (("tag", "selector"), ("notTag", "notSelector")):
        if entity.get(tag):
            # A tag of a profile becomes a label without a value, here and in the profile.
            chosen = f"{entity[tag]} == ''"
            out[selector] = f"({entity[selector]}) && {chosen}" if entity.get(selector) else chosen
    return out


def _endpoint_to_v3(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    return _metadata(resource, "labels"), {"node": resource.identity.node, **resource.spec}


def _profile_to_v3(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    spec: Dict[str, Any] = {}
    _rules_to_v3(resource, spec)
    labels = dict(resource.labels)
    for tag in resource.extra.get("tags", ()):
        if tag in labels:
            raise _lost(resource, f"{tag} is both a tag and a label of it")
        labels[tag] = ""
    if labels:
        spec["labelsToApply"] = labels
    return {"name": resource.identity.name}, spec


def _pool_to_v3(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    spec: Dict[str, Any] = {"cidr": resource.identity.name}
    ipip = resource.spec.get("ipip") or {}
    if ipip.get("enabled"):
        spec["ipipMode"] = "CrossSubnet" if ipip.get("mode") == "cross-subnet" else "Always"
    for old, new in (("nat-outgoing", "natOutgoing"), ("disabled", "disabled")):
        if resource.spec.get(old):
            spec[new] = True
    return {"name": _network_name(resource.identity.name)}, spec


def _network_name(network: str) -> str:
    """A network as a name of API v3: `10-0-0-0-8`."""
    address, _slash, length = network.partition("/")
    return f"{_address_name(address)}-{length}"


def _address_name(address: str) -> str:
    return ipaddress.ip_address(address).exploded.replace(".", "-").replace(":", "-")


def _peer_to_v3(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    name = _address_name(resource.identity.name)
    spec: Dict[str, Any] = {"peerIP": resource.identity.name, **resource.spec}
    if resource.identity.node is not None:
        spec["node"] = resource.identity.node
        name = f"{resource.identity.node}.{name}"
    return {"name": name}, spec


def _node_to_v3(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    return {"name": resource.identity.name}, dict(resource.spec)


def _policy_to_v1(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    spec = dict(resource.spec)
    if spec.get("tier", "default") not in ("", "default"):
        raise _lost(resource, f"tier {spec['tier']}: API v1 has one tier only")
    spec.pop("tier", None)
    types = sorted(spec.pop("types", None) or default_types(spec))
    if types != default_types(spec):
        raise _lost(resource, f"types {types} do not follow from its rules, and API v1 cannot name them")
    forward = spec.pop("applyOnForward", False)
    if forward and not (spec.get("preDNAT") or spec.get("doNotTrack")):
        raise _lost(
            resource, "applyOnForward without preDNAT or doNotTrack: in API v1 it is for the host's own traffic only"
        )
    for name in ("serviceAccountSelector", "namespaceSelector"):
        _nothing(resource, spec, name)
    # Hints change nothing that is enforced.
    spec.pop("performanceHints", None)
    _rules_to_v1(resource, spec)
    return _metadata(resource, "annotations"), spec


def _nothing(resource: Resource, fields: Dict[str, Any], name: str, where: str = "") -> None:
    if fields.get(name):
        raise _lost(resource, f"{where}{name}: API v1 has nothing like it")
    fields.pop(name, None)


def _rules_to_v1(resource: Resource, spec: Dict[str, Any]) -> None:
    for direction in _DIRECTIONS:
        rules = spec.pop(direction, None)
        if rules:
            spec[direction] = [
                _rule_to_v1(resource, rule, f"{direction}[{place}].") for place, rule in enumerate(rules)
            ]


def _rule_to_v1(resource: Resource, rule: Mapping[str, Any], where: str) -> Dict[str, Any]:
    out = dict(rule)
    out["action"] = str(rule["action"]).lower()
    if out.pop("http", None) is not None:
        raise _lost(resource, f"{where}http: API v1 has nothing like it")
    _nothing(resource, out, "metadata", where)
    for name in ("protocol", "notProtocol"):
        if name in rule:
            protocol = canonical_protocol(rule[name])
            out[name] = _TO_V1.get(protocol, protocol)
    for side in _SIDES:
        if side in rule:
            out[side] = _entity_to_v1(resource, rule[side], f"{where}{side}.")
    return out


def _entity_to_v1(resource: Resource, entity: Mapping[str, Any], where: str) -> Dict[str, Any]:
    out = dict(entity)
    for name in ("namespaceSelector", "services"):
        _nothing(resource, out, name, where)
    if out.pop("serviceAccounts", None) is not None:
        raise _lost(resource, f"{where}serviceAccounts: API v1 has nothing like it")
    for name in ("ports", "notPorts"):
        named = _named(out.get(name))
        if named is not None:
            raise _lost(resource, f"{where}{name}: port {named}: calicoctl 1.x knows no port names")
    return out


def _named(ports: Optional[List[Any]]) -> Optional[str]:
    for port in ports or ():
        found = canonical_port(port)
        if isinstance(found, str) and ":" not in found:
            return found
    return None


def _endpoint_to_v1(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    spec = dict(resource.spec)
    metadata = {**_metadata(resource, "labels"), "node": spec.pop("node", None)}
    _nothing(resource, spec, "ports")
    return metadata, spec


def _profile_to_v1(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    spec = dict(resource.spec)
    metadata = _metadata(resource)
    labels = spec.pop("labelsToApply", None)
    if labels:
        metadata["labels"] = labels
    _rules_to_v1(resource, spec)
    return metadata, spec


def _pool_to_v1(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    _metadata(resource)
    pool = resource.normal()["spec"]
    cidr = pool.pop("cidr")
    spec: Dict[str, Any] = {}
    mode = pool.pop("ipipMode", None)
    if mode is not None:
        spec["ipip"] = {"enabled": True, "mode": "cross-subnet" if mode == "CrossSubnet" else "always"}
    for new, old in (("natOutgoing", "nat-outgoing"), ("disabled", "disabled")):
        if pool.pop(new, False):
            spec[old] = True
    if pool.pop("blockSize", None) not in (26 if ":" not in cidr else 122,):
        raise _lost(resource, "blockSize: API v1 has one size only, 26 for IPv4 and 122 for IPv6")
    if pool.pop("allowedUses", None) != ["Tunnel", "Workload"]:
        raise _lost(resource, "allowedUses: API v1 has nothing like it")
    for name in sorted(pool):
        raise _lost(resource, f"{name}: API v1 has nothing like it")
    return {"cidr": cidr}, spec


def _peer_to_v1(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    _metadata(resource)
    peer = resource.normal()["spec"]
    node = peer.pop("node", None)
    address = peer.pop("peerIP", None)
    number = peer.pop("asNumber", None)
    for name in sorted(peer):
        raise _lost(resource, f"{name}: API v1 has nothing like it")
    if address is None or number is None:
        raise _lost(resource, "a peer of API v1 needs peerIP and asNumber")
    metadata = {"scope": "global"} if node is None else {"scope": "node", "node": node}
    return {**metadata, "peerIP": address}, {"asNumber": number}


def _node_to_v1(resource: Resource) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    metadata = _metadata(resource)
    spec: Dict[str, Any] = {}
    for name, value in resource.normal()["spec"].items():
        if name == "orchRefs":
            spec[name] = value
        elif name == "bgp":
            bgp = dict(value)
            for field in sorted(set(bgp) - {"asNumber", "ipv4Address", "ipv6Address"}):
                raise _lost(resource, f"bgp.{field}: API v1 has nothing like it")
            spec[name] = bgp
        else:
            raise _lost(resource, f"{name}: API v1 has nothing like it")
    return metadata, spec
