# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does a rule that somebody wrote match a packet? Yes, no, or it cannot be told (None). Pure.

What a match looks at may be unknown (a rate, a clock, an owner, a set whose members were not given); such an answer is
None. One condition that certainly does not hold decides for the whole rule, whatever the others are.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Callable, Dict, FrozenSet, Iterable, Mapping, Optional, Tuple, Union

from .ipset_save import IpSet, Seen, contains
from .iptables_save import Match, Option, View
from .iptables_text import protocol_number
from .traffic import IPV4, IPV6, PROTOCOLS, WITH_PORTS
from .verdict import Address, Packet

Answer = Optional[bool]
Interface = Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]
WORD = 0xFFFFFFFF
_TCP_FLAGS = ("FIN", "SYN", "RST", "ACK", "URG", "PSH")
# Matches that say yes by being named, once the protocol fits.
_EMPTY = ("ah", "tcp", "udp", "sctp", "icmp", "icmp6", "ipv6-icmp", "comment", "multiport", "conntrack", "addrtype")


@dataclass(frozen=True)
class Bits:
    """A mark: its value, and which of its 32 bits are known."""

    value: int = 0
    known: int = WORD

    def equals(self, value: int, mask: int) -> Answer:
        """Whether the bits of the mask have exactly this value (xt_mark: `(mark & mask) == value`)."""
        doubtful = mask & ~self.known
        if ((self.value & mask) ^ value) & ~doubtful & WORD:
            return False
        return None if doubtful else True

    def changed(self, value: int, mask: int) -> Bits:
        """The bits of the mask zeroed, then value XORed in (`--set-xmark value/mask`)."""
        return Bits(((self.value & ~mask) ^ value) & WORD, self.known | mask)

    def copied(self, other: Bits, there: int, here: int) -> Bits:
        """The bits of `here` zeroed, then the other mark's bits of `there` XORed in (CONNMARK's save and restore)."""
        known = (self.known | here) & (other.known | ~there)
        return Bits(((self.value & ~here) ^ (other.value & there)) & WORD, known & WORD)

    def merged(self, other: Bits) -> Bits:
        """What is known when either may hold."""
        return Bits(self.value, self.known & other.known & ~(self.value ^ other.value) & WORD)


@dataclass(frozen=True)
class Surroundings:
    """What is known of the node: the addresses of its interfaces (None: not known) and its sets by name."""

    local: Optional[Tuple[Interface, ...]] = None
    sets: Mapping[str, IpSet] = field(default_factory=dict)


@dataclass(frozen=True)
class Situation:
    """A packet at one place of its way. None is not known; an interface that a hook has not is an empty name."""

    family: str
    protocol: int
    source: Optional[Address]
    destination: Optional[Address]
    port: Optional[int]
    source_port: Optional[int]
    icmp_type: Optional[int]
    icmp_code: Optional[int]
    tcp_flags: Optional[FrozenSet[str]]
    arrives: Optional[str]
    leaves: Optional[str]
    states: FrozenSet[str]
    mark: Bits
    connection_mark: Bits
    node: Surroundings
    # Sets that a rule on the way has changed.
    touched: FrozenSet[str] = frozenset()

    @property
    def unconnected(self) -> Answer:
        """Whether the packet belongs to no connection, so that there is no connection to have a mark."""
        return bool(self.states & {"INVALID", "UNTRACKED"}) if self.states else None

    def merged(self, other: Situation) -> Situation:
        """What is known when either may hold; only what rules can change differs."""
        return replace(
            self,
            mark=self.mark.merged(other.mark),
            connection_mark=self.connection_mark.merged(other.connection_mark),
            states=self.states if self.states == other.states else frozenset(),
            touched=self.touched | other.touched,
        )


def situation_of(packet: Packet, node: Surroundings) -> Situation:
    """A packet at the beginning of its way. A new connection has no mark yet; another's is not known if not given."""
    forwarded = packet.direction == "forward"
    known = "new" in packet.states or packet.connection_mark is not None
    flags = packet.tcp_flags
    if flags is None and packet.protocol == "tcp" and "new" in packet.states:
        flags = ("SYN",)
    return Situation(
        family=packet.family,
        protocol=PROTOCOLS[packet.protocol] if packet.protocol in PROTOCOLS else int(packet.protocol),
        source=packet.source,
        destination=packet.destination,
        port=packet.port,
        source_port=packet.source_port,
        icmp_type=packet.icmp_type,
        icmp_code=packet.icmp_code,
        tcp_flags=None if flags is None else frozenset(flags),
        arrives="" if packet.direction == "out" else packet.interface,
        leaves=packet.out_interface if forwarded else packet.interface if packet.direction == "out" else "",
        states=frozenset(state.upper() for state in packet.states),
        mark=Bits(packet.mark),
        connection_mark=Bits(packet.connection_mark or 0, WORD if known else 0),
        node=node,
    )


