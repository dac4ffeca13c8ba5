# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The isolation sets that IBM gave its users from 2019 on, for the private and the public interface. Pure.

What each policy allows, its order and its selector are after IBM's published samples (kube-samples, calico-policies);
the addresses come from the region catalogue and the inventory. Where a sample leaves out what a node needs (time, SSH
from the management networks, the region's services), a policy of ours adds it, as nothing else would get through.
"""

from __future__ import annotations

from . import addresses
from .calico_defaults import KUBELET, nodes, private_side
from .calico_forms import (
    PODS,
    TCP_UDP,
    VRRP,
    WORKERS_PRIVATE,
    WORKERS_PUBLIC,
    ContentError,
    Document,
    policy,
    rules,
)
from .calico_region import managing_networks, master_rules, service_rules
from .calico_settings import CalicoSettings
from .catalogue_model import Catalogue

DNS = (53, 5353)
BIGFIX = 52311
NTP = 123
# NFS and iSCSI of the provider's file and block storage, and the storage's own API.
STORAGE = (443, 2049, 3260)
TYPHA = 5473
# What the master's local proxy on every worker answers on: API server and etcd.
LOCAL_PROXY = ("2040:2041",)
PRIVATE_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
PRIVATE_NETWORKS_V6 = ("fc00::/7",)


def private_isolation(settings: CalicoSettings, catalogue: Catalogue) -> list[Document]:
    """In place of allow-all-private-default: the private interface closes but for the cluster.

    The set is whole: nothing else opens the private interface of a worker. Raises HardeningError.
    """
    ping = rules("Allow", ("ICMP",))
    vrrp = rules("Allow", (VRRP,))
    time = rules("Allow", ("UDP",), (NTP,), destinations=settings.time_servers or None)
    made = [
        policy("allow-all-workers-private", WORKERS_PRIVATE, 1800, *_workers(settings)),
        policy("allow-egress-pods-private", PODS, 1500, egress=_pods_private(settings)),
        policy(
            "allow-ibm-ports-private",
            WORKERS_PRIVATE,
            1500,
            ingress=rules("Allow", TCP_UDP, (*DNS, KUBELET, BIGFIX)),
            egress=[*rules("Allow", TCP_UDP, (*DNS, *STORAGE)), *_masters_proxy(settings)],
        ),
        policy("allow-icmp-private", WORKERS_PRIVATE, 1500, ingress=ping),
        policy("allow-time-private", WORKERS_PRIVATE, 1500, egress=time),
        policy("allow-vrrp-private", WORKERS_PRIVATE, 1500, ingress=vrrp, egress=vrrp),
        policy("deny-all-private-default", WORKERS_PRIVATE, 99900, ingress=rules("Deny"), egress=rules("Deny")),
    ]
    endpoint = _private_master(settings)
    if endpoint:
        made.append(policy("allow-private-service-endpoint", WORKERS_PRIVATE, 1900, egress=endpoint))
    if settings.provider == "ibm":
        managing = rules("Allow", sources=managing_networks(settings, catalogue))
        made.append(policy("allow-sys-mgmt-private", WORKERS_PRIVATE, 1800, ingress=managing))
    if settings.regions:
        services = service_rules(settings, catalogue, private=True)
        if services:
            made.append(policy("allow-private-services", WORKERS_PRIVATE, 1900, egress=services))
    return made


def public_isolation(settings: CalicoSettings, catalogue: Catalogue) -> list[Document]:
    """Closes what workers and pods send by the public interface, beside the defaults. Raises HardeningError."""
    vrrp = rules("Allow", (VRRP,))
    time = rules("Allow", ("UDP",), (NTP,), destinations=settings.time_servers or None)
    masters = _public_master(settings, catalogue)
    made = [
        # The page's step 2: the workers of all locations of a region reach each other.
        policy("allow-all-workers-public", WORKERS_PUBLIC, 1500, egress=rules("Allow", destinations=nodes(settings))),
        policy("allow-egress-pods-public", PODS, 1500, egress=[*_pods(settings), *masters]),
        policy(
            "allow-ibm-ports-public",
            WORKERS_PUBLIC,
            1500,
            ingress=rules("Allow", TCP_UDP, (*DNS, BIGFIX)),
            egress=[
                *rules("Allow", TCP_UDP, (*DNS, *STORAGE, TYPHA)),
                *_masters_proxy(settings),
                # A worker's own packets to a service have become packets to its pod here.
                *rules("Allow", destinations=settings.pod_networks),
            ],
        ),
        policy("allow-public-service-endpoint", WORKERS_PUBLIC, 1500, egress=masters),
        policy("allow-time-public", WORKERS_PUBLIC, 1500, egress=time),
        policy("allow-vrrp-public", WORKERS_PUBLIC, 1500, ingress=vrrp, egress=vrrp),
        policy("deny-all-outbound-public", WORKERS_PUBLIC, 1850, egress=rules("Deny")),
    ]
    if settings.regions:
        services = service_rules(settings, catalogue, private=False)
        if services:
            made.append(policy("allow-public-services", WORKERS_PUBLIC, 1500, egress=services))
    return made


def _workers(settings: CalicoSettings) -> tuple[list[Document], list[Document]]:
    """Workers to each other: by their endpoints, and by the addresses of all nodes, which need no endpoint to count."""
    others = {"selector": WORKERS_PRIVATE}
    near = [{"action": "Allow", "source": others}, *rules("Allow", sources=private_side(nodes(settings)))]
    far = [
        {"action": "Allow", "destination": others},
        *rules("Allow", destinations=private_side(nodes(settings))),
        *rules("Allow", destinations=settings.pod_networks),
    ]
    return near, far


def _masters_proxy(settings: CalicoSettings) -> list[Document]:
    found = []
    if settings.local_proxy_networks:
        found += rules("Allow", TCP_UDP, LOCAL_PROXY, destinations=settings.local_proxy_networks)
    if settings.apiserver_service:
        found += rules("Allow", TCP_UDP, (443,), destinations=settings.apiserver_service)
    return found


def _pods(settings: CalicoSettings) -> list[Document]:
    """What pods need in any cluster: names, storage, kubelets, the metrics server, the local proxy, each other."""
    found = [
        *rules("Allow", ("UDP",), (*DNS, *STORAGE, KUBELET)),
        *rules("Allow", ("TCP",), (*DNS, *STORAGE, 4443, 6443, KUBELET)),
    ]
    if settings.local_proxy_networks:
        found += rules("Allow", TCP_UDP, LOCAL_PROXY, destinations=settings.local_proxy_networks)
    return [*found, {"action": "Allow", "destination": {"selector": PODS}}]


def _pods_private(settings: CalicoSettings) -> list[Document]:
    """Besides, everything but private networks, and the private endpoint of the master."""
    outside: list[Document] = [{"action": "Allow", "destination": {"notNets": list(PRIVATE_NETWORKS)}}]
    if settings.has_ipv6:
        # A rule with networks of one family says nothing of the other.
        outside.append({"action": "Allow", "destination": {"notNets": list(PRIVATE_NETWORKS_V6)}})
    return [*_pods(settings), *outside, *_private_master(settings)]


def _private_master(settings: CalicoSettings) -> list[Document]:
    """To the master by the private network; masters of the inventory are nodes, which are open to each other."""
    if settings.private_service_endpoints:
        return rules("Allow", TCP_UDP, ("20000:32767", 443), destinations=settings.private_service_endpoints)
    if settings.cluster_masters:
        return rules(
            "Allow", ("TCP",), settings.apiserver_ports, destinations=addresses.merge(settings.cluster_masters)
        )
    raise ContentError(
        "iks_private_service_endpoints: the addresses of the master's private service endpoint are not known; the "
        "region catalogue has none, and isolated workers would lose their master. List them (ibmcloud ks cluster get, "
        "and IBM's list for all zones of the region), or put your own masters into the group iks_masters"
    )


def _public_master(settings: CalicoSettings, catalogue: Catalogue) -> list[Document]:
    own = (
        rules("Allow", ("TCP",), settings.apiserver_ports, destinations=addresses.merge(settings.cluster_masters))
        if settings.cluster_masters
        else []
    )
    return own + (master_rules(settings, catalogue) if settings.regions or not own else [])
