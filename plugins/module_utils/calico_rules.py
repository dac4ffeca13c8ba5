# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules and policies of both APIs: their fields, and what may not stand together in them.

Sources: libcalico-go lib/apis/v1 and v3, lib/validator/v1 and v3, lib/clientv3 (defaults), and what calicoctl 1.4.0
and 3.25.2 accept and refuse.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Dict, Iterator, List, Tuple

from .calico_schema import Flag, ListOf, MapOf, Real, Scalar, Struct, Text, Whole, Words
from .calico_values import (
    ACTIONS,
    ValueRefused,
    canonical_network,
    canonical_port,
    canonical_protocol,
    has_ports,
    read_any_network,
    read_name,
    read_network,
    read_port,
    read_protocol,
    read_selector,
    read_strict_network,
    read_tier_name,
    read_v1_name,
)

_SIDES = ("source", "destination")
_NETS = ("nets", "notNets")
_PORTS = ("ports", "notPorts")
_ICMP = {"v1": ("icmp", "icmpv6"), "v3": ("ICMP", "ICMPv6")}

SELECTOR = {api: Text(partial(read_selector, api=api)) for api in ("v1", "v3")}
_PORT_LIST = {api: ListOf(Scalar(partial(read_port, api=api), canonical_port)) for api in ("v1", "v3")}
_PROTOCOL = {api: Scalar(partial(read_protocol, api=api), canonical_protocol) for api in ("v1", "v3")}
_ANY_NET = Text(read_any_network, canonical_network)
_STRICT_NET = Text(read_strict_network, canonical_network)

_ENTITY_NAMES = ("nets", "notNets", "selector", "notSelector", "ports", "notPorts")
_MISPLACED = dict.fromkeys((*_ENTITY_NAMES, "net", "notNet"), "it belongs under source or destination")


def _check_rule(rule: Dict[str, Any], api: str) -> None:
    if "action" not in rule:
        raise ValueRefused(f"is missing; allowed are {', '.join(ACTIONS[api])}", "action")
    protocol = rule.get("protocol")
    if not has_ports(protocol, api):
        for side in _SIDES:
            entity = rule.get(side)
            if entity:
                for name in _PORTS:
                    if entity.get(name):
                        _refuse_ports(entity[name], protocol, api, side, name)
    _check_versions(rule, protocol, api)


def _refuse_ports(ports: List[Any], protocol: Any, api: str, side: str, name: str) -> None:
    allowed = "tcp or udp" if api == "v1" else "TCP, UDP or SCTP"
    has = "the rule has no protocol" if protocol is None else f"protocol {protocol} has no ports"
    raise ValueRefused(f"{ports} needs protocol {allowed}; {has}", side, name)


def _nets_of(rule: Dict[str, Any]) -> Iterator[Tuple[str, str, str]]:
    for side in _SIDES:
        entity = rule.get(side)
        if entity:
            for name in (*_NETS, "net", "notNet"):
                found = entity.get(name)
                if found:
                    for net in [found] if isinstance(found, str) else found:
                        yield side, name, net


def _check_versions(rule: Dict[str, Any], protocol: Any, api: str) -> None:
    """One IP version a rule, and the one that its ICMP has."""
    version = rule.get("ipVersion")
    seen = 0
    for side, name, net in _nets_of(rule):
        found = read_network(net)[1]
        if version is not None and found != version:
            raise ValueRefused(f"{net} is IPv{found}, but the rule's ipVersion is {version}", side, name)
        if seen and found != seen:
            raise ValueRefused(
                f"{net} is IPv{found}, but the rule has IPv{seen} networks too; make two rules", side, name
            )
        seen = found
    if api == "v1":
        return
    for field in ("protocol", "notProtocol"):
        for name, needed in zip(_ICMP[api], (4, 6)):
            if rule.get(field) == name and version is not None and version != needed:
                raise ValueRefused(f"is {version}, but {field} {name} needs {needed}", "ipVersion")
    if rule.get("icmp") is not None and protocol not in (*_ICMP[api], 1, 58):
        raise ValueRefused("needs protocol ICMP or ICMPv6", "icmp")


