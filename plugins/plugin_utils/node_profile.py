# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each kind of node opens and closes by default, as traffic rules. Pure.

The worker's rules are the 2017 page's default policies (section "Default policy configuration"), said for the node's
own iptables: pings, kubelet, what kube-proxy forwards, VRRP and the provider's management systems come in on the public
interface, and nothing else does. The master's and the gateway's follow the same logic.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping

from ..module_utils.errors import choices
from ..module_utils.firewall_guard import check_interfaces_among, locked_out
from ..module_utils.intrusion import read_guard
from ..module_utils.ruleset import Ruleset, check_established, default_rules
from ..module_utils.traffic import ANY
from ..module_utils.traffic_lines import read_rules, rule_to_line
from ..module_utils.traffic_reading import rule_from_dict
from .node_settings import ProfileError, Settings, Shape

# New connections of one source at once before its rate counts: a page of dashboards opens dozens.
_BURST = 300
KINDS = ("worker", "master", "gateway")
PAGE = "page 2017-09-29 default policies"
# RFC 5798 section 5.1.1.2: where VRRP advertisements go.
VRRP_GROUPS = ("224.0.0.18/32", "ff02::12/128")
METADATA = "169.254.169.254/32"


@dataclass
class _Rules:
    """Collects rules; names come out unique, and networks are split by family only where a rule needs it."""

    lines: list[str] = field(default_factory=list)

    def add(self, name: str, reason: str, direction: str = "in", protocol: str = ANY, **more: Any) -> None:
        data = {key: value for key, value in more.items() if value is not None}
        rule = rule_from_dict(
            {"name": name, "direction": direction, "action": "accept", "protocol": protocol, "reason": reason} | data
        )
        self.lines.append(rule_to_line(rule))


