# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to pass at the host endpoints after any change of policies: the flows that the guard looks after. Pure.

A flow is a dictionary of `name`, `direction` (in or out, as the node sees it), `protocol`, `networks` (the peers),
`ports` (of the destination, absent for protocols without), `reason`, and `selector`: the endpoints it is about, as the
traffic of a node goes by one of its interfaces and not by all. Without a selector it is about every endpoint.
"""

from __future__ import annotations

from typing import Any, Iterable, Sequence

from .addresses import inside, is_private, merge
from .calico_defaults import KUBELET, SSH, private_side
from .calico_forms import NODES_PUBLIC, WORKERS_PRIVATE, WORKERS_PUBLIC
from .calico_isolation import NTP, TYPHA
from .calico_region import request, service_traffic
from .calico_settings import CalicoSettings
from .catalogue_model import Catalogue
from .region_rules import regions_in_use

Flow = dict[str, Any]
BGP = 179
VXLAN = 4789
IPIP = "4"
LOOPBACK = ("127.0.0.0/8", "::1/128")


def required_flows(settings: CalicoSettings, catalogue: Catalogue) -> list[Flow]:
    """The flows of a cluster. Raises HardeningError."""
    made: list[Flow] = []
    if settings.management_networks:
        made.append(
            _flow("ssh", "in", "tcp", settings.management_networks, [SSH], "SSH from iks_management_networks", None)
        )
    if settings.cluster_nodes:
        made += _between_nodes(settings, _cluster_endpoints(settings))
    made += _names_and_time(settings)
    if settings.regions:
        made += _region(settings, catalogue)
    return made


def _cluster_endpoints(settings: CalicoSettings) -> str:
    """The endpoints that the cluster's own traffic goes through.

    Those of private interfaces count also where the settings want none: as long as they are there, they need policies.
    """
    return NODES_PUBLIC if settings.single_interface else WORKERS_PRIVATE


def _between_nodes(settings: CalicoSettings, cluster: str) -> list[Flow]:
    side = merge if settings.single_interface else private_side
    peers = side(settings.cluster_nodes)
    made = []
    if settings.cluster_masters:
        masters = side(settings.cluster_masters)
        workers = WORKERS_PUBLIC if settings.single_interface else cluster
        made.append(
            _flow("apiserver", "out", "tcp", masters, settings.apiserver_ports, "workers to the API server", workers)
        )
        made.append(_flow("etcd", "out", "tcp", masters, settings.etcd_ports, "Calico's nodes to etcd", workers))
        made.append(_flow("kubelet", "in", "tcp", masters, [KUBELET], "API server to kubelet", workers))
        if settings.single_interface and settings.calico_masters:
            role = "ibm.role == 'master_public'"
            made.append(
                _flow("apiserver-in", "in", "tcp", peers, settings.apiserver_ports, "nodes to the API server", role)
            )
            made.append(_flow("etcd-in", "in", "tcp", peers, settings.etcd_ports, "Calico's nodes to etcd", role))
    for direction, way in (("in", ""), ("out", "-out")):
        for name, protocol, ports, reason in (
            ("bgp", "tcp", [BGP], "BGP between the nodes"),
            ("vxlan", "udp", [VXLAN], "VXLAN between the nodes"),
            ("ipip", IPIP, None, "IP-in-IP between the nodes"),
            ("typha", "tcp", [TYPHA], "Felix to Typha"),
        ):
            made.append(_flow(f"{name}{way}", direction, protocol, peers, ports, reason, cluster))
    return made


def _names_and_time(settings: CalicoSettings) -> list[Flow]:
    made = []
    for name, networks, ports, protocols, reason in (
        ("dns", settings.resolvers, [53], ("udp", "tcp"), "the nodes' name servers"),
        ("ntp", settings.time_servers, [NTP], ("udp",), "the nodes' time servers"),
    ):
        for private in (False, True):
            peers = [net for net in networks if is_private(net) == private and not inside(net, LOOPBACK)]
            selector = _selector(settings, private)
            if peers:
                made += [
                    _flow(
                        f"{name}-{protocol}{'-private' if private else ''}",
                        "out",
                        protocol,
                        peers,
                        ports,
                        reason,
                        selector,
                    )
                    for protocol in protocols
                ]
    return made


def _region(settings: CalicoSettings, catalogue: Catalogue) -> list[Flow]:
    made = []
    public = _selector(settings, private=False)
    asked = settings.services
    if asked is None or "master" in asked:
        service = catalogue.services["master"]
        for region in regions_in_use(catalogue, request(settings)):
            addresses = [address for group in region.masters for address in group.addresses]
            for protocol in service.protocols:
                reason = f"masters of {region.key}, {catalogue.step('master')}"
                name = f"{region.key}-master-{protocol}"
                made.append(_flow(name, "out", protocol, merge(addresses), service.ports, reason, public))
    for private in (False, True):
        selector = _selector(settings, private)
        for rule in service_traffic(settings, catalogue, private):
            made.append(
                _flow(
                    rule["name"], "out", rule["protocol"], rule["destinations"], rule["ports"], rule["reason"], selector
                )
            )
    return made


def _selector(settings: CalicoSettings, private: bool) -> str:
    """The endpoints by which peers of a network are reached."""
    return WORKERS_PRIVATE if private and not settings.single_interface else WORKERS_PUBLIC


def _flow(
    name: str,
    direction: str,
    protocol: str,
    networks: Iterable[str],
    ports: Sequence[Any] | None,
    reason: str,
    selector: str | None,
) -> Flow:
    flow: Flow = {
        "name": name,
        "direction": direction,
        "protocol": protocol,
        "networks": [str(net) for net in networks],
        "reason": reason,
    }
    if ports is not None:
        flow["ports"] = [str(item).replace(":", "-") for item in ports]
    if selector is not None:
        flow["selector"] = selector
    return flow
