# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Felix programs for a node's host endpoints, written after its documentation: chains, marks, sets.

Chains have Felix's names and do what its chains do (docs.tigera.io, "Host endpoints", and rules/static.go's comments):
raw for doNotTrack, mangle for preDNAT, filter for the rest. Pods are not programmed: what has to do with a workload's
interface returns. Standard library only, Python 3.8: it runs on nodes.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from .rules import ACCEPT, ALL, PASS, THIS, Sets, Thing, mark, marked, render, short
from .selectors import test_of

Document = Mapping[str, Any]
CONNTRACK = "-m conntrack --ctstate"
EVERY_BIT = ACCEPT | PASS | ALL | THIS
# Where Felix's chains are entered from, in Insert mode.
HOOKS = {
    "raw": {"PREROUTING": "cali-PREROUTING", "OUTPUT": "cali-OUTPUT"},
    "mangle": {"PREROUTING": "cali-PREROUTING", "POSTROUTING": "cali-POSTROUTING"},
    "filter": {"INPUT": "cali-INPUT", "FORWARD": "cali-FORWARD", "OUTPUT": "cali-OUTPUT"},
}
# Appended to FORWARD: what policies accepted is accepted, what passed is marked as forwarded for POSTROUTING.
APPENDED = (f"{marked(ACCEPT)} -j ACCEPT", mark(ACCEPT))
FAILSAFE_IN = ("tcp:22", "udp:68", "tcp:179", "tcp:2379", "tcp:2380", "tcp:5473", "tcp:6443", "tcp:6666", "tcp:6667")
FAILSAFE_OUT = ("udp:53", "udp:67", "tcp:179", "tcp:2379", "tcp:2380", "tcp:5473", "tcp:6443", "tcp:6666", "tcp:6667")
# Ends of chain names: from and to a host endpoint, the same for what is forwarded.
FROM, TO, FROM_FORWARD, TO_FORWARD = "fh", "th", "fhfw", "thfw"


@dataclass
class Program:
    """`tables`: family version -> table -> chain -> its lines. `sets`: family version -> name -> (kind, entries)."""

    tables: Dict[int, Dict[str, Dict[str, List[str]]]] = field(default_factory=dict)
    sets: Dict[int, Dict[str, Tuple[str, List[str]]]] = field(default_factory=dict)

    def text(self, version: int) -> str:
        """For `iptables-restore --noflush`: our chains anew, nothing else. Who enters them: `HOOKS`, `APPENDED`."""
        return "".join(self._table(version, table, ()) for table in self.tables[version])

    def whole(self, version: int) -> str:
        """For `iptables-restore`: the whole tables, with our chains entered."""
        return "".join(self._table(version, table, HOOKS[table].items()) for table in self.tables[version])

    def _table(self, version: int, table: str, hooks: Iterable[Tuple[str, str]]) -> str:
        chains = self.tables[version][table]
        lines = [f"*{table}", *(f":{chain} ACCEPT [0:0]" for chain, _own in hooks)]
        lines += [f":{chain} - [0:0]" for chain in chains]
        lines += [f"-A {chain} -j {own}" for chain, own in hooks]
        if table == "filter" and hooks:
            lines += [f"-A FORWARD {line}" for line in APPENDED]
        lines += [f"-A {chain} {line}" for chain, own in chains.items() for line in own]
        return "\n".join([*lines, "COMMIT", ""])

    def sets_text(self) -> str:
        """For `ipset -exist restore`: every set is replaced at once, by a swap."""
        lines = []
        for version, sets in self.sets.items():
            family = "inet" if version == 4 else "inet6"
            for name, (kind, entries) in sets.items():
                options = f"{kind} family {family} maxelem {max(65536, len(entries))}"
                other = f"cali{version}0t:{short(name)}"
                lines += [f"create {name} {options}", f"create {other} {options}", f"flush {other}"]
                lines += [f"add {other} {entry}" for entry in dict.fromkeys(entries)]
                lines += [f"swap {name} {other}", f"destroy {other}"]
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class _Endpoint:
    """A host endpoint of this node; `interface` is empty for all of them."""

    name: str
    interface: str
    labels: Dict[str, str]
    profiles: List[str]


