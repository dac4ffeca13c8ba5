# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calico's v3 documents as plain dictionaries: policies, their rules, host endpoints. Pure; decides no content.

A rule of Calico cannot hold networks of both families, so what is said once for both comes out as one rule a family.
"""

from __future__ import annotations

from typing import Any, Iterable, Sequence

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import parse_ports

from . import addresses

API = "projectcalico.org/v3"
Document = dict[str, Any]
WORKERS_PUBLIC = "ibm.role == 'worker_public'"
WORKERS_PRIVATE = "ibm.role == 'worker_private'"
NODES_PUBLIC = "ibm.role in { 'worker_public', 'master_public' }"
EVERY_NODE = "ibm.role in { 'worker_public', 'master_public', 'worker_private' }"
PODS = "projectcalico.org/orchestrator == 'k8s'"
TCP_UDP = ("TCP", "UDP")
# IANA protocol number of VRRP; Calico has no name for it.
VRRP = 112


class ContentError(HardeningError):
    """Settings from which no document can be made; says which variable to set."""


def rules(
    action: str,
    protocols: Sequence[str | int | None] = (None,),
    ports: Sequence[Any] = (),
    sources: Sequence[str] | None = None,
    destinations: Sequence[str] | None = None,
) -> list[Document]:
    """One rule a protocol and address family; `None` is any network, an empty list is an error and never any.

    Raises ContentError, also where sources and destinations have no family in common.
    """
    found = []
    for protocol in protocols:
        for near, far in _by_family(sources, destinations):
            rule: Document = {"action": action}
            if protocol is not None:
                rule["protocol"] = protocol
            if near is not None:
                rule["source"] = {"nets": near}
            target = {**({"nets": far} if far is not None else {}), **({"ports": list(ports)} if ports else {})}
            if target:
                rule["destination"] = target
            found.append(rule)
    return found


def _by_family(
    sources: Sequence[str] | None, destinations: Sequence[str] | None
) -> list[tuple[list[str] | None, list[str] | None]]:
    for networks in (sources, destinations):
        if networks is not None and not networks:
            raise ContentError("a rule without a single network; an empty list never means any")
    if sources is None and destinations is None:
        return [(None, None)]
    found = []
    for version in (4, 6):
        near, far = (
            None if networks is None else [net for net in networks if addresses.version(net) == version]
            for networks in (sources, destinations)
        )
        if near != [] and far != []:
            found.append((near, far))
    if not found:
        raise ContentError(
            f"sources {', '.join(sources or ())} and destinations {', '.join(destinations or ())} "
            "have no address family in common"
        )
    return found


def policy(
    name: str,
    selector: str,
    order: float | None,
    ingress: Iterable[Document] | None = None,
    egress: Iterable[Document] | None = None,
    pre_dnat: bool = False,
) -> Document:
    """A GlobalNetworkPolicy. Its types are the directions that are given, `None` leaves a direction alone.

    `order` None is evaluated after every number. Before DNAT a policy has to apply to forwarded packets too: v3 refuses
    `preDNAT` without `applyOnForward`.
    """
    spec: Document = {} if order is None else {"order": order}
    spec["selector"] = selector
    if pre_dnat:
        spec.update(preDNAT=True, applyOnForward=True)
    spec["types"] = [word for word, found in (("Ingress", ingress), ("Egress", egress)) if found is not None]
    spec.update({key: list(found) for key, found in (("ingress", ingress), ("egress", egress)) if found is not None})
    return {"apiVersion": API, "kind": "GlobalNetworkPolicy", "metadata": {"name": name}, "spec": spec}


def host_endpoint(
    name: str, node: str, labels: dict[str, str], interface: str | None, expected: Sequence[str]
) -> Document:
    """A HostEndpoint; without an interface it is the node's interface that has the expected addresses."""
    spec: Document = {"node": node, "expectedIPs": list(expected)}
    if interface is not None:
        spec["interfaceName"] = interface
    return {"apiVersion": API, "kind": "HostEndpoint", "metadata": {"name": name, "labels": labels}, "spec": spec}


def port(subject: str, value: object) -> int | str:
    """A port or a range as Calico writes it: `443`, `30000:32767`. Raises TrafficError."""
    first, dash, last = str(parse_ports(subject, str(value).replace(":", "-"))).partition("-")
    return f"{first}:{last}" if dash else int(first)
