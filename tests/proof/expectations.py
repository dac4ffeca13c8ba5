# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be open and what closed in the hardened lab, written down from the page and not from the product.

Addresses of US South stand here once more, by hand: a proof that read them from the catalogue would agree with its
errors. Source: "Security for IBM Cloud Container Service" of 2017-09-29, steps 2, 3 and 5, and "IBM Cloud IP Ranges" of
2018-01-16.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from tests.lab import Probe
from tests.lab.topology import Topology

MASTERS = {"dal10": "169.46.7.238", "dal12": "169.47.70.10"}
REGISTRY = ("169.55.39.112/28", "169.46.9.0/27", "169.55.211.0/27")
PRIVATE = {"dal10": "10.200.80.0/20", "dal12": "10.200.112.0/20", "dal01": "10.0.64.0/19"}
OTHER_REGION = "169.50.169.110"
MONITORING, LOGGING = "169.47.204.128", "169.48.79.236"
PROVIDER_MANAGEMENT = IPv4Network("169.46.118.0/23")
RANGE = range(20000, 32768)
EDGES_OPEN = (443, 20000, 32767)
EDGES_CLOSED = (442, 444, 19999, 32768)
RANDOM_PORTS = 50
# What the demo and the tests hand the playbook, beside the inventory.
REGION = "us-south"


@dataclass(frozen=True)
class Claim:
    """One line of the table: what these probes from a node prove. `needs_firewall`: without one it must fail."""

    node: str
    title: str
    expected: str
    probes: tuple[Probe, ...]

    @property
    def needs_firewall(self) -> bool:
        return self.expected in ("closed", "filtered")


def _claim(node: str, title: str, expected: str, probes: Sequence[Probe]) -> Claim:
    return Claim(node, title, expected, tuple(replace(probe, expected=expected) for probe in probes))


def variables(lab: Topology, calico: bool = False) -> dict[str, object]:
    """The playbook's variables in the proof: egress restricted, and one load balancer behind the gateway.

    `calico`: node ports are closed through Calico, as in the page's last chapter on policies, and the run waits for it.
    """
    closed = {
        "iks_calico_close_node_ports": True,
        "iks_policy_prove": [{"from": "master", "endpoints": ["tcp/203.0.113.11:30080"], "expected": "closed"}],
    }
    return {
        **(closed if calico else {}),
        "iks_regions": [REGION],
        "iks_egress": "restricted",
        "iks_management_networks": [f"{_private(lab, 'gateway').rsplit('.', 1)[0]}.1/32"],
        "iks_load_balancers": [{"address": _private(lab, "worker2"), "port": 30080, "protocol": "tcp"}],
    }


def claims(lab: Topology, seed: int, ports: Sequence[int] | None = None, calico: bool = False) -> list[Claim]:
    """Every claim about the lab. `ports`: what to try of a master's range beside its edges; random ones by default.

    `calico`: with Calico's policies in force, those that close node ports among them.
    """
    return [*_outgoing(seed, ports), *_incoming(lab, calico), *_behind_the_gateway(lab, calico)]


def _private(lab: Topology, name: str) -> str:
    address = lab.node(name).address("priv")
    assert address is not None
    return address


def _outgoing(seed: int, ports: Sequence[int] | None) -> Iterator[Claim]:
    """Page steps 2, 3 and 5 and what is not in them, from a worker with two interfaces and one behind the gateway."""
    dice = random.Random(seed)
    for node in ("worker1", "worker2"):
        for location, address in MASTERS.items():
            for proto in ("tcp", "udp"):
                some = ports if ports is not None else sorted(dice.sample(RANGE, RANDOM_PORTS))
                opened = [Probe(proto, address, port) for port in dict.fromkeys((*EDGES_OPEN, *some))]
                yield _claim(node, f"step 2: master {location}, {proto} 443 and 20000-32767", "open", opened)
                shut = [Probe(proto, address, port) for port in EDGES_CLOSED]
                yield _claim(node, f"master {location}, {proto} {', '.join(map(str, EDGES_CLOSED))}", "closed", shut)
        first_last = [address for net in REGISTRY for address in _ends(net)]
        yield _claim(
            node,
            "step 3: registry, tcp 443, ends of each subnet",
            "open",
            [Probe("tcp", item, 443) for item in first_last],
        )
        yield _claim(
            node,
            "registry, tcp 442 and 444, udp 443",
            "closed",
            [
                probe
                for item in first_last
                for probe in (Probe("tcp", item, 442), Probe("tcp", item, 444), Probe("udp", item, 443))
            ],
        )
        beside = [address for net in REGISTRY for address in _neighbours(net, REGISTRY)]
        yield _claim(
            node,
            "addresses beside the registry's subnets, tcp 443",
            "closed",
            [Probe("tcp", item, 443) for item in beside],
        )
        ranges = tuple(PRIVATE.values())
        yield _claim(
            node,
            "step 5: private ranges of dal10, dal12, dal01, tcp 80 and 443",
            "open",
            [Probe("tcp", address, port) for net in ranges for address in _ends(net) for port in (80, 443)],
        )
        yield _claim(
            node,
            "addresses beside the private ranges (the gateway closes them)",
            "closed",
            [Probe("tcp", address, 443) for net in ranges for address in _neighbours(net, ranges)],
        )
        elsewhere = [Probe(proto, OTHER_REGION, port) for proto in ("tcp", "udp") for port in EDGES_OPEN]
        yield _claim(node, "another region's master (EU Central, ams03)", "closed", elsewhere)
        optional = [Probe("tcp", MONITORING, 9095), Probe("tcp", LOGGING, 9091)]
        yield _claim(node, "step 4 was not asked for: monitoring and logging", "closed", optional)
        yield _claim(
            node,
            "anything else on the internet",
            "closed",
            [Probe("tcp", "198.51.100.7", port) for port in (22, 53, 80, 443)],
        )
        yield _claim(
            node,
            "IPv6: no catalogue address, all closed",
            "closed",
            [Probe("tcp", "2001:db8:cafe::1", 443), Probe("udp", "2001:db8:cafe::1", 443)],
        )