def judge(view: View, at: Situation) -> Tuple[Answer, Tuple[str, ...]]:
    """Whether a rule matches, and which of its conditions leave it open."""
    doubts = []
    for match in view.matches:
        if match.module == "ah" and at.protocol != PROTOCOLS["ah"]:
            return False, ()
        answers = [_option(match, option, at) for option in match.options]
        if False in answers:
            return False, ()
        if None in answers or (not answers and match.module not in _EMPTY):
            doubts.append(str(match))
    return (None, tuple(doubts)) if doubts else (True, ())


def _option(match: Match, option: Option, at: Situation) -> Answer:
    test = _TESTS.get((match.module, option.name)) or _TESTS.get(("", option.name))
    # A type looked up on one interface alone is another question than the one that we can answer.
    narrowed = match.module == "addrtype" and any(item.name.startswith("--limit-") for item in match.options)
    if test is None or narrowed:
        return None
    try:
        answer = test(option, at)
    except ValueError:
        # A value in a form that we do not know.
        return None
    if match.module == "connmark" and at.unconnected is not False:
        # Without a connection there is no match, negated or not (xt_connmark.c).
        return False if at.unconnected else None
    return answer if answer is None or not option.negated else not answer


def any_of(answers: Iterable[Answer]) -> Answer:
    found = list(answers)
    return True if True in found else None if None in found else False


def _address(text: str, address: Optional[Address]) -> Answer:
    value, mask, version = _masked(text)
    if address is None:
        return None if mask else True
    return address.version == version and (int(address) & mask) == value


@lru_cache(maxsize=None)
def _masked(text: str) -> Tuple[int, int, int]:
    """Value, mask and IP version of `10.0.0.0/8`, `10.0.0.1` or `10.0.0.1/255.0.0.255`."""
    base, _slash, length = text.partition("/")
    address = ipaddress.ip_address(base)
    if length and not length.isdigit():
        mask = int(ipaddress.ip_address(length))
    else:
        bits = address.max_prefixlen
        used = int(length) if length else bits
        if used > bits:
            raise ValueError(f"{text} is not a network")
        mask = ((1 << used) - 1) << (bits - used)
    return int(address) & mask, mask, address.version


def _named(pattern: str, interface: Optional[str]) -> Answer:
    if pattern == "+":
        return True
    if interface is None:
        return None
    return interface.startswith(pattern[:-1]) if pattern.endswith("+") else interface == pattern


def _protocol(option: Option, at: Situation) -> Answer:
    if option.value in ("all", "0"):
        return True
    number = protocol_number(option.value.lower())
    if at.family == IPV6 and at.protocol == PROTOCOLS["ah"]:
        # An extension header: legacy iptables passes over it, nft does not.
        return None
    return int(number) == at.protocol if number.isdigit() else None


def _ports(text: str, *ports: Optional[int]) -> Answer:
    """Whether one of the ports is in a list of ports and ranges (`first:last`, either end may be left out)."""
    ranges = []
    for part in text.split(","):
        first, colon, last = part.partition(":")
        ranges.append((int(first or 0), int(last or 65535) if colon else int(first)))
    return any_of(None if port is None else any(first <= port <= last for first, last in ranges) for port in ports)


def _with_ports(test: Callable[[Option, Situation], Answer]) -> Callable[[Option, Situation], Answer]:
    """A packet without ports cannot be asked for one; `-p` beside it says no before this matters."""

    def tested(option: Option, at: Situation) -> Answer:
        return test(option, at) if at.protocol in _PORTED else None

    return tested


_PORTED = frozenset(PROTOCOLS[name] for name in WITH_PORTS)


def _flags(option: Option, at: Situation) -> Answer:
    if at.tcp_flags is None:
        return None
    looked_at, wanted = (_flag_names(value) for value in option.values)
    return (at.tcp_flags & looked_at) == wanted


def _flag_names(text: str) -> FrozenSet[str]:
    names = {"ALL": _TCP_FLAGS, "NONE": ()}.get(text, tuple(text.split(",")))
    if not set(names) <= set(_TCP_FLAGS):
        raise ValueError(f"{text} names no flags")
    return frozenset(names)


def _syn(_option: Option, at: Situation) -> Answer:
    return None if at.tcp_flags is None else at.tcp_flags & {"FIN", "SYN", "RST", "ACK"} == {"SYN"}


def _icmp(option: Option, at: Situation) -> Answer:
    if option.value == "any" or (option.value == "255" and at.family == IPV4):
        # xt_tcpudp.c's icmp match takes 255 for every type; its ICMPv6 twin does not.
        return True
    kind, slash, code = option.value.partition("/")
    if at.icmp_type is None:
        return None
    if int(kind) != at.icmp_type:
        return False
    if not slash or code == "any":
        return True
    return None if at.icmp_code is None else int(code) == at.icmp_code


def _states(option: Option, at: Situation) -> Answer:
    wanted = set(option.value.upper().split(","))
    if not at.states:
        return None
    return bool(wanted & at.states)


def _mark(bits: Callable[[Situation], Bits]) -> Callable[[Option, Situation], Answer]:
    return lambda option, at: bits(at).equals(*masked_number(option.value))


