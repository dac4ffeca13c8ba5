# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Calico datastore holds, for modules and people to read."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence, Tuple

from .calico_apply import read
from .calico_model import Resource
from .calico_owner import is_converted, owner_of
from .calico_selector import SelectorError, parse
from .calicoctl_run import Run, Tool, client_version

_KINDS = {
    "v1": ("GlobalNetworkPolicy", "HostEndpoint", "IPPool", "Node"),
    "v3": ("GlobalNetworkPolicy", "GlobalNetworkSet", "HostEndpoint", "IPPool", "NetworkPolicy", "Node"),
}
_HEADINGS = ("POLICY", "ORDER", "KIND", "SELECTOR", "HOST ENDPOINTS", "OWNER")
# A policy without an order is asked last (Calico, "Global network policy": order).
_LAST = float("inf")


def gathered(run: Run, tool: Tool) -> Dict[str, Any]:
    """Everything that the module calico_info returns. Raises DatastoreError."""
    held = sorted(read(run, tool, _KINDS[tool.api]).values(), key=_place)
    policies = _of(held, "GlobalNetworkPolicy", "NetworkPolicy")
    endpoints = _of(held, "HostEndpoint")
    own = [policy for policy in policies if not is_converted(policy)]
    return {
        "api": tool.api,
        "version": client_version(run, tool.path, tool.timeout),
        "nodes": [item.identity.name for item in _of(held, "Node")],
        "host_endpoints": _documents(endpoints),
        "policies": _documents(own),
        "converted_policies": _documents([policy for policy in policies if is_converted(policy)]),
        "network_sets": _documents(_of(held, "GlobalNetworkSet")),
        "ip_pools": [str(item.spec.get("cidr") or item.identity.name) for item in _of(held, "IPPool")],
        "selected": {
            str(endpoint.identity): [policy.identity.name for policy in policies if selects(policy, endpoint)]
            for endpoint in endpoints
        },
        "table": table(own, endpoints),
    }


def selects(policy: Resource, endpoint: Resource) -> bool:
    """Whether a policy is one of a host endpoint's; only those of the whole cluster can be."""
    if policy.identity.kind != "GlobalNetworkPolicy" or policy.spec.get("namespaceSelector"):
        return False
    try:
        return parse(policy.spec.get("selector") or "").matches(endpoint.labels)
    except SelectorError:
        # Somebody wrote it past calicoctl; Felix ignores such a policy.
        return False


def table(policies: Sequence[Resource], endpoints: Sequence[Resource]) -> List[str]:
    """Lines of text: name, order, what kind of policy, selector, how many host endpoints it selects, owner."""
    rows: List[Tuple[str, ...]] = [_HEADINGS]
    for policy in policies:
        order = policy.spec.get("order")
        count = sum(selects(policy, endpoint) for endpoint in endpoints)
        rows.append(
            (
                f"{policy.identity.namespace}/{policy.identity.name}"
                if policy.identity.namespace
                else policy.identity.name,
                "-" if order is None else f"{order:g}",
                _what(policy.spec),
                policy.spec.get("selector") or "all()",
                str(count),
                owner_of(policy) or "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _what(spec: Mapping[str, Any]) -> str:
    """Where the policy is asked, and in which directions."""
    where = "preDNAT" if spec.get("preDNAT") else "untracked" if spec.get("doNotTrack") else ""
    ways = [way for way in ("ingress", "egress") if spec.get(way) or way.capitalize() in (spec.get("types") or ())]
    return " ".join([*([where] if where else []), "+".join(ways) or "ingress"])


def _place(resource: Resource) -> Tuple[float, str, str]:
    order = resource.spec.get("order")
    return (_LAST if order is None else float(order), resource.identity.namespace or "", resource.identity.name)


def _of(held: Sequence[Resource], *kinds: str) -> List[Resource]:
    return [item for item in held if item.identity.kind in kinds]


def _documents(resources: Sequence[Resource]) -> List[Mapping[str, Any]]:
    return [resource.document() for resource in resources]
