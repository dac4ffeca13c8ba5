# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of resources that Calico's two APIs know: their names, their scope, and the fields of each.

Policies, rules, host endpoints and network sets are checked in full, other kinds by the names and types of their
fields; calicoctl checks the rest. Sources: libcalico-go lib/apis/v1, the API types and CRDs of Calico 3.32, its
reference documentation, calicoctl/resourcemgr.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import partial
from typing import Any, Dict, Mapping, Optional, Tuple

from .calico_felix import FELIX_FIELDS
from .calico_rules import (
    SELECTOR,
    V1_POLICY,
    V1_RULE,
    V3_GLOBAL_POLICY,
    V3_POLICY,
    V3_RULE,
    V3_STAGED,
    V3_STAGED_GLOBAL,
)
from .calico_schema import Flag, Free, ListOf, MapOf, Real, Scalar, Struct, Text, Whole, Words
from .calico_values import (
    PROTOCOLS,
    ValueRefused,
    canonical_address,
    canonical_network,
    one_of,
    read_address,
    read_any_network,
    read_name,
    read_network,
    read_selector,
    read_v1_interface,
    read_v1_name,
    read_v3_interface,
    read_v3_label,
)

V1 = "v1"
V3 = "projectcalico.org/v3"
API_VERSIONS = {"v1": V1, "v3": V3}

_ADDRESS = Text(read_address, canonical_address)
_NETWORK = Text(read_any_network, canonical_network)
_MODES = ("Always", "CrossSubnet", "Never")
_BLOCK_SIZES = {4: 26, 6: 122}


@dataclass(frozen=True)
class Kind:
    """A kind: `name` is v3's spelling (v1's where v3 has no such kind), `v1` and `v3` say which APIs know it.

    `metadata` holds fields of v1 metadata beside name and labels. `read_only` kinds are kept by Calico itself.
    """

    name: str
    v3: Optional[Struct] = None
    v1: Optional[Struct] = None
    v1_name: str = ""
    namespaced: bool = False
    read_only: bool = False
    short: Tuple[str, ...] = ()

    def known_to(self, api: str) -> bool:
        """Whether an API has this kind."""
        return self.spec(api) is not None

    def spec(self, api: str) -> Optional[Struct]:
        """The fields of its spec in an API, None where it has no such kind."""
        return self.v1 if api == "v1" else self.v3

    def spelling(self, api: str) -> str:
        """Its name in documents of an API."""
        return self.v1_name if api == "v1" else self.name


def _check_v1_host_endpoint(spec: Dict[str, Any]) -> None:
    if not spec.get("interfaceName") and not spec.get("expectedIPs"):
        raise ValueRefused("neither interfaceName nor expectedIPs is given; one of them says which interface is meant")


def _check_host_endpoint(spec: Dict[str, Any]) -> None:
    _check_v1_host_endpoint(spec)
    if not spec.get("node"):
        raise ValueRefused("is missing; it says on which node the interface is", "node")


def _check_pool(spec: Dict[str, Any]) -> None:
    if not spec.get("cidr"):
        raise ValueRefused("is missing", "cidr")
    net, version = read_network(spec["cidr"])
    if ipaddress.ip_address(spec["cidr"].partition("/")[0]) != ipaddress.ip_address(net.partition("/")[0]):
        raise ValueRefused(f"{spec['cidr']} has host bits set; write {net}", "cidr")
    tunnels = [name for name in ("ipipMode", "vxlanMode") if spec.get(name, "Never") not in ("Never", "")]
    if len(tunnels) > 1:
        raise ValueRefused("cannot stand beside ipipMode; one of them is Never", "vxlanMode")
    if version == 6 and "ipipMode" in tunnels:
        raise ValueRefused("an IPv6 pool has no IPIP; write Never", "ipipMode")


def _settle_pool(spec: Dict[str, Any]) -> None:
    if "blockSize" not in spec and isinstance(spec.get("cidr"), str):
        spec["blockSize"] = _BLOCK_SIZES[6 if ":" in spec["cidr"] else 4]
    spec.setdefault("allowedUses", ["Tunnel", "Workload"])


