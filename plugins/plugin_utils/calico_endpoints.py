# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host endpoints of the cluster's nodes, from what firewall_info found on them or the inventory says. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError, choices

from .addresses import is_private
from .calico_forms import ContentError, Document, host_endpoint
from .calico_services import EDGE_LABEL
from .calico_settings import CalicoSettings, check_private_covered
from .node_settings import Settings, Shape

# Interfaces of Calico's overlays: their addresses come from the pool of the node's pods.
OVERLAYS = ("tunl0", "vxlan.calico", "vxlan-v6.calico", "wireguard.cali", "wg-v6.cali")
_NODE_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?", re.ASCII)
_UNFIT = re.compile(r"[^a-z0-9.-]+", re.ASCII)
# Calico 2.x takes no other name of an interface; expectedIPs say the same for all versions.
_NAMED = re.compile(r"[A-Za-z0-9_-]{1,15}", re.ASCII)


class EndpointError(ContentError):
    """A node of which no host endpoint can be made; says which variable tells what is missing."""


def host_endpoints(
    settings: CalicoSettings, hostvars: Mapping[str, Any], workers: Iterable[str], masters: Iterable[str] = ()
) -> list[Document]:
    """One endpoint for the public interface of every worker (and master), one for the private one where asked for.

    `hostvars` of a host hold `iks_node` (a firewall_info result) or, of a host that was not looked at, the interface
    and addresses (`iks_public_interface` with `iks_public_address`, `iks_private_interface` with `iks_addresses`);
    `iks_calico_node_name` where Calico knows the node by another name than the inventory. Raises HardeningError.
    """
    check_private_covered(settings)
    workers, masters = list(workers), list(masters)
    _check_edges(settings, workers)
    made: dict[str, Document] = {}
    for host in workers:
        edge = EDGE_LABEL if host in settings.calico_edge_nodes else {}
        found = _interfaces(host, hostvars[host], settings.private_endpoints)
        _add(made, host, hostvars[host], "worker-public", "worker_public", found[0], edge)
        if found[1] is not None:
            _add(made, host, hostvars[host], "worker-private", "worker_private", found[1], edge)
    for host in masters if settings.calico_masters else ():
        found = _interfaces(host, hostvars[host], private=False)
        _add(made, host, hostvars[host], "master-public", "master_public", found[0], {})
    return list(made.values())


def node_name(host: str, variables: Mapping[str, Any]) -> str:
    """The node's name as Calico has it. Raises EndpointError for one that no node can have."""
    name = variables.get("iks_calico_node_name") or host
    if not isinstance(name, str) or not _NODE_NAME.fullmatch(name):
        raise EndpointError(
            f"{host}: {name!r} is no node's name; set iks_calico_node_name for it to what calicoctl get nodes shows"
        )
    return name


def single_interface(hostvars: Mapping[str, Any], hosts: Iterable[str]) -> bool:
    """Whether a node has one network card only, so that the cluster's own traffic goes through its public endpoint."""
    return any(_shape(host, hostvars[host]).single for host in hosts if hostvars[host].get("iks_node"))


def pod_addresses(hostvars: Mapping[str, Any], hosts: Iterable[str]) -> list[tuple[str, str]]:
    """Addresses out of the pods' pools that the hosts' overlay interfaces have, each with where it was seen."""
    found = []
    for host in hosts:
        links = (hostvars[host].get("iks_node") or {}).get("interfaces", {})
        for name in OVERLAYS:
            for item in links.get(name, ()):
                interface = ipaddress.ip_interface(item)
                if not interface.is_link_local:
                    found.append((str(interface.ip), f"{name} of {host}"))
    return found


def check_pod_networks(networks: Sequence[str], seen: Iterable[tuple[str, str]]) -> None:
    """Every network or address of pods lies in `networks`; else services of pods outside would be closed.

    `seen` are pairs of a CIDR or address and where it was seen. Raises ContentError that names the first that does not.
    """
    known = [ipaddress.ip_network(item) for item in networks]
    for item, where in seen:
        net = ipaddress.ip_network(item, strict=False)
        if not any(net.version == block.version and net.subnet_of(block) for block in known):  # type: ignore[arg-type]
            raise ContentError(
                f"iks_pod_networks: {', '.join(networks)} does not hold {item}, where pods are ({where}): their "
                "services would be closed by the host endpoints. Add the network"
            )


