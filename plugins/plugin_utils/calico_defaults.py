# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The 2017 page's default policies (section "Default policy configuration") with what came to them later. Pure.

Orders, selectors and rules are those of objects seen on clusters in 2018 and 2020, but for two: allow-kubelet-port,
which the page only describes (made like allow-bigfix-port, its successor), and the rules of allow-all-private-default
(name, order and selector were seen; the rules follow IBM's description). docs/calico.md marks both.
"""

from __future__ import annotations

from typing import Sequence

from . import addresses
from .calico_forms import (
    EVERY_NODE,
    NODES_PUBLIC,
    TCP_UDP,
    VRRP,
    WORKERS_PRIVATE,
    WORKERS_PUBLIC,
    ContentError,
    Document,
    policy,
    rules,
)
from .calico_settings import PRIVATE_DEFAULT, CalicoSettings
from .catalogue_model import Catalogue
from .region_rules import provider_management_networks

KUBELET = 10250
SSH = 22


def default_policies(settings: CalicoSettings, catalogue: Catalogue) -> list[Document]:
    """The default policies that the settings choose. Raises HardeningError."""
    made = {
        "allow-all-outbound": lambda name: policy(name, NODES_PUBLIC, 1900, egress=rules("Allow")),
        "allow-icmp": lambda name: policy(name, NODES_PUBLIC, 1500, ingress=rules("Allow", ("ICMP",))),
        "allow-kubelet-port": lambda name: policy(
            name, NODES_PUBLIC, 1900, ingress=rules("Allow", ("TCP",), ports=(KUBELET,))
        ),
        "allow-bigfix-port": lambda name: policy(
            name, NODES_PUBLIC, 1900, ingress=rules("Allow", TCP_UDP, ports=(52311,))
        ),
        "allow-node-port-dnat": lambda name: policy(
            name, WORKERS_PUBLIC, 1500, ingress=rules("Allow", destinations=settings.pod_networks)
        ),
        "allow-sys-mgmt": lambda name: policy(
            name, NODES_PUBLIC, 1950, ingress=rules("Allow", sources=_management(settings, catalogue))
        ),
        "allow-vrrp": lambda name: policy(name, WORKERS_PUBLIC, 1500, ingress=rules("Allow", (VRRP,))),
        PRIVATE_DEFAULT: lambda name: policy(
            name, WORKERS_PRIVATE, 100000, ingress=rules("Allow"), egress=rules("Allow")
        ),
    }
    return [made[name](name) for name in settings.default_policies]


def _management(settings: CalicoSettings, catalogue: Catalogue) -> list[str]:
    if settings.provider != "ibm":
        raise ContentError(
            "iks_calico_policies names allow-sys-mgmt, which opens to the provider's management systems, "
            "but iks_provider is none; leave it out, or set iks_provider to ibm"
        )
    return sorted({network for network, _reason in provider_management_networks(catalogue)}, key=_as_number)


def _as_number(network: str) -> tuple[int, ...]:
    return tuple(int(part) for part in network.replace("/", ".").split("."))


def own_policies(settings: CalicoSettings) -> list[Document]:
    """What our clusters need besides: IPv6, SSH from the management networks, masters, single interfaces."""
    made = []
    if settings.has_ipv6:
        # Neighbours are found by ICMPv6, in both directions; without it no IPv6 packet leaves the endpoint.
        echo = rules("Allow", ("ICMPv6",))
        made.append(policy("allow-icmpv6", EVERY_NODE, 1500, ingress=echo, egress=echo))
    if settings.management_networks:
        ssh = rules("Allow", ("TCP",), ports=(SSH,), sources=settings.management_networks)
        made.append(policy("allow-management", EVERY_NODE, 1500, ingress=ssh))
    if settings.calico_masters:
        made.append(policy("allow-master-ports", "ibm.role == 'master_public'", 1500, ingress=_master_ports(settings)))
    if settings.single_interface:
        made.append(
            policy(
                "allow-cluster-nodes",
                NODES_PUBLIC,
                1500,
                ingress=rules("Allow", sources=nodes(settings)),
                egress=rules("Allow", destinations=nodes(settings)),
            )
        )
    return made


def _master_ports(settings: CalicoSettings) -> list[Document]:
    """The API server for the operators and nodes, or for everybody where no operators are named; etcd never for all."""
    known = list(dict.fromkeys((*settings.operator_networks, *settings.cluster_nodes)))
    api = rules(
        "Allow", ("TCP",), ports=settings.apiserver_ports, sources=known if settings.operator_networks else None
    )
    return api + (rules("Allow", ("TCP",), ports=settings.etcd_ports, sources=known) if known else [])


def nodes(settings: CalicoSettings) -> list[str]:
    """The cluster's nodes as networks of one address. Raises ContentError where none is known."""
    if not settings.cluster_nodes:
        raise ContentError(
            "iks_cluster_nodes: no address of a node is known, and policies without them would cut the nodes off "
            "from each other; let the run look at the nodes first, or list their addresses"
        )
    return addresses.merge(settings.cluster_nodes)


def private_side(networks: Sequence[str]) -> list[str]:
    """Those of some addresses that are reached by private interfaces; all where none is a private one."""
    return addresses.merge([net for net in networks if addresses.is_private(net)] or networks)
