# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic rules as the text that iptables-save prints, and that text read back.

Rendering in the very form in which the kernel's tools print makes the comparison of wanted and present a comparison of
strings; what the two backends and their versions print differently is levelled by `canonical`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from functools import lru_cache
from typing import Dict, Iterable, Iterator, List, Optional, Protocol, Tuple

from .traffic import ANY, IPV6, PROTOCOL_NAMES, PROTOCOLS, Network, PortRange, Rule

TARGETS = {"accept": "ACCEPT", "drop": "DROP"}
REJECT = {"ipv4": "REJECT --reject-with icmp-port-unreachable", "ipv6": "REJECT --reject-with icmp6-port-unreachable"}
# The order in which xt_conntrack prints states.
_CTSTATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "DNAT")
# multiport holds 15 ports, and a range takes two of them (xt_multiport.h).
MULTIPORT_SLOTS = 15
RATE_UNITS = {"second": "sec", "minute": "min", "hour": "hour", "day": "day"}
# A flood of denied packets must not become a flood of lines: what of a rule's packets is logged.
LOG_LIMIT = "--limit 5/min --limit-burst 10"
_SETS = re.compile(r"--match-set (\S+)")
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPED = re.compile(r"\\(.)")
# Protocols that every build of the tools prints by name; other names depend on the node's /etc/protocols.
_PRINTED = {"tcp": "tcp", "udp": "udp", "icmp": "icmp", "icmpv6": "ipv6-icmp", "sctp": "sctp", "esp": "esp", "ah": "ah"}
_PROTOCOL = re.compile(r"(?<!\S)-p (\S+)")
_NUMBERS = {**{name: str(number) for name, number in PROTOCOLS.items()}, "ipv6-icmp": "58"}


class SetNames(Protocol):
    """Where long lists of networks become sets (peer_sets.py)."""

    def name_for(self, networks: Optional[Tuple[Network, ...]]) -> Optional[str]:
        """The name of the set that holds a list, or None when the list becomes rules."""


def rule_specs(rule: Rule, family: str, sets: Optional[SetNames] = None) -> Iterator[str]:
    """The rule's specifications for one family, without `-A CHAIN`; several where the kernel needs several."""
    if family not in rule.families:
        return
    sources, destinations = rule.addresses(family)
    tails = _tails(rule, family)
    matched = ""
    if sets is not None:
        for networks, flag in ((sources, "src"), (destinations, "dst")):
            name = sets.name_for(networks)
            if name is not None:
                matched += f"-m set --match-set {name} {flag} "
        sources = None if "src" in matched else sources
        destinations = None if "dst" in matched else destinations
    for source in sources or (None,):
        for destination in destinations or (None,):
            head = "".join(
                f"{flag} {value} "
                for flag, value in (("-s", source), ("-d", destination), ("-i", _arrives(rule)), ("-o", _leaves(rule)))
                if value is not None
            )
            for match in _protocol_matches(rule, family):
                for tail in tails:
                    yield f"{head}{match}{matched}{tail}"


def _arrives(rule: Rule) -> Optional[str]:
    return None if rule.direction == "out" else rule.interface


def _leaves(rule: Rule) -> Optional[str]:
    return rule.interface if rule.direction == "out" else rule.out_interface


def _tails(rule: Rule, family: str) -> List[str]:
    """What follows the protocol's matches, up to the target; a rule that is logged has a second line before it."""
    states = ""
    if rule.states:
        wanted = {state.upper() for state in rule.states}
        states = f"-m conntrack --ctstate {','.join(state for state in _CTSTATES if state in wanted)} "
    target = REJECT[family] if rule.action == "reject" else TARGETS[rule.action]
    # The tools print an apostrophe with a backslash, and read it so (xtables_save_string).
    comment = rule.comment.replace("'", "\\'")
    noted = f'-m comment --comment "{comment}" -j '
    matches = f"{states}{_limits(rule, family)}"
    lines = [f"{matches}{noted}{target}"]
    if rule.log is not None:
        lines.insert(0, f'{matches}-m limit {LOG_LIMIT} {noted}LOG --log-prefix "{rule.log} "')
    return lines


def _limits(rule: Rule, family: str) -> str:
    """An accepting rule counts up to its limit, a denying one what is above it."""
    way = "upto" if rule.action == "accept" else "above"
    text = ""
    # A source of IPv6 is whoever has a /64: each of them can use all its addresses.
    mask = 32 if family == "ipv4" else 64
    if rule.connections is not None:
        text += f"-m connlimit --connlimit-{way} {rule.connections} --connlimit-mask {mask} --connlimit-saddr "
    if rule.rate is not None:
        mode = "--hashlimit-mode srcip " if rule.rate.per == "source" else ""
        narrow = f"--hashlimit-srcmask {mask} " if mode and family == "ipv6" else ""
        text += (
            f"-m hashlimit --hashlimit-{way} {rule.rate.count}/{RATE_UNITS[rule.rate.unit]} "
            f"--hashlimit-burst {rule.rate.burst} {mode}--hashlimit-name {_limit_name(rule)} {narrow}"
        )
    return text


def _limit_name(rule: Rule) -> str:
    """A name of its own for each rule's table of sources: at most 15 characters, one of them the early copy's mark."""
    return "iks" + hashlib.sha256(f"{rule.direction} {rule.name}".encode()).hexdigest()[:10]


