# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each kind of API v1 lives in etcd, how it is listed, written and deleted, and its table."""

from __future__ import annotations

import json
from typing import Dict, List, Optional

from . import nets
from . import v1_stored as stored
from .decode import DecodeError
from .golang import json_text, shown
from .v1_etcd import Exists, Missing, Store, StoreError

POLICY = "/calico/v1/policy/tier/default/policy"
PROFILE = "/calico/v1/policy/profile"
HOST = "/calico/v1/host"
BGP = "/calico/bgp/v1/host"
BGP_GLOBAL = "/calico/bgp/v1/global"
POOL = "/calico/v1/ipam"

# Lower case, as on the command line.
NAMES: Dict[str, str] = {
    **dict.fromkeys(("policy", "policies", "pol", "pols"), "policy"),
    **dict.fromkeys(("hostendpoint", "hostendpoints", "hep", "heps"), "hostEndpoint"),
    **dict.fromkeys(("profile", "profiles", "pro", "pros"), "profile"),
    **dict.fromkeys(("node", "nodes", "no", "nos"), "node"),
    **dict.fromkeys(("ippool", "ippools", "ipp", "ipps", "pool", "pools"), "ipPool"),
    **dict.fromkeys(("bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"), "bgpPeer"),
    **dict.fromkeys(("workloadendpoint", "workloadendpoints", "wep", "weps"), "workloadEndpoint"),
}

_IDENTIFIERS = {
    "policy": ("Policy", ("name",)),
    "hostEndpoint": ("HostEndpoint", ("node", "name")),
    "profile": ("Profile", ("name",)),
    "node": ("Node", ("name",)),
    "ipPool": ("IPPool", ("cidr",)),
    "bgpPeer": ("BGPPeer", ("scope", "peerIP")),
    "workloadEndpoint": ("WorkloadEndpoint", ("name", "node")),
}