def _check_icmp(icmp: Dict[str, Any]) -> None:
    if "code" in icmp and "type" not in icmp:
        raise ValueRefused(f"{icmp['code']} needs a type beside it", "code")


def _check_v1_rule(rule: Dict[str, Any]) -> None:
    _check_rule(rule, "v1")
    names = [(side, name) for side in _SIDES for name in rule.get(side, ()) if name in ("net", "notNet")]
    if names:
        for side in _SIDES:
            for name in _NETS:
                if rule.get(side, {}).get(name):
                    raise ValueRefused(
                        f"net and nets cannot stand in one rule (here {names[0][0]}.{names[0][1]}); write nets",
                        side,
                        name,
                    )


def _check_v3_rule(rule: Dict[str, Any]) -> None:
    _check_rule(rule, "v3")
    http = rule.get("http")
    if http is not None:
        if rule.get("protocol") not in (None, "TCP", 6):
            raise ValueRefused(f"needs protocol TCP or none, not {rule['protocol']}", "http")
        if rule["action"] != "Allow":
            raise ValueRefused(f"needs action Allow, not {rule['action']}", "http")
    destination = rule.get("destination")
    if destination and "services" in destination:
        for name in _PORTS:
            if destination.get(name):
                raise ValueRefused("services bring their own ports; leave it out", "destination", name)


def _check_entity(entity: Dict[str, Any]) -> None:
    if "global(" in entity.get("selector", ""):
        raise ValueRefused("global() is allowed in namespaceSelector only", "selector")
    space = entity.get("namespaceSelector", "")
    if "global(" in space and space.replace(" ", "") != "global()":
        raise ValueRefused("global() cannot be combined with anything", "namespaceSelector")
    services = entity.get("services")
    if services is None:
        return
    if not services.get("name"):
        raise ValueRefused("is missing", "services", "name")
    for name in ("namespaceSelector", "selector", "notSelector", "serviceAccounts", "nets", "notNets"):
        if entity.get(name):
            raise ValueRefused("cannot stand beside services", name)


def _check_http(http: Dict[str, Any]) -> None:
    methods = http.get("methods", ())
    if len(set(methods)) != len(methods):
        raise ValueRefused(f"{methods} names one twice", "methods")


def _check_path(path: Dict[str, Any]) -> None:
    given = [name for name in ("exact", "prefix") if path.get(name)]
    if len(given) != 1:
        raise ValueRefused("exactly one of exact and prefix is needed")
    text = path[given[0]]
    if not text.startswith("/") or any(mark in text for mark in "? #"):
        raise ValueRefused(f"{text!r} does not start with / or holds a blank, ? or #", given[0])


def _settle_v1_entity(entity: Dict[str, Any]) -> None:
    """The datastore keeps one network as a list of one."""
    for one, many in (("net", "nets"), ("notNet", "notNets")):
        if one in entity:
            entity[many] = sorted({*entity.get(many, ()), entity.pop(one)})


def _read_ip_version(value: Any) -> Any:
    if value not in (4, 6):
        raise ValueRefused(f"{value!r} is neither 4 nor 6")
    return value


_IP_VERSION = Scalar(_read_ip_version, lambda value: value)
_ICMP_FIELDS = Struct({"type": Whole(0, 254), "code": Whole(0, 255)}, check=_check_icmp)

