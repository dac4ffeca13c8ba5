# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random packets, and random rules that look as if others had written them: about these packets, so that they match.

All of it comes from one `random.Random`, so a seed repeats it.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from ansible_collections.iks.hardening.plugins.module_utils.traffic import PROTOCOLS, WITH_PORTS
from ansible_collections.iks.hardening.plugins.module_utils.verdict import Packet

from .arena import ADDRESSES, NEIGHBOURS
from .wire import to_bytes

LOCAL = tuple(ipaddress.ip_interface(text) for both in ADDRESSES.values() for text in both)
_NEAR = {4: ("198.51.100.0/24", "192.0.2.0/24", NEIGHBOURS["eth0"][0]), 6: ("2001:db8:5::/48", NEIGHBOURS["eth0"][1])}
_FAR1 = {4: ("10.7.0.0/16", NEIGHBOURS["eth1"][0]), 6: ("fd00:7::/32", NEIGHBOURS["eth1"][1])}
_PORTS = (22, 53, 80, 179, 443, 2379, 6443, 10250, 30000, 32767, 65535)
# To which port a packet is sent, and to which one the nat table of `model_save` leads it.
REDIRECTED = (7777, 7778)
_KNOWN, _FRESH, _ODD, _FREE = ("established",), ("new",), ("invalid",), ("untracked",)
# TCP flags and the state of a connection that begins with them (tcp_conntracks, tcp_valid_flags).
_TCP = ((("SYN",), _FRESH), (("ACK",), _FRESH), (("SYN", "ACK"), _ODD), (("RST",), _ODD), (("SYN", "FIN"), _ODD))
# ICMP types with the state of what nobody asked for (nf_conntrack_proto_icmp.c, nf_conntrack_proto_icmpv6.c).
_ICMP = {4: ((8, _FRESH), (13, _FRESH), (0, _ODD), (3, _ODD), (42, _ODD)),
         6: ((128, _FRESH), (129, _ODD), (1, _ODD), (200, _ODD), (135, _FREE), (143, _FREE))}  # fmt: skip
_ECHO = {4: (8, 0), 6: (128, 129)}
_OTHERS = {4: ("sctp", "esp", "ah", "vrrp", "47"), 6: ("sctp", "esp", "ah", "vrrp", "47")}

SETS = """
create net4 hash:net family inet
add net4 198.51.100.0/25
add net4 198.51.100.64/26 nomatch
add net4 10.7.0.0/17
create ip4 hash:ip family inet
create pair4 hash:net,port family inet
add pair4 192.0.2.0/24,tcp:22
add pair4 198.51.100.0/24,udp:53
add pair4 10.0.0.0/8,tcp:443
create link4 hash:net,iface family inet
add link4 198.51.100.0/24,eth0
add link4 10.7.0.0/16,eth0
create net6 hash:net family inet6
add net6 2001:db8:5::/49
add net6 2001:db8:5:4000::/50 nomatch
add net6 fd00:7::/33
create both list:set
add both net4
add both net6
"""


@dataclass(frozen=True)
class Case:
    """A packet, how it is sent, where it is seen when it passes, and what has to be sent beforehand, if anything."""

    packet: Packet
    how: str
    where: str
    data: bytes
    prime: tuple[str, bytes] | None = None


