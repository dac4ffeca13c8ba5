# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resources of API v3 (calicoctl 3.25): kinds, fields, defaults.

Source: the transcripts in tests/data/calicoctl, and Calico's published CRDs (crd.projectcalico.org/v1).
"""

from __future__ import annotations

from .decode import Flag, Float, Int, Labels, Many, Port, Protocol, Raw, Struct, Text

API = "projectcalico.org/v3"
DEFAULT_TIER = "default."

_ANY_INT = Int(-(2**63), 2**63 - 1, "int")
_PORTS = Many(Port(named=True))
_TEXTS = Many(Text())
_ENTITY = Struct(
    "EntityRule",
    ("nets", _TEXTS),
    ("selector", Text()),
    ("namespaceSelector", Text()),
    ("services", Struct("ServiceMatch", ("name", Text()), ("namespace", Text()))),
    ("ports", _PORTS),
    ("notNets", _TEXTS),
    ("notSelector", Text()),
    ("notPorts", _PORTS),
    ("serviceAccounts", Struct("ServiceAccountMatch", ("names", _TEXTS), ("selector", Text()))),
)
_ICMP = Struct("ICMPFields", ("type", _ANY_INT), ("code", _ANY_INT))
_RULE = Struct(
    "Rule",
    ("action", Text(), ""),
    ("ipVersion", _ANY_INT),
    ("protocol", Protocol()),
    ("icmp", _ICMP),
    ("notProtocol", Protocol()),
    ("notICMP", _ICMP),
    ("source", _ENTITY, {}),
    ("destination", _ENTITY, {}),
    ("http", Raw()),
    ("metadata", Struct("RuleMetadata", ("annotations", Labels()))),
)
_RULES = Many(_RULE)
_NETWORK_SET = (("nets", _TEXTS),)

METADATA = Struct(
    "ObjectMeta",
    ("name", Text()),
    ("generateName", Text()),
    ("namespace", Text()),
    ("selfLink", Text()),
    ("uid", Text()),
    ("resourceVersion", Text()),
    ("generation", _ANY_INT),
    ("creationTimestamp", Raw()),
    ("deletionTimestamp", Raw()),
    ("deletionGracePeriodSeconds", Raw()),
    ("labels", Labels()),
    ("annotations", Labels()),
    ("ownerReferences", Raw()),
    ("finalizers", Raw()),
    ("managedFields", Raw()),
)


class Kind:
    """A kind: its plural in keys and addresses, its words on the command line, where it lives, its table."""

    def __init__(self, name, plural, words, spec, namespaced=False, headings=("NAME",), wide=()) -> None:
        self.name, self.plural, self.spec, self.namespaced = name, plural, spec, namespaced
        self.words = {name.lower(), plural, *words}
        self.headings = headings
        self.wide = wide or headings


_ALL = (
    Kind(
        "GlobalNetworkPolicy",
        "globalnetworkpolicies",
        ("gnp", "gnps"),
        Struct(
            "PolicySpec",
            ("order", Float()),
            ("ingress", _RULES),
            ("egress", _RULES),
            ("selector", Text()),
            ("types", _TEXTS),
            ("doNotTrack", Flag()),
            ("preDNAT", Flag()),
            ("applyOnForward", Flag()),
            ("namespaceSelector", Text()),
            ("serviceAccountSelector", Text()),
        ),
        wide=("NAME", "ORDER", "SELECTOR"),
    ),
    Kind(
        "NetworkPolicy",
        "networkpolicies",
        ("policy", "np", "policies", "pol", "pols", "nps"),
        Struct(
            "NetworkPolicySpec",
            ("order", Float()),
            ("ingress", _RULES),
            ("egress", _RULES),
            ("selector", Text()),
            ("types", _TEXTS),
            ("serviceAccountSelector", Text()),
        ),
        namespaced=True,
        wide=("NAME", "ORDER", "SELECTOR"),
    ),
    Kind(
        "HostEndpoint",
        "hostendpoints",
        ("hep", "heps"),
        Struct(
            "HostEndpointSpec",
            ("node", Text()),
            ("interfaceName", Text()),
            ("expectedIPs", _TEXTS),
            ("profiles", _TEXTS),
            (
                "ports",
                Many(Struct("EndpointPort", ("name", Text()), ("protocol", Protocol()), ("port", _ANY_INT))),
            ),
        ),
        headings=("NAME", "NODE"),
        wide=("NAME", "NODE", "INTERFACE", "IPS", "PROFILES"),
    ),
    Kind(
        "GlobalNetworkSet",
        "globalnetworksets",
        ("globalnetset", "gns"),
        Struct("GlobalNetworkSetSpec", *_NETWORK_SET),
        wide=("NAME", "NETS"),
    ),
    Kind(
        "NetworkSet",
        "networksets",
        ("netset", "netsets"),
        Struct("NetworkSetSpec", *_NETWORK_SET),
        namespaced=True,
        wide=("NAME", "NETS"),
    ),
    Kind(
        "Profile",
        "profiles",
        ("pro", "pros"),
        Struct("ProfileSpec", ("ingress", _RULES), ("egress", _RULES), ("labelsToApply", Labels())),
        wide=("NAME", "LABELS"),
    ),
    Kind("Node", "nodes", ("no", "nos"), Raw(), wide=("NAME", "ASN", "IPV4", "IPV6")),
    Kind(
        "IPPool",
        "ippools",
        ("ipp", "ipps", "pool", "pools"),
        Raw(),
        headings=("NAME", "CIDR", "SELECTOR"),
        wide=("NAME", "CIDR", "NAT", "IPIPMODE", "VXLANMODE", "DISABLED", "DISABLEBGPEXPORT", "SELECTOR"),
    ),
    Kind(
        "BGPPeer",
        "bgppeers",
        ("bgpp", "bgpps", "bp", "bps"),
        Raw(),
        headings=("NAME", "PEERIP", "NODE", "ASN"),
    ),
    Kind(
        "BGPConfiguration",
        "bgpconfigurations",
        ("bgpconfig", "bgpconfigs"),
        Raw(),
        headings=("NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"),
    ),
    Kind("FelixConfiguration", "felixconfigurations", ("felixconfig", "felixconfigs", "fc", "fcs"), Raw()),
    Kind(
        "ClusterInformation",
        "clusterinformations",
        ("clusterinfo", "clusterinfos", "ci", "cis"),
        Raw(),
        wide=("NAME", "CLUSTERTYPE", "CALICOVERSION"),
    ),
    Kind("KubeControllersConfiguration", "kubecontrollersconfigurations", ("kubecontrollersconfig", "kcc"), Raw()),
)
KINDS = {kind.name: kind for kind in _ALL}


class UnknownKind(Exception):
    """The text as it follows `Failed to execute command: `."""


class List_:
    """A resource of a `...List` kind, on which the real tool panics."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