def program(
    documents: Iterable[Document], node: str, interfaces: Mapping[str, Iterable[str]], workloads: str = "cali"
) -> Program:
    """What Felix would program on `node`, which has these interfaces with these addresses."""
    by_kind: Dict[str, List[Document]] = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    profiles = {item["metadata"]["name"]: item.get("spec") or {} for item in by_kind.get("Profile", [])}
    profiles.setdefault(
        "projectcalico-default-allow", {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]}
    )
    things = _things(by_kind, profiles)
    done = Program()
    for version in (4, 6):
        writer = _Writer(by_kind, profiles, Sets(things, version), node, workloads)
        done.tables[version] = writer.write(_active(by_kind.get("HostEndpoint", []), profiles, node, interfaces))
        done.sets[version] = writer.sets.found
    return done


def _labels(document: Document, names: Iterable[str], profiles: Mapping[str, Document]) -> Dict[str, str]:
    found: Dict[str, str] = {}
    for name in names:
        for key, value in (profiles.get(name, {}).get("labelsToApply") or {}).items():
            found.setdefault(key, value)
    return {**found, **(document["metadata"].get("labels") or {})}


def _things(by_kind: Mapping[str, List[Document]], profiles: Mapping[str, Document]) -> List[Thing]:
    found = []
    for kind, key in (("HostEndpoint", "expectedIPs"), ("GlobalNetworkSet", "nets"), ("NetworkSet", "nets"),
                      ("WorkloadEndpoint", "ipNetworks")):  # fmt: skip
        for document in by_kind.get(kind, []):
            spec = document.get("spec") or {}
            names = list(spec.get("profiles") or [])
            namespace = document["metadata"].get("namespace")
            if namespace:
                names.append(f"kns.{namespace}")
            labels = _labels(document, names, profiles)
            if namespace:
                labels["projectcalico.org/namespace"] = namespace
            found.append(Thing(labels, list(spec.get(key) or []), list(spec.get("ports") or [])))
    return found


def _active(
    documents: List[Document], profiles: Mapping[str, Document], node: str, interfaces: Mapping[str, Iterable[str]]
) -> List[_Endpoint]:
    """For each interface the endpoint that governs it, the first by name of several; the one for all of them last."""
    mine = sorted(
        (item for item in documents if item["spec"].get("node") == node), key=lambda item: item["metadata"]["name"]
    )

    def endpoint(document: Document, interface: str) -> _Endpoint:
        names = list(document["spec"].get("profiles") or [])
        return _Endpoint(document["metadata"]["name"], interface, _labels(document, names, profiles), names)

    found, anywhere = [], [item for item in mine if item["spec"].get("interfaceName") == "*"]
    for interface, addresses in interfaces.items():
        own = {address.split("/")[0] for address in addresses}
        for item in mine:
            name, expected = item["spec"].get("interfaceName"), set(item["spec"].get("expectedIPs") or [])
            if name == interface or (not name and own & expected):
                found.append(endpoint(item, interface))
                break
    return found + [endpoint(item, "") for item in anywhere[:1]]


