# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resources of API v1 (calicoctl 1.x): their fields, what is refused, and what etcd holds of them.

Source: the transcripts in tests/data/calicoctl, and the resource reference of Calico 2.x.
"""

from __future__ import annotations

import re

from . import nets, selector
from .decode import DecodeError, Flag, Float, Int, Labels, Many, Port, Protocol, Raw, Struct, Text
from .golang import shown

_NAME = re.compile(r"[a-zA-Z0-9_./-]+\Z")
_INTERFACE = re.compile(r"[a-zA-Z0-9_-]{1,15}\Z")
_LABEL = re.compile(r"[a-zA-Z0-9_./-]{1,512}\Z")
_ACTIONS = ("allow", "deny", "log", "pass")
_PROTOCOLS = ("tcp", "udp", "icmp", "icmpv6", "sctp", "udplite")


class Net:
    """A network; host bits are kept, an address alone gets its full length."""

    empty = ()

    def decode(self, value, where: str):
        found = nets.network(value) if isinstance(value, str) else None
        if found is None:
            raise DecodeError(f"invalid IP address: {value}")
        return nets.cidr(*found)


class Address:
    empty = ()

    def decode(self, value, where: str):
        found = nets.packed(value) if isinstance(value, str) else None
        if found is None:
            raise DecodeError(f"invalid IP address: {value}")
        return nets.spelled(found)


_PORTS = Many(Port(named=False))
_ENTITY = Struct(
    "EntityRule",
    ("tag", Text()),
    ("net", Net()),
    ("nets", Many(Net())),
    ("selector", Text()),
    ("ports", _PORTS),
    ("notTag", Text()),
    ("notNet", Net()),
    ("notNets", Many(Net())),
    ("notSelector", Text()),
    ("notPorts", _PORTS),
)
_ICMP = Struct("ICMPFields", ("type", Int(-(2**31), 2**31 - 1, "int")), ("code", Int(-(2**31), 2**31 - 1, "int")))
RULE = Struct(
    "Rule",
    ("action", Text()),
    ("ipVersion", Int(-(2**31), 2**31 - 1, "int")),
    ("protocol", Protocol()),
    ("icmp", _ICMP),
    ("notProtocol", Protocol()),
    ("notICMP", _ICMP),
    ("source", _ENTITY, {}),
    ("destination", _ENTITY, {}),
)
_RULES = Many(RULE)
_NAMED = Struct("Metadata", ("name", Text()))

KINDS = {
    "policy": (
        Struct("PolicyMetadata", ("name", Text()), ("annotations", Labels())),
        Struct(
            "PolicySpec",
            ("order", Float()),
            ("ingress", _RULES),
            ("egress", _RULES),
            ("selector", Text(), ""),
            ("doNotTrack", Flag()),
            ("preDNAT", Flag()),
        ),
    ),
    "hostEndpoint": (
        Struct("HostEndpointMetadata", ("name", Text()), ("node", Text()), ("labels", Labels())),
        Struct(
            "HostEndpointSpec",
            ("interfaceName", Text()),
            ("expectedIPs", Many(Address())),
            ("profiles", Many(Text())),
        ),
    ),
    "profile": (
        Struct("ProfileMetadata", ("name", Text()), ("tags", Many(Text())), ("labels", Labels())),
        Struct("ProfileSpec", ("ingress", _RULES), ("egress", _RULES)),
    ),
    "node": (
        _NAMED,
        Struct(
            "NodeSpec",
            ("orchRefs", Raw()),
            (
                "bgp",
                Struct("NodeBGPSpec", ("asNumber", Raw()), ("ipv4Address", Net()), ("ipv6Address", Net())),
            ),
        ),
    ),
    "ipPool": (
        Struct("IPPoolMetadata", ("cidr", Net())),
        Struct(
            "IPPoolSpec",
            ("ipip", Struct("IPIPConfiguration", ("enabled", Flag()), ("mode", Text()))),
            ("nat-outgoing", Flag()),
            ("disabled", Flag()),
        ),
    ),
    "bgpPeer": (
        Struct("BGPPeerMetadata", ("scope", Text()), ("node", Text()), ("peerIP", Address())),
        Struct("BGPPeerSpec", ("asNumber", Raw())),
    ),
    "workloadEndpoint": (Struct("WorkloadEndpointMetadata", *((n, Raw()) for n in ("name", "node", "labels"))), Raw()),
}


def read(document) -> dict:
    """A resource in the tool's own form; DecodeError with the text that follows `Failed to execute command: `."""
    if not isinstance(document, dict):
        document = {}
    kind, version = document.get("kind") or "", document.get("apiVersion") or ""
    if version == "v1" and kind in (f"{k}List" for k in KINDS):
        return {"kind": kind}
    if version != "v1" or kind not in KINDS:
        raise UnknownKind(f"Unknown resource type ({kind}) and/or version ({version})")
    metadata, spec = KINDS[kind]
    top = Struct(
        "Resource", ("kind", Text()), ("apiVersion", Text()), ("metadata", metadata, {}), ("spec", spec, _zero(spec))
    )
    return top.decode(document, "")


class UnknownKind(Exception):
    """The text as it follows `Failed to execute command: `."""


def _zero(spec) -> dict:
    return spec.decode({}, "") if isinstance(spec, Struct) else {}


