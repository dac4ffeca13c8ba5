# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes' NetworkPolicy objects as Calico shows them: policies named `knp.default.<name>`, of order 1000.

Source: the conversion that upstream documents for the Kubernetes datastore; such policies are read only.
"""

from __future__ import annotations

from typing import Dict, List, Optional

from . import v3_model

_ORCHESTRATOR = "projectcalico.org/orchestrator == 'k8s'"


def _requirements(selector: dict) -> List[str]:
    labels = selector.get("matchLabels") or {}
    out = [f"{key} == '{labels[key]}'" for key in sorted(labels)]
    for item in selector.get("matchExpressions") or []:
        key, operator = item["key"], item["operator"]
        values = ", ".join(f"'{value}'" for value in item.get("values") or [])
        out.append(
            {
                "In": f"{key} in {{ {values} }}",
                "NotIn": f"{key} not in {{ {values} }}",
                "Exists": f"has({key})",
                "DoesNotExist": f"! has({key})",
            }[operator]
        )
    return out


def _pods(selector: Optional[dict]) -> str:
    return " && ".join([_ORCHESTRATOR, *_requirements(selector or {})])


def _namespaces(selector: dict) -> str:
    return " && ".join(_requirements(selector)) or "all()"


def _peer(peer: dict) -> dict:
    block = peer.get("ipBlock")
    if block:
        return {"nets": [block["cidr"]], **({"notNets": list(block["except"])} if block.get("except") else {})}
    out = {}
    if peer.get("podSelector") is not None or peer.get("namespaceSelector") is not None:
        out["selector"] = _pods(peer.get("podSelector"))
    if peer.get("namespaceSelector") is not None:
        out["namespaceSelector"] = _namespaces(peer["namespaceSelector"])
    return out


def _ports(ports: list) -> Dict[str, list]:
    """Protocol: ports, in the order in which protocols appear; a port without a number is the whole protocol."""
    out: Dict[str, list] = {}
    for item in ports:
        held = out.setdefault(item.get("protocol") or "TCP", [])
        if item.get("port") is not None:
            end = item.get("endPort")
            held.append(f"{item['port']}:{end}" if end else item["port"])
    return out


def _rules(given: list, peers: str, ingress: bool) -> List[dict]:
    out = []
    for rule in given:
        sides = [_peer(peer) for peer in rule.get(peers) or []] or [{}]
        protocols = _ports(rule.get("ports") or []) or {"": []}
        for protocol, ports in protocols.items():
            for side in sides:
                source, destination = (side, {}) if ingress else ({}, side)
                destination = {**destination, **({"ports": ports} if ports else {})}
                made = {"action": "Allow", **({"protocol": protocol} if protocol else {})}
                out.append({**made, "source": source, "destination": destination})
    return out


def converted(policy: dict) -> dict:
    """The Calico policy that stands for a networking.k8s.io/v1 NetworkPolicy."""
    held, given = policy["metadata"], policy.get("spec") or {}
    types = list(given.get("policyTypes") or ["Ingress", *(["Egress"] if given.get("egress") else [])])
    spec: dict = {"order": 1000.0}
    if "Ingress" in types and given.get("ingress"):
        spec["ingress"] = _rules(given["ingress"], "from", ingress=True)
    if "Egress" in types and given.get("egress"):
        spec["egress"] = _rules(given["egress"], "to", ingress=False)
    spec["selector"] = _pods(given.get("podSelector"))
    spec["types"] = types
    metadata = {"name": f"knp.default.{held['name']}", "namespace": held["namespace"]}
    for name in ("uid", "creationTimestamp"):
        if held.get(name):
            metadata[name] = held[name]
    metadata["resourceVersion"] = f"{held['resourceVersion']}/"
    return {
        "kind": "NetworkPolicy",
        "apiVersion": v3_model.API,
        "metadata": v3_model.ordered_metadata(metadata),
        "spec": spec,
    }
