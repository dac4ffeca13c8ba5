# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What calicoctl 3.25 refuses in a resource, in the order and words of its validator."""

from __future__ import annotations

import re

from . import nets, selector
from .golang import shown

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_NAME = re.compile(_SUBDOMAIN + r"\Z")
_POLICY_NAME = re.compile(f"({_LABEL}\\.)?{_LABEL}\\Z")
_K8S_POLICY_NAME = re.compile(f"(?:knp|ossg)\\.default\\.({_SUBDOMAIN})\\Z")
_NAME_REASON = f"name must consist of lower case alphanumeric characters, '-' or '.' (regex: {_SUBDOMAIN})"
_POLICY_REASON = f"name must consist of lower case alphanumeric characters or '-' (regex: {_LABEL})"
_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}\Z")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
_ACTIONS = ("Allow", "Deny", "Log", "Pass")
_PROTOCOLS = ("TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite")
_PORTS_REASON = "rules that specify ports must set protocol to TCP or UDP or SCTP"


def _tag(field: str, tag: str) -> str:
    return f"Reason: failed to validate Field: {field} because of Tag: {tag} "


def errors(resource: dict) -> list:
    """(field, value, reason) of everything refused."""
    return list(_walk(resource))


def _walk(resource: dict):
    kind, metadata, spec = resource["kind"], resource["metadata"], resource["spec"]
    yield from _metadata_errors(metadata)
    if kind in ("GlobalNetworkPolicy", "NetworkPolicy", "Profile"):
        for rules in ("ingress", "egress"):
            for rule in spec.get(rules, ()):
                yield from _rule_errors(rule)
    if kind in ("GlobalNetworkPolicy", "NetworkPolicy"):
        yield from _selectors(spec, ("selector", "namespaceSelector", "serviceAccountSelector"))
        for index, name in enumerate(spec.get("types", ())):
            if name not in ("Ingress", "Egress"):
                yield f"Types[{index}]", name, _tag(f"Types[{index}]", "policyType")
        name = metadata.get("name", "")
        if not _POLICY_NAME.match(name) and not (kind == "NetworkPolicy" and _K8S_POLICY_NAME.match(name)):
            yield "Metadata.Name", name, _POLICY_REASON
        yield from _policy_errors(kind, spec)
    if kind == "HostEndpoint":
        yield from _endpoint_errors(spec)
    if kind in ("GlobalNetworkSet", "NetworkSet"):
        for index, net in enumerate(spec.get("nets", ())):
            if nets.network(net) is None:
                yield f"Nets[{index}]", net, _tag(f"Nets[{index}]", "cidr")
    if kind == "IPPool":
        found = nets.network(str(spec.get("cidr", "")))
        if found is None:
            yield "IPpool.CIDR", spec.get("cidr", ""), "IPPool CIDR must be a valid subnet"
        elif nets.masked(*found) != found[0]:
            yield "IPpool.CIDR", spec["cidr"], "IP pool CIDR is not strictly masked"


def _metadata_errors(metadata: dict):
    name = metadata.get("name", "")
    if len(name) > 253:
        yield "Metadata.Name", name, f"name is too long by {len(name) - 253} bytes"
    if not _NAME.match(name):
        yield "Metadata.Name", name, _NAME_REASON
    for key, value in metadata.get("labels", {}).items():
        if not _LABEL_KEY.match(key):
            yield "Metadata.Labels (label)", key, "name part must consist of alphanumeric characters, '-', '_' or '.'"
        if not _LABEL_VALUE.match(value):
            yield "Metadata.Labels (value)", value, "a valid label must be an empty string or consist of alphanumeric"


def _selectors(holder: dict, names: tuple):
    for name in names:
        if not selector.valid(holder.get(name, "")):
            field = name[0].upper() + name[1:]
            yield field, holder[name], _tag(field, "selector")


def _rule_errors(rule: dict):
    if rule["action"] not in _ACTIONS:
        yield "Action", rule["action"], _tag("Action", "action")
    if rule.get("ipVersion", 4) not in (4, 6):
        yield "IPVersion", rule["ipVersion"], _tag("IPVersion", "ipVersion")
    for name in ("protocol", "notProtocol"):
        protocol = rule.get(name)
        if isinstance(protocol, str) and protocol not in _PROTOCOLS:
            yield "Protocol", protocol, "protocol name invalid"
        elif protocol == 0:
            yield "Protocol", 0, "protocol number invalid"
    for name in ("icmp", "notICMP"):
        icmp = rule.get(name, {})
        for field, high in (("type", 254), ("code", 255)):
            if not 0 <= icmp.get(field, 0) <= high:
                yield field.capitalize(), icmp[field], _tag(field.capitalize(), "lte" if icmp[field] > high else "gte")
        if "code" in icmp and "type" not in icmp:
            yield "Code", icmp["code"], "ICMP code specified without an ICMP type"
    for side in ("source", "destination"):
        yield from _entity_errors(rule[side])
    if rule.get("protocol") not in ("TCP", "UDP", "SCTP", 6, 17, 132):
        for side in ("source", "destination"):
            for name, field in (("ports", "Ports"), ("notPorts", "NotPorts")):
                if rule[side].get(name):
                    yield f"{side.capitalize()}.{field}", _list(rule[side][name]), _PORTS_REASON
    if "icmp" in rule and rule.get("protocol") not in ("ICMP", "ICMPv6", 1, 58):
        yield "ICMP", shown(rule["icmp"]), "rules that specify ICMP fields must set protocol to ICMP"
    yield from _net_errors(rule)


