# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From documents of the API v3 to policies that a packet can be held against. Pure.

Every selector of a rule is resolved to the addresses that it stands for: those of network sets, of host endpoints
(`expectedIPs`) and of workload endpoints among the documents, as Felix's calculation graph does.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from .calico_addresses import AddressSet, NamedPort, PortSet, merge_spans
from .calico_policy import (
    ACTIONS,
    ALLOW,
    ALLOW_ALL_PROFILE,
    DEFAULT_TIER,
    DENY,
    EGRESS,
    INGRESS,
    NAMESPACE_LABEL,
    NORMAL,
    PASS,
    PRE_DNAT,
    UNTRACKED,
    HostEndpoint,
    Policies,
    Policy,
    PolicyError,
    PolicyRule,
    Profile,
    Side,
    Tier,
    in_namespace,
)
from .calico_selector import Selector, SelectorError, parse
from .calico_settings import SETTINGS, Settings, read_settings
from .errors import TrafficError, choices
from .traffic import Network
from .traffic_reading import parse_network, parse_protocol

# Order and default action of the tiers that exist without being written (libcalico-go, api/pkg/apis/.../tier.go).
_TIERS = {
    DEFAULT_TIER: (1_000_000.0, DENY),
    "adminnetworkpolicy": (1_000.0, PASS),
    "baselineadminnetworkpolicy": (10_000_000.0, PASS),
}
# Fields of a rule's side that only the cluster can resolve.
_UNKNOWN = ("services", "serviceAccounts")
_UDPLITE = {"udplite": "136"}


@dataclass(frozen=True)
class _Member:
    """Something with labels and addresses that selectors of rules may mean."""

    labels: Mapping[str, str]
    networks: Tuple[Network, ...]
    ports: Tuple[Tuple[str, str, int], ...] = ()


@dataclass
class _Context:
    """What rules refer to, and what was already resolved."""

    members: List[_Member]
    selected: Dict[Tuple[str, str, str], List[_Member]] = field(default_factory=dict)
    sets: Dict[Tuple[str, str, str], AddressSet] = field(default_factory=dict)


def compile_policies(documents: Iterable[Mapping[str, Any]], settings: Settings = SETTINGS) -> Policies:
    """Policies of a whole cluster from its v3 documents.

    Read are GlobalNetworkPolicy, NetworkPolicy, HostEndpoint, GlobalNetworkSet, NetworkSet, WorkloadEndpoint, Profile,
    Tier, FelixConfiguration, IPPool and Node; other kinds are left alone. `settings` holds where documents say nothing.
    Raises PolicyError, which names the resource and the field.
    """
    by_kind: Dict[str, List[Mapping[str, Any]]] = {}
    for document in documents:
        by_kind.setdefault(str(document.get("kind")), []).append(document)
    labels_of_profiles = {_name(item): _labels(_spec(item).get("labelsToApply")) for item in by_kind.get("Profile", ())}
    endpoints = tuple(_endpoint(item, labels_of_profiles) for item in by_kind.get("HostEndpoint", ()))
    context = _Context(_members(by_kind, labels_of_profiles, endpoints))
    policies = [
        _policy(item, context) for kind in ("GlobalNetworkPolicy", "NetworkPolicy") for item in by_kind.get(kind, ())
    ]
    profiles = {_name(item): _profile(item, context) for item in by_kind.get("Profile", ())}
    open_to_all = (PolicyRule(ALLOW),)
    profiles.setdefault(ALLOW_ALL_PROFILE, Profile(ALLOW_ALL_PROFILE, open_to_all, open_to_all))
    felix = read_settings(
        (item for kind in ("FelixConfiguration", "IPPool", "Node") for item in by_kind.get(kind, ())), settings
    )
    return Policies(_tiers(by_kind.get("Tier", ()), policies), endpoints, profiles, felix)