def _check_peer(spec: Dict[str, Any]) -> None:
    for one, other in (("node", "nodeSelector"), ("peerIP", "peerSelector"), ("asNumber", "peerSelector")):
        if spec.get(one) and spec.get(other):
            raise ValueRefused(f"cannot stand beside {other}", one)


def _read_as_number(value: Any) -> Any:
    """An AS number, or one in two halves as `65000.1`."""
    text = str(value)
    parts = text.split(".")
    if all(part.isdigit() for part in parts) and len(parts) <= 2:
        numbers = [int(part) for part in parts]
        if len(numbers) == 1 and numbers[0] < 2**32:
            return numbers[0]
        if len(numbers) == 2 and max(numbers) < 2**16:
            return numbers[0] * 2**16 + numbers[1]
    raise ValueRefused(f"{text!r} is not an AS number from 0 to 4294967295")


def _canonical_as_number(value: Any) -> Any:
    try:
        return _read_as_number(value)
    except ValueRefused:
        return value


_AS_NUMBER = Scalar(_read_as_number, _canonical_as_number)
_PORT_OF_ENDPOINT = Struct(
    {"name": Text(), "protocol": Words(PROTOCOLS["v3"], required=True), "port": Whole(1, 65535)},
)
_CIDRS = ListOf(Struct({"cidr": _NETWORK}, open=True))
_SECRET = Struct({"secretKeyRef": Free()}, open=True)