def _entity_errors(entity: dict):
    for name in ("nets", "notNets"):
        field = name[0].upper() + name[1:]
        for index, net in enumerate(entity.get(name, ())):
            found = nets.network(net)
            if found is None or nets.masked(*found) != found[0]:
                yield f"{field}[{index}]", net, _tag(f"{field}[{index}]", "net")
    yield from _selectors(entity, ("selector", "namespaceSelector", "notSelector"))
    for port in entity.get("ports", []) + entity.get("notPorts", []):
        if str(port).partition(":")[0] == "0":
            yield "Port", port, "port range invalid, port number must be between 1 and 65535"


def _net_errors(rule: dict):
    seen = set()
    for side in ("source", "destination"):
        for name in ("nets", "notNets"):
            field = f"{side.capitalize()}.{name[0].upper()}{name[1:]}"
            here = set()
            for net in rule[side].get(name, ()):
                if "/" not in net or nets.network(net) is None:
                    yield field, net, "invalid CIDR"
                else:
                    here.add(6 if ":" in net else 4)
            if "ipVersion" in rule and here - {rule["ipVersion"]}:
                yield field, _list(rule["source"].get("nets", ())), "rule IP version doesn't match CIDR version"
            seen |= here
            if len(seen) > 1 and here:
                yield field, _list(rule[side][name]), "rule contains both IPv4 and IPv6 CIDRs"


def _policy_errors(kind: str, spec: dict):
    prefix = "GlobalNetworkPolicySpec" if kind == "GlobalNetworkPolicy" else "NetworkPolicySpec"
    pre, untracked = spec.get("preDNAT"), spec.get("doNotTrack")
    if pre and untracked:
        yield "PolicySpec.PreDNAT", "true", "PreDNAT and DoNotTrack cannot both be true, for a given PolicySpec"
    if pre and spec.get("egress"):
        yield "PolicySpec.Egress", _go_rules(spec["egress"]), "PreDNAT PolicySpec cannot have any Egress rules"
    if pre and "Egress" in spec["types"]:
        yield "PolicySpec.Types", _list(spec["types"]), "PreDNAT PolicySpec cannot have 'egress' Type"
    if (pre or untracked) and not spec.get("applyOnForward"):
        reason = "ApplyOnForward must be true if either PreDNAT or DoNotTrack is true, for a given PolicySpec"
        yield "PolicySpec.ApplyOnForward", "false", reason
    for name in sorted({name for name in spec["types"] if spec["types"].count(name) > 1}):
        yield f"{prefix}.Types", _list(spec["types"]), f"'{name}' type specified more than once"
    if "global()" in spec.get("selector", ""):
        reason = "global() can only be used in an EntityRule namespaceSelector"
        yield f"{prefix}.Selector", spec["selector"], reason


def _endpoint_errors(spec: dict):
    interface = spec.get("interfaceName", "")
    if interface and interface != "*" and not _INTERFACE.match(interface):
        yield "InterfaceName", interface, _tag("InterfaceName", "interface")
    for index, address in enumerate(spec.get("expectedIPs", ())):
        if nets.packed(address) is None:
            yield f"ExpectedIPs[{index}]", address, _tag(f"ExpectedIPs[{index}]", "ip")
    if not interface and not spec.get("expectedIPs"):
        yield "InterfaceName", "", "no interface or expected IPs have been specified"
    if not spec.get("node"):
        yield "InterfaceName", "", "no node has been specified"


def _list(values) -> str:
    return "[" + " ".join(str(value) for value in values) + "]"


def _go_rules(rules) -> str:
    return "[" + " ".join(_go_rule(rule) for rule in rules) + "]"


def _go_rule(rule: dict) -> str:
    """As Go's %v prints the structure."""

    def entity(side: dict) -> str:
        def many(name: str) -> str:
            return _list(side.get(name, ()))

        return (
            f"{{{many('nets')} {side.get('selector', '')} {side.get('namespaceSelector', '')} <nil> {many('ports')} "
            f"{many('notNets')} {side.get('notSelector', '')} {many('notPorts')} <nil>}}"
        )

    fields = " ".join(shown(rule.get(name)) for name in ("ipVersion", "protocol", "icmp", "notProtocol", "notICMP"))
    return f"{{{rule['action']} {fields} {entity(rule['source'])} {entity(rule['destination'])} <nil> <nil>}}"


def error_text(found: list) -> str:
    if len(found) == 1:
        field, value, reason = found[0]
        return f"error with field {field} = '{value}' ({reason})"
    lines = "".join(f"-  {field} = '{value}' ({reason})\n" for field, value, reason in found)
    return "error with the following fields:\n" + lines