def escaped(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2f")


def unescaped(name: str) -> str:
    return name.replace("%2f", "/").replace("%25", "%")


def identity(resource: dict) -> str:
    """As errors print it: Policy(name=X)."""
    title, fields = _IDENTIFIERS[resource["kind"]]
    listed = ", ".join(f"{field}={resource['metadata'].get(field, '')}" for field in fields)
    return f"{title}({listed})"


def require(resource: dict) -> None:
    """StoreError if the metadata does not say which resource is meant."""
    for field in _IDENTIFIERS[resource["kind"]][1]:
        if not resource["metadata"].get(field):
            raise StoreError(f"insufficient identifiers, missing '{field}'")


def _loaded(text: Optional[str]) -> Optional[dict]:
    """A value that cannot be parsed is passed over in silence, as the real tool does (transcript 261)."""
    try:
        value = json.loads(text or "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _policies(store: Store, wanted: dict) -> List[dict]:
    out = []
    for key, text in store.below(POLICY).items():
        value = _loaded(text)
        if value is not None:
            out.append(stored.policy_from(unescaped(key[len(POLICY) + 1 :]), value))
    return out


def _endpoints(store: Store, wanted: dict) -> List[dict]:
    out = []
    for key, text in store.below(HOST).items():
        parts = key[len(HOST) + 1 :].split("/")
        value = _loaded(text)
        if len(parts) == 3 and parts[1] == "endpoint" and value is not None:
            out.append(stored.endpoint_from(parts[0], unescaped(parts[2]), value))
    return out


def _nodes(store: Store, wanted: dict) -> List[dict]:
    names = sorted({key[len(HOST) + 1 :].split("/")[0] for key in store.below(HOST)})
    network = store.below(BGP) if names else {}
    out = []
    for name in names:
        bgp = {}
        for version in ("4", "6"):
            address = network.get(f"{BGP}/{name}/ip_addr_v{version}")
            subnet = network.get(f"{BGP}/{name}/network_v{version}") or ""
            if address:
                bgp[f"ipv{version}Address"] = f"{address}/{subnet.partition('/')[2]}" if subnet else address
        number = network.get(f"{BGP}/{name}/as_num")
        if number:
            bgp = {"asNumber": int(number), **bgp}
        out.append(stored.resource("node", {"name": name}, {"bgp": bgp} if bgp else {}))
    return out


def _profiles(store: Store, wanted: dict) -> List[dict]:
    keys = store.below(PROFILE)
    out = []
    for name in sorted({key[len(PROFILE) + 1 :].split("/")[0] for key in keys}):
        rules = _loaded(keys.get(f"{PROFILE}/{name}/rules")) or {}
        metadata = {"name": unescaped(name)}
        tags = json.loads(keys.get(f"{PROFILE}/{name}/tags") or "[]")
        labels = _loaded(keys.get(f"{PROFILE}/{name}/labels"))
        metadata.update({"tags": tags} if tags else {}, **({"labels": labels} if labels else {}))
        spec = {}
        for key, field in (("inbound_rules", "ingress"), ("outbound_rules", "egress")):
            if rules.get(key):
                spec[field] = [stored.rule_from(rule) for rule in rules[key]]
        out.append(stored.resource("profile", metadata, spec))
    return out


def _pools(store: Store, wanted: dict) -> List[dict]:
    out = []
    for version in ("v4", "v6"):
        for text in store.below(f"{POOL}/{version}/pool").values():
            value = _loaded(text)
            if value is None:
                continue
            spec = {}
            if value.get("ipip"):
                spec["ipip"] = {"enabled": True, "mode": value.get("ipip_mode") or "always"}
            if value.get("masquerade"):
                spec["nat-outgoing"] = True
            if value.get("disabled"):
                spec["disabled"] = True
            out.append(stored.resource("ipPool", {"cidr": value.get("cidr", "")}, spec))
    return out


def _peers(store: Store, wanted: dict) -> List[dict]:
    out = []
    for key, text in {**store.below(BGP_GLOBAL), **store.below(BGP)}.items():
        parts = key.split("/")
        value = _loaded(text)
        if value is None or not parts[-2].startswith("peer_v"):
            continue
        metadata = {"scope": "global"} if "/global/" in key else {"scope": "node", "node": parts[-3]}
        metadata["peerIP"] = value.get("ip", "")
        spec = {"asNumber": int(value["as_num"])} if value.get("as_num") else {}
        out.append(stored.resource("bgpPeer", metadata, spec))
    return out


_LISTERS = {
    "policy": _policies,
    "hostEndpoint": _endpoints,
    "node": _nodes,
    "profile": _profiles,
    "ipPool": _pools,
    "bgpPeer": _peers,
    "workloadEndpoint": lambda store, wanted: [],
}


def listed(store: Store, kind: str, wanted: dict) -> List[dict]:
    """The resources of a kind whose metadata is as wanted; what is not named is not compared."""
    filters = {key: value for key, value in wanted.items() if value and isinstance(value, str)}
    return [
        item
        for item in _LISTERS[kind](store, filters)
        if all(item["metadata"].get(key, "") == value for key, value in filters.items())
    ]


def _keys(resource: dict) -> Dict[str, str]:
    """The keys and values of a resource; the first is the one whose presence says whether it exists."""
    kind, metadata, spec = resource["kind"], resource["metadata"], resource["spec"]
    name = escaped(metadata.get("name", ""))
    if kind == "policy":
        return {f"{POLICY}/{name}": json_text(stored.policy_to(resource))}
    if kind == "hostEndpoint":
        return {f"{HOST}/{metadata['node']}/endpoint/{name}": json_text(stored.endpoint_to(resource))}
    if kind == "node":
        return _node_keys(name, spec)
    if kind == "profile":
        rules = {}
        for key, field in (("inbound_rules", "ingress"), ("outbound_rules", "egress")):
            if spec.get(field):
                rules[key] = [stored.rule_to(rule) for rule in spec[field]]
        return {
            f"{PROFILE}/{name}/rules": json_text(rules),
            f"{PROFILE}/{name}/tags": json_text(metadata.get("tags", [])),
            f"{PROFILE}/{name}/labels": json_text(metadata.get("labels", {})),
        }
    if kind == "ipPool":
        return _pool_keys(metadata["cidr"], spec)
    if kind == "bgpPeer":
        version = "6" if ":" in metadata["peerIP"] else "4"
        folder = BGP_GLOBAL if metadata["scope"] == "global" else f"{BGP}/{metadata.get('node', '')}"
        value = {"ip": metadata["peerIP"], "as_num": str(spec.get("asNumber", ""))}
        return {f"{folder}/peer_v{version}/{metadata['peerIP']}": json_text(value)}
    raise StoreError(f"operation is not supported on {kind}")


def _node_keys(name: str, spec: dict) -> Dict[str, str]:
    out = {f"{HOST}/{name}/metadata": "{}"}
    bgp = spec.get("bgp", {})
    for version in ("4", "6"):
        given = bgp.get(f"ipv{version}Address")
        found = nets.network(given) if given else None
        if found is None:
            if bgp:
                out[f"{BGP}/{name}/ip_addr_v{version}"] = ""
            continue
        address = nets.spelled(found[0])
        if version == "4":
            out[f"{HOST}/{name}/bird_ip"] = address
        out[f"{BGP}/{name}/ip_addr_v{version}"] = address
        out[f"{BGP}/{name}/network_v{version}"] = nets.cidr(nets.masked(*found), found[1])
    if bgp.get("asNumber"):
        out[f"{BGP}/{name}/as_num"] = str(bgp["asNumber"])
    return out


def _pool_keys(cidr: str, spec: dict) -> Dict[str, str]:
    found = nets.network(cidr)
    if found is None:
        raise DecodeError(f"invalid IP address: {cidr}")
    cidr = nets.cidr(nets.masked(*found), found[1])
    ipip = spec.get("ipip", {})
    value = {
        "cidr": cidr,
        "ipip": "tunl0" if ipip.get("enabled") else "",
        "ipip_mode": (ipip.get("mode") or "always") if ipip.get("enabled") else "",
        "masquerade": bool(spec.get("nat-outgoing")),
        "ipam": not spec.get("disabled"),
        "disabled": bool(spec.get("disabled")),
    }
    version = "v6" if ":" in cidr else "v4"
    return {f"{POOL}/{version}/pool/{cidr.replace('/', '-')}": json_text(value)}


def write(store: Store, resource: dict, exists: Optional[bool]) -> None:
    """Set (`exists` None), create (False) or replace (True); StoreError with the tool's text."""
    require(resource)
    keys = list(_keys(resource).items())
    try:
        store.put(*keys[0], exists=exists)
    except Exists:
        raise AlreadyThere(f"resource already exists: {identity(resource)}") from None
    except Missing:
        raise NotThere(f"resource does not exist: {identity(resource)}") from None
    for key, value in keys[1:]:
        store.put(key, value)
    if resource["kind"] == "node":
        _initialise(store)


def _initialise(store: Store) -> None:
    """Only a node makes the datastore ready (measured)."""
    import uuid

    for key, value in (("/calico/v1/config/ClusterGUID", uuid.uuid4().hex), ("/calico/v1/Ready", "true")):
        try:
            store.put(key, value, exists=False)
        except Exists:
            continue


def delete(store: Store, resource: dict) -> None:
    require(resource)
    first = next(iter(_keys(resource)))
    try:
        if resource["kind"] == "node":
            store.delete(f"{HOST}/{resource['metadata']['name']}", recursive=True)
            # The directory of the keys stays behind (transcript 059).
            for key in store.below(f"{BGP}/{resource['metadata']['name']}"):
                store.delete(key)
        elif resource["kind"] == "profile":
            store.delete(first.rpartition("/")[0], recursive=True)
        else:
            store.delete(first)
    except Missing:
        raise NotThere(f"resource does not exist: {identity(resource)}") from None


class AlreadyThere(StoreError):
    """What --skip-exists passes over."""


class NotThere(StoreError):
    """What --skip-not-exists passes over."""


def _joined(values) -> str:
    return ",".join(values or ())


def cells(resource: dict, heading: str) -> str:
    """What a table shows of a resource below a heading."""
    metadata, spec = resource["metadata"], resource["spec"]
    bgp = spec.get("bgp", {})
    return {
        "NAME": lambda: metadata.get("name", ""),
        "NODE": lambda: metadata.get("node", ""),
        "ORDER": lambda: shown(spec.get("order")),
        "SELECTOR": lambda: spec.get("selector", ""),
        "INTERFACE": lambda: spec.get("interfaceName", ""),
        "IPS": lambda: _joined(spec.get("expectedIPs")),
        "PROFILES": lambda: _joined(spec.get("profiles")),
        "TAGS": lambda: _joined(metadata.get("tags")),
        "CIDR": lambda: metadata.get("cidr", ""),
        "NAT": lambda: shown(bool(spec.get("nat-outgoing"))),
        "IPIP": lambda: shown(bool(spec.get("ipip", {}).get("enabled"))),
        "SCOPE": lambda: metadata.get("scope", ""),
        "PEERIP": lambda: metadata.get("peerIP", ""),
        "ASN": lambda: str(
            spec.get("asNumber") or bgp.get("asNumber") or ("(64512)" if resource["kind"] == "node" else "")
        ),
        "IPV4": lambda: bgp.get("ipv4Address", ""),
        "IPV6": lambda: bgp.get("ipv6Address", ""),
        "WORKLOAD": lambda: metadata.get("workload", ""),
    }[heading]()


HEADINGS = {
    "policy": (("NAME",), ("NAME", "ORDER", "SELECTOR")),
    "hostEndpoint": (("NODE", "NAME"), ("NODE", "NAME", "INTERFACE", "IPS", "PROFILES")),
    "profile": (("NAME",), ("NAME", "TAGS")),
    "node": (("NAME",), ("NAME", "ASN", "IPV4", "IPV6")),
    "ipPool": (("CIDR",), ("CIDR", "NAT", "IPIP")),
    "bgpPeer": (("SCOPE", "PEERIP", "NODE", "ASN"), ("SCOPE", "PEERIP", "NODE", "ASN")),
    "workloadEndpoint": (("NODE", "WORKLOAD", "NAME"), ("NODE", "WORKLOAD", "NAME")),
}