_V1_HOST_ENDPOINT = Struct(
    {
        "interfaceName": Text(read_v1_interface),
        "expectedIPs": ListOf(_ADDRESS),
        "profiles": ListOf(Text(read_v1_name), ordered=True),
    },
    check=_check_v1_host_endpoint,
    kept=True,
    hints={
        "node": "in API v1 it belongs under metadata",
        "ports": "calicoctl 1.x knows no port names",
    },
)
_V3_HOST_ENDPOINT = Struct(
    {
        "node": Text(read_name),
        "interfaceName": Text(read_v3_interface),
        "expectedIPs": ListOf(_ADDRESS),
        "profiles": ListOf(Text(read_name), ordered=True),
        "ports": ListOf(_PORT_OF_ENDPOINT),
    },
    check=_check_host_endpoint,
    kept=True,
)
_NETWORK_SET = Struct({"nets": ListOf(_NETWORK)}, kept=True, hints={"net": "write nets: [...]"})
_V1_PROFILE = Struct({"ingress": ListOf(V1_RULE, ordered=True), "egress": ListOf(V1_RULE, ordered=True)}, kept=True)
_V3_PROFILE = Struct(
    {
        "ingress": ListOf(V3_RULE, ordered=True),
        "egress": ListOf(V3_RULE, ordered=True),
        "labelsToApply": MapOf(read_v3_label),
    },
    kept=True,
)
_V1_POOL = Struct(
    {
        "ipip": Struct({"enabled": Flag(), "mode": Words(("always", "cross-subnet"))}),
        "nat-outgoing": Flag(),
        "disabled": Flag(),
    },
    kept=True,
)
_V3_POOL = Struct(
    {
        "cidr": _NETWORK,
        "ipipMode": Words(_MODES, default="Never"),
        "vxlanMode": Words(_MODES, default="Never"),
        "natOutgoing": Flag(),
        "disabled": Flag(),
        "disableBGPExport": Flag(),
        "blockSize": Whole(0, 128, kept=False),
        "nodeSelector": Text(partial(read_selector, api="v3"), default="all()"),
        "namespaceSelector": SELECTOR["v3"],
        "allowedUses": ListOf(Words(("Workload", "Tunnel", "LoadBalancer"), required=True)),
        "assignmentMode": Words(("Automatic", "Manual"), default="Automatic"),
    },
    check=_check_pool,
    settle=_settle_pool,
    kept=True,
    open=True,
)
_V1_PEER = Struct({"asNumber": _AS_NUMBER}, kept=True)
_V3_PEER = Struct(
    {
        "node": Text(read_name),
        "nodeSelector": SELECTOR["v3"],
        "peerIP": Text(),
        "asNumber": _AS_NUMBER,
        "localASNumber": _AS_NUMBER,
        "peerSelector": SELECTOR["v3"],
        "localWorkloadSelector": SELECTOR["v3"],
        "keepOriginalNextHop": Flag(),
        "nextHopMode": Text(),
        "password": _SECRET,
        "sourceAddress": Words(("UseNodeIP", "None")),
        "maxRestartTime": Text(),
        "numAllowedLocalASNumbers": Whole(),
        "ttlSecurity": Whole(0, 255),
        "reachableBy": Text(),
        "filters": ListOf(Text(), ordered=True),
        "reversePeering": Text(),
    },
    check=_check_peer,
    kept=True,
    open=True,
)
_V1_NODE = Struct(
    {
        "bgp": Struct({"asNumber": _AS_NUMBER, "ipv4Address": Text(), "ipv6Address": Text()}, kept=True),
        "orchRefs": ListOf(Struct({"nodeName": Text(), "orchestrator": Text()})),
    },
    kept=True,
    open=True,
)
_V3_NODE = Struct(
    {
        "bgp": Struct(
            {
                "asNumber": _AS_NUMBER,
                "ipv4Address": Text(read_any_network),
                "ipv6Address": Text(read_any_network),
                "ipv4IPIPTunnelAddr": Text(),
                "routeReflectorClusterID": Text(),
            },
            kept=True,
            open=True,
        ),
        "ipv4VXLANTunnelAddr": Text(),
        "ipv6VXLANTunnelAddr": Text(),
        "vxlanTunnelMACAddr": Text(),
        "vxlanTunnelMACAddrV6": Text(),
        "orchRefs": ListOf(Struct({"nodeName": Text(), "orchestrator": Text()})),
        "wireguard": Struct({"interfaceIPv4Address": Text(), "interfaceIPv6Address": Text()}, kept=True),
        "addresses": ListOf(Struct({"address": Text(), "type": Text()})),
        "interfaces": ListOf(Struct({"name": Text(), "addresses": ListOf(Text())})),
    },
    kept=True,
    open=True,
)
_BGP = Struct(
    {
        "logSeverityScreen": Words(("Trace", "Debug", "Info", "Warning", "Error", "Fatal"), default="Info"),
        "nodeToNodeMeshEnabled": Flag(kept=True),
        "asNumber": _AS_NUMBER,
        "serviceLoadBalancerIPs": _CIDRS,
        "serviceExternalIPs": _CIDRS,
        "serviceClusterIPs": _CIDRS,
        "serviceLoadBalancerAggregation": Text(),
        "communities": ListOf(Struct({"name": Text(), "value": Text()})),
        "prefixAdvertisements": ListOf(Struct({"cidr": _NETWORK, "communities": ListOf(Text())})),
        "listenPort": Whole(1, 65535),
        "nodeMeshPassword": _SECRET,
        "nodeMeshMaxRestartTime": Text(),
        "bindMode": Words(("None", "NodeIP")),
        "ignoredInterfaces": ListOf(Text()),
        "localWorkloadPeeringIPV4": Text(),
        "localWorkloadPeeringIPV6": Text(),
        "programClusterRoutes": Text(),
    },
    kept=True,
    open=True,
)
_PERIOD = Struct({"reconcilerPeriod": Text()}, kept=True)
_SWITCH = Words(("Enabled", "Disabled"))
_CONTROLLERS = Struct(
    {
        "node": Struct(
            {
                "reconcilerPeriod": Text(),
                "syncLabels": _SWITCH,
                "leakGracePeriod": Text(),
                "hostEndpoint": Struct(
                    {
                        "autoCreate": _SWITCH,
                        "createDefaultHostEndpoint": _SWITCH,
                        "templates": ListOf(Free(), ordered=True),
                    },
                    kept=True,
                ),
            },
            kept=True,
        ),
        "policy": _PERIOD,
        "workloadEndpoint": _PERIOD,
        "serviceAccount": _PERIOD,
        "namespace": _PERIOD,
        "loadBalancer": Struct({"assignIPs": Words(("AllServices", "RequestedServicesOnly"))}, kept=True),
        "policyMigration": Free(),
    },
    kept=True,
    open=True,
)
_KUBE_CONTROLLERS = Struct(
    {
        "logSeverityScreen": Text(),
        "healthChecks": _SWITCH,
        "etcdV3CompactionPeriod": Text(),
        "prometheusMetricsPort": Whole(0, 65535),
        "debugProfilePort": Whole(0, 65535),
        "controllers": _CONTROLLERS,
    },
    kept=True,
    open=True,
)
_ANYTHING = Struct({}, kept=True, open=True)
_FELIX = Struct(FELIX_FIELDS, kept=True, open=True)