class Packets:
    """Random packets whose connections are all different, as long as the maker lives.

    With `ours` they suit rules of the model: some go to the port that REDIRECT leads to another (their case tells what
    the filter table sees), some have IPv6's authentication header, of which `-p` says different things.
    """

    def __init__(self, rng: random.Random, ours: bool = False) -> None:
        self.rng = rng
        self.ours = ours
        self.used: set[tuple[object, ...]] = set()
        self.number = 0

    def some(self, direction: str, version: int, count: int) -> list[Case]:
        found: list[Case] = []
        while len(found) < count:
            case = self._one(direction, version)
            if case is not None:
                found.append(case)
        return found

    def _one(self, direction: str, version: int) -> Case | None:
        rng = self.rng
        protocol = rng.choices(("tcp", "udp", "icmp", "other"), (8, 5, 4, 3))[0]
        if protocol == "icmp":
            protocol = "icmp" if version == 4 else "icmpv6"
        elif protocol == "other":
            protocol = rng.choice([name for name in _OTHERS[version] if self.ours or (name, version) != ("ah", 6)])
        link = rng.choice(("eth0", "eth1"))
        there = self._address((_NEAR if link == "eth0" else _FAR1)[version])
        here = rng.choice([item.ip for item in LOCAL if item.version == version])
        if direction == "in":
            if rng.random() < 0.3:
                there = self._address((_FAR1 if link == "eth0" else _NEAR)[version])
            source, destination, where, how = there, here, "host", _far(link)
        elif direction == "out":
            source, destination, where, how = here, there, _far(link), "host"
        else:
            other = "eth1" if link == "eth0" else "eth0"
            source, destination = self._address(rng.choice((_NEAR, _FAR1))[version]), there
            where, how = _far(link), _far(other)
        # Behind an authentication header of IPv6 connection tracking finds nothing that it could track.
        states = _ODD if (protocol, version) == ("ah", 6) else _FRESH
        packet = Packet(direction, protocol, source, destination, link, connection_mark=0, states=states)
        if direction == "forward":
            packet = replace(packet, interface=other, out_interface=link)
        return self._finished(packet, how, where)

    def _finished(self, packet: Packet, how: str, where: str) -> Case | None:
        rng, version = self.rng, packet.destination.version
        known = rng.random() < 0.25
        if packet.protocol in WITH_PORTS:
            packet = replace(packet, port=self._port(), source_port=self._port())
        if packet.protocol == "tcp":
            flags, states = rng.choice(_TCP)
            packet = replace(packet, tcp_flags=flags, states=states)
            if known and packet.direction != "out":
                return self._known(replace(packet, tcp_flags=("SYN", "ACK"), states=_KNOWN), how, where)
        elif packet.protocol == "udp" and self.ours and packet.direction == "in" and rng.random() < 0.3:
            case = self._case(replace(packet, port=REDIRECTED[0]), how, where)
            near = {"far0": "eth0", "far1": "eth1"}[how]
            arrived = ipaddress.ip_interface(ADDRESSES[near][version == 6]).ip
            seen = replace(packet, port=REDIRECTED[1], destination=arrived, states=("new", "dnat"))
            return case and replace(case, packet=seen)
        elif packet.protocol == "udp" and known:
            if rng.random() < 0.4:
                return self._related(packet, how, where)
            return self._known(replace(packet, states=_KNOWN), how, where)
        elif packet.protocol in ("icmp", "icmpv6"):
            kind, states = rng.choice(_ICMP[version])
            packet = replace(packet, icmp_type=kind, icmp_code=rng.choice((0, 0, 1, 3)), states=states)
            if known:
                answer = replace(packet, icmp_type=_ECHO[version][1], icmp_code=0, states=_KNOWN)
                return self._known(answer, how, where)
        return self._case(packet, how, where)

    def _case(self, packet: Packet, how: str, where: str, prime: tuple[str, bytes] | None = None,
              quoted: bytes = b"") -> Case | None:  # fmt: skip
        key = (packet.protocol, packet.source_port, packet.port)
        keys = {(*key, packet.source, packet.destination), (*key, packet.destination, packet.source)}
        if keys & self.used and packet.protocol not in ("icmp", "icmpv6"):
            return None
        self.used |= keys
        self.number += 1
        return Case(packet, how, where, to_bytes(packet, self.number, quoted, self.number & 0xFFFF), prime)

    def _known(self, packet: Packet, how: str, where: str) -> Case | None:
        """An answer; the question goes the other way first."""
        asked = replace(
            _reversed(packet), tcp_flags=("SYN",), icmp_type=_ECHO[packet.destination.version][0], icmp_code=0
        )
        question = to_bytes(asked, 0, ident=(self.number + 1) & 0xFFFF)
        return self._case(packet, how, where, (_back(how, where), question))

    def _related(self, packet: Packet, how: str, where: str) -> Case | None:
        """An ICMP error about a UDP packet that went the other way."""
        asked = to_bytes(_reversed(packet), 0)
        version = packet.destination.version
        key = ("udp", packet.port, packet.source_port, packet.destination, packet.source)
        if key in self.used:
            return None
        self.used.add(key)
        error = replace(
            packet, protocol="icmp" if version == 4 else "icmpv6", port=None, source_port=None,
            icmp_type=3 if version == 4 else 1, icmp_code=1 if version == 4 else 3, states=("related",),
        )  # fmt: skip
        return self._case(error, how, where, (_back(how, where), asked), asked)

    def _address(self, networks: tuple[str, ...]) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        net = ipaddress.ip_network(self.rng.choice(networks))
        return net[self.rng.randrange(1, net.num_addresses - 1)]

    def _port(self) -> int:
        return self.rng.choice(_PORTS) if self.rng.random() < 0.6 else self.rng.randrange(1, 65536)


