# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies before DNAT: what of NodePort and LoadBalancer services is reached, from where, on which nodes. Pure.

The page's section "Block incoming (ingress) traffic to LoadBalancer or NodePort services". Before DNAT a packet still
has the address and port that the client wrote, and Calico drops nothing there that no rule names. The first rule that
matches decides, so the orders say who wins:

    400   services only on edge nodes
    500   allow lists: their sources
    800   allow lists: everybody else
    1000  load balancers stay open
    none  deny-kube-node-port-services, after all that have an order, as on the page
"""

from __future__ import annotations

from .calico_forms import NODES_PUBLIC, TCP_UDP, WORKERS_PUBLIC, ContentError, Document, policy, rules
from .calico_settings import AllowList, CalicoSettings

EDGE_LABEL = {"dedicated": "edge"}
NOT_EDGE = f"{WORKERS_PUBLIC} && dedicated != 'edge'"
DENY_NODE_PORTS = "deny-kube-node-port-services"


def service_policies(settings: CalicoSettings) -> list[Document]:
    """The policies before DNAT that the settings ask for. Raises ContentError."""
    made = []
    if settings.calico_edge_only:
        made.append(_edge(settings))
    for item in settings.calico_allow_lists:
        made += _allow_list(item)
    if settings.calico_close_node_ports:
        if settings.load_balancers:
            made.append(_load_balancers(settings))
        made.append(
            policy(
                DENY_NODE_PORTS,
                NODES_PUBLIC,
                None,
                ingress=rules("Deny", TCP_UDP, ports=settings.node_ports),
                pre_dnat=True,
            )
        )
    return made


def _edge(settings: CalicoSettings) -> Document:
    """Services answer on edge nodes only: the other workers drop what is for node ports and load balancers."""
    if not settings.calico_edge_nodes:
        raise ContentError(
            "iks_calico_edge_only is true, but iks_calico_edge_nodes names no node: every worker would drop what is "
            "for its services. Name the edge nodes, at least two in each zone"
        )
    dropped = rules("Deny", TCP_UDP, ports=settings.node_ports)
    for item in settings.load_balancers:
        dropped += rules("Deny", (item.protocol,), ports=(item.port,), destinations=(item.address,))
    return policy("deny-services-not-edge", NOT_EDGE, 400, ingress=dropped, pre_dnat=True)


def _allow_list(item: AllowList) -> list[Document]:
    try:
        allowed = rules("Allow", item.protocols, item.ports, item.sources, item.addresses)
    except ContentError as error:
        raise ContentError(f"iks_calico_allow_lists: {item.name}: {error}") from None
    rest = rules("Deny", item.protocols, item.ports, None, item.addresses)
    return [
        policy(f"allow-list-{item.name}", NODES_PUBLIC, 500, ingress=allowed, pre_dnat=True),
        policy(f"allow-list-{item.name}-rest", NODES_PUBLIC, 800, ingress=rest, pre_dnat=True),
    ]


def _load_balancers(settings: CalicoSettings) -> Document:
    allowed: list[Document] = []
    for item in settings.load_balancers:
        allowed += rules("Allow", (item.protocol,), (item.port,), destinations=(item.address,))
    return policy("allow-load-balancers", NODES_PUBLIC, 1000, ingress=allowed, pre_dnat=True)
