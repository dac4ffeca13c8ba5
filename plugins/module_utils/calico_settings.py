# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of Felix's configuration bears on verdicts: failsafe ports, tunnels, which interfaces are workloads'."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from .calico_addresses import NO_ADDRESSES, AddressSet
from .calico_policy import PolicyError
from .errors import TrafficError, choices
from .traffic import WITH_PORTS, Network, is_number
from .traffic_reading import parse_network, parse_protocol
from .verdict import Address

GLOBAL = "default"
# A Node of the Kubernetes datastore lists names beside its addresses (Kubernetes, NodeAddressType).
_NAMES = ("Hostname", "InternalDNS", "ExternalDNS")
NONE = "none"


@dataclass(frozen=True)
class Failsafe:
    """A port that stays open whatever policies say; a network of None is any peer."""

    protocol: str
    port: int
    network: Optional[Network] = None

    def lets(self, protocol: str, port: Optional[int], peer: Address) -> bool:
        return (
            protocol == self.protocol
            and port == self.port
            and (self.network is None or (self.network.version == peer.version and peer in self.network))
        )


def _ports(text: str) -> Tuple[Failsafe, ...]:
    return tuple(Failsafe(item.split(":")[0], int(item.split(":")[1])) for item in text.split())


# docs.tigera.io, "Failsafe rules", and the defaults in Felix's config/config_params.go of 3.x.
INBOUND = _ports("tcp:22 udp:68 tcp:179 tcp:2379 tcp:2380 tcp:5473 tcp:6443 tcp:6666 tcp:6667")
OUTBOUND = _ports("udp:53 udp:67 tcp:179 tcp:2379 tcp:2380 tcp:5473 tcp:6443 tcp:6666 tcp:6667")
# The same file, of the Felix that comes with Calico 2.x.
INBOUND_V1 = _ports("tcp:22 udp:68")
OUTBOUND_V1 = _ports("tcp:2379 tcp:2380 tcp:4001 tcp:7001 udp:53 udp:67")


@dataclass(frozen=True)
class Settings:
    """`ipip` and `vxlan`: Felix runs that tunnel, and lets it pass between `hosts` whatever policies say."""

    inbound: Tuple[Failsafe, ...] = INBOUND
    outbound: Tuple[Failsafe, ...] = OUTBOUND
    workload_prefixes: Tuple[str, ...] = ("cali",)
    ipip: bool = False
    vxlan: bool = False
    vxlan_port: int = 4789
    hosts: AddressSet = NO_ADDRESSES

    def is_workload(self, interface: Optional[str]) -> bool:
        return interface is not None and interface.startswith(self.workload_prefixes)


SETTINGS = Settings()
SETTINGS_V1 = Settings(inbound=INBOUND_V1, outbound=OUTBOUND_V1)


def read_settings(documents: Iterable[Mapping[str, Any]], base: Settings = SETTINGS) -> Dict[str, Settings]:
    """Node -> its settings, "default" for a node that has none of its own.

    Read are FelixConfiguration (`default` and `node.<name>`), IPPool (which tunnels run) and Node (between which
    addresses); what is not among the documents stays as in `base`. Raises PolicyError.
    """
    found: List[Tuple[str, Mapping[str, Any]]] = []
    tunnels: Dict[str, Any] = {}
    hosts: List[Network] = []
    for document in documents:
        kind, spec = document.get("kind"), document.get("spec") or {}
        if kind == "FelixConfiguration":
            found.append((str((document.get("metadata") or {}).get("name")), spec))
        elif kind == "IPPool" and not spec.get("disabled"):
            for field in ("ipip", "vxlan"):
                if str(spec.get(f"{field}Mode", "Never")) != "Never":
                    tunnels[field] = True
        elif kind == "Node":
            hosts += _host_addresses(document, spec)
    base = replace(base, **tunnels, **({"hosts": AddressSet.of(hosts)} if hosts else {}))
    own = dict(found)
    everywhere = _with(base, GLOBAL, own.get(GLOBAL, {}))
    settings = {GLOBAL: everywhere}
    for name, spec in own.items():
        if name.startswith("node."):
            settings[name[len("node.") :]] = _with(everywhere, name, spec)
    return settings


def _host_addresses(document: Mapping[str, Any], spec: Mapping[str, Any]) -> List[Network]:
    name = (document.get("metadata") or {}).get("name")
    texts = [str((spec.get("bgp") or {}).get(field) or "") for field in ("ipv4Address", "ipv6Address")]
    known = [item for item in spec.get("addresses") or [] if isinstance(item, Mapping)]
    texts += [str(item.get("address") or "") for item in known if item.get("type") not in _NAMES]
    try:
        return [parse_network(f"Node {name}", text.split("/")[0]) for text in texts if text]
    except TrafficError as error:
        raise PolicyError(str(error)) from None


def _with(settings: Settings, name: str, spec: Mapping[str, Any]) -> Settings:
    subject = f"FelixConfiguration {name}"
    changed: Dict[str, Any] = {}
    for field, key in (("inbound", "failsafeInboundHostPorts"), ("outbound", "failsafeOutboundHostPorts")):
        if spec.get(key) is not None:
            changed[field] = read_failsafes(f"{subject}: {key}", spec[key])
    if spec.get("interfacePrefix"):
        changed["workload_prefixes"] = tuple(str(spec["interfacePrefix"]).split(","))
    for field, key in (("ipip", "ipipEnabled"), ("vxlan", "vxlanEnabled")):
        if isinstance(spec.get(key), bool):
            changed[field] = spec[key]
    if isinstance(spec.get("vxlanPort"), int):
        changed["vxlan_port"] = spec["vxlanPort"]
    return replace(settings, **changed)


def read_failsafes(subject: str, value: object) -> Tuple[Failsafe, ...]:
    """Failsafe ports from a list of {protocol, port, net}, or from text as `tcp:22, udp:10.0.0.0/8:68, none`.

    `none`, and an empty list, leave no port open. A port without a protocol is TCP's. Raises PolicyError.
    """
    items: Sequence[Any] = value if isinstance(value, (list, tuple)) else str(value).split(",")
    items = [item.strip() if isinstance(item, str) else item for item in items]
    if [item for item in items if item != ""] in ([], [NONE]):
        return ()
    return tuple(_failsafe(subject, item) for item in items if item != "")


def _failsafe(subject: str, item: object) -> Failsafe:
    if isinstance(item, Mapping):
        protocol, network, port = item.get("protocol", "tcp"), item.get("net"), item.get("port")
    else:
        text = str(item)
        protocol, colon, rest = text.partition(":")
        protocol, rest = (protocol, rest) if colon else ("tcp", text)
        network, colon, port = rest.rpartition(":")
        network = network.strip("[]")
    if isinstance(port, bool) or not is_number(str(port), 65535) or int(str(port)) == 0:
        raise PolicyError(
            f"{subject}: {item!r} has no port from 1 to 65535; write tcp:22, or none for no failsafe ports"
        )
    name = parse_protocol(protocol or "tcp")
    if name not in WITH_PORTS:
        raise PolicyError(choices(f"{subject}: protocol", protocol, WITH_PORTS))
    try:
        # Felix takes host bits as if they were not set.
        net = ipaddress.ip_network(str(network), strict=False) if network else None
    except ValueError as error:
        raise PolicyError(f"{subject}: {error}") from None
    return Failsafe(name, int(str(port)), net)