_V1_ENTITY = Struct(
    {
        "tag": Text(read_v1_name),
        "notTag": Text(read_v1_name),
        "net": _ANY_NET,
        "notNet": _ANY_NET,
        "nets": ListOf(_ANY_NET),
        "notNets": ListOf(_ANY_NET),
        "selector": SELECTOR["v1"],
        "notSelector": SELECTOR["v1"],
        "ports": _PORT_LIST["v1"],
        "notPorts": _PORT_LIST["v1"],
    },
    settle=_settle_v1_entity,
    hints={
        "namespaceSelector": "API v1 has no namespaces; select by a label of the pods' profile",
        "serviceAccounts": "API v1 knows no service accounts",
        "services": "API v1 knows no services; write nets and ports",
    },
)
V1_RULE = Struct(
    {
        "action": Words(ACTIONS["v1"], required=True),
        "ipVersion": _IP_VERSION,
        "protocol": _PROTOCOL["v1"],
        "notProtocol": _PROTOCOL["v1"],
        "icmp": _ICMP_FIELDS,
        "notICMP": _ICMP_FIELDS,
        "source": _V1_ENTITY,
        "destination": _V1_ENTITY,
    },
    check=_check_v1_rule,
    hints={**_MISPLACED, "http": "API v1 knows no HTTP matches"},
)

_V3_ENTITY = Struct(
    {
        "nets": ListOf(_STRICT_NET),
        "notNets": ListOf(_STRICT_NET),
        "selector": SELECTOR["v3"],
        "notSelector": SELECTOR["v3"],
        "namespaceSelector": SELECTOR["v3"],
        "ports": _PORT_LIST["v3"],
        "notPorts": _PORT_LIST["v3"],
        "services": Struct({"name": Text(read_name), "namespace": Text(read_name)}),
        "serviceAccounts": Struct({"names": ListOf(Text()), "selector": SELECTOR["v3"]}, kept=True),
    },
    check=_check_entity,
    hints={
        "net": "API v3 has lists only: write nets: [...]",
        "notNet": "API v3 has lists only: write notNets: [...]",
        "tag": "API v3 has no tags; write a selector",
        "notTag": "API v3 has no tags; write a notSelector",
        "domains": "names are matched by Calico Enterprise only; write nets",
    },
)
_HTTP_PATH = Struct({"exact": Text(), "prefix": Text()}, check=_check_path)
V3_RULE = Struct(
    {
        "action": Words(ACTIONS["v3"], required=True),
        "ipVersion": _IP_VERSION,
        "protocol": _PROTOCOL["v3"],
        "notProtocol": _PROTOCOL["v3"],
        "icmp": _ICMP_FIELDS,
        "notICMP": _ICMP_FIELDS,
        "source": _V3_ENTITY,
        "destination": _V3_ENTITY,
        "http": Struct({"methods": ListOf(Text()), "paths": ListOf(_HTTP_PATH)}, check=_check_http, kept=True),
        "metadata": Struct({"annotations": MapOf()}),
    },
    check=_check_v3_rule,
    hints=_MISPLACED,
)


def _check_v1_policy(spec: Dict[str, Any]) -> None:
    if spec.get("preDNAT") and spec.get("doNotTrack"):
        raise ValueRefused("cannot stand beside doNotTrack; make two policies", "preDNAT")
    if spec.get("preDNAT") and spec.get("egress"):
        raise ValueRefused("a preDNAT policy has ingress rules only; put these into a policy without preDNAT", "egress")


def _check_namespaced(spec: Dict[str, Any]) -> None:
    types = spec.get("types", ())
    if len(set(types)) != len(types):
        raise ValueRefused(f"{types} names one twice", "types")
    for direction, side in (("egress", "source"), ("ingress", "destination")):
        for place, rule in enumerate(spec.get(direction, ())):
            if "services" in rule.get(side, ()):
                raise ValueRefused(
                    f"is not allowed in the {side} of an {direction} rule", direction, place, side, "services"
                )
            if direction == "egress" and "http" in rule:
                raise ValueRefused("is allowed in ingress rules only", direction, place, "http")
    for name in ("selector", "serviceAccountSelector", "namespaceSelector"):
        if "global()" in spec.get(name, ""):
            raise ValueRefused("global() is allowed in the namespaceSelector of a rule only", name)


