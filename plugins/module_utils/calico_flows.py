# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flows that must pass at host endpoints, and their reading from dictionaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from .calico_model import CalicoError
from .calico_selector import Selector, SelectorError, parse
from .errors import TrafficError, choices
from .traffic import ANY, PROTOCOLS, WITH_PORTS, Network, is_number
from .traffic_reading import as_list, parse_network, parse_ports, parse_protocol

_KEYS = ("name", "direction", "protocol", "networks", "ports", "reason", "node", "interface", "selector")
_NEEDED = ("name", "direction", "protocol", "networks", "reason")
_DIRECTIONS = ("in", "out")


@dataclass(frozen=True)
class Flow:
    """New connections that must pass. `direction` is the node's, "in" or "out"; `peers` the other ends.

    `port` to `last_port` are the destination's, None for a protocol without ports. Protocol "any" is tcp, udp and
    icmp. `node`, `interface` (a pattern, as `eth*`) and `selector` (of host endpoints' labels) say where the flow
    passes; None is everywhere.
    """

    name: str
    direction: str
    protocol: str
    peers: Tuple[Network, ...]
    port: Optional[int]
    reason: str
    last_port: Optional[int] = None
    node: Optional[str] = None
    interface: Optional[str] = None
    selector: Optional[Selector] = None

    def __str__(self) -> str:
        ports = "" if self.port is None else f" port {self.port}"
        if self.last_port not in (None, self.port):
            ports += f"-{self.last_port}"
        return (
            f"{self.name} ({self.protocol}{ports} {'from' if self.direction == 'in' else 'to'} {listing(self.peers)})"
        )


def listing(peers: Sequence[Network]) -> str:
    """The first networks, and how many more."""
    texts = [str(net) for net in peers]
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def read_flows(items: Sequence[Mapping[str, Any]]) -> Tuple[Flow, ...]:
    """The option `flows`. Raises CalicoError that names the item, the key and the value."""
    flows: List[Flow] = []
    for number, item in enumerate(items):
        subject = f"flows[{number}]" + (f" {item['name']}" if item.get("name") else "")
        for key in item:
            if key not in _KEYS:
                raise CalicoError(choices(f"{subject}: key", key, _KEYS))
        for key in _NEEDED:
            if item.get(key) in (None, "", []):
                raise CalicoError(f"{subject}: {key} is missing; a flow has {', '.join(_NEEDED)}")
        if item["direction"] not in _DIRECTIONS:
            raise CalicoError(choices(f"{subject}: direction", item["direction"], _DIRECTIONS))
        try:
            flows += _flows(item, subject)
        except (TrafficError, SelectorError) as error:
            raise CalicoError(f"{subject}: {error}") from None
    return tuple(flows)


def _flows(item: Mapping[str, Any], subject: str) -> List[Flow]:
    protocol = parse_protocol(item["protocol"])
    if protocol != ANY and protocol not in PROTOCOLS and not is_number(protocol, 255):
        raise CalicoError(choices(f"{subject}: protocol", item["protocol"], (ANY, *PROTOCOLS, "0-255")))
    peers = tuple(parse_network(f"{subject}: networks", network) for network in as_list(item["networks"]))
    selector = None if item.get("selector") is None else parse(str(item["selector"]))
    node, interface = _text(item, "node"), _text(item, "interface")
    given = item.get("ports")
    if given in (None, []):
        if protocol in WITH_PORTS:
            raise CalicoError(f"{subject}: protocol {protocol} needs ports; 1-65535 is every port")
        ends: List[Tuple[Optional[int], Optional[int]]] = [(None, None)]
    else:
        if protocol not in WITH_PORTS:
            raise CalicoError(f"{subject}: ports need protocol {', '.join(WITH_PORTS)}, not {protocol}")
        ports = [parse_ports(f"{subject}: ports", port) for port in as_list(given)]
        ends = [(port.first, port.last) for port in ports]
    return [
        Flow(
            str(item["name"]), item["direction"], protocol, peers, first, str(item["reason"]), last, node, interface,
            selector,
        )
        for first, last in ends
    ]  # fmt: skip


def _text(item: Mapping[str, Any], key: str) -> Optional[str]:
    value = item.get(key)
    return None if value is None else str(value)
