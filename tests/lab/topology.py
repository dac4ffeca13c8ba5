# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in the lab and how they are wired: pure data derived from the lab's id.

    internet (every other address)              onprem
        |                                          |
   pub ─┴──┬────────┬────────── gateway ────── onp ┘
        master   worker1  worker2  |
   priv ─┴──────────┴────────┴─────┴── controller (the lab's namespace itself)

`sup` is not part of the story: through it the controller reaches the two hosts that have no private address.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

MAX_LAB_ID = 99


@dataclass(frozen=True)
class Bridge:
    name: str
    ipv4: str
    ipv6: str


@dataclass(frozen=True)
class Route:
    destination: str
    via: str


@dataclass(frozen=True)
class Nic:
    """One interface of a node: its name inside, its bridge, its addresses and the routes that go through it."""

    name: str
    bridge: str
    ipv4: IPv4Interface
    ipv6: IPv6Interface
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True)
class Node:
    """One machine of the lab; a virtual one is only there when it is asked for by name."""

    name: str
    group: str
    nics: tuple[Nic, ...]
    forwards: bool = False
    virtual: bool = False
    pod_network: str | None = None
    listens_tcp: tuple[int, ...] = ()
    listens_udp: tuple[int, ...] = ()

    def host_interface(self, nic: Nic) -> str:
        """The other end of the interface, in the lab's namespace."""
        return f"{self.name}-{nic.name}"

    def address(self, bridge: str) -> str | None:
        """The node's IPv4 address on a bridge."""
        return next((str(nic.ipv4.ip) for nic in self.nics if nic.bridge == bridge), None)

    @property
    def ssh_address(self) -> str:
        """Where the controller reaches it: only ever by a private (or support) address."""
        address = self.address("priv") or self.address("sup")
        assert address is not None, self.name
        return address

    def pod_address(self, family: int = 4) -> str:
        """The address of the node's pod; only workers have one."""
        assert self.pod_network is not None, self.name
        four = ip_interface(self.pod_network).network
        return str(four[2]) if family == 4 else f"fd00:30:{str(four).split('.')[2]}::2"


@dataclass(frozen=True)
class Topology:
    lab_id: int
    bridges: tuple[Bridge, ...]
    nodes: tuple[Node, ...]

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(f"node {name}: not in the lab; it has {', '.join(node.name for node in self.nodes)}")


def _nic(name: str, bridge: Bridge, host: int, routes: tuple[tuple[str, str], ...] = ()) -> Nic:
    """Host number n is the n-th address of IPv4 and, as people write it, ::n of IPv6."""
    four, six = ip_interface(bridge.ipv4), ip_interface(bridge.ipv6)
    return Nic(
        name,
        bridge.name,
        IPv4Interface(f"{four.network[host]}/{four.network.prefixlen}"),
        IPv6Interface(f"{six.network[int(str(host), 16)]}/{six.network.prefixlen}"),
        tuple(Route(*route) for route in routes),
    )


