# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes NetworkPolicy objects (networking.k8s.io/v1) from what users write. Pure.

Default deny for a namespace, and allowing by pod labels, namespace, network, protocol and port.
"""

from __future__ import annotations

import re
from typing import Any, Mapping

from ansible_collections.iks.hardening.plugins.module_utils.errors import choices
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import as_list, parse_ports

from .addresses import inside
from .calico_forms import ContentError, Document
from .calico_settings import keys, networks, object_name

SUBJECT = "iks_network_policies"
DIRECTIONS = {"ingress": "Ingress", "egress": "Egress"}
PROTOCOLS = ("tcp", "udp", "sctp")
# Every namespace has this label with its name, from Kubernetes 1.21 on.
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
MANAGED = {"app.kubernetes.io/managed-by": "iks.hardening"}
_DENY_KEYS = ("namespace", "default_deny", "allow_dns")
_ALLOW_KEYS = (("namespace", "name"), ("pods", "direction", "peers", "protocol", "ports"))
_PEER_KEYS = ("pods", "namespace", "namespace_labels", "networks", "except")
_LABEL_KEY = re.compile(r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
# IANA service names, which is what a named port of a container is: a letter is among them.
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](?:[-a-z0-9]{0,13}[a-z0-9])?", re.ASCII)


def network_policies(items: Any) -> list[Document]:
    """The objects, in the order of the items. Raises ContentError with the place of what cannot be meant.

    An item is either a default deny, `{namespace, default_deny: [ingress, egress], allow_dns}`, or what is allowed:
    `{namespace, name, pods, direction, peers, protocol, ports}`, where absent `pods` are all of the namespace, absent
    `peers` anybody, absent `ports` all ports.
    """
    made: dict[tuple[str, str], Document] = {}
    for number, item in enumerate(as_list(items)):
        subject = f"{SUBJECT}[{number}]"
        for document in _deny(subject, item) if "default_deny" in _mapping(subject, item) else [_allow(subject, item)]:
            key = (document["metadata"]["namespace"], document["metadata"]["name"])
            if key in made:
                raise ContentError(
                    f"{subject}: the namespace {key[0]} has a policy {key[1]} already; give it another name"
                )
            made[key] = document
    return list(made.values())


def _mapping(subject: str, item: object) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise ContentError(f"{subject}: {item!r} is not a dictionary")
    return item


def _deny(subject: str, item: Mapping[str, Any]) -> list[Document]:
    """Everything closed in these directions; names are looked up all the same where `allow_dns` says so."""
    data = keys(subject, item, _DENY_KEYS[:2], _DENY_KEYS[2:])
    namespace = object_name(f"{subject}: namespace", data["namespace"])
    words = [_direction(f"{subject}: default_deny", word) for word in as_list(data["default_deny"])]
    if not words:
        raise ContentError(f"{subject}: default_deny: an empty list; name ingress, egress or both")
    types = [name for name in DIRECTIONS.values() if name in words]
    name = "default-deny" if len(types) == 2 else f"default-deny-{types[0].lower()}"
    made = [_object(namespace, name, {"podSelector": {}, "policyTypes": types})]
    dns = data.get("allow_dns", False)
    if not isinstance(dns, bool):
        raise ContentError(f"{subject}: allow_dns: {dns!r} is not true or false")
    if dns:
        if "Egress" not in types:
            raise ContentError(f"{subject}: allow_dns opens egress, which default_deny does not close; leave it out")
        ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
        spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": ports}]}
        made.append(_object(namespace, "allow-dns", spec))
    return made


def _allow(subject: str, item: Mapping[str, Any]) -> Document:
    data = keys(subject, item, *_ALLOW_KEYS)
    namespace = object_name(f"{subject}: namespace", data["namespace"])
    direction = _direction(f"{subject}: direction", data.get("direction") or "ingress")
    rule: Document = {}
    if data.get("peers") is not None:
        peers = [_peer(f"{subject}: peers[{number}]", peer) for number, peer in enumerate(as_list(data["peers"]))]
        if not peers:
            raise ContentError(f"{subject}: peers: an empty list; it never means any. Leave peers out for anybody")
        rule["from" if direction == "Ingress" else "to"] = peers
    ports = _ports(subject, data)
    if ports:
        rule["ports"] = ports
    spec = {
        "podSelector": _selector(f"{subject}: pods", data.get("pods") or {}),
        "policyTypes": [direction],
        direction.lower(): [rule],
    }
    return _object(namespace, object_name(f"{subject}: name", data["name"]), spec)


def _peer(subject: str, item: object) -> Document:
    data = keys(subject, item, (), _PEER_KEYS)
    if not data:
        raise ContentError(f"{subject}: nobody is named; one of {', '.join(_PEER_KEYS[:4])} is needed")
    if data.get("networks") is not None or data.get("except") is not None:
        return _block(subject, data)
    peer: Document = {}
    labels = dict(data.get("namespace_labels") or {})
    if data.get("namespace") is not None:
        labels[NAMESPACE_LABEL] = object_name(f"{subject}: namespace", data["namespace"])
    if labels:
        peer["namespaceSelector"] = _selector(f"{subject}: namespace_labels", labels)
    if data.get("pods") is not None:
        peer["podSelector"] = _selector(f"{subject}: pods", data["pods"])
    if not peer:
        raise ContentError(
            f"{subject}: namespace_labels: an empty selector is every namespace; leave peers out for that"
        )
    return peer


def _block(subject: str, data: Mapping[str, Any]) -> Document:
    for key in ("pods", "namespace", "namespace_labels"):
        if data.get(key) is not None:
            raise ContentError(f"{subject}: {key} and networks do not go together in one peer; write two")
    found = networks(f"{subject}: networks", data.get("networks") or ())
    if len(found) != 1:
        raise ContentError(f"{subject}: networks: one network a peer, not {len(found)}; write a peer for each")
    block: Document = {"cidr": found[0]}
    left_out = networks(f"{subject}: except", data.get("except") or ())
    for net in left_out:
        if not inside(net, found):
            raise ContentError(f"{subject}: except: {net} does not lie in {found[0]}, which it is to be left out of")
    if left_out:
        block["except"] = list(left_out)
    return {"ipBlock": block}


def _ports(subject: str, data: Mapping[str, Any]) -> list[Document]:
    protocol = data.get("protocol")
    if data.get("ports") is None:
        return [{"protocol": _protocol(subject, protocol)}] if protocol is not None else []
    name = _protocol(subject, protocol or "tcp")
    found = []
    for item in as_list(data["ports"]):
        if isinstance(item, str) and _PORT_NAME.fullmatch(item):
            found.append({"protocol": name, "port": item})
            continue
        ports = parse_ports(f"{subject}: ports", item)
        one: Document = {"protocol": name, "port": ports.first}
        if ports.last != ports.first:
            one["endPort"] = ports.last
        found.append(one)
    if not found:
        raise ContentError(f"{subject}: ports: an empty list; it never means any. Leave ports out for all")
    return found


def _protocol(subject: str, value: object) -> str:
    if str(value).lower() not in PROTOCOLS:
        raise ContentError(choices(f"{subject}: protocol", value, PROTOCOLS))
    return str(value).upper()


def _direction(subject: str, value: object) -> str:
    if value not in DIRECTIONS:
        raise ContentError(choices(subject, value, DIRECTIONS))
    return DIRECTIONS[str(value)]


def _selector(subject: str, labels: object) -> Document:
    if not isinstance(labels, Mapping):
        raise ContentError(f"{subject}: {labels!r} is not a dictionary of labels")
    for key, value in labels.items():
        if not isinstance(key, str) or not _LABEL_KEY.fullmatch(key):
            raise ContentError(f"{subject}: {key!r} is not the name of a label")
        if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            raise ContentError(f"{subject}: {key}: {value!r} is not a label's text; put it in quotes")
    return {"matchLabels": dict(labels)} if labels else {}


def _object(namespace: str, name: str, spec: Document) -> Document:
    metadata: Document = {"name": name, "namespace": namespace, "labels": dict(MANAGED)}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
