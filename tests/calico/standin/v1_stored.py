# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What etcd holds of a rule, a policy or a host endpoint of API v1, and back."""

from __future__ import annotations

from . import nets
from .decode import DecodeError
from .v1_model import KINDS

_ICMP = (("icmp_type", "type"), ("icmp_code", "code"))
# In the order of the stored structure: the key, the side, the field.
_ENTITY = (
    ("src_tag", "source", "tag"),
    ("src_net", "source", "net"),
    ("src_nets", "source", "nets"),
    ("src_selector", "source", "selector"),
    ("src_ports", "source", "ports"),
    ("dst_tag", "destination", "tag"),
    ("dst_selector", "destination", "selector"),
    ("dst_net", "destination", "net"),
    ("dst_nets", "destination", "nets"),
    ("dst_ports", "destination", "ports"),
    ("!src_tag", "source", "notTag"),
    ("!src_net", "source", "notNet"),
    ("!src_nets", "source", "notNets"),
    ("!src_selector", "source", "notSelector"),
    ("!src_ports", "source", "notPorts"),
    ("!dst_tag", "destination", "notTag"),
    ("!dst_selector", "destination", "notSelector"),
    ("!dst_net", "destination", "notNet"),
    ("!dst_nets", "destination", "notNets"),
    ("!dst_ports", "destination", "notPorts"),
)
_ENTITY_ORDER = ("tag", "nets", "selector", "ports", "notTag", "notNets", "notSelector", "notPorts")


def _masked(text: str) -> str:
    found = nets.network(text)
    if found is None:
        raise DecodeError(f"invalid IP address: {text}")
    return nets.cidr(nets.masked(*found), found[1])


def rule_to(rule: dict) -> dict:
    """Only the destination's host bits are dropped: measured (transcript 250)."""
    out = {"action": "next-tier" if rule.get("action") == "pass" else rule.get("action", "")}
    if "ipVersion" in rule:
        out["ip_version"] = rule["ipVersion"]
    for prefix, protocol, icmp in (("", "protocol", "icmp"), ("!", "notProtocol", "notICMP")):
        if protocol in rule:
            out[prefix + "protocol"] = rule[protocol]
        for stored, field in _ICMP:
            if field in rule.get(icmp, {}):
                out[prefix + stored] = rule[icmp][field]
    for stored, side, field in _ENTITY:
        value = rule[side].get(field)
        if value is None:
            continue
        if side == "destination" and field.lower().endswith("net"):
            value = _masked(value)
        elif side == "destination" and field.lower().endswith("nets"):
            value = [_masked(item) for item in value]
        out[stored] = value
    return out


def rule_from(stored: dict) -> dict:
    out = {}
    action = stored.get("action", "")
    if action:
        out["action"] = "pass" if action == "next-tier" else action
    if "ip_version" in stored:
        out["ipVersion"] = stored["ip_version"]
    for prefix, protocol, icmp in (("", "protocol", "icmp"), ("!", "notProtocol", "notICMP")):
        if prefix + "protocol" in stored:
            out[protocol] = stored[prefix + "protocol"]
        fields = {field: stored[prefix + key] for key, field in _ICMP if prefix + key in stored}
        if fields:
            out[icmp] = fields
    for side in ("source", "destination"):
        gathered = {}
        for key, where, field in _ENTITY:
            if where != side or stored.get(key) in (None, "", []):
                continue
            if field in ("net", "notNet"):
                gathered.setdefault(field + "s", []).append(stored[key])
            elif field in ("nets", "notNets"):
                gathered[field] = stored[key] + gathered.get(field, [])
            else:
                gathered[field] = stored[key]
        out[side] = {field: gathered[field] for field in _ENTITY_ORDER if field in gathered}
    return out


def policy_to(resource: dict) -> dict:
    spec, metadata = resource["spec"], resource["metadata"]
    out = {}
    if "order" in spec:
        out["order"] = spec["order"]
    for stored, field in (("inbound_rules", "ingress"), ("outbound_rules", "egress")):
        if spec.get(field):
            out[stored] = [rule_to(rule) for rule in spec[field]]
    out["selector"] = spec["selector"]
    if spec.get("doNotTrack"):
        out["untracked"] = True
    if metadata.get("annotations"):
        out["annotations"] = metadata["annotations"]
    if spec.get("preDNAT"):
        out["pre_dnat"] = True
    return out


def policy_from(name: str, stored: dict) -> dict:
    metadata = {"name": name}
    if stored.get("annotations"):
        metadata["annotations"] = {key: stored["annotations"][key] for key in sorted(stored["annotations"])}
    spec = {}
    if stored.get("order") is not None:
        spec["order"] = stored["order"]
    for key, field in (("inbound_rules", "ingress"), ("outbound_rules", "egress")):
        if stored.get(key):
            spec[field] = [rule_from(rule) for rule in stored[key]]
    spec["selector"] = stored.get("selector", "")
    if stored.get("untracked"):
        spec["doNotTrack"] = True
    if stored.get("pre_dnat"):
        spec["preDNAT"] = True
    return _resource("policy", metadata, spec)


def endpoint_to(resource: dict) -> dict:
    spec, metadata = resource["spec"], resource["metadata"]
    out = {}
    if spec.get("interfaceName"):
        out["name"] = spec["interfaceName"]
    addresses = spec.get("expectedIPs", [])
    for key, colon in (("expected_ipv4_addrs", False), ("expected_ipv6_addrs", True)):
        wanted = [address for address in addresses if (":" in address) == colon]
        if wanted:
            out[key] = wanted
    if metadata.get("labels"):
        out["labels"] = metadata["labels"]
    if spec.get("profiles"):
        out["profile_ids"] = spec["profiles"]
    return out


def endpoint_from(node: str, name: str, stored: dict) -> dict:
    metadata = {"name": name, "node": node}
    if stored.get("labels"):
        metadata["labels"] = {key: stored["labels"][key] for key in sorted(stored["labels"])}
    spec = {}
    if stored.get("name"):
        spec["interfaceName"] = stored["name"]
    addresses = (stored.get("expected_ipv4_addrs") or []) + (stored.get("expected_ipv6_addrs") or [])
    if addresses:
        spec["expectedIPs"] = addresses
    if stored.get("profile_ids"):
        spec["profiles"] = stored["profile_ids"]
    return _resource("hostEndpoint", metadata, spec)


def _resource(kind: str, metadata: dict, spec: dict) -> dict:
    assert kind in KINDS
    return {"kind": kind, "apiVersion": "v1", "metadata": metadata, "spec": spec}


resource = _resource