class _Writer:
    """Writes the chains of one family."""

    def __init__(
        self,
        by_kind: Mapping[str, List[Document]],
        profiles: Mapping[str, Document],
        sets: Sets,
        node: str,
        workloads: str,
    ) -> None:
        self.by_kind = by_kind
        self.profiles = profiles
        self.sets = sets
        self.workloads = workloads
        self.chains: Dict[str, Dict[str, List[str]]] = {table: {} for table in HOOKS}
        self.policies = self._sorted()
        config = {item["metadata"]["name"]: item.get("spec") or {} for item in by_kind.get("FelixConfiguration", [])}
        self.config = {**config.get("default", {}), **config.get(f"node.{node}", {})}

    def write(self, endpoints: List[_Endpoint]) -> Dict[str, Dict[str, List[str]]]:
        self._static()
        for table in HOOKS:
            self._failsafes(table)
        for endpoint in endpoints:
            self._filter(endpoint)
            self._early(endpoint, "mangle", "preDNAT", FROM, "ingress")
            if endpoint.interface:
                self._early(endpoint, "raw", "doNotTrack", FROM, "ingress")
                self._early(endpoint, "raw", "doNotTrack", TO, "egress")
        return self.chains

    # What does not depend on endpoints.

    def _static(self) -> None:
        clear, accepted, pods = mark(EVERY_BIT, on=False), marked(ACCEPT), f"{self.workloads}+"
        empty: Dict[str, List[str]] = {f"cali-{kind}-host": [] for kind in (FROM, TO, FROM_FORWARD, TO_FORWARD)}
        for table in HOOKS:
            self.chains[table].update({name: list(lines) for name, lines in empty.items()})
        self.chains["raw"].update({
            "cali-PREROUTING": [clear, f"-i {pods} -j RETURN", "-j cali-fh-host", f"{accepted} -j ACCEPT"],
            "cali-OUTPUT": [clear, "-j cali-th-host", f"{accepted} -j ACCEPT"],
        })  # fmt: skip
        self.chains["mangle"].update({
            "cali-PREROUTING": [f"{CONNTRACK} RELATED,ESTABLISHED -j ACCEPT", f"{accepted} -j ACCEPT",
                                f"-i {pods} -j RETURN", "-j cali-fh-host", f"{accepted} -j ACCEPT"],
            # What the host sends and nat translated has its interface only now.
            "cali-POSTROUTING": [f"{accepted} -j RETURN", clear, f"-o {pods} -j RETURN",
                                 f"{CONNTRACK} DNAT -j cali-th-host"],
        })  # fmt: skip
        self.chains["filter"].update({
            "cali-INPUT": [*self._tunnels("source"), f"-i {pods} -j RETURN", f"{accepted} -j ACCEPT", clear,
                           "-j cali-fh-host", f"{accepted} -j ACCEPT"],
            "cali-FORWARD": [mark(EVERY_BIT & ~ACCEPT, on=False), f"-i {pods} -j cali-forward-out",
                             f"{marked(ACCEPT, on=False)} -j cali-fhfw-host", "-j cali-forward-out"],
            "cali-forward-out": [f"-o {pods} -j RETURN", "-j cali-thfw-host"],
            "cali-OUTPUT": [f"{accepted} -j ACCEPT", f"-o {pods} -j RETURN", *self._tunnels("destination"), clear,
                            "-m conntrack ! --ctstate DNAT -j cali-th-host", f"{accepted} -j ACCEPT"],
        })  # fmt: skip

    def _tunnels(self, side: str) -> List[str]:
        """Tunnels pass between nodes, whatever policies say, and from nobody else."""
        if self.sets.version == 6:
            return []
        pools = [item["spec"] for item in self.by_kind.get("IPPool", []) if not item["spec"].get("disabled")]
        texts = []
        for item in self.by_kind.get("Node", []):
            spec = item.get("spec") or {}
            texts += [
                (spec.get("bgp") or {}).get("ipv4Address"),
                *(one.get("address") for one in spec.get("addresses") or []),
            ]
        hosts = [text.split("/")[0] for text in texts if text]
        nets = [host for host in hosts if ip_network(host).version == 4]
        found = []
        for key, match in (("ipipMode", "-p 4"), ("vxlanMode", "-p udp -m udp --dport 4789")):
            if not any(pool.get(key, "Never") != "Never" for pool in pools):
                continue
            self.sets.found["cali40all-hosts-net"] = ("hash:net", nets)
            way, kind = ("src", "dst") if side == "source" else ("dst", "src")
            local = f"-m addrtype --{kind}-type LOCAL"
            found.append(f"{match} -m set --match-set cali40all-hosts-net {way} {local} -j ACCEPT")
            if side == "source":
                found.append(f"{match} -j DROP")
        return found

    def _failsafes(self, table: str) -> None:
        own = {
            "in": self._failsafe_list("failsafeInboundHostPorts", FAILSAFE_IN),
            "out": self._failsafe_list("failsafeOutboundHostPorts", FAILSAFE_OUT),
        }
        for way, other, flag in (("in", "out", "-s"), ("out", "in", "-d")):
            lines = [self._failsafe(item, flag, "--dport") for item in own[way]]
            if table == "raw":
                # No connection is known yet: the answers of failsafe connections must not meet a policy.
                lines += [self._failsafe(item, flag, "--sport") for item in own[other]]
            self.chains[table][f"cali-failsafe-{way}"] = [line for line in lines if line]

    def _failsafe_list(self, key: str, default: Iterable[str]) -> List[Dict[str, Any]]:
        given = self.config.get(key)
        if given is None:
            return [{"protocol": item.split(":")[0], "port": item.split(":")[1]} for item in default]
        return [] if given == "none" else list(given)

    def _failsafe(self, item: Mapping[str, Any], flag: str, port: str) -> str:
        net = item.get("net")
        if net and ip_network(net, strict=False).version != self.sets.version:
            return ""
        protocol = str(item.get("protocol", "tcp")).lower()
        return f"-p {protocol} {f'{flag} {net} ' if net else ''}-m {protocol} {port} {item['port']} -j ACCEPT"

    # Endpoints.

    def _dispatch(self, table: str, kind: str, endpoint: _Endpoint, lines: List[str]) -> None:
        chain = f"cali-{kind}-{endpoint.interface or 'everywhere'}"
        self.chains[table][chain] = lines
        flag = "-i" if kind in (FROM, FROM_FORWARD) else "-o"
        match = f"{flag} {endpoint.interface} " if endpoint.interface else ""
        self.chains[table][f"cali-{kind}-host"].append(f"{match}-g {chain}")

    def _filter(self, endpoint: _Endpoint) -> None:
        ways = (("ingress", FROM, FROM_FORWARD, "in"), ("egress", TO, TO_FORWARD, "out"))
        for direction, normal, forward, failsafe in ways:
            listed = [item for item in self._applied(endpoint, direction) if not _early(item)]
            ends = self._profiles(endpoint, direction)
            body = self._body("filter", listed, direction, True)
            self._dispatch(
                "filter", normal, endpoint, [*self._known("ACCEPT"), f"-j cali-failsafe-{failsafe}", *body, *ends]
            )
            if direction == "egress":
                again = self._body("mangle", listed, direction, True)
                ends = self._profiles(endpoint, direction, "mangle")
                lines = [*self._known("RETURN"), f"-j cali-failsafe-{failsafe}", *again, *ends]
                self._dispatch("mangle", normal, endpoint, lines)
            listed = [item for item in listed if item["spec"].get("applyOnForward")]
            lines = [mark(ACCEPT), "-j RETURN"]
            if listed:
                lines = self._body("filter", listed, direction, True)
            self._dispatch("filter", forward, endpoint, [*self._known("ACCEPT"), *lines])

    def _early(self, endpoint: _Endpoint, table: str, field_name: str, kind: str, direction: str) -> None:
        listed = [item for item in self._applied(endpoint, direction) if item["spec"].get(field_name)]
        if not listed:
            return
        known = self._known("ACCEPT") if table == "mangle" else []
        failsafe = f"-j cali-failsafe-{'in' if kind == FROM else 'out'}"
        self._dispatch(table, kind, endpoint, [*known, failsafe, *self._body(table, listed, direction, False)])

    def _known(self, target: str) -> List[str]:
        first = [f"{CONNTRACK} RELATED,ESTABLISHED {mark(ACCEPT)}"] if target == "RETURN" else []
        return [*first, f"{CONNTRACK} RELATED,ESTABLISHED -j {target}", f"{CONNTRACK} INVALID -j DROP"]

    def _body(self, table: str, listed: List[Document], direction: str, ends: bool) -> List[str]:
        """Policies, tier by tier: Allow returns, Pass skips the rest of its tier, which otherwise drops at its end."""
        lines = [mark(ACCEPT | PASS, on=False)]
        for tier in dict.fromkeys(self._tier(item) for item in listed):
            lines.append(mark(PASS, on=False))
            for item in listed:
                if self._tier(item) == tier:
                    lines.append(f"{marked(PASS, on=False)} -j {self._policy_chain(table, item, direction)}")
                    if table == "raw":
                        lines.append(f"{marked(ACCEPT)} -j CT --notrack")
                    lines.append(f"{marked(ACCEPT)} -j RETURN")
            if ends and tier[2] != "Pass":
                lines.append(f"{marked(PASS, on=False)} -j DROP")
        return lines

    def _profiles(self, endpoint: _Endpoint, direction: str, table: str = "filter") -> List[str]:
        lines: List[str] = []
        for name in endpoint.profiles:
            spec = self.profiles.get(name)
            if spec is None:
                continue
            chain = f"cali-pr{direction[0]}-{short(name)}"
            rules = enumerate(spec.get(direction) or [])
            self.chains[table][chain] = [
                line
                for number, rule in rules
                for line in render(rule, f"Profile {name} {direction} {number}", self.sets)
            ]
            lines += [f"-j {chain}", f"{marked(ACCEPT)} -j RETURN"]
        return [*lines, "-j DROP"]

    # Policies.

    def _sorted(self) -> List[Document]:
        """Host endpoints are in no namespace: only global policies may select them."""

        def place(item: Document) -> Tuple[Any, ...]:
            order = item["spec"].get("order")
            return (*self._tier(item)[:2], math.inf if order is None else float(order), item["metadata"]["name"])

        return sorted(self.by_kind.get("GlobalNetworkPolicy", []), key=place)

    def _tier(self, item: Document) -> Tuple[float, str, str]:
        name = item["spec"].get("tier") or "default"
        for tier in self.by_kind.get("Tier", []):
            if tier["metadata"]["name"] == name:
                spec = tier.get("spec") or {}
                order = spec.get("order")
                return math.inf if order is None else float(order), name, spec.get("defaultAction", "Deny")
        return (1e6 if name == "default" else math.inf), name, "Deny"

    def _applied(self, endpoint: _Endpoint, direction: str) -> List[Document]:
        found = []
        for item in self.policies:
            spec = item["spec"]
            inside = "".join((spec.get("namespaceSelector") or "global()").split())
            if inside != "global()" or spec.get("serviceAccountSelector"):
                continue
            types = [text.lower() for text in spec.get("types") or []]
            if not types:
                types = ["egress"] if spec.get("egress") else []
                types += ["ingress"] if spec.get("ingress") or not types else []
            if direction in types and test_of(spec.get("selector") or "all()")(endpoint.labels):
                found.append(item)
        return found

    def _policy_chain(self, table: str, item: Document, direction: str) -> str:
        name = item["metadata"]["name"]
        chain = f"cali-p{direction[0]}-{short(name)}"
        if chain not in self.chains[table]:
            self.chains[table][chain] = [
                line
                for number, rule in enumerate(item["spec"].get(direction) or [])
                for line in render(rule, f"{name} {direction} {number}", self.sets)
            ]
        return chain


def _early(item: Document) -> bool:
    return bool(item["spec"].get("preDNAT") or item["spec"].get("doNotTrack"))


def read(text: str) -> Optional[List[Document]]:
    """Documents from JSON: a list of them, a `...List` kind, or one alone."""
    value = json.loads(text)
    if isinstance(value, dict):
        value = value.get("items") if "items" in value else [value]
    return value