def _ends(net: str) -> tuple[str, str]:
    network = IPv4Network(net)
    return str(network[0]), str(network[-1])


def _neighbours(net: str, allowed: Sequence[str]) -> list[str]:
    network = IPv4Network(net)
    outside = (IPv4Address(int(network[0]) - 1), IPv4Address(int(network[-1]) + 1))
    return [str(address) for address in outside if not any(address in IPv4Network(item) for item in allowed)]


def _incoming(lab: Topology, calico: bool) -> Iterator[Claim]:
    """The default policies, from the internet to the public interfaces, IPv4 and IPv6, and the private side."""
    worker, worker_v6 = "203.0.113.11", "2001:db8:113::11"
    for address in (worker, worker_v6):
        version = "IPv6" if ":" in address else "IPv4"
        title = f"worker1, public {version}"
        yield _claim("internet", f"{title}: SSH", "filtered", [Probe("tcp", address, 22)])
        yield _claim("internet", f"{title}: allow-kubelet-port, 10250", "open", [Probe("tcp", address, 10250)])
        yield _claim("internet", f"{title}: allow-icmp", "open", [Probe("icmp", address)])
        ports = "filtered" if calico else "open"
        closed = ", deny-kube-node-port-services" if calico else ""
        yield _claim("internet", f"{title}: node port with a pod, 30080{closed}", ports, [Probe("tcp", address, 30080)])
        yield _claim(
            "internet",
            f"{title}: node port on the host's network, 30081{closed}",
            ports,
            [Probe("tcp", address, 30081)],
        )
        yield _claim(
            "internet", f"{title}: the same process past its node port, 8081", "filtered", [Probe("tcp", address, 8081)]
        )
        yield _claim(
            "internet",
            f"{title}: a port in the range that is no node port, 30999",
            "filtered",
            [Probe("tcp", address, 30999), Probe("udp", address, 30999)],
        )
    yield _claim("internet", "worker1, public IPv4: allow-vrrp", "open", [Probe("vrrp", worker)])
    inside, outside = str(PROVIDER_MANAGEMENT[5]), str(IPv4Address(int(PROVIDER_MANAGEMENT[-1]) + 5))
    yield _claim(
        "internet", "worker1: allow-sys-mgmt, SSH from 169.46.118.0/23", "open", [Probe("tcp", worker, 22, src=inside)]
    )
    yield _claim(
        "internet", "worker1: SSH from beside that network", "filtered", [Probe("tcp", worker, 22, src=outside)]
    )
    yield _claim(
        "internet",
        "master: API server, 443 and 6443",
        "open",
        [Probe("tcp", "203.0.113.10", port) for port in (443, 6443)],
    )
    yield _claim(
        "internet",
        "master, gateway: SSH",
        "filtered",
        [Probe("tcp", "203.0.113.10", 22), Probe("tcp", "203.0.113.3", 22)],
    )
    yield _claim("internet", "gateway: pings", "open", [Probe("icmp", "203.0.113.3")])
    anywhere = [Probe("tcp", "198.51.100.7", 443), Probe("tcp", "2001:db8:cafe::1", 443)]
    yield _claim("worker1/pod", "a pod's own traffic is Calico's matter: untouched", "open", anywhere)
    private = _private(lab, "worker1")
    yield _claim(
        "controller",
        "private interfaces: SSH",
        "open",
        [Probe("tcp", _private(lab, name), 22) for name in ("master", "worker1", "gateway")],
    )
    yield _claim(
        "master",
        "worker1, private: open as on the page",
        "open",
        [Probe("tcp", private, port) for port in (22, 8081, 30999)],
    )


def _behind_the_gateway(lab: Topology, calico: bool) -> Iterator[Claim]:
    """worker2 has one interface: the cluster's addresses are private there, all others are the public."""
    address = _private(lab, "worker2")
    yield _claim(
        "controller", "worker2, one interface: SSH from iks_management_networks", "open", [Probe("tcp", address, 22)]
    )
    # A port of the range of node ports: before DNAT nobody asks who comes.
    inner = (22, 8081) if calico else (22, 30999)
    yield _claim("master", "worker2: the cluster's nodes", "open", [Probe("tcp", address, port) for port in inner])
    yield _claim(
        "onprem",
        "worker2: SSH, 8081 and 30999 from elsewhere",
        "filtered",
        [Probe("tcp", address, port) for port in (22, 8081, 30999)],
    )
    opened = (10250, 30080) if calico else (10250, 30080, 30081)
    yield _claim(
        "onprem",
        "worker2: kubelet, the load balancer's port, pings" if calico else "worker2: kubelet, node ports, pings",
        "open",
        [*(Probe("tcp", address, port) for port in opened), Probe("icmp", address)],
    )
    if calico:
        title = "worker2: a node port of no load balancer, 30081, deny-kube-node-port-services"
        yield _claim("onprem", title, "filtered", [Probe("tcp", address, 30081)])
    yield _claim(
        "internet", "step 6: the load balancer behind the gateway, 30080", "open", [Probe("tcp", address, 30080)]
    )
    yield _claim(
        "internet",
        "behind the gateway, all other ports",
        "filtered",
        [Probe("tcp", address, port) for port in (22, 10250, 30079, 30081)],
    )