def _go_entity(entity: dict) -> str:
    def many(name: str) -> str:
        return "[" + " ".join(str(item) for item in entity.get(name, ())) + "]"

    def one(name: str) -> str:
        return entity.get(name, "")

    return (
        f"{{{one('tag')} {entity.get('net', '<nil>')} {many('nets')} {one('selector')} {many('ports')} {one('notTag')} "
        f"{entity.get('notNet', '<nil>')} {many('notNets')} {one('notSelector')} {many('notPorts')}}}"
    )


def _go_rule(rule: dict) -> str:
    fields = [shown(rule.get(name)) for name in ("ipVersion", "protocol", "icmp", "notProtocol", "notICMP")]
    sides = f"{_go_entity(rule['source'])} {_go_entity(rule['destination'])}"
    return f"{{{rule.get('action', '')} {' '.join(fields)} {sides}}}"


def _list(values) -> str:
    return "[" + " ".join(str(value) for value in values) + "]"


def _rule_errors(rule: dict):
    if rule.get("action", "") not in _ACTIONS:
        yield "action", rule.get("action", ""), ""
    if rule.get("ipVersion", 4) not in (4, 6):
        yield "ipversion", rule["ipVersion"], ""
    for name in ("protocol", "notProtocol"):
        protocol = rule.get(name)
        if isinstance(protocol, str) and protocol not in _PROTOCOLS:
            yield "Protocol", protocol, "protocol name invalid"
        elif protocol == 0:
            yield "Protocol", 0, "protocol number invalid"
    for name in ("icmp", "notICMP"):
        icmp = rule.get(name, {})
        if "type" in icmp and not 0 <= icmp["type"] <= 254:
            yield "type", icmp["type"], ""
        if "code" in icmp and not 0 <= icmp["code"] <= 255:
            yield "code", icmp["code"], ""
        if "code" in icmp and "type" not in icmp:
            yield "Code", icmp["code"], "ICMP code specified without an ICMP type"
    for name in ("source", "destination"):
        yield from _entity_errors(rule[name])
    if rule.get("protocol") not in ("tcp", "udp", 6, 17):
        for side in ("source", "destination"):
            for name, field in (("ports", "Ports"), ("notPorts", "NotPorts")):
                if rule[side].get(name):
                    where = f"{side.capitalize()}.{field}"
                    yield where, _list(rule[side][name]), "protocol does not support ports"
    yield from _net_errors(rule)


def _entity_errors(entity: dict):
    for name in ("selector", "notSelector"):
        if not selector.valid(entity.get(name, ""), modern=False):
            yield "selector", entity[name], ""
    for port in entity.get("ports", []) + entity.get("notPorts", []):
        if str(port).partition(":")[0] == "0":
            yield "Port", port, "port range invalid, port number must be between 0 and 65536"


def _net_errors(rule: dict):
    single = any(rule[side].get(name) for side in ("source", "destination") for name in ("net", "notNet"))
    many = [n for s in ("source", "destination") for name in ("nets", "notNets") for n in rule[s].get(name, ())]
    if single and many:
        yield "Source/Destination.Net/Nets", _list(many), "only one of Net and Nets fields allowed"
    seen = set()
    for side in ("source", "destination"):
        for name in ("net", "nets", "notNet", "notNets"):
            value = rule[side].get(name, ())
            value = [value] if isinstance(value, str) else value
            seen |= {":" in item for item in value}
            if len(seen) > 1:
                yield "Source/Destination.Net/Nets", _list(value), "rule contains both IPv4 and IPv6 CIDRs"
                return


def errors(resource: dict) -> list:
    """(field, value, reason or nothing) of everything refused."""
    kind, metadata, spec = resource["kind"], resource["metadata"], resource["spec"]
    found = []
    name = metadata.get("name", "")
    if name and not _NAME.match(name):
        found.append(("name", name, ""))
    labels = metadata.get("labels", {})
    if isinstance(labels, dict) and not all(_LABEL.match(key) for key in labels):
        found.append(("labels", "map[" + " ".join(f"{k}:{v}" for k, v in labels.items()) + "]", ""))
    for rules in ("ingress", "egress"):
        for rule in spec.get(rules, ()):
            found.extend(_rule_errors(rule))
    if kind == "policy":
        found.extend(_policy_errors(spec))
    if kind == "hostEndpoint":
        interface = spec.get("interfaceName", "")
        if interface and not _INTERFACE.match(interface):
            found.append(("interfaceName", interface, ""))
        if not interface and not spec.get("expectedIPs"):
            found.append(("InterfaceName", "", "no interface or expected IPs have been specified"))
    return found


def _policy_errors(spec: dict):
    if not selector.valid(spec["selector"], modern=False):
        yield "selector", spec["selector"], ""
    if spec.get("doNotTrack") and spec.get("preDNAT"):
        yield "PolicySpec.PreDNAT", "true", "PreDNAT and DoNotTrack cannot both be true, for a given PolicySpec"
    if spec.get("preDNAT") and spec.get("egress"):
        rules = "[" + " ".join(_go_rule(rule) for rule in spec["egress"]) + "]"
        yield "PolicySpec.EgressRules", rules, "PreDNAT PolicySpec cannot have any EgressRules"


def error_text(found: list) -> str:
    def one(field, value, reason) -> str:
        return f"{field} = '{value}'" + (f" ({reason})" if reason else "")

    if len(found) == 1:
        return "error with field " + one(*found[0])
    return "error with the following fields:\n" + "".join(f"-  {one(*item)}\n" for item in found)