def masked_number(text: str) -> Tuple[int, int]:
    """Value and mask of `0x1/0xff`; without a mask it is every bit. Raises ValueError."""
    value, slash, mask = text.partition("/")
    return int(value, 0) & WORD, int(mask, 0) & WORD if slash else WORD


def _range(text: str, address: Optional[Address]) -> Answer:
    first, dash, last = text.partition("-")
    low, high = ipaddress.ip_address(first), ipaddress.ip_address(last if dash else first)
    return None if address is None else address.version == low.version and int(low) <= int(address) <= int(high)


def _types(text: str, address: Optional[Address], at: Situation) -> Answer:
    return any_of(_is_type(name, address, at) for name in text.upper().split(","))


def _is_type(name: str, address: Optional[Address], at: Situation) -> Answer:
    """What the kernel's local routing table says of an address (inet_addr_type, ipv6_addr_type)."""
    if address is None:
        return None
    if name == "MULTICAST":
        return address.is_multicast
    if address.is_multicast:
        return False
    if name == "LOCAL":
        return _is_local(address, at.node.local)
    if at.family != IPV4 or name not in ("BROADCAST", "UNICAST"):
        return None
    broadcast = _is_broadcast(address, at.node.local)
    if name == "BROADCAST":
        return broadcast
    others = any_of((broadcast, _is_local(address, at.node.local)))
    return None if others is None else not others


def _is_local(address: Address, local: Optional[Tuple[Interface, ...]]) -> Answer:
    if address.is_loopback:
        return True
    return None if local is None else any(item.ip == address for item in local)


def _is_broadcast(address: Address, local: Optional[Tuple[Interface, ...]]) -> Answer:
    if int(address) in (0, WORD):
        return True
    if local is None:
        return None
    near = [item.network for item in local if item.version == 4 and item.network.prefixlen < 31]
    if any(network.broadcast_address == address for network in near):
        return True
    # Until Linux 5.14 a network's first address is a broadcast, too.
    return None if any(network.network_address == address for network in near) else False


def _in_set(option: Option, at: Situation) -> Answer:
    if len(option.values) != 2 or option.value in at.touched:
        return None

    def see(direction: str) -> Seen:
        if direction == "src":
            return Seen(at.source, at.protocol, at.source_port, at.arrives)
        return Seen(at.destination, at.protocol, at.port, at.leaves)

    return contains(at.node.sets, option.value, tuple(option.values[1].split(",")), at.family, see)


_Test = Callable[[Option, Situation], Answer]
# (module, option) -> what decides; an empty module stands for any.
_TESTS: Dict[Tuple[str, str], _Test] = {
    ("", "-s"): lambda option, at: any_of(_address(text, at.source) for text in option.value.split(",")),
    ("", "-d"): lambda option, at: any_of(_address(text, at.destination) for text in option.value.split(",")),
    ("", "-i"): lambda option, at: _named(option.value, at.arrives),
    ("", "-o"): lambda option, at: _named(option.value, at.leaves),
    ("", "-p"): _protocol,
    # A packet is looked at whole.
    ("", "-f"): lambda option, at: False,
    ("", "-c"): lambda option, at: True,
    ("comment", "--comment"): lambda option, at: True,
    ("", "--dport"): _with_ports(lambda option, at: _ports(option.value, at.port)),
    ("", "--sport"): _with_ports(lambda option, at: _ports(option.value, at.source_port)),
    ("multiport", "--dports"): _with_ports(lambda option, at: _ports(option.value, at.port)),
    ("multiport", "--sports"): _with_ports(lambda option, at: _ports(option.value, at.source_port)),
    ("multiport", "--ports"): _with_ports(lambda option, at: _ports(option.value, at.port, at.source_port)),
    ("tcp", "--tcp-flags"): _flags,
    ("tcp", "--syn"): _syn,
    ("icmp", "--icmp-type"): _icmp,
    ("icmp6", "--icmpv6-type"): _icmp,
    ("ipv6-icmp", "--icmpv6-type"): _icmp,
    ("conntrack", "--ctstate"): _states,
    ("state", "--state"): _states,
    ("mark", "--mark"): _mark(lambda at: at.mark),
    ("connmark", "--mark"): _mark(lambda at: at.connection_mark),
    ("iprange", "--src-range"): lambda option, at: _range(option.value, at.source),
    ("iprange", "--dst-range"): lambda option, at: _range(option.value, at.destination),
    ("addrtype", "--src-type"): lambda option, at: _types(option.value, at.source, at),
    ("addrtype", "--dst-type"): lambda option, at: _types(option.value, at.destination, at),
    ("set", "--match-set"): _in_set,
    # It notes the source and always says yes; what it noted is another rule's question.
    ("recent", "--set"): lambda option, at: True,
    ("recent", "--name"): lambda option, at: True,
    ("recent", "--mask"): lambda option, at: True,
    ("recent", "--rsource"): lambda option, at: True,
    ("recent", "--rdest"): lambda option, at: True,
}
