# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One rule of a policy as iptables rules, with marks where one iptables rule cannot say it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Dict, Iterable, List, Optional, Tuple

from .selectors import test_of

# Felix's default for IptablesMarkMask is 0xffff0000 (docs.tigera.io, "Configuring Felix").
ACCEPT, PASS, ALL, THIS = 0x10000, 0x20000, 0x40000, 0x80000
_NAMES = {"icmpv6": "ipv6-icmp"}


def short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def mark(bits: int, on: bool = True) -> str:
    return f"-j MARK --set-xmark {bits if on else 0:#x}/{bits:#x}"


def marked(bits: int, on: bool = True) -> str:
    return f"-m mark --mark {bits if on else 0:#x}/{bits:#x}"


@dataclass
class Thing:
    """What a selector of a rule may mean: an endpoint or a network set."""

    labels: Dict[str, str]
    nets: List[str]
    ports: List[Dict[str, Any]] = field(default_factory=list)


@dataclass
class Sets:
    """The IP sets that rules refer to, by name: kind (`hash:net` or `hash:ip,port`) and entries."""

    things: List[Thing]
    version: int
    found: Dict[str, Tuple[str, List[str]]] = field(default_factory=dict)

    def of_selector(self, selector: str, inside: Optional[str], namespace: Optional[str]) -> str:
        name = f"cali{self.version}0s:{short(repr((selector, inside, namespace)))}"
        nets = [net for thing in self._selected(selector, inside, namespace) for net in thing.nets]
        self.found[name] = ("hash:net", [part for net in nets for part in self._own(net)])
        return name

    def of_port(self, port: str, protocol: str, selector: str, inside: Optional[str], namespace: Optional[str]) -> str:
        name = f"cali{self.version}0n:{short(repr((port, protocol, selector, inside, namespace)))}"
        entries = [
            f"{net.split('/')[0]},{protocol}:{item['port']}"
            for thing in self._selected(selector, inside, namespace)
            for item in thing.ports
            if item["name"] == port and item.get("protocol", "TCP").lower() == protocol
            for net in thing.nets
            if self._own(net)
        ]
        self.found[name] = ("hash:ip,port", entries)
        return name

    def _own(self, net: str) -> List[str]:
        whole = ip_network(net, strict=False)
        if whole.version != self.version:
            return []
        # The kernel's sets of networks refuse a length of 0.
        return [str(item) for item in (whole.subnets() if whole.prefixlen == 0 else [whole])]

    def _selected(self, selector: str, inside: Optional[str], namespace: Optional[str]) -> Iterable[Thing]:
        test = test_of(selector)
        for thing in self.things:
            own = thing.labels.get("projectcalico.org/namespace")
            if inside:
                text = "".join(inside.split())
                theirs = {key[5:]: value for key, value in thing.labels.items() if key.startswith("pcns.")}
                if text == "all()":
                    fits = own is not None
                else:
                    fits = own is None if text == "global()" else test_of(inside)(theirs)
            else:
                fits = namespace is None or own == namespace
            if fits and test(thing.labels):
                yield thing


def render(rule: Dict[str, Any], name: str, sets: Sets, namespace: Optional[str] = None) -> List[str]:
    """Lines without their chain. The one that decides carries `name` as its comment; none if of another family."""
    version = sets.version
    if rule.get("ipVersion") not in (None, version):
        return []
    protocol = _protocol(rule.get("protocol"))
    base = f"-p {protocol} " if protocol else ""
    if rule.get("notProtocol") is not None:
        base += f"! -p {_protocol(rule['notProtocol'])} "
    alternatives: List[List[str]] = []
    denials: List[str] = []
    for side, flag, way in (("source", "-s", "src"), ("destination", "-d", "dst")):
        part = rule.get(side) or {}
        for key, into in (("nets", "yes"), ("notNets", "no")):
            given = part.get(key) or []
            own = [net for net in given if ip_network(net, strict=False).version == version]
            if given and not own:
                return []
            if into == "yes" and own:
                alternatives.append([f"{flag} {net} " for net in own])
            elif own:
                denials += [f"{flag} {net} " for net in own]
        base += _selectors(part, way, sets, namespace)
        for key in ("ports", "notPorts"):
            if part.get(key):
                matches = _ports(part, key, way, protocol or "", sets, namespace)
                if key == "ports":
                    alternatives.append([f"-p {protocol} {text}" for text in matches])
                else:
                    denials += [f"-p {protocol} {text}" for text in matches]
    icmp = _icmp(rule, version)
    return [] if icmp is None else _assemble(base + icmp, alternatives, denials, rule["action"], name)


def _protocol(value: object) -> str:
    text = "" if value is None else str(value).lower()
    return _NAMES.get(text, text)


def _selectors(part: Dict[str, Any], way: str, sets: Sets, namespace: Optional[str]) -> str:
    selector, excluded, inside = part.get("selector"), part.get("notSelector"), part.get("namespaceSelector")
    text = ""
    if selector or inside or (excluded and namespace):
        text += f"-m set --match-set {sets.of_selector(selector or 'all()', inside, namespace)} {way} "
    if excluded:
        text += f"-m set ! --match-set {sets.of_selector(excluded, None, None)} {way} "
    return text


def _ports(part: Dict[str, Any], key: str, way: str, protocol: str, sets: Sets, namespace: Optional[str]) -> List[str]:
    """Alternatives: a multiport match holds 15 numbers, a range being two; a name is a set."""
    numbers: List[str] = []
    found: List[str] = []
    for port in part[key]:
        if str(port).replace(":", "").isdigit():
            numbers.append(str(port))
        else:
            selector = part.get("selector") or "all()"
            scope = namespace if part.get("selector") or part.get("notSelector") else None
            name = sets.of_port(str(port), protocol, selector, part.get("namespaceSelector"), scope)
            found.append(f"-m set --match-set {name} {way},{way} ")
    flag = "--sports" if way == "src" else "--dports"
    found += [f"-m multiport {flag} {','.join(numbers[start : start + 7])} " for start in range(0, len(numbers), 7)]
    return found


def _icmp(rule: Dict[str, Any], version: int) -> Optional[str]:
    text = ""
    for key, negation in (("icmp", ""), ("notICMP", "! ")):
        wanted = rule.get(key)
        if not wanted:
            continue
        if str(rule.get("protocol")).lower() != ("icmp" if version == 4 else "icmpv6"):
            return None
        code = "" if wanted.get("code") is None else f"/{wanted['code']}"
        option = "-m icmp {}--icmp-type" if version == 4 else "-m icmp6 {}--icmpv6-type"
        text += f"{option.format(negation)} {wanted['type']}{code} "
    return text


def _assemble(base: str, alternatives: List[List[str]], denials: List[str], action: str, name: str) -> List[str]:
    lines: List[str] = [mark(ALL)]
    for choices in alternatives:
        lines.append(mark(THIS, on=False))
        lines += [f"{choice}{mark(THIS)}" for choice in choices]
        lines.append(f"{marked(THIS, on=False)} {mark(ALL, on=False)}")
    lines += [f"{denial}{mark(ALL, on=False)}" for denial in denials]
    if action == "Log":
        return [*lines, f'{base}{marked(ALL)} -j LOG --log-prefix "calico-packet: "']
    match = f'{base}{marked(ALL)} -m comment --comment "{name}"'
    if action == "Deny":
        return [*lines, f"{match} -j DROP"]
    bit = ACCEPT if action == "Allow" else PASS
    return [*lines, f"{match} {mark(bit)}", f"{marked(bit)} -j RETURN"]