_KINDS = (
    Kind("GlobalNetworkPolicy", V3_GLOBAL_POLICY, V1_POLICY, "policy", short=("gnp", "gnps", "pol", "pols")),
    Kind("NetworkPolicy", V3_POLICY, namespaced=True, short=("np", "nps", "caliconetworkpolicy")),
    Kind("HostEndpoint", _V3_HOST_ENDPOINT, _V1_HOST_ENDPOINT, "hostEndpoint", short=("hep", "heps")),
    Kind("GlobalNetworkSet", _NETWORK_SET, short=("gns",)),
    Kind("NetworkSet", _NETWORK_SET, namespaced=True, short=("ns", "netset", "netsets")),
    Kind("Profile", _V3_PROFILE, _V1_PROFILE, "profile", short=("pro", "pros")),
    Kind("IPPool", _V3_POOL, _V1_POOL, "ipPool", short=("ipp", "ipps", "pool", "pools")),
    Kind("BGPPeer", _V3_PEER, _V1_PEER, "bgpPeer", short=("bgpp", "bgpps", "bp", "bps")),
    Kind("Node", _V3_NODE, _V1_NODE, "node", short=("no", "nos")),
    Kind("BGPConfiguration", _BGP, short=("bgpconfig", "bgpconfigs")),
    Kind("BGPFilter", _ANYTHING),
    Kind("FelixConfiguration", _FELIX, short=("felixconfig", "fconfig")),
    Kind("KubeControllersConfiguration", _KUBE_CONTROLLERS, short=("kcc", "kubecontrollersconfig")),
    Kind("Tier", Struct({"order": Real(), "defaultAction": Words(("Deny", "Pass"), default="Deny")}, kept=True)),
    Kind("StagedGlobalNetworkPolicy", V3_STAGED_GLOBAL, short=("sgnp",)),
    Kind("StagedNetworkPolicy", V3_STAGED, namespaced=True, short=("snp",)),
    Kind("StagedKubernetesNetworkPolicy", _ANYTHING, namespaced=True, short=("sknp",)),
    Kind("IPReservation", Struct({"reservedCIDRs": ListOf(_NETWORK)}, kept=True, open=True)),
    Kind("IPAMConfiguration", _ANYTHING, short=("ipamconfig",)),
    Kind("CalicoNodeStatus", _ANYTHING),
    Kind(
        "WorkloadEndpoint",
        _ANYTHING,
        _ANYTHING,
        "workloadEndpoint",
        namespaced=True,
        read_only=True,
        short=("wep", "weps"),
    ),
    Kind("ClusterInformation", _ANYTHING, read_only=True, short=("clusterinfo",)),
    Kind("BlockAffinity", _ANYTHING, read_only=True),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}
# In documents calicoctl takes exactly these spellings.
SPELLINGS: Mapping[str, Mapping[str, Kind]] = {
    api: {kind.spelling(api): kind for kind in _KINDS if kind.known_to(api)} for api in API_VERSIONS
}


def find_kind(word: str, api: str) -> Kind:
    """The kind that a user names on a command line or in an option: any case, singular, plural or short.

    Raises ValueRefused with the kinds of the API, the nearest first.
    """
    wanted = word.lower()
    for kind in SPELLINGS[api].values():
        # In API v1 a policy is a policy; v3's name of it is understood for either API.
        for name in (kind.name.lower(), kind.spelling(api).lower()):
            if wanted in (name, f"{name}s", f"{name[:-1]}ies" if name.endswith("y") else name, *kind.short):
                return kind
    raise ValueRefused(one_of(word, SPELLINGS[api]))