def _far(link: str) -> str:
    return {"eth0": "far0", "eth1": "far1"}[link]


def _back(how: str, where: str) -> str:
    """From where the packet that is answered comes: the other end of the way."""
    return where if where != how else how


def _reversed(packet: Packet) -> Packet:
    return replace(packet, source=packet.destination, destination=packet.source, port=packet.source_port,
                   source_port=packet.port)  # fmt: skip


# The built-in chains that a random ruleset may fill, by direction.
HOOKS = {
    "in": (("mangle", "PREROUTING"), ("mangle", "INPUT"), ("filter", "INPUT")),
    "out": (("mangle", "OUTPUT"), ("filter", "OUTPUT"), ("mangle", "POSTROUTING")),
    "forward": (("mangle", "FORWARD"), ("filter", "FORWARD"), ("mangle", "POSTROUTING")),
}
BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
EMPTY = "".join(
    f"*{table}\n{''.join(f':{chain} ACCEPT [0:0]' + chr(10) for chain in chains)}COMMIT\n"
    for table, chains in BUILT_IN.items()
)


def random_save(rng: random.Random, direction: str, cases: list[Case]) -> str:
    """Three tables for iptables-restore, about the packets of `cases`, all of one direction and family."""
    texts = []
    for table, chains in BUILT_IN.items():
        used = [chain for name, chain in HOOKS[direction] if name == table]
        own = [f"{table}-{number}" for number in range(4)]
        lines = [f"*{table}"]
        policies = ("ACCEPT", "ACCEPT", "DROP") if table == "filter" else ("ACCEPT",)
        lines += [f":{chain} {rng.choice(policies) if chain in used else 'ACCEPT'} [0:0]" for chain in chains]
        lines += [f":{chain} - [0:0]" for chain in own]
        if table == "raw":
            used = [("OUTPUT" if direction == "out" else "PREROUTING")] if rng.random() < 0.3 else []
        for chain in used:
            writer = _Writer(rng, direction, cases, table, chain)
            lines += [f"-A {chain} {writer.rule(own)}" for _ in range(rng.randrange(1, 7))]
        for index, chain in enumerate(own):
            writer = _Writer(rng, direction, cases, table, "")
            lines += [f"-A {chain} {writer.rule(own[index + 1 :])}" for _ in range(rng.randrange(5)) if used]
        texts.append("\n".join([*lines, "COMMIT", ""]))
    return "".join(texts)


