# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of kube-proxy's nftables mode (1.31), in the form it writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .nodefiles import LIBRARY, NodeFile, service

if TYPE_CHECKING:
    from .kube import Service

TABLE = """\
add table FAMILY kube-proxy { comment "rules for kube-proxy" ; }
delete table FAMILY kube-proxy
table FAMILY kube-proxy {
    comment "rules for kube-proxy"

    set cluster-ips { type ADDR; comment "Active ClusterIPs"; elements = { CLUSTER-IPS } }
    set nodeport-ips { type ADDR; comment "IPs that accept NodePort traffic"; elements = { NODE-IPS } }
    map no-endpoint-services { type ADDR . inet_proto . inet_service : verdict; }
    map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
    map firewall-ips { type ADDR . inet_proto . inet_service : verdict; }
    map service-ips { type ADDR . inet_proto . inet_service : verdict; }
    map service-nodeports { type inet_proto . inet_service : verdict; }

    chain filter-prerouting { type filter hook prerouting priority -110; ct state new jump firewall-check; }
    chain filter-input {
        type filter hook input priority -110;
        ct state new jump nodeport-endpoints-check
        ct state new jump service-endpoints-check
    }
    chain filter-forward {
        type filter hook forward priority -110;
        ct state new jump service-endpoints-check
        ct state new jump cluster-ips-check
    }
    chain filter-output {
        type filter hook output priority -110;
        ct state new jump service-endpoints-check
        ct state new jump firewall-check
    }
    chain filter-output-post-dnat { type filter hook output priority -90; ct state new jump cluster-ips-check; }
    chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
    chain nat-output { type nat hook output priority -100; jump services; }
    chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }

    chain nodeport-endpoints-check {
        IP daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
    }
    chain service-endpoints-check { IP daddr . meta l4proto . th dport vmap @no-endpoint-services; }
    chain firewall-check { IP daddr . meta l4proto . th dport vmap @firewall-ips; }
    chain cluster-ips-check {
        IP daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
    }
    chain services {
        IP daddr . meta l4proto . th dport vmap @service-ips
        IP daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
    }
    chain masquerading {
        meta mark and 0x4000 == 0 return
        meta mark set meta mark xor 0x4000
        masquerade fully-random
    }
    chain mark-for-masquerade { meta mark set meta mark or 0x4000; }
    chain reject-chain { reject; }
}
"""


def files(
    services: Mapping[int, Sequence[Service]], pods: Mapping[int, str], addresses: Mapping[int, str]
) -> list[NodeFile]:
    text = "".join(table_text(family, services[family], pods[family], addresses[family]) for family in (4, 6))
    return [
        NodeFile(f"{LIBRARY}/kube-proxy.nft", text),
        *service("iks-lab-kube-proxy", "kube-proxy, nftables mode", f"/usr/sbin/nft -f /{LIBRARY}/kube-proxy.nft",
                 after="iks-lab-pod.service", kind="oneshot"),
    ]  # fmt: skip


def table_text(family: int, services: Sequence[Service], pods: str, address: str) -> str:
    """Input of `nft -f` for one family; in this mode NodePorts answer on the node's primary address only."""
    ip = "ip" if family == 4 else "ip6"
    words = {
        "FAMILY": ip,
        "ADDR": "ipv4_addr" if family == 4 else "ipv6_addr",
        "IP": ip,
        "CLUSTER-IPS": ", ".join(svc.cluster_ip for svc in services),
        "NODE-IPS": address,
    }
    table = TABLE
    for word in ("FAMILY", "ADDR", "CLUSTER-IPS", "NODE-IPS"):
        table = table.replace(word, words[word])
    table = table.replace("        IP daddr", f"        {ip} daddr").replace("{ IP daddr", f"{{ {ip} daddr")
    return table + "".join(_service_text(ip, svc, pods) for svc in services)


def _service_text(ip: str, svc: Service, pods: str) -> str:
    from .kube import digest

    name = f"default/{svc.name}/tcp/"
    chain = f"service-{digest(name, 8)}-{name}"
    external = f"external-{digest(name, 8)}-{name}"
    where = f"{name}__{svc.endpoint.replace(':', '.')}/{svc.port}"
    endpoint = f"endpoint-{digest(where, 8)}-{where}"
    table = f"{ip} kube-proxy"
    return f"""\
add chain {table} {endpoint}
add rule {table} {endpoint} {ip} saddr {svc.endpoint} jump mark-for-masquerade
add rule {table} {endpoint} meta l4proto tcp dnat to {svc.where}
add chain {table} {chain}
add rule {table} {chain} {ip} daddr {svc.cluster_ip} tcp dport 80 {ip} saddr != {pods} jump mark-for-masquerade
add rule {table} {chain} numgen random mod 1 vmap {{ 0 : goto {endpoint} }}
add chain {table} {external}
add rule {table} {external} jump mark-for-masquerade
add rule {table} {external} goto {chain}
add element {table} service-ips {{ {svc.cluster_ip} . tcp . 80 : goto {chain} }}
add element {table} service-nodeports {{ tcp . {svc.node_port} : goto {external} }}
"""