def pools(items: Iterable[str | Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Networks of pods: as text, or in documents (IPPool of v3, ipPool of v1, Kubernetes nodes with their podCIDRs)."""
    found = []
    for document in items:
        if isinstance(document, str):
            found.append((document, "an IP pool of the datastore"))
            continue
        kind, meta, spec = (document.get(key) or {} for key in ("kind", "metadata", "spec"))
        if kind == "IPPool":
            found.append((str(spec.get("cidr")), f"IPPool {meta.get('name')}"))
        elif kind == "ipPool":
            found.append((str(meta.get("cidr")), "ipPool"))
        elif kind == "Node":
            for net in spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []):
                found.append((str(net), f"node {meta.get('name')}"))
    return found


def _check_edges(settings: CalicoSettings, workers: Sequence[str]) -> None:
    for name in settings.calico_edge_nodes:
        if name not in workers:
            raise EndpointError(choices("iks_calico_edge_nodes", name, workers))


def _shape(host: str, variables: Mapping[str, Any]) -> Shape:
    chosen = Settings(
        public_interface=variables.get("iks_public_interface") or None,
        private_interface=variables.get("iks_private_interface") or None,
    )
    try:
        return Shape.of(variables["iks_node"], chosen)
    except HardeningError as error:
        raise EndpointError(f"{host}: {error}") from None


Interface = tuple[str, list[str]]


def _interfaces(host: str, variables: Mapping[str, Any], private: bool) -> tuple[Interface, Interface | None]:
    """The public interface with its addresses, and the private one where it is wanted and is another."""
    info = variables.get("iks_node")
    if not info:
        return _told(host, variables, private)
    shape = _shape(host, variables)
    links = info["interfaces"]
    public = (shape.public, _addresses(links[shape.public]))
    if not private or shape.single:
        return public, None
    if shape.private is None:
        raise EndpointError(
            f"{host}: which interface is private is not clear from its routes; set iks_private_interface for it"
        )
    return public, (shape.private, _addresses(links[shape.private]))


def _told(host: str, variables: Mapping[str, Any], private: bool) -> tuple[Interface, Interface | None]:
    """What the inventory says of a host that this run has not looked at."""
    public = _said(host, variables, "iks_public_interface", "iks_public_address", lambda _address: True)
    if not private:
        return public, None
    return public, _said(host, variables, "iks_private_interface", "iks_addresses", is_private)


def _said(host: str, variables: Mapping[str, Any], interface: str, address: str, wanted: Any) -> Interface:
    listed = variables.get(address) or []
    found = [str(item) for item in (listed if isinstance(listed, (list, tuple)) else [listed])]
    found = [item for item in found if wanted(item)]
    if not variables.get(interface) or not found:
        raise EndpointError(
            f"{host}: its interfaces are not known in this run (was it left out by --limit, or unreachable?); set "
            f"{interface} and {address} for it in the inventory, because without its endpoint it would be left open"
        )
    return str(variables[interface]), _addresses(found)


def _addresses(items: Iterable[str]) -> list[str]:
    """Bare addresses, IPv4 first as Calico keeps them, without link-local ones, which every interface has."""
    found = [ipaddress.ip_interface(item) for item in items]
    return [str(item.ip) for item in sorted(found, key=lambda item: item.version) if not item.is_link_local]


def _add(
    made: dict[str, Document],
    host: str,
    variables: Mapping[str, Any],
    suffix: str,
    role: str,
    interface: Interface,
    labels: Mapping[str, str],
) -> None:
    node = node_name(host, variables)
    name, found = interface
    if not found:
        raise EndpointError(
            f"{host}: interface {name} has no address, so Calico would not know its endpoint when other policies name "
            "it; give it an address, or set the right interface"
        )
    # v3 takes DNS names only, in the datastore of all nodes.
    title = f"{_UNFIT.sub('-', node.lower())}-{suffix}"
    if title in made:
        other = made[title]["spec"]["node"]
        raise EndpointError(f"{host}: its host endpoint {title} would be that of node {other} too; rename one of them")
    made[title] = host_endpoint(
        title, node, {"ibm.role": role, **labels}, name if _NAMED.fullmatch(name) else None, found
    )