def node_ruleset(kind: str, info: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The default ruleset of a node: `{"rules": [lines], "defaults": [...], "notes": [...]}`.

    `info` is a firewall_info result. Raises HardeningError.
    """
    if kind not in KINDS:
        raise ProfileError(choices("kind of node", kind, KINDS))
    shape = Shape.of(info, settings)
    rules, notes = _Rules(), []
    _incoming(rules, kind, info, shape, settings)
    defaults: list[dict[str, str]] = [{"direction": "in", "interface": shape.public}]
    guard = _guard(info, settings)
    restricted = settings.egress == "restricted"
    if restricted:
        notes += _outgoing(rules, "out", info, shape, settings)
        defaults.append({"direction": "out", "interface": shape.public})
    if kind == "gateway":
        defaults.append({"direction": "forward", "interface": shape.public})
        if restricted:
            _outgoing(rules, "forward", info, shape, settings)
            defaults.append({"direction": "forward", "out_interface": shape.public})
    if settings.private == "restricted":
        _private(rules, shape, settings)
        if not shape.single:
            defaults += [{"direction": way, "interface": str(shape.private)} for way in ("in", "out")]
    user = [
        rule_to_line(rule_from_dict(item)) if isinstance(item, Mapping) else str(item) for item in settings.extra_rules
    ]
    if settings.log_denied:
        for item in defaults:
            item["log"] = f"iks-drop-{item['direction']}:"
    _check_whole(user + rules.lines, defaults, guard, info, settings)
    return {
        "rules": user + rules.lines,
        "defaults": defaults,
        "guard": guard,
        "management": list(settings.management_networks),
        "notes": notes,
        "public": shape.public,
        "private": shape.private,
    }


def _guard(info: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The intrusion guard's settings: whom it never holds is whoever has a name in the cluster or in the catalogue."""
    if not settings.intrusion_guard:
        return {}
    peer = info.get("ssh_peer")
    never = [
        *settings.cluster_networks,
        *settings.management_networks,
        *settings.operator_networks,
        *settings.resolvers,
        *(item for item in info["resolvers"] if "%" not in item),
        *(network for network, _reason in settings.provider_management),
        *settings.catalogue_networks,
        *([str(peer["source"])] if peer else []),
    ]
    return {"never": sorted(set(never)), **({"hold": settings.intrusion_hold} if settings.intrusion_hold else {})}


def _check_whole(
    lines: list[str],
    defaults: list[dict[str, str]],
    guard: Mapping[str, Any],
    info: Mapping[str, Any],
    settings: Settings,
) -> None:
    """What the module would refuse on the node is refused here already: nothing, on no node, has been changed yet."""
    ruleset = Ruleset("node", 900, tuple(read_rules(lines)), default_rules(defaults), read_guard(guard))
    check_established(ruleset)
    check_interfaces_among(ruleset, info["interfaces"])
    peer = info.get("ssh_peer")
    found = locked_out(ruleset, peer, info["interfaces"]) if peer and not settings.allow_lockout else ""
    if found:
        raise ProfileError(found)


def _incoming(rules: _Rules, kind: str, info: Mapping[str, Any], shape: Shape, settings: Settings) -> None:
    public = shape.public
    if settings.management_networks:
        rules.add(
            "management-ssh",
            "SSH from iks_management_networks, on any interface",
            protocol="tcp",
            sources=settings.management_networks,
            ports=[22],
        )
    if shape.single:
        if not settings.cluster_networks:
            raise ProfileError(
                f"the node has one interface, {public}, and nothing says which of its traffic is private; "
                "set iks_cluster_networks "
                "to the networks of the cluster's nodes, and iks_management_networks to where SSH comes from"
            )
        rules.add(
            "cluster-in",
            "iks_cluster_networks count as private on a single interface",
            sources=settings.cluster_networks,
            interface=public,
        )
    rules.add("ping", f"{PAGE}: allow-icmp", protocol="icmp", interface=public)
    rules.add("ping6", f"{PAGE}: allow-icmp, said for IPv6", protocol="icmpv6", interface=public, icmp_types=[128, 129])
    if kind != "gateway":
        rules.add("kubelet", f"{PAGE}: allow-kubelet-port", protocol="tcp", ports=[10250], interface=public)
        rules.add("services", f"{PAGE}: allow-node-port-dnat", states=["dnat"], interface=public)
        if info["kube_proxy"] == "ipvs":
            for protocol in ("tcp", "udp"):
                rules.add(
                    f"node-ports-{protocol}",
                    f"{PAGE}: allow-node-port-dnat; IPVS does no DNAT before INPUT",
                    protocol=protocol,
                    ports=[settings.node_ports],
                    interface=public,
                )
    if kind == "master":
        sources = settings.operator_networks or ANY
        _limits(rules, public, settings)
        rules.add(
            "apiserver",
            "kubectl and the workers reach the API server",
            protocol="tcp",
            ports=settings.apiserver_ports,
            sources=[*settings.operator_networks, *settings.cluster_networks]
            if settings.operator_networks
            else sources,
            interface=public,
        )
        peers = [*settings.operator_networks, *settings.cluster_networks]
        if peers:
            rules.add(
                "etcd",
                "calicoctl and the cluster's nodes reach etcd",
                protocol="tcp",
                ports=settings.etcd_ports,
                sources=peers,
                interface=public,
            )
    rules.add("vrrp", f"{PAGE}: allow-vrrp", protocol="vrrp", interface=public)
    by_reason: dict[str, list[str]] = {}
    for network, reason in settings.provider_management:
        by_reason.setdefault(reason, []).append(network)
    for number, (reason, networks) in enumerate(by_reason.items(), 1):
        rules.add(f"provider-{number}", f"{PAGE}: allow-sys-mgmt; {reason}", sources=networks, interface=public)


def _limits(rules: _Rules, public: str, settings: Settings) -> None:
    """What protects the API server from floods of connections; the cluster's own nodes are not counted."""
    if settings.cluster_networks:
        rules.add(
            "apiserver-cluster",
            "the cluster's nodes reach the API server, without a limit",
            protocol="tcp",
            ports=settings.apiserver_ports,
            sources=settings.cluster_networks,
            interface=public,
        )
    common = {"protocol": "tcp", "ports": settings.apiserver_ports, "states": ["new"], "interface": public}
    if settings.apiserver_connections:
        rules.add(
            "apiserver-connections",
            "a flood: more connections of one source than iks_apiserver_connections",
            action="drop",
            connections=settings.apiserver_connections,
            **common,
        )
    if settings.apiserver_rate:
        rules.add(
            "apiserver-rate",
            "a flood: new connections of one source faster than iks_apiserver_rate",
            action="drop",
            rate=settings.apiserver_rate,
            burst=_BURST,
            **common,
        )


def _outgoing(rules: _Rules, direction: str, info: Mapping[str, Any], shape: Shape, settings: Settings) -> list[str]:
    """What every node needs besides the region's ports; notes about what could not be opened."""
    notes = []
    # A node's own lookups may leave by either interface; what is forwarded is closed only towards the public one.
    where = {"out_interface": shape.public} if direction == "forward" else {}
    prefix = "" if direction == "out" else "forward-"
    resolvers = settings.resolvers or [item for item in info["resolvers"] if "%" not in item]
    servers = settings.time_servers or info["time_servers"]
    for protocol in ("udp", "tcp"):
        if resolvers:
            rules.add(
                f"{prefix}dns-{protocol}",
                "the node's name servers",
                direction,
                protocol,
                ports=[53],
                destinations=resolvers,
                **where,
            )
    if servers:
        rules.add(
            f"{prefix}ntp", "the node's time servers", direction, "udp", ports=[123], destinations=servers, **where
        )
    elif info["time_server_names"]:
        notes.append(
            f"time servers {', '.join(info['time_server_names'])} have no known address and stay closed; "
            "set iks_time_servers"
        )
    if settings.package_mirrors:
        rules.add(
            f"{prefix}mirrors",
            "iks_package_mirrors",
            direction,
            "tcp",
            ports=[80, 443],
            destinations=settings.package_mirrors,
            **where,
        )
    if direction == "out":
        rules.add(
            "metadata",
            "the provider's metadata service",
            direction,
            "tcp",
            ports=[80],
            destinations=[METADATA],
            **where,
        )
        rules.add(
            "vrrp-out",
            f"{PAGE}: allow-vrrp, the node's own advertisements",
            direction,
            "vrrp",
            destinations=list(VRRP_GROUPS),
            **where,
        )
    if direction == "out" and settings.management_networks:
        # A session that is older than connection tracking is not "established" to it: its answers look new.
        rules.add(
            "management-ssh-answers",
            "SSH to iks_management_networks, also of sessions older than connection tracking",
            "out",
            "tcp",
            source_ports=[22],
            destinations=settings.management_networks,
        )
    if settings.cluster_networks:
        rules.add(
            f"{prefix}cluster-out",
            "the cluster's own networks",
            direction,
            destinations=settings.cluster_networks,
            **where,
        )
    return notes


def _private(rules: _Rules, shape: Shape, settings: Settings) -> None:
    """Page step 5: the private interface too closes, but for the cluster; the region's ranges are another ruleset."""
    if shape.single:
        return
    if shape.private is None:
        raise ProfileError(
            "iks_private is restricted, but which interface is private is not clear from the routes; "
            "set iks_private_interface"
        )
    if not settings.cluster_networks:
        raise ProfileError(
            "iks_private is restricted, but iks_cluster_networks is empty: the nodes would lose each other; set it"
        )
    rules.add(
        "private-cluster-in",
        "the cluster's nodes on the private network",
        sources=settings.cluster_networks,
        interface=shape.private,
    )
    rules.add(
        "private-cluster-out",
        "the cluster's nodes on the private network",
        "out",
        destinations=settings.cluster_networks,
        interface=shape.private,
    )
    rules.add("private-ping", "pings on the private network", protocol="icmp", interface=shape.private)
    if settings.management_networks:
        rules.add(
            "private-management-out",
            "answers and probes to iks_management_networks",
            "out",
            destinations=settings.management_networks,
            interface=shape.private,
        )


def check_peers(shape_single: bool, settings: Settings, addresses: Iterable[str]) -> None:
    """On a single-interface node every other node's address has to count as private."""
    networks = [ipaddress.ip_network(item) for item in settings.cluster_networks]
    for address in addresses if shape_single else ():
        host = ipaddress.ip_address(address)
        if not any(net.version == host.version and host in net for net in networks):
            raise ProfileError(
                f"iks_cluster_networks does not hold {address}, the address of another node; "
                f"add {address}/{host.max_prefixlen}"
            )
