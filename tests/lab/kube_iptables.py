# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of kube-proxy 1.29's iptables mode, and those of the kubelet, in the form these programs write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .nodefiles import LIBRARY, NodeFile, service

if TYPE_CHECKING:
    from .kube import Service

TOOLS = {4: "iptables", 6: "ip6tables"}

_NEW = "-m conntrack --ctstate NEW -m comment --comment"
# Table, built-in chain, rule; the first of a chain ends up first.
JUMPS = (
    ("filter", "INPUT", f'{_NEW} "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL'),
    ("filter", "INPUT", '-m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS'),
    ("filter", "INPUT", f'{_NEW} "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES'),
    ("filter", "INPUT", "-j KUBE-FIREWALL"),
    ("filter", "FORWARD", f'{_NEW} "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL'),
    ("filter", "FORWARD", '-m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD'),
    ("filter", "FORWARD", f'{_NEW} "kubernetes service portals" -j KUBE-SERVICES'),
    ("filter", "FORWARD", f'{_NEW} "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES'),
    ("filter", "OUTPUT", f'{_NEW} "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL'),
    ("filter", "OUTPUT", f'{_NEW} "kubernetes service portals" -j KUBE-SERVICES'),
    ("filter", "OUTPUT", "-j KUBE-FIREWALL"),
    ("nat", "PREROUTING", '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'),
    ("nat", "OUTPUT", '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'),
    ("nat", "POSTROUTING", '-m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING'),
)

FILTER_CHAINS = (
    "KUBE-EXTERNAL-SERVICES", "KUBE-FIREWALL", "KUBE-FORWARD", "KUBE-KUBELET-CANARY", "KUBE-NODEPORTS",
    "KUBE-PROXY-CANARY", "KUBE-PROXY-FIREWALL", "KUBE-SERVICES",
)  # fmt: skip
NAT_CHAINS = (
    "KUBE-KUBELET-CANARY", "KUBE-MARK-MASQ", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-PROXY-CANARY", "KUBE-SERVICES",
)  # fmt: skip
MANGLE_CHAINS = ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY", "KUBE-PROXY-CANARY")


def files(services: Mapping[int, Sequence[Service]], pods: Mapping[int, str]) -> list[NodeFile]:
    script = ["#!/bin/sh", "set -e"]
    for family, tool in TOOLS.items():
        script.append(f"{tool}-restore -w --noflush /{LIBRARY}/kube-proxy.v{family}")
        # Each insertion goes to the first place, so the last of a chain has to come first.
        for table, chain, rule in reversed(JUMPS):
            script.append(f"{tool} -w -t {table} -D {chain} {rule} 2>/dev/null || true")
            script.append(f"{tool} -w -t {table} -I {chain} {rule}")
    return [
        *[
            NodeFile(f"{LIBRARY}/kube-proxy.v{family}", restore_text(family, services[family], pods[family]))
            for family in TOOLS
        ],
        NodeFile(f"{LIBRARY}/kube-proxy.sh", "\n".join(script) + "\n", 0o755),
        *service("iks-lab-kube-proxy", "kube-proxy, iptables mode", f"/{LIBRARY}/kube-proxy.sh",
                 after="iks-lab-pod.service", kind="oneshot"),
    ]  # fmt: skip


def restore_text(family: int, services: Sequence[Service], pods: str) -> str:
    """Input of iptables-restore --noflush; naming a chain empties it first."""
    lines = ["*mangle", *[f":{chain} - [0:0]" for chain in MANGLE_CHAINS], "COMMIT"]
    lines += ["*filter", *[f":{chain} - [0:0]" for chain in FILTER_CHAINS], *_filter_rules(family), "COMMIT"]
    lines += ["*nat", *[f":{chain} - [0:0]" for chain in (*NAT_CHAINS, *_service_chains(services))]]
    lines += [*_nat_rules(family, services, pods), "COMMIT"]
    return "\n".join(lines) + "\n"


def _filter_rules(family: int) -> list[str]:
    rules = [
        "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
        '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT',
        '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule"'
        " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ]
    if family == 4:
        rules.append(
            "-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8"
            ' -m comment --comment "block incoming localnet connections"'
            " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
        )
    return rules


def _chains(svc: Service) -> tuple[str, str, str]:
    """The names of a service's three chains: service, external, end point."""
    from .kube import digest

    name = f"default/{svc.name}tcp"
    return (
        f"KUBE-SVC-{digest(name, 16)}",
        f"KUBE-EXT-{digest(name, 16)}",
        f"KUBE-SEP-{digest(name + svc.where, 16)}",
    )


def _service_chains(services: Sequence[Service]) -> list[str]:
    return [chain for svc in services for chain in _chains(svc)]


def _nat_rules(family: int, services: Sequence[Service], pods: str) -> list[str]:
    bits = 32 if family == 4 else 128
    rules = [
        "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
        '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT"'
        " -j MASQUERADE --random-fully",
    ]
    for svc in services:
        chain, external, endpoint = _chains(svc)
        name = f"default/{svc.name}"
        comment = f'-m comment --comment "{name}"'
        masquerade = f'-m comment --comment "masquerade traffic for {name} external destinations"'
        cluster = f'-p tcp -m comment --comment "{name} cluster IP" -m tcp --dport 80'
        rules += [
            f"-A KUBE-SERVICES -d {svc.cluster_ip}/{bits} {cluster} -j {chain}",
            f"-A KUBE-NODEPORTS -p tcp {comment} -m tcp --dport {svc.node_port} -j {external}",
            f"-A {external} {masquerade} -j KUBE-MARK-MASQ",
            f"-A {external} -j {chain}",
            f"-A {chain} ! -s {pods} -d {svc.cluster_ip}/{bits} {cluster} -j KUBE-MARK-MASQ",
            f'-A {chain} -m comment --comment "{name} -> {svc.where}" -j {endpoint}',
            f"-A {endpoint} -s {svc.endpoint}/{bits} {comment} -j KUBE-MARK-MASQ",
            f"-A {endpoint} -p tcp {comment} -m tcp -j DNAT --to-destination {svc.where}",
        ]
    last = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"
    rules.append(f'-A KUBE-SERVICES -m comment --comment "{last}" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS')
    return rules