def _protocol_matches(rule: Rule, family: str) -> List[str]:
    if rule.protocol == ANY:
        return [""]
    if (rule.protocol, family) == ("ah", IPV6):
        # There it is an extension header, which -p passes over (legacy), or not (nft).
        return ["-m ah "]
    base = f"-p {_PRINTED.get(rule.protocol) or PROTOCOLS.get(rule.protocol, rule.protocol)} "
    if rule.icmp_types is not None:
        module, option = ("icmp", "--icmp-type") if rule.protocol == "icmp" else ("icmp6", "--icmpv6-type")
        return [f"{base}-m {module} {option} {number} " for number in rule.icmp_types]
    matches = []
    for source in _port_chunks(rule.source_ports):
        for destination in _port_chunks(rule.ports):
            plain = "".join(
                f"--{option} {_colon(chunk[0])} "
                for option, chunk in (("sport", source), ("dport", destination))
                if chunk is not None and len(chunk) == 1
            )
            several = "".join(
                f"-m multiport --{option} {','.join(_colon(item) for item in chunk)} "
                for option, chunk in (("sports", source), ("dports", destination))
                if chunk is not None and len(chunk) > 1
            )
            matches.append(f"{base}{f'-m {rule.protocol} {plain}' if plain else ''}{several}")
    return matches


def _colon(ports: PortRange) -> str:
    return str(ports).replace("-", ":")


def _port_chunks(ranges: Optional[Tuple[PortRange, ...]]) -> List[Optional[Tuple[PortRange, ...]]]:
    """Ranges in groups that one multiport match can hold."""
    if ranges is None:
        return [None]
    chunks: List[List[PortRange]] = [[]]
    room = MULTIPORT_SLOTS
    for item in ranges:
        size = 1 if item.first == item.last else 2
        if size > room:
            chunks.append([])
            room = MULTIPORT_SLOTS
        chunks[-1].append(item)
        room -= size
    return [tuple(chunk) for chunk in chunks]


def tokens(line: str) -> List[str]:
    """The words of one line; a quoted text is one word."""
    return [plain or _ESCAPED.sub(r"\1", quoted) for quoted, plain in _TOKEN.findall(line)]


@lru_cache(maxsize=None)
def canonical(line: str) -> Tuple[str, ...]:
    """A rule's words in a form that is equal when the rules are, whichever backend and version printed them."""
    words = tokens(line)
    result: List[str] = []
    for index, word in enumerate(words):
        before = words[index - 1] if index else ""
        if before in ("-p", "--protocol"):
            word = protocol_number(word)
        elif before in ("-s", "-d") and ":" in word and "." in word:
            # inet_ntop prints ::1:c000 as ::0.1.192.0, ipaddress does not.
            word = str(ipaddress.ip_network(word))
        elif before == "--ctstate":
            word = ",".join(sorted(word.split(",")))
        elif before in ("--icmp-type", "--icmpv6-type"):
            word = word.split("/any")[0]
        result.append(word)
    return tuple(result)


def in_our_words(spec: str) -> str:
    """A printed rule with its protocol as `rule_specs` writes it, so that the results of two runs can be compared."""
    match = _PROTOCOL.search(spec)
    if match is None:
        return spec
    number = protocol_number(match.group(1))
    name = PROTOCOL_NAMES.get(int(number)) if number.isdigit() else None
    return f"{spec[: match.start(1)]}{_PRINTED.get(name or '', number)}{spec[match.end(1) :]}"


def protocol_number(name: str) -> str:
    """A protocol's number as text; the tools took a name that is not ours from the node's /etc/protocols."""
    if name in _NUMBERS or name.isdigit():
        return _NUMBERS.get(name, name)
    import socket  # late: hardly any rule needs it

    try:
        return str(socket.getprotobyname(name))
    except OSError:
        return name


def same(left: Iterable[str], right: Iterable[str]) -> bool:
    """Whether two lists of rules say the same in the same order."""
    left, right = list(left), list(right)
    return left == right or (
        len(left) == len(right) and all(a == b or canonical(a) == canonical(b) for a, b in zip(left, right))
    )


def read_tables(text: str) -> Dict[str, Dict[str, List[str]]]:
    """The tables of an iptables-save text: chains, each with its rules in order (without `-A CHAIN `)."""
    tables: Dict[str, Dict[str, List[str]]] = {}
    chains: Dict[str, List[str]] = {}
    for line in text.splitlines():
        start = line[:1]
        if line.startswith("-A "):
            _flag, chain, spec = line.split(" ", 2) if line.count(" ") > 1 else (*line.split(" ", 1), "")
            chains.setdefault(chain, []).append(spec)
        elif start == ":":
            chains.setdefault(line[1:].split(" ", 1)[0], [])
        elif start == "*":
            chains = tables.setdefault(line[1:].strip(), {})
    return tables


def read_table(text: str, table: str) -> Dict[str, List[str]]:
    """The chains of one table of an iptables-save text."""
    return read_tables(text).get(table, {})


def comment_of(spec: str) -> str:
    """The comment beside a rule, or an empty string."""
    words = tokens(spec)
    return words[words.index("--comment") + 1] if "--comment" in words[:-1] else ""


def sets_of(spec: str) -> List[str]:
    """Names of the sets that a rule looks into."""
    return _SETS.findall(spec)


def target_of(spec: str) -> str:
    """The target or chain that a rule jumps or goes to, or an empty string."""
    words = tokens(spec)
    for flag in ("-j", "-g"):
        if flag in words[:-1]:
            return words[words.index(flag) + 1]
    return ""


def is_catch_all(spec: str) -> bool:
    """Whether the rule ends every packet's way: no match but a comment, and a terminal denial."""
    words = tokens(spec)
    if target_of(spec) not in ("DROP", "REJECT"):
        return False
    matches = {word for word in words if word.startswith("-")} - {"-j", "-m", "--comment", "--reject-with"}
    return not matches