def by_word(word: str):
    """The kind that a word of the command line names, or None."""
    for kind in _ALL:
        if word.lower() in kind.words:
            return kind
    return None


def read(document):
    """A resource with its fields in the tool's order, not yet validated; DecodeError or UnknownKind."""
    if not isinstance(document, dict):
        document = {}
    name, version = document.get("kind") or "", document.get("apiVersion") or ""
    if version == API and name.endswith("List") and name[:-4] in KINDS:
        return List_(name)
    if version != API or name not in KINDS:
        raise UnknownKind(f"Unknown resource type ({name}) and/or version ({version})")
    return shaped(document, KINDS[name])


def shaped(document: dict, kind: Kind) -> dict:
    fields = [("kind", Text()), ("apiVersion", Text()), ("metadata", METADATA, {}), ("spec", kind.spec, {})]
    if kind.name in ("KubeControllersConfiguration", "Node"):
        fields.append(("status", Raw()))
    return Struct("Resource", *fields).decode(document, "")


def defaulted(resource: dict) -> None:
    """Fill in what the client fills in before it validates and stores."""
    kind, spec = resource["kind"], resource["spec"]
    if kind in ("GlobalNetworkPolicy", "NetworkPolicy"):
        if not spec.get("types"):
            both = [name for name, rules in (("Ingress", "ingress"), ("Egress", "egress")) if spec.get(rules)]
            spec["types"] = both or ["Ingress"]
            _reorder(spec, KINDS[kind].spec)
    elif kind == "IPPool":
        defaults = {"vxlanMode": "Never", "ipipMode": "Never", "nodeSelector": "all()"}
        defaults["blockSize"] = 122 if ":" in str(spec.get("cidr", "")) else 26
        defaults["allowedUses"] = ["Workload", "Tunnel"]
        for name, value in defaults.items():
            spec.setdefault(name, value)
    elif kind == "KubeControllersConfiguration":
        resource["spec"] = {"prometheusMetricsPort": 9094, **spec}
        if "node" in spec.get("controllers", {}):
            spec["controllers"]["node"].setdefault("leakGracePeriod", "15m0s")
        resource.setdefault("status", {"runningConfig": {"controllers": {}}})


def _reorder(spec: dict, struct: Struct) -> None:
    items = {field[0]: spec[field[0]] for field in struct.fields if field[0] in spec}
    spec.clear()
    spec.update(items)


def stored_name(kind: str, name: str) -> str:
    """Policies are stored with their tier before their name; those that stand for Kubernetes' policies are not."""
    if kind not in ("GlobalNetworkPolicy", "NetworkPolicy") or name.startswith("knp.default."):
        return name
    return name if name.startswith(DEFAULT_TIER) else DEFAULT_TIER + name


def shown_name(kind: str, name: str) -> str:
    if kind in ("GlobalNetworkPolicy", "NetworkPolicy") and name.startswith(DEFAULT_TIER):
        return name[len(DEFAULT_TIER) :]
    return name


def identity(kind: Kind, namespace: str, name: str) -> str:
    """As errors print it, with the stored name."""
    return f"{kind.name}({namespace}/{name})" if kind.namespaced else f"{kind.name}({name})"


def ordered_metadata(metadata: dict) -> dict:
    """creationTimestamp is written even when there is none."""
    out = {field[0]: metadata[field[0]] for field in METADATA.fields if field[0] in metadata}
    if "creationTimestamp" not in out:
        known = [field[0] for field in METADATA.fields]
        before = {key: value for key, value in out.items() if known.index(key) < known.index("creationTimestamp")}
        after = {key: value for key, value in out.items() if key not in before}
        out = {**before, "creationTimestamp": None, **after}
    return out


def default_allow_profile() -> dict:
    """The profile that is there without anyone having made it."""
    allow = [{"action": "Allow", "source": {}, "destination": {}}]
    return {
        "kind": "Profile",
        "apiVersion": API,
        "metadata": {"name": "projectcalico-default-allow", "resourceVersion": "1"},
        "spec": {"ingress": allow, "egress": allow},
    }