def topology(lab_id: int) -> Topology:
    """The whole lab for an id; two labs with different ids share no private address."""
    if not 0 <= lab_id <= MAX_LAB_ID:
        raise ValueError(f"lab id {lab_id}: out of range, allowed is 0 to {MAX_LAB_ID}")
    pub = Bridge("pub", "203.0.113.0/24", "2001:db8:113::/64")
    priv = Bridge("priv", f"10.171.{lab_id}.0/24", f"fd00:171:{lab_id}::/64")
    onp = Bridge("onp", "192.168.77.0/24", "fd00:77::/64")
    sup = Bridge("sup", f"198.18.{lab_id}.0/24", f"fd00:198:{lab_id}::/64")

    p4, p6 = f"10.171.{lab_id}", f"fd00:171:{lab_id}:"
    default = (("0.0.0.0/0", "203.0.113.1"), ("::/0", "2001:db8:113::1"))
    onprem_nets = (("192.168.77.0/24", f"{p4}.3"), ("fd00:77::/64", f"{p6}:3"))
    # The provider's private network lies behind the private router, as on its real machines.
    provider = (("10.0.0.0/8", f"{p4}.3"),)
    pods1, pods2 = "172.30.11.0/24", "172.30.12.0/24"
    pods1_v6, pods2_v6 = "fd00:30:11::/48", "fd00:30:12::/48"
    to_pods1 = ((pods1, f"{p4}.11"), (pods1_v6, f"{p6}:11"))
    to_pods2 = ((pods2, f"{p4}.12"), (pods2_v6, f"{p6}:12"))
    node_ports = (10250,)
    worker_ports = (8081, 10250, 30999)

    return Topology(
        lab_id,
        (pub, priv, onp, sup),
        (
            Node(
                "master",
                "iks_masters",
                (
                    _nic("eth0", pub, 10, default),
                    _nic("eth1", priv, 10, provider + onprem_nets + to_pods1 + to_pods2),
                ),
                listens_tcp=(443, 6443, *node_ports),
            ),
            Node(
                "worker1",
                "iks_workers",
                (
                    _nic("eth0", pub, 11, default),
                    _nic("eth1", priv, 11, provider + onprem_nets + to_pods2),
                ),
                forwards=True,
                pod_network=pods1,
                listens_tcp=worker_ports,
                listens_udp=(30999,),
            ),
            Node(
                "worker2",
                "iks_workers",
                (_nic("eth0", priv, 12, (("0.0.0.0/0", f"{p4}.3"), ("::/0", f"{p6}:3"), *to_pods1)),),
                forwards=True,
                pod_network=pods2,
                listens_tcp=worker_ports,
                listens_udp=(30999,),
            ),
            Node(
                "gateway",
                "iks_gateways",
                (
                    _nic("eth0", pub, 3, default),
                    _nic("eth1", priv, 3, to_pods1 + to_pods2),
                    _nic("eth2", onp, 1),
                ),
                forwards=True,
            ),
            Node(
                "internet",
                "lab_support",
                (
                    _nic(
                        "eth0",
                        pub,
                        1,
                        (
                            (priv.ipv4, "203.0.113.3"),
                            (priv.ipv6, "2001:db8:113::3"),
                            (onp.ipv4, "203.0.113.3"),
                            (onp.ipv6, "2001:db8:113::3"),
                            (pods1, "203.0.113.11"),
                            (pods2, "203.0.113.3"),
                            (pods1_v6, "2001:db8:113::11"),
                            (pods2_v6, "2001:db8:113::3"),
                        ),
                    ),
                    _nic("eth1", sup, 2),
                ),
            ),
            Node(
                "onprem",
                "lab_support",
                (
                    _nic("eth0", onp, 10, (("0.0.0.0/0", "192.168.77.1"), ("::/0", "fd00:77::1"))),
                    _nic("eth1", sup, 3),
                ),
                listens_tcp=(80, 8080),
                listens_udp=(8080,),
            ),
            Node(
                "vm",
                "lab_vms",
                (
                    _nic("eth0", pub, 20, default),
                    _nic("eth1", priv, 20, provider + onprem_nets),
                ),
                virtual=True,
                listens_tcp=node_ports,
            ),
        ),
    )


def controller_addresses(lab: Topology) -> dict[str, tuple[str, str]]:
    """Bridge -> the controller's own addresses there; it has none on pub and onp."""
    found = {}
    for bridge in lab.bridges:
        if bridge.name in ("priv", "sup"):
            nic = _nic("", bridge, 1)
            found[bridge.name] = (str(nic.ipv4), str(nic.ipv6))
    return found


def networkd_file(nic: Nic) -> str:
    """The systemd-networkd unit of one interface with fixed addresses."""
    lines = [
        "[Match]",
        f"Name={nic.name}",
        "",
        "[Network]",
        "LinkLocalAddressing=ipv6",
        "IPv6AcceptRA=no",
        "LLDP=no",
        "",
    ]
    for address in (nic.ipv4, nic.ipv6):
        # Without this an IPv6 address is unusable for the first second.
        lines += ["[Address]", f"Address={address}", "DuplicateAddressDetection=none", ""]
    for route in nic.routes:
        lines += ["[Route]", f"Destination={route.destination}", f"Gateway={route.via}", ""]
    return "\n".join(lines)