class _Writer:
    """Writes rules of one chain."""

    def __init__(self, rng: random.Random, direction: str, cases: list[Case], table: str, hook: str) -> None:
        self.rng = rng
        self.direction = direction
        self.cases = cases
        self.table = table
        self.hook = hook
        self.version = cases[0].packet.destination.version

    def rule(self, below: list[str]) -> str:
        packet = self.rng.choice(self.cases).packet
        protocol = self._protocol(packet)
        makers: list[Callable[[Packet], str]] = [
            self._source, self._destination, self._interface, self._mark, self._mark, self._set, self._range,
            self._type, self._connection_mark, self._comment,
        ]  # fmt: skip
        if self.table != "raw" or self.rng.random() < 0.2:
            makers += [self._state, self._state]
        parts = [maker(packet) for maker in self.rng.sample(makers, self.rng.choice((0, 1, 1, 2, 2, 3)))]
        if protocol and self.rng.random() < 0.6:
            parts.insert(0, self._of_protocol(packet))
        # Each module once: iptables-nft-save prints two matches of one as one that says something else.
        once = {tuple(part.split()[:2]): part for part in parts if part}
        return " ".join(part for part in (protocol, *once.values(), self._target(below)) if part)

    def _not(self) -> str:
        return "! " if self.rng.random() < 0.25 else ""

    def _protocol(self, packet: Packet) -> str:
        if self.rng.random() < 0.4:
            return ""
        name = {"icmpv6": "ipv6-icmp"}.get(packet.protocol, packet.protocol)
        return f"-p {PROTOCOLS.get(name, name) if name == 'vrrp' else name}"

    def _source(self, packet: Packet) -> str:
        return f"{self._not()}-s {self._network(packet.source)}"

    def _destination(self, packet: Packet) -> str:
        return f"{self._not()}-d {self._network(packet.destination)}"

    def _network(self, address: object) -> str:
        lengths = (8, 16, 24, 25, 28, 32) if self.version == 4 else (16, 48, 49, 64, 120, 128)
        return str(ipaddress.ip_network(f"{address}/{self.rng.choice(lengths)}", strict=False))

    def _interface(self, _packet: Packet) -> str:
        flags = {"in": "-i", "out": "-o"}.get(self.direction) or self.rng.choice(("-i", "-o"))
        if self.hook == "POSTROUTING":
            flags = "-o"
        elif self.hook == "PREROUTING":
            flags = "-i"
        elif not self.hook:
            # Whether POSTROUTING knows where a packet arrived depends on the kernel: not asked.
            flags = "-o" if (self.table, self.direction) == ("mangle", "forward") else self.rng.choice(("-i", "-o"))
        return f"{self._not()}{flags} {self.rng.choice(('eth0', 'eth1', 'eth+', 'cali+', 'lo'))}"

    def _mark(self, _packet: Packet) -> str:
        return f"-m mark {self._not()}--mark {self._bits()}"

    def _bits(self) -> str:
        return self.rng.choice(("0x10000/0x10000", "0x0/0x10000", "0x0/0xf0000", "0x20000/0x30000", "0x30000", "0x0"))

    def _connection_mark(self, _packet: Packet) -> str:
        return f"-m connmark {self._not()}--mark {self._bits()}" if self.rng.random() < 0.4 else ""

    def _state(self, _packet: Packet) -> str:
        names = self.rng.sample(("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"), self.rng.choice((1, 2)))
        module, option = self.rng.choice((("conntrack", "ctstate"), ("conntrack", "ctstate"), ("state", "state")))
        return f"-m {module} {self._not()}--{option} {','.join(names)}"

    def _set(self, _packet: Packet) -> str:
        way = self.rng.choice(("src", "dst"))
        one = ("net4", "both", "pair4", "link4") if self.version == 4 else ("net6", "both")
        name = self.rng.choice(one)
        if name == "link4" and (self.table, self.direction) == ("mangle", "forward"):
            way = f"{way},dst"
        elif name == "link4":
            way = f"{way},src" if self.hook in ("PREROUTING", "INPUT") else f"{way},dst"
        return f"-m set {self._not()}--match-set {name} {f'{way},{way}' if name == 'pair4' else way}"

    def _range(self, packet: Packet) -> str:
        way, address = self.rng.choice((("src", packet.source), ("dst", packet.destination)))
        low, high = self._around()
        kind = type(address)
        return f"-m iprange {self._not()}--{way}-range {kind(int(address) - low)}-{kind(int(address) + high)}"

    def _type(self, _packet: Packet) -> str:
        types = ("LOCAL", "UNICAST", "MULTICAST", "BROADCAST", "LOCAL,BROADCAST")
        names = types if self.version == 4 else ("LOCAL", "MULTICAST")
        return f"-m addrtype {self._not()}--{self.rng.choice(('src', 'dst'))}-type {self.rng.choice(names)}"

    def _comment(self, _packet: Packet) -> str:
        texts = ("cali:Cz_u1IQiXIMmKD4c", 'say \\"-j DROP\\"', "it\\'s", "a ! b", "-j")
        return f'-m comment --comment "{self.rng.choice(texts)}"'

    def _of_protocol(self, packet: Packet) -> str:
        if packet.protocol in ("icmp", "icmpv6"):
            name, option = ("icmp", "icmp-type") if packet.protocol == "icmp" else ("icmp6", "icmpv6-type")
            code = self.rng.choice(("", "", f"/{packet.icmp_code}", "/1"))
            return f"-m {name} {self._not()}--{option} {packet.icmp_type}{code}"
        if packet.protocol not in WITH_PORTS:
            return ""
        if packet.protocol == "tcp" and self.rng.random() < 0.25:
            flags = self.rng.choice(("FIN,SYN,RST,ACK SYN", "SYN,ACK SYN", "ALL ACK", "RST RST"))
            return f"-m tcp {self._not()}--tcp-flags {flags}"
        if self.rng.random() < 0.4:
            ports = [str(self._near(packet)), *(self._span(packet) for _ in range(self.rng.randrange(3)))]
            return f"-m multiport {self._not()}--{self.rng.choice(('dports', 'sports', 'ports'))} {','.join(ports)}"
        return f"-m {packet.protocol} {self._not()}--{self.rng.choice(('dport', 'sport'))} {self._span(packet)}"

    def _near(self, packet: Packet) -> int:
        return self.rng.choice((packet.port, packet.source_port, self.rng.choice(_PORTS))) or 1

    def _span(self, packet: Packet) -> str:
        port = self._near(packet)
        if self.rng.random() < 0.5:
            return str(port)
        low, high = self._around()
        first, last = max(1, port - low), min(65535, port + high)
        return f"{first}:{last}" if first < last else str(port)

    def _around(self) -> tuple[int, int]:
        """How far below and above; often not at all, as the borders are where one errs."""
        return self.rng.choice((0, self.rng.randrange(500))), self.rng.choice((0, self.rng.randrange(500)))

    def _target(self, below: list[str]) -> str:
        rng = self.rng
        if below and rng.random() < 0.35:
            return f"{rng.choice(('-j', '-j', '-g'))} {rng.choice(below)}"
        if self.table == "raw":
            return rng.choice(("-j CT --notrack", "-j ACCEPT", "-j MARK --set-xmark 0x10000/0x10000"))
        targets = ["-j ACCEPT", "-j DROP", "-j RETURN", "-j RETURN", "", "-j ACCEPT"]
        if self.table == "filter" and self.direction == "in":
            targets.append("-j REJECT")
        targets += [f"-j MARK --set-xmark {self._bits()}" for _ in range(2)]
        targets += [f"-j MARK --{rng.choice(('or', 'and', 'xor', 'xor'))}-mark 0x30000" for _ in range(3)]
        targets.append(
            rng.choice(
                (
                    "-j CONNMARK --set-xmark 0x10000/0x30000",
                    "-j CONNMARK --save-mark --nfmask 0x30000 --ctmask 0x70000",
                    "-j CONNMARK --restore-mark --nfmask 0x30000 --ctmask 0x30000",
                )
            )
        )
        return rng.choice(targets)