def _check_global(spec: Dict[str, Any]) -> None:
    _check_v1_policy(spec)
    if spec.get("preDNAT") and "Egress" in spec.get("types", ()):
        raise ValueRefused("a preDNAT policy cannot have type Egress; write [Ingress]", "types")
    for name in ("preDNAT", "doNotTrack"):
        if spec.get(name) and not spec.get("applyOnForward"):
            raise ValueRefused(f"needs applyOnForward: true beside it in API v3; write it next to {name}", name)
    _check_namespaced(spec)
    for direction, side in (("egress", "destination"), ("ingress", "source")):
        for place, rule in enumerate(spec.get(direction, ())):
            services = rule.get(side, {}).get("services")
            if services is not None and not services.get("namespace"):
                raise ValueRefused(
                    "is missing; a global policy belongs to no namespace",
                    direction,
                    place,
                    side,
                    "services",
                    "namespace",
                )


def default_types(spec: Dict[str, Any]) -> List[str]:
    """The directions that Calico writes into a policy which names none (libcalico-go lib/clientv3)."""
    if not spec.get("egress"):
        return ["Ingress"]
    return ["Egress", "Ingress"] if spec.get("ingress") else ["Egress"]


def _settle_policy(spec: Dict[str, Any]) -> None:
    if "types" not in spec:
        spec["types"] = default_types(spec)


_POLICY_FLAGS = {"preDNAT": Flag(), "doNotTrack": Flag()}
_V3_NAMESPACED: Dict[str, Any] = {
    "tier": Text(read_tier_name, default="default"),
    "order": Real(),
    "ingress": ListOf(V3_RULE, ordered=True),
    "egress": ListOf(V3_RULE, ordered=True),
    "selector": SELECTOR["v3"],
    "types": ListOf(Words(("Ingress", "Egress"), required=True)),
    "serviceAccountSelector": SELECTOR["v3"],
    "performanceHints": ListOf(Words(("AssumeNeededOnEveryNode",), required=True)),
}
_V3_GLOBAL = {**_V3_NAMESPACED, **_POLICY_FLAGS, "applyOnForward": Flag(), "namespaceSelector": SELECTOR["v3"]}
_STAGED = {"stagedAction": Words(("Set", "Delete", "Learn", "Ignore"), default="Set")}
_GLOBAL_ONLY = dict.fromkeys(
    ("preDNAT", "doNotTrack", "applyOnForward", "namespaceSelector"), "it is a field of GlobalNetworkPolicy"
)

V1_POLICY = Struct(
    {
        "order": Real(),
        "ingress": ListOf(V1_RULE, ordered=True),
        "egress": ListOf(V1_RULE, ordered=True),
        "selector": SELECTOR["v1"],
        **_POLICY_FLAGS,
    },
    check=_check_v1_policy,
    hints={
        "types": "calicoctl 1.x refuses types; leave it out",
        "applyOnForward": "calicoctl 1.x refuses it; preDNAT and doNotTrack work on forwarded traffic anyway",
        "tier": "API v1 has one tier only",
        "namespaceSelector": "API v1 has no namespaces",
        "serviceAccountSelector": "API v1 knows no service accounts",
    },
)
V3_GLOBAL_POLICY = Struct(_V3_GLOBAL, check=_check_global, settle=_settle_policy, kept=True)
V3_POLICY = Struct(_V3_NAMESPACED, check=_check_namespaced, settle=_settle_policy, kept=True, hints=_GLOBAL_ONLY)
V3_STAGED_GLOBAL = Struct({**_V3_GLOBAL, **_STAGED}, check=_check_global, settle=_settle_policy, kept=True)
V3_STAGED = Struct(
    {**_V3_NAMESPACED, **_STAGED}, check=_check_namespaced, settle=_settle_policy, kept=True, hints=_GLOBAL_ONLY
)
