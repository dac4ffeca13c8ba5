# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random packets, some of them translated, and random resources of Calico about them. A seed repeats it."""

from __future__ import annotations

import ipaddress
import random
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.iks.hardening.plugins.module_utils.verdict import Packet

from .arena import ADDRESSES
from .random_rules import Case, Packets
from .wire import to_bytes

NODE = "arena"
# What the nat table leads elsewhere: port of the host -> destination behind eth1, and port of the host -> other port.
NODE_PORT, POD = 30080, {4: ("10.7.0.80", 8080), 6: ("fd00:7::80", 8080)}
REDIRECTED = (7777, 7778)
NAT = {
    version: "*nat\n"
    f"-A PREROUTING -i eth0 -p tcp -m tcp --dport {NODE_PORT} -j DNAT --to-destination {target}\n"
    f"-A PREROUTING -p udp -m udp --dport {REDIRECTED[0]} -j REDIRECT --to-ports {REDIRECTED[1]}\nCOMMIT\n"
    for version, target in ((4, "10.7.0.80:8080"), (6, "[fd00:7::80]:8080"))
}
_NAMES = {"icmp": "ICMP", "icmpv6": "ICMPv6", "tcp": "TCP", "udp": "UDP", "sctp": "SCTP"}
_NUMBERS = {"vrrp": 112, "esp": 50, "ah": 51}
_LABELS = ("role", "zone", "tier-of")
_VALUES = ("a", "b", "c")


@dataclass(frozen=True)
class Translated:
    """A case, and the packet as it was before DNAT; the same one where nothing was translated."""

    case: Case
    original: Packet


class CalicoPackets(Packets):
    """Some go to ports that the nat table leads elsewhere, some to failsafe and tunnel ports."""

    def translated(self, direction: str, version: int, count: int) -> list[Translated]:
        found: list[Translated] = []
        while len(found) < count:
            if direction != "out" and self.rng.random() < 0.2:
                one = self._dnat(direction, version)
            else:
                case = self._one(direction, version)
                if case and "invalid" in case.packet.states and self.rng.random() < 0.7:
                    continue  # connection tracking decides about them; policies are what is asked about
                one = case and Translated(case, case.packet)
            if one is not None:
                found.append(one)
        return found

    def _dnat(self, direction: str, version: int) -> Translated | None:
        protocol, port = ("tcp", NODE_PORT) if direction == "forward" else ("udp", REDIRECTED[0])
        here = ipaddress.ip_interface(ADDRESSES["eth0"][version == 6]).ip
        near = {4: ("198.51.100.0/24", "192.0.2.0/24"), 6: ("2001:db8:5::/48",)}[version]
        flags = ("SYN",) if protocol == "tcp" else None
        original = Packet(
            direction, protocol, self._address(near), here, "eth0", port=port, source_port=self._port(),
            states=("new", "dnat"), connection_mark=0, tcp_flags=flags,
        )  # fmt: skip
        if direction == "forward":
            target, port = POD[version]
            original = replace(original, out_interface="eth1")
            seen = replace(original, destination=ipaddress.ip_address(target), port=port)
        else:
            seen = replace(original, port=REDIRECTED[1])
        where = "far1" if direction == "forward" else "host"
        case = self._case(original, "far0", where)
        return case and Translated(replace(case, packet=seen), original)

    def _port(self) -> int:
        return self.rng.choice((22, 68, 53, 67, 6443, 4789, 9100)) if self.rng.random() < 0.2 else super()._port()


def untranslated(item: Translated) -> Translated:
    """What becomes of a packet that is not tracked, and so not translated: it is for the host itself."""
    original = replace(item.original, direction="in", out_interface=None, states=("untracked",))
    data = to_bytes(original, int.from_bytes(item.case.data[-4:], "big"))
    return Translated(replace(item.case, packet=original, where="host", data=data), original)