def _spec(document: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = document.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def _metadata(document: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = document.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _name(document: Mapping[str, Any]) -> str:
    return str(_metadata(document).get("name"))


def _name_of_policy(document: Mapping[str, Any]) -> str:
    """Without the default tier's prefix, with which some versions show it."""
    name, prefix = _name(document), f"{DEFAULT_TIER}."
    return name[len(prefix) :] if name.startswith(prefix) else name


def _labels(value: object) -> Dict[str, str]:
    return {str(key): str(text) for key, text in value.items()} if isinstance(value, Mapping) else {}


def _subject(document: Mapping[str, Any]) -> str:
    namespace = _metadata(document).get("namespace")
    return f"{document.get('kind')} {str(namespace) + '/' if namespace else ''}{_name(document)}"


def _tiers(documents: Iterable[Mapping[str, Any]], policies: Iterable[Policy]) -> Tuple[Tier, ...]:
    known = dict(_TIERS)
    for item in documents:
        spec = _spec(item)
        order = known.get(_name(item), (math.inf, DENY))[0]
        known[_name(item)] = (
            float(spec["order"]) if spec.get("order") is not None else order,
            str(spec.get("defaultAction") or known.get(_name(item), (0, DENY))[1]),
        )
    grouped: Dict[str, List[Policy]] = {}
    for policy in policies:
        grouped.setdefault(policy.tier, []).append(policy)
    return tuple(
        sorted(
            (
                Tier(name, *known.get(name, (math.inf, DENY)), tuple(sorted(group, key=_place)))
                for name, group in grouped.items()
            ),
            key=lambda tier: (tier.order, tier.name),
        )
    )


def _place(policy: Policy) -> Tuple[float, str, str]:
    """Lowest order first, none last, then by name (Felix, calc/policy_sorter.go)."""
    return policy.order, policy.name, policy.namespace or ""


def _endpoint(document: Mapping[str, Any], labels_of_profiles: Mapping[str, Mapping[str, str]]) -> HostEndpoint:
    spec = _spec(document)
    profiles = tuple(str(item) for item in spec.get("profiles") or ())
    labels = _inherited(_labels(_metadata(document).get("labels")), profiles, labels_of_profiles)
    addresses = tuple(
        net.network_address for net in _networks(f"{_subject(document)}: expectedIPs", spec.get("expectedIPs"))
    )
    return HostEndpoint(
        _name(document), str(spec.get("node")), str(spec.get("interfaceName") or ""), addresses,
        tuple(sorted(labels.items())), profiles,
    )  # fmt: skip


def _inherited(
    own: Mapping[str, str], profiles: Iterable[str], labels_of_profiles: Mapping[str, Mapping[str, str]]
) -> Dict[str, str]:
    labels: Dict[str, str] = {}
    for name in reversed(list(profiles)):
        labels.update(labels_of_profiles.get(name, {}))
    return {**labels, **own}


def _members(
    by_kind: Mapping[str, List[Mapping[str, Any]]],
    labels_of_profiles: Mapping[str, Mapping[str, str]],
    endpoints: Sequence[HostEndpoint],
) -> List[_Member]:
    found = []
    for document, endpoint in zip(by_kind.get("HostEndpoint", ()), endpoints):
        networks = tuple(ipaddress.ip_network(address) for address in endpoint.addresses)
        found.append(_Member(dict(endpoint.labels), networks, _named_ports(document)))
    for kind, key in (("GlobalNetworkSet", "nets"), ("NetworkSet", "nets"), ("WorkloadEndpoint", "ipNetworks")):
        for document in by_kind.get(kind, ()):
            spec, metadata = _spec(document), _metadata(document)
            labels, profiles = _labels(metadata.get("labels")), [str(item) for item in spec.get("profiles") or ()]
            if kind != "GlobalNetworkSet":
                namespace = str(metadata.get("namespace") or "default")
                labels[NAMESPACE_LABEL] = namespace
                profiles.append(f"kns.{namespace}")
            networks = _networks(f"{_subject(document)}: {key}", spec.get(key))
            found.append(_Member(_inherited(labels, profiles, labels_of_profiles), networks, _named_ports(document)))
    return found


def _named_ports(document: Mapping[str, Any]) -> Tuple[Tuple[str, str, int], ...]:
    ports = _spec(document).get("ports") or ()
    return tuple((str(item["name"]), _protocol(item.get("protocol", "TCP")), int(item["port"])) for item in ports)


def _networks(subject: str, values: object) -> Tuple[Network, ...]:
    if values is None:
        return ()
    items = values if isinstance(values, (list, tuple)) else [values]
    try:
        # Felix takes host bits as if they were not set, and older datastores hold such networks.
        return tuple(
            parse_network(subject, item) if "/" not in str(item) else ipaddress.ip_network(str(item), strict=False)
            for item in items
        )
    except (TrafficError, ValueError) as error:
        raise PolicyError(str(error) if isinstance(error, TrafficError) else f"{subject}: {error}") from None


def _protocol(value: object) -> str:
    text = parse_protocol(value)
    return _UDPLITE.get(text, text)


def _selector(subject: str, text: object) -> Selector:
    try:
        return parse(str(text or ""))
    except SelectorError as error:
        raise PolicyError(f"{subject}: {error}") from None


def _policy(document: Mapping[str, Any], context: _Context) -> Policy:
    spec, subject = _spec(document), _subject(document)
    kind = str(document["kind"])
    namespace = str(_metadata(document).get("namespace") or "default") if kind == "NetworkPolicy" else None
    types = _types(spec)
    order = spec.get("order")
    try:
        place = math.inf if order is None else float(order)
    except (TypeError, ValueError):
        raise PolicyError(f"{subject}: spec.order: {order!r} is not a number") from None
    inside = spec.get("namespaceSelector")
    text = spec.get("selector")
    if kind == "GlobalNetworkPolicy" and spec.get("serviceAccountSelector"):
        # No host endpoint has a service account.
        text = "!all()"
    return Policy(
        kind=kind,
        name=_name_of_policy(document),
        selector=_selector(f"{subject}: spec.selector", text),
        hook=UNTRACKED if spec.get("doNotTrack") is True else PRE_DNAT if spec.get("preDNAT") is True else NORMAL,
        on_forward=spec.get("applyOnForward") is True,
        ingress=_rules(subject, spec, "ingress", namespace, context) if INGRESS in types else None,
        egress=_rules(subject, spec, "egress", namespace, context) if EGRESS in types else None,
        order=place,
        namespace=namespace,
        namespace_selector=_selector(f"{subject}: spec.namespaceSelector", inside) if inside else None,
        tier=str(spec.get("tier") or DEFAULT_TIER),
    )


def _types(spec: Mapping[str, Any]) -> Tuple[str, ...]:
    """What is said, or the default: Ingress unless there are rules for egress only (docs.tigera.io, "types")."""
    if spec.get("types"):
        return tuple(str(item).capitalize() for item in spec["types"])
    if not spec.get("egress"):
        return (INGRESS,)
    return (INGRESS, EGRESS) if spec.get("ingress") else (EGRESS,)


def _profile(document: Mapping[str, Any], context: _Context) -> Profile:
    spec, subject = _spec(document), _subject(document)
    return Profile(
        _name(document),
        _rules(subject, spec, "ingress", None, context),
        _rules(subject, spec, "egress", None, context),
    )


def _rules(
    subject: str, spec: Mapping[str, Any], key: str, namespace: Optional[str], context: _Context
) -> Tuple[PolicyRule, ...]:
    return tuple(
        _rule(f"{subject}: spec.{key}[{index}]", item, namespace, context)
        for index, item in enumerate(spec.get(key) or ())
    )


def _rule(subject: str, item: Mapping[str, Any], namespace: Optional[str], context: _Context) -> PolicyRule:
    action = str(item.get("action")).capitalize()
    if action not in ACTIONS:
        raise PolicyError(choices(f"{subject}.action", item.get("action"), ACTIONS))
    protocol, not_protocol = item.get("protocol"), item.get("notProtocol")
    sides = {key: item.get(key) or {} for key in ("source", "destination")}
    unknown = tuple(f"{key}.{field}" for key, side in sides.items() for field in _UNKNOWN if side.get(field))
    return PolicyRule(
        action=action,
        protocol=None if protocol is None else _protocol(protocol),
        not_protocol=None if not_protocol is None else _protocol(not_protocol),
        version=item.get("ipVersion"),
        icmp=_icmp(item.get("icmp")),
        not_icmp=_icmp(item.get("notICMP")),
        source=_side(f"{subject}.source", sides["source"], namespace, context),
        destination=_side(f"{subject}.destination", sides["destination"], namespace, context),
        unknown=unknown + (("http",) if item.get("http") else ()),
    )


def _icmp(value: Optional[Mapping[str, Any]]) -> Optional[Tuple[int, Optional[int]]]:
    if not value or value.get("type") is None:
        return None
    return int(value["type"]), None if value.get("code") is None else int(value["code"])


def _side(subject: str, side: Mapping[str, Any], namespace: Optional[str], context: _Context) -> Side:
    nets, not_nets = (_networks(f"{subject}.{key}", side.get(key)) for key in ("nets", "notNets"))
    text, excluded, inside = (str(side.get(key) or "") for key in ("selector", "notSelector", "namespaceSelector"))
    # A rule of a NetworkPolicy means endpoints of its own namespace, unless it selects namespaces (docs.tigera.io).
    scope = inside or (f"{NAMESPACE_LABEL} == '{namespace}'" if namespace and (text or excluded) else "")
    members: Tuple[AddressSet, ...] = ()
    key = (text, scope, "" if inside else "own")
    if text or scope:
        members = (_resolve(subject, key, context),)
    return Side(
        nets=AddressSet.of(nets) if nets else None,
        not_nets=AddressSet.of(not_nets) if not_nets else None,
        members=members,
        not_members=(_resolve(subject, (excluded, "", "own"), context),) if excluded else (),
        ports=_ports(f"{subject}.ports", side.get("ports"), key, context),
        not_ports=_ports(f"{subject}.notPorts", side.get("notPorts"), key, context),
    )


def _resolve(subject: str, key: Tuple[str, str, str], context: _Context) -> AddressSet:
    found = context.sets.get(key)
    if found is None:
        members = _select(subject, key, context)
        found = context.sets[key] = AddressSet.of(net for member in members for net in member.networks)
    return found


def _select(subject: str, key: Tuple[str, str, str], context: _Context) -> List[_Member]:
    """What a selector and a scope mean; a scope is a selector of namespaces, or of labels when it is the rule's own."""
    found = context.selected.get(key)
    if found is None:
        text, scope, own = key
        selector = _selector(f"{subject}.selector", text)
        within = _selector(f"{subject}.namespaceSelector", scope) if scope else None
        found = context.selected[key] = [
            member
            for member in context.members
            if selector.matches(member.labels)
            and (within is None or (within.matches(member.labels) if own else in_namespace(within, member.labels)))
        ]
    return found


def _ports(subject: str, values: object, key: Tuple[str, str, str], context: _Context) -> Optional[PortSet]:
    if not values:
        return None
    spans, named = [], []
    for value in values if isinstance(values, (list, tuple)) else [values]:
        first, _colon, last = str(value).partition(":")
        if first.isdigit() and (last or first).isdigit():
            spans.append((int(first), int(last or first)))
        else:
            named += _named(subject, str(value), key, context)
    return PortSet(merge_spans(spans), tuple(named))


def _named(subject: str, name: str, key: Tuple[str, str, str], context: _Context) -> Iterable[NamedPort]:
    for member in _select(subject, key, context):
        for port_name, protocol, port in member.ports:
            if port_name == name:
                yield NamedPort(protocol, port, AddressSet.of(member.networks))
