# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster cannot do without, as flows for `calico_guard`. Pure.

The services and their ports: docs.tigera.io, "System requirements" (BGP, VXLAN, IPIP, Typha, etcd, API server), and
kubernetes.io, "Ports and Protocols" (kubelet).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from .calico_guard import Flow
from .traffic import Network
from .verdict import Address

Interface = Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]


@dataclass(frozen=True)
class ClusterNode:
    """A node: its interfaces with addresses in CIDR form, and the one of its default route.

    `address` is the one by which other nodes reach it. `master`: it runs the API server.
    """

    name: str
    address: Address
    links: Mapping[str, Tuple[Interface, ...]]
    default_interface: Optional[str] = None
    master: bool = False

    def interface_to(self, peer: Network) -> Optional[str]:
        """By which interface a peer is reached: the one whose network holds it, else the default route's."""
        for name, addresses in self.links.items():
            for item in addresses:
                if item.version == peer.version and peer.subnet_of(item.network):  # type: ignore[arg-type]
                    return name
        return self.default_interface


@dataclass(frozen=True)
class Needs:
    """What is in use. An empty tuple leaves a flow out.

    `management_interface` is by which interface management comes, where routes do not tell; `tunnels` of "bgp",
    "vxlan", "ipip". API servers and etcd members that are not given are the masters, `etcd` only where asked for.
    """

    management: Tuple[Network, ...] = ()
    management_interface: Optional[str] = None
    ssh_port: int = 22
    api_servers: Tuple[Address, ...] = ()
    api_port: int = 6443
    etcd: Tuple[Address, ...] = ()
    etcd_port: int = 2379
    typha: Tuple[Address, ...] = ()
    resolvers: Tuple[Address, ...] = ()
    time_servers: Tuple[Address, ...] = ()
    tunnels: Tuple[str, ...] = ("bgp",)
    kubelet_port: int = 10250


# Name -> protocol, port and reason of what nodes send one another, both ways.
_TUNNELS = {
    "bgp": ("tcp", 179, "routes between nodes (BGP)"),
    "vxlan": ("udp", 4789, "pods of other nodes (VXLAN)"),
    "ipip": ("4", None, "pods of other nodes (IPIP)"),
}


def cluster_flows(nodes: Iterable[ClusterNode], needs: Needs) -> Tuple[Flow, ...]:
    """Flows at every node, each at the interface by which its peers are reached; management first."""
    listed = tuple(nodes)
    found: List[Flow] = []
    for node in listed:
        found += _at(node, listed, needs)
    return tuple(found)


def _at(node: ClusterNode, nodes: Sequence[ClusterNode], needs: Needs) -> Iterator[Flow]:
    others = [other for other in nodes if other.name != node.name]
    peers = tuple(_host(other.address) for other in others)
    masters = tuple(_host(other.address) for other in others if other.master)
    api = tuple(_host(address) for address in needs.api_servers) or masters
    for peer in needs.management:
        interface = needs.management_interface or node.interface_to(peer)
        yield Flow("ssh", "in", "tcp", (peer,), needs.ssh_port, "management", node=node.name, interface=interface)
    yield from _flows(node, "api-server", "out", "tcp", api, needs.api_port, "node to API server")
    if node.master:
        yield from _flows(node, "api-server-in", "in", "tcp", peers, needs.api_port, "nodes to API server")
    yield from _flows(node, "kubelet", "in", "tcp", masters, needs.kubelet_port, "API server to kubelet")
    if node.master:
        yield from _flows(node, "kubelet-out", "out", "tcp", peers, needs.kubelet_port, "API server to kubelet")
    yield from _service(node, "etcd", needs.etcd, peers, needs.etcd_port, "the datastore (etcd)")
    yield from _service(node, "typha", needs.typha, peers, 5473, "Felix to Typha")
    for name in needs.tunnels:
        protocol, port, reason = _TUNNELS[name]
        yield from _flows(node, name, "in", protocol, peers, port, reason)
        yield from _flows(node, f"{name}-out", "out", protocol, peers, port, reason)
    for name, protocol, servers, port, reason in (
        ("dns", "udp", needs.resolvers, 53, "name resolution"),
        ("dns-tcp", "tcp", needs.resolvers, 53, "name resolution of long answers"),
        ("ntp", "udp", needs.time_servers, 123, "the clock (NTP)"),
    ):
        yield from _flows(node, name, "out", protocol, tuple(map(_host, servers)), port, reason)


def _service(
    node: ClusterNode, name: str, servers: Tuple[Address, ...], peers: Tuple[Network, ...], port: int, reason: str
) -> Iterator[Flow]:
    """Out to the servers, and in where the node is one of them."""
    yield from _flows(
        node, name, "out", "tcp", tuple(_host(item) for item in servers if item != node.address), port, reason
    )
    if node.address in servers:
        yield from _flows(node, f"{name}-in", "in", "tcp", peers, port, reason)


def _flows(
    node: ClusterNode,
    name: str,
    direction: str,
    protocol: str,
    peers: Tuple[Network, ...],
    port: Optional[int],
    reason: str,
) -> Iterator[Flow]:
    """One flow an interface; peers that nothing leads to are left out."""
    by_interface: Dict[str, List[Network]] = {}
    for peer in peers:
        interface = node.interface_to(peer)
        if interface is not None:
            by_interface.setdefault(interface, []).append(peer)
    for interface, group in by_interface.items():
        yield Flow(name, direction, protocol, tuple(group), port, reason, node=node.name, interface=interface)


def _host(address: Address) -> Network:
    return ipaddress.ip_network(address)
