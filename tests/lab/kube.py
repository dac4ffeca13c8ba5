# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a worker a Kubernetes worker to its firewall: a pod behind a veth, and kube-proxy's real rules.

Two services, each a NodePort: `web` (30080) with the pod as its back end, so its packets are forwarded, and `host`
(30081) with a back end in the node's own network (hostNetwork, port 8081), so its packets come in, translated.
worker1 has the rules of kube-proxy's iptables mode, worker2 those of its nftables mode (and no iptables package).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import kube_iptables, kube_nft
from .nodefiles import LIBRARY, NodeFile, service
from .topology import Node

if TYPE_CHECKING:
    from .lab import Lab

POD_NETWORKS = {4: "172.30.0.0/16", 6: "fd00:30::/32"}
POD_PORT, HOST_PORT = 8080, 8081
UNITS = ("iks-lab-pod", "iks-lab-pod-echo", "iks-lab-kube-proxy")


@dataclass(frozen=True)
class Service:
    """A NodePort service with its one local end point."""

    name: str
    cluster_ip: str
    node_port: int
    endpoint: str
    port: int

    @property
    def where(self) -> str:
        return f"[{self.endpoint}]:{self.port}" if ":" in self.endpoint else f"{self.endpoint}:{self.port}"


def digest(text: str, length: int) -> str:
    """kube-proxy's way to name chains."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:length]


def uses_iptables(node: Node) -> bool:
    return node.name == "worker1"


def services(node: Node, family: int) -> list[Service]:
    """The services of a node, end points in the given IP family."""
    private = next(nic for nic in node.nics if nic.bridge == "priv")
    cluster = "172.21.0." if family == 4 else "fd00:21::"
    return [
        Service("web", f"{cluster}80", 30080, node.pod_address(family), POD_PORT),
        Service("host", f"{cluster}81", 30081, str((private.ipv4 if family == 4 else private.ipv6).ip), HOST_PORT),
    ]


def files(node: Node) -> list[NodeFile]:
    """Everything a worker needs, as services that come back at boot."""
    listen = f"/usr/bin/python3 /{LIBRARY}/echo.py --tcp {POD_PORT} --udp {POD_PORT}"
    if uses_iptables(node):
        proxy = kube_iptables.files({family: services(node, family) for family in (4, 6)}, POD_NETWORKS)
    else:
        addresses = {4: str(node.nics[0].ipv4.ip), 6: str(node.nics[0].ipv6.ip)}
        proxy = kube_nft.files({family: services(node, family) for family in (4, 6)}, POD_NETWORKS, addresses)
    return [
        NodeFile(f"{LIBRARY}/pod.sh", pod_script(node), 0o755),
        *service("iks-lab-pod", "A pod's network", f"/{LIBRARY}/pod.sh", kind="oneshot"),
        *service(
            "iks-lab-pod-echo",
            "What runs in the pod",
            f"/usr/bin/nsenter --net=/run/netns/pod {listen}",
            after="iks-lab-pod.service",
        ),
        *proxy,
    ]


def pod_script(node: Node) -> str:
    """As Calico wires a pod: a veth, one host route, and the router's link-local addresses as the way out."""
    four, six = node.pod_address(4), node.pod_address(6)
    outside = "cali" + hashlib.sha256(node.name.encode()).hexdigest()[:11]
    return f"""\
#!/bin/sh
set -e
ip netns add pod
ip link add {outside} address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns pod
echo 1 > /proc/sys/net/ipv4/conf/{outside}/proxy_arp
echo 0 > /proc/sys/net/ipv4/neigh/{outside}/proxy_delay
ip link set {outside} up
ip -n pod link set lo up
ip -n pod link set eth0 up
ip -n pod address add {four}/32 dev eth0
ip -n pod route add 169.254.1.1 dev eth0 scope link
ip -n pod route add default via 169.254.1.1
ip -n pod address add {six}/128 dev eth0 nodad
ip -n pod route add default via fe80::ecee:eeff:feee:eeee dev eth0
ip route add {four}/32 dev {outside} scope link
ip route add {six}/128 dev {outside}
"""


def provision(lab: Lab, name: str) -> None:
    """Turn a running worker into a Kubernetes worker (what `up` does before the boot, unless it was told not to)."""
    node = lab.topology.node(name)
    if node.pod_network is None:
        raise ValueError(f"node {name}: is no worker, so it has no pods; workers are worker1, worker2")
    if uses_iptables(node):
        lab.run(name, ["apt-get", "-q", "-y", "install", "iptables"])
    for file in files(node):
        if file.link_to is None:
            lab.write(name, f"/{file.path}", file.text, mode=file.mode)
    lab.run(name, ["systemctl", "daemon-reload"])
    lab.run(name, ["systemctl", "enable", "--now", *UNITS])


def reassert(lab: Lab, name: str) -> None:
    """Let kube-proxy write its rules anew, its jumps in the first places again, as the real one does now and then."""
    lab.run(name, ["systemctl", "restart", "iks-lab-kube-proxy"])