class Resources:
    """Writes random documents about the packets of `items`."""

    def __init__(self, rng: random.Random, direction: str, items: list[Translated]) -> None:
        self.rng = rng
        self.direction = direction
        self.packets = [item.case.packet for item in items] + [item.original for item in items]

    def documents(self) -> list[dict[str, Any]]:
        rng = self.rng
        found = [self._set(number) for number in range(3)] + self._endpoints()
        found += [self._policy(number) for number in range(rng.randrange(1, 9))]
        found.append({"kind": "Profile", "metadata": {"name": "own"}, "spec": {
            "labelsToApply": {rng.choice(_LABELS): rng.choice(_VALUES)},
            "ingress": self._rules(3, passes=0), "egress": self._rules(3, passes=0)}})  # fmt: skip
        found.append({"kind": "Tier", "metadata": {"name": "early"},
                      "spec": {"order": 10, "defaultAction": rng.choice(("Pass", "Pass", "Deny"))}})  # fmt: skip
        if rng.random() < 0.6:
            spec: dict[str, Any] = {}
            for key in ("failsafeInboundHostPorts", "failsafeOutboundHostPorts"):
                if rng.random() < 0.7:
                    spec[key] = [self._failsafe() for _ in range(rng.randrange(4))]
            found.append({"kind": "FelixConfiguration", "metadata": {"name": f"node.{NODE}"}, "spec": spec})
        if rng.random() < 0.3:
            tunnelled = [packet for packet in self.packets if (packet.protocol, packet.port) == ("udp", 4789)]
            peer = rng.choice(tunnelled or self.packets)
            address = rng.choice((peer.source, peer.destination))
            found.append({"kind": "IPPool", "metadata": {"name": "pods"}, "spec": {"vxlanMode": "Always"}})
            found.append(
                {"kind": "Node", "metadata": {"name": "other"}, "spec": {"addresses": [{"address": str(address)}]}}
            )
        rng.shuffle(found)
        return found

    def _labels(self) -> dict[str, str]:
        return {name: self.rng.choice(_VALUES) for name in _LABELS if self.rng.random() < 0.7}

    def _selector(self) -> str:
        rng = self.rng
        name, value = rng.choice(_LABELS), rng.choice(_VALUES)
        simple = [
            f"{name} == '{value}'", f"{name} != '{value}'", f"has({name})", f"!has({name})", "all()", "",
            f"{name} in {{'a', 'b'}}", f'{name} not in {{"{value}"}}', f"{name} starts with '{value}'",
        ]  # fmt: skip
        one, other = rng.choice(simple[:5]), rng.choice(simple[:5])
        return rng.choice([*simple, "all()", "all()", f"({one}) && {other}", f"{one} || ({other})", f"!({one})"])

    def _set(self, number: int) -> dict[str, Any]:
        inside = number == 2
        metadata: dict[str, Any] = {"name": f"set{number}", "labels": self._labels()}
        if inside:
            metadata["namespace"] = "team"
        nets = [self._network() for _ in range(self.rng.randrange(4))]
        return {"kind": "NetworkSet" if inside else "GlobalNetworkSet", "metadata": metadata, "spec": {"nets": nets}}

    def _endpoints(self) -> list[dict[str, Any]]:
        found = []
        for name, interface, chance in (("b", "eth0", 0.8), ("c", "eth1", 0.6), ("d", "*", 0.4), ("a", "eth0", 0.1)):
            if self.rng.random() > chance:
                continue
            own = [str(ipaddress.ip_interface(text).ip) for text in ADDRESSES.get(interface, ())]
            spec: dict[str, Any] = {"node": NODE, "interfaceName": interface}
            if own and self.rng.random() < 0.6:
                spec["expectedIPs"] = own
                if self.rng.random() < 0.3:
                    del spec["interfaceName"]
            profiles = self.rng.choice(([], [], ["own"], ["own", "projectcalico-default-allow"], ["missing"]))
            ports = [
                {"name": "named", "protocol": protocol, "port": self.rng.choice(self.packets).port or 80}
                for protocol in self.rng.choice((["TCP"], ["UDP"], ["UDP", "TCP"]))
            ]
            spec.update(profiles=profiles, ports=ports)
            found.append({"kind": "HostEndpoint", "metadata": {"name": name, "labels": self._labels()}, "spec": spec})
        found.append({"kind": "HostEndpoint", "metadata": {"name": "0", "labels": {}},
                      "spec": {"node": "another", "interfaceName": "*"}})  # fmt: skip
        return found

    def _policy(self, number: int) -> dict[str, Any]:
        rng = self.rng
        spec: dict[str, Any] = {"selector": self._selector()}
        hook = rng.choices(("normal", "preDNAT", "doNotTrack"), (6, 3, 1))[0]
        both = rng.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"], None))
        if hook != "normal":
            spec.update({hook: True, "applyOnForward": True})
            both = ["Ingress"] if hook == "preDNAT" else both
        elif rng.random() < 0.5:
            spec["applyOnForward"] = True
        if both:
            spec["types"] = both
        spec["ingress"] = self._rules(5) if hook != "preDNAT" or rng.random() < 0.9 else []
        if hook != "preDNAT":
            spec["egress"] = self._rules(5)
        order = rng.choice((None, 1, 2.5, 10, 10, 100))
        if order is not None:
            spec["order"] = order
        if rng.random() < 0.1:
            spec["namespaceSelector"] = rng.choice(("all()", "global()"))
        name = f"{rng.choice('abcxyz')}{number}"
        if rng.random() < 0.15:
            spec["tier"], name = "early", f"early.{name}"
        return {"kind": "GlobalNetworkPolicy", "metadata": {"name": name}, "spec": spec}

    def _rules(self, most: int, passes: int = 2) -> list[dict[str, Any]]:
        """`passes`: how often Pass. It has no meaning in a profile: to where should it pass a packet on?"""
        return [self._rule(passes) for _ in range(self.rng.randrange(most + 1))]

    def _rule(self, passes: int) -> dict[str, Any]:
        rng, packet = self.rng, self.rng.choice(self.packets)
        rule: dict[str, Any] = {"action": rng.choices(("Allow", "Deny", "Pass", "Log"), (6, 3, passes, 1))[0]}
        name = _NAMES.get(packet.protocol) or _NUMBERS.get(packet.protocol) or int(packet.protocol)
        if rng.random() < 0.6:
            rule["protocol"] = name
            if packet.port is not None:
                self._add_ports(rule, packet)
            elif packet.icmp_type is not None and rng.random() < 0.7:
                wanted = {"type": packet.icmp_type}
                if rng.random() < 0.4:
                    wanted["code"] = rng.choice((packet.icmp_code or 0, 1))
                rule[rng.choice(("icmp", "icmp", "notICMP"))] = wanted
        elif rng.random() < 0.15:
            rule["notProtocol"] = name
        if rng.random() < 0.1:
            rule["ipVersion"] = rng.choice((4, 6))
        for side in ("source", "destination"):
            if rng.random() < 0.5:
                rule[side] = {**rule.get(side, {}), **self._side(getattr(packet, side))}
        return rule

    def _add_ports(self, rule: dict[str, Any], packet: Packet) -> None:
        rng = self.rng
        for side, port in (("destination", packet.port), ("source", packet.source_port)):
            if rng.random() > (0.6 if side == "destination" else 0.15) or port is None:
                continue
            more = [f"{low}:{low + 40}" for low in rng.sample(range(1, 65000), rng.choice((0, 1, 18)))]
            ports: list[Any] = [rng.choice((port, f"{max(1, port - 3)}:{min(65535, port + 3)}")), *more]
            if rng.random() < 0.25 and rule["protocol"] in ("TCP", "UDP"):
                ports = rng.choice((["named"], [*ports, "named"]))
            rng.shuffle(ports)
            rule[side] = {rng.choice(("ports", "ports", "ports", "notPorts")): ports}

    def _side(self, address: Any) -> dict[str, Any]:
        rng = self.rng
        found: dict[str, Any] = {}
        if rng.random() < 0.55:
            found["nets"] = [self._network(address), *(self._network() for _ in range(rng.randrange(3)))]
        if rng.random() < 0.25:
            found["notNets"] = [self._network(rng.choice((address, None))) for _ in range(rng.randrange(1, 3))]
        if rng.random() < 0.35:
            found["selector"] = self._selector() or "all()"
        if rng.random() < 0.15:
            found["notSelector"] = self._selector() or "all()"
        if rng.random() < 0.15:
            found["namespaceSelector"] = rng.choice(("all()", "global()", "has(stage)"))
        return found

    def _network(self, address: Any = None) -> str:
        if address is None:
            packet = self.rng.choice(self.packets)
            address = self.rng.choice((packet.source, packet.destination))
            if self.rng.random() < 0.15:
                address = ipaddress.ip_address(self.rng.choice(("198.18.0.9", "2001:db8:99::9")))
        lengths = (0, 8, 16, 25, 30, 32) if address.version == 4 else (0, 16, 48, 64, 121, 128)
        return str(ipaddress.ip_network(f"{address}/{self.rng.choice(lengths)}", strict=False))

    def _failsafe(self) -> dict[str, Any]:
        rng = self.rng
        packet = rng.choice([packet for packet in self.packets if packet.port is not None])
        found: dict[str, Any] = {"protocol": packet.protocol, "port": rng.choice((packet.port, packet.port, 22))}
        if rng.random() < 0.4:
            found["net"] = self._network(rng.choice((packet.source, packet.destination)))
        return found
