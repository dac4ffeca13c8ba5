# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A question about a packet as users put it, and the answer as data; pure but for `read_datastore`."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from .calico_apply import read
from .calico_compile import compile_policies
from .calico_convert import to_v3
from .calico_model import Resource, read_resource
from .calico_policy import Node, PolicyError
from .calico_settings import SETTINGS, SETTINGS_V1, read_failsafes
from .calico_verdict import NO_ENDPOINT, decide_packet
from .calicoctl_run import Run, Tool
from .errors import TrafficError, choices
from .traffic import DIRECTIONS, PROTOCOLS, WITH_PORTS, is_number
from .traffic_reading import parse_network, parse_ports, parse_protocol
from .verdict import Address, Packet

# What a verdict at a host endpoint depends on. Tiers came after the oldest version that is read here.
_KINDS = {
    "v1": ("GlobalNetworkPolicy", "HostEndpoint", "IPPool", "Node", "Profile"),
    "v3": (
        "FelixConfiguration",
        "GlobalNetworkPolicy",
        "GlobalNetworkSet",
        "HostEndpoint",
        "IPPool",
        "NetworkSet",
        "Node",
        "Profile",
    ),
}
STATES = ("new", "established", "related", "invalid", "untracked")
_ICMP = ("icmp", "icmpv6")


def ask(
    resources: Iterable[Resource],
    node: str,
    packet: Mapping[str, Any],
    interfaces: Optional[Mapping[str, Iterable[str]]] = None,
    failsafe_inbound: Optional[List[Any]] = None,
    failsafe_outbound: Optional[List[Any]] = None,
) -> Dict[str, Any]:
    """What Calico makes of a packet at a node: allowed, decision, steps, doubts.

    `packet` has the fields of the module calico_verdict's option of that name, `interfaces` names -> addresses.
    Failsafe ports of None are those of the FelixConfiguration among the resources, or Felix's defaults for the API's
    time.
    Raises HardeningError.
    """
    given = list(resources)
    base = SETTINGS_V1 if any(item.api == "v1" for item in given) else SETTINGS
    # Felix of API v1's time applied every policy in both directions.
    documents = [to_v3(item, both_directions=True).document() for item in given]
    policies = compile_policies(documents, base)
    seen, original = read_packet(packet)
    links = {
        name: tuple(_address(f"interfaces: {name}", text) for text in addresses)
        for name, addresses in (interfaces or {}).items()
    }
    settings = policies.settings.get(node) or policies.settings["default"]
    if failsafe_inbound is not None:
        settings = replace(settings, inbound=read_failsafes("failsafe_inbound", failsafe_inbound))
    if failsafe_outbound is not None:
        settings = replace(settings, outbound=read_failsafes("failsafe_outbound", failsafe_outbound))
    outcome = decide_packet(policies, Node(node, links), seen, original, settings)
    return {
        "allowed": outcome.allowed,
        "governed": outcome.decision.stage != NO_ENDPOINT,
        "decision": asdict(outcome.decision),
        "steps": [asdict(step) for step in outcome.steps],
        "doubts": list(outcome.doubts),
    }


def read_documents(documents: Iterable[Mapping[str, Any]], origin: str) -> Tuple[Resource, ...]:
    """Resources of either API, told by their apiVersion. Raises CalicoError."""
    return tuple(
        read_resource(
            document,
            "v1" if isinstance(document, Mapping) and document.get("apiVersion") == "v1" else "v3",
            f"{origin}[{index}]",
        )
        for index, document in enumerate(documents)
    )


def read_datastore(run: Run, tool: Tool) -> Tuple[Resource, ...]:
    """What a cluster's datastore holds of the kinds that decide. Raises DatastoreError or CalicoError."""
    return tuple(read(run, tool, _KINDS[tool.api]).values())


def read_packet(data: Mapping[str, Any]) -> Tuple[Packet, Optional[Packet]]:
    """The packet after DNAT, and as it was before, if it was translated. Raises PolicyError or TrafficError."""
    direction = str(data.get("direction"))
    if direction not in DIRECTIONS:
        raise PolicyError(choices("packet: direction", direction, DIRECTIONS))
    protocol = parse_protocol(data.get("protocol"))
    if protocol not in PROTOCOLS and not is_number(protocol, 255):
        raise PolicyError(choices("packet: protocol", data.get("protocol"), (*PROTOCOLS, "0-255")))
    state = str(data.get("state") or "new")
    if state not in STATES:
        raise PolicyError(choices("packet: state", state, STATES))
    packet = Packet(
        direction,
        protocol,
        _address("packet: source", data.get("source")),
        _address("packet: destination", data.get("destination")),
        str(data.get("interface")),
        port=_port("port", data, protocol),
        source_port=_port("source_port", data, protocol),
        icmp_type=_icmp("icmp_type", data, protocol),
        icmp_code=_icmp("icmp_code", data, protocol),
        out_interface=data.get("out_interface"),
        states=(state,),
    )
    _check(packet, data)
    before = data.get("original_destination")
    if before is None and data.get("original_port") is None:
        return packet, None
    original = replace(
        packet,
        destination=packet.destination if before is None else _address("packet: original_destination", before),
        port=_port("original_port", data, protocol) or packet.port,
    )
    return packet, original


def _check(packet: Packet, data: Mapping[str, Any]) -> None:
    if packet.source.version != packet.destination.version:
        raise PolicyError(
            f"packet: source {packet.source} and destination {packet.destination} are of different families"
        )
    if packet.out_interface is not None and packet.direction != "forward":
        raise PolicyError(f"packet: out_interface {packet.out_interface} is only for direction forward; use interface")
    if packet.protocol in WITH_PORTS and packet.port is None:
        raise PolicyError(f"packet: port is missing; protocol {packet.protocol} has ports, and policies ask for them")


def _address(subject: str, value: object) -> Address:
    net = parse_network(subject, str(value).partition("/")[0])
    return net.network_address


def _port(field: str, data: Mapping[str, Any], protocol: str) -> Optional[int]:
    value = data.get(field)
    if value is None:
        return None
    if protocol not in WITH_PORTS:
        raise PolicyError(f"packet: {field} {value} needs protocol tcp, udp or sctp, not {protocol}")
    ports = parse_ports(f"packet: {field}", value)
    if ports.first != ports.last:
        raise PolicyError(f"packet: {field} {value} is a range; a packet has one port")
    return ports.first


def _icmp(field: str, data: Mapping[str, Any], protocol: str) -> Optional[int]:
    value = data.get(field)
    if value is None:
        return None
    if protocol not in _ICMP:
        raise PolicyError(f"packet: {field} {value} needs protocol icmp or icmpv6, not {protocol}")
    if isinstance(value, bool) or not is_number(str(value), 255):
        raise TrafficError(f"packet: {field} {value!r} is not a number from 0 to 255")
    return int(str(value))
