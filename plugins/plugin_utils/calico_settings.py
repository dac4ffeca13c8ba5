# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user can choose about the cluster's Calico policies and host endpoints. Values only, checked when made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any, Mapping, Sequence

from ansible_collections.iks.hardening.plugins.module_utils.errors import choices
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import as_list

from . import addresses
from .calico_forms import ContentError, port

# The default policies by the date from which they were seen; docs/calico.md says what was observed of each.
FIRST_POLICIES = (
    "allow-all-outbound",
    "allow-icmp",
    "allow-kubelet-port",
    "allow-node-port-dnat",
    "allow-sys-mgmt",
    "allow-vrrp",
)
PRIVATE_DEFAULT = "allow-all-private-default"
_WITHOUT_KUBELET = tuple("allow-bigfix-port" if name == "allow-kubelet-port" else name for name in FIRST_POLICIES)
POLICIES_BY_DATE = {
    "2017-09-29": FIRST_POLICIES,
    "2018-04-23": _WITHOUT_KUBELET,
    "2020-05-31": (*_WITHOUT_KUBELET, PRIVATE_DEFAULT),
}
DEFAULT_POLICIES = (*FIRST_POLICIES, "allow-bigfix-port", PRIVATE_DEFAULT)
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,50}[a-z0-9])?", re.ASCII)
_NETWORKS = (
    "pod_networks",
    "cluster_nodes",
    "cluster_masters",
    "management_networks",
    "operator_networks",
    "resolvers",
    "time_servers",
    "apiserver_service",
    "local_proxy_networks",
    "private_service_endpoints",
)
_WORDS = {"provider": ("ibm", "none"), "calico_private": ("none", "open", "isolated"),
          "calico_public": ("open", "isolated"), "calico_policy_date": tuple(POLICIES_BY_DATE)}  # fmt: skip
_PORTS = ("apiserver_ports", "etcd_ports", "node_ports")
_FLAGS = ("calico_masters", "calico_close_node_ports", "calico_edge_only", "single_interface")


@dataclass(frozen=True)
class AllowList:
    """Who may reach which ports of services, before DNAT; everybody else is kept from them."""

    name: str
    sources: tuple[str, ...]
    ports: tuple[int | str, ...]
    protocols: tuple[str, ...]
    addresses: tuple[str, ...] | None  # None: any address of the node


@dataclass(frozen=True)
class LoadBalancer:
    """An address and port that stay open while node ports are closed."""

    address: str
    port: int | str
    protocol: str


@dataclass(frozen=True)
class CalicoSettings:
    """Every field is the role variable `iks_<field>`, or what the inventory says; networks are CIDR texts.

    `calico_policies` None means those of `calico_policy_date`. `calico_ipv6` None means: where a node or pod has IPv6.
    """

    provider: str = "ibm"
    regions: Sequence[str] = ()
    locations: Sequence[str] = ()
    services: Sequence[str] | None = None
    pod_networks: Sequence[str] = ("172.30.0.0/16",)
    cluster_nodes: Sequence[str] = ()
    cluster_masters: Sequence[str] = ()
    management_networks: Sequence[str] = ()
    operator_networks: Sequence[str] = ()
    resolvers: Sequence[str] = ()
    time_servers: Sequence[str] = ()
    apiserver_service: Sequence[str] = ("172.21.0.1",)
    local_proxy_networks: Sequence[str] = ("172.20.0.0/24",)
    private_service_endpoints: Sequence[str] = ()
    apiserver_ports: Sequence[Any] = (443, 6443)
    etcd_ports: Sequence[Any] = (2379,)
    node_ports: Sequence[Any] = ("30000-32767",)
    single_interface: bool = False
    calico_ipv6: bool | None = None
    load_balancers: Sequence[Any] = ()
    calico_policy_date: str = "2017-09-29"
    calico_policies: Sequence[str] | None = None
    calico_private: str = "none"
    calico_public: str = "open"
    calico_private_endpoints: bool | None = None
    calico_masters: bool = False
    calico_close_node_ports: bool = False
    calico_allow_lists: Sequence[Any] = ()
    calico_edge_only: bool = False
    calico_edge_nodes: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        """Checks every value and makes it canonical. Raises HardeningError."""
        for name, known in _WORDS.items():
            value = getattr(self, name)
            if str(value) not in known:
                raise ContentError(choices(f"iks_{name}", str(value), known))
            self._set(name, str(value))
        for name in (*_FLAGS, "calico_ipv6", "calico_private_endpoints"):
            value = getattr(self, name)
            if not isinstance(value, bool) and not (value is None and name not in _FLAGS):
                raise ContentError(f"iks_{name}: {value!r} is not true or false")
        for name in _NETWORKS:
            self._set(name, networks(f"iks_{name}", getattr(self, name)))
        for name in _PORTS:
            items = as_list(getattr(self, name))
            self._set(name, tuple(port(f"iks_{name}[{number}]", item) for number, item in enumerate(items)))
        for name in ("regions", "locations", "services", "calico_policies", "calico_edge_nodes"):
            value = getattr(self, name)
            self._set(name, None if value is None else tuple(str(item) for item in as_list(value)))
        for number, name in enumerate(self.calico_policies or ()):
            if name not in DEFAULT_POLICIES:
                raise ContentError(choices(f"iks_calico_policies[{number}]", name, DEFAULT_POLICIES))
        if not self.pod_networks:
            raise ContentError("iks_pod_networks: an empty list; name the networks of the cluster's pods")
        self._set("load_balancers", _each("iks_load_balancers", self.load_balancers, _load_balancer))
        self._set("calico_allow_lists", _each("iks_calico_allow_lists", self.calico_allow_lists, _allow_list))
        _unique("iks_calico_allow_lists", [item.name for item in self.calico_allow_lists])

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> CalicoSettings:
        """Settings from a dictionary; what is None keeps its default, what is unknown is refused."""
        if not isinstance(options, Mapping):
            raise ContentError(f"settings: {options!r} is not a dictionary")
        known = [item.name for item in fields(cls)]
        for key in options:
            if key not in known:
                raise ContentError(choices("setting", key, known))
        # Templates of ansible-core before 2.19 give nothing as an empty text.
        return cls(**{key: value for key, value in options.items() if value is not None and value != ""})

    @property
    def default_policies(self) -> tuple[str, ...]:
        """The names of the default policies that are written, in their order."""
        if self.calico_policies is not None:
            return tuple(name for name in DEFAULT_POLICIES if name in self.calico_policies)
        names = list(POLICIES_BY_DATE[self.calico_policy_date])
        if self.calico_private == "open" and PRIVATE_DEFAULT not in names:
            names.append(PRIVATE_DEFAULT)
        if self.calico_private == "isolated" and PRIVATE_DEFAULT in names:
            names.remove(PRIVATE_DEFAULT)
        if self.provider != "ibm":
            names.remove("allow-sys-mgmt")
        return tuple(names)

    @property
    def private_endpoints(self) -> bool:
        """Whether private interfaces get host endpoints."""
        chosen = self.calico_private_endpoints
        return self.calico_private != "none" if chosen is None else chosen

    @property
    def has_ipv6(self) -> bool:
        """Whether nodes or pods have IPv6, whose neighbours are found by ICMPv6."""
        if self.calico_ipv6 is not None:
            return self.calico_ipv6
        return any(addresses.version(net) == 6 for net in (*self.cluster_nodes, *self.pod_networks))


def networks(subject: str, value: object) -> tuple[str, ...]:
    """Networks as CIDR texts, one or a list, each once. Raises ContentError with the place."""
    found = []
    for number, item in enumerate(as_list(value)):
        try:
            found.append(addresses.network(item))
        except addresses.AddressError as error:
            raise ContentError(f"{subject}[{number}]: {error}") from None
    return tuple(dict.fromkeys(found))


def object_name(subject: str, value: object) -> str:
    """A name that may stand in an object's name: letters a-z, digits, `-` inside. Raises ContentError."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ContentError(f"{subject}: {value!r} is not a name of at most 52 of a-z, 0-9 and - (not at an end)")
    return value


def keys(subject: str, item: object, required: Sequence[str], optional: Sequence[str] = ()) -> Mapping[str, Any]:
    """A dictionary with these keys and no other. Raises ContentError."""
    known = (*required, *optional)
    if not isinstance(item, Mapping):
        raise ContentError(f"{subject}: {item!r} is not a dictionary with {', '.join(known)}")
    for key in item:
        if key not in known:
            raise ContentError(choices(f"{subject}: key", key, known))
    for key in required:
        if item.get(key) is None:
            raise ContentError(f"{subject}: {key} is missing")
    return item


def _each(subject: str, value: object, read: Any) -> tuple[Any, ...]:
    return tuple(read(f"{subject}[{number}]", item) for number, item in enumerate(as_list(value)))


def _unique(subject: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ContentError(f"{subject}: the name {name} stands twice; names become names of policies")


def _protocol(subject: str, value: object) -> str:
    if str(value).lower() not in ("tcp", "udp"):
        raise ContentError(choices(subject, value, ("tcp", "udp")))
    return str(value).upper()


def _load_balancer(subject: str, item: object) -> LoadBalancer:
    if isinstance(item, LoadBalancer):
        return item
    data = keys(subject, item, ("address", "port"), ("protocol",))
    try:
        address = addresses.network(addresses.host(data["address"]))
    except addresses.AddressError as error:
        raise ContentError(f"{subject}: address: {error}") from None
    return LoadBalancer(
        address, port(f"{subject}: port", data["port"]), _protocol(f"{subject}: protocol", data.get("protocol", "tcp"))
    )


def _allow_list(subject: str, item: object) -> AllowList:
    if isinstance(item, AllowList):
        return item
    data = keys(subject, item, ("name", "sources", "ports"), ("protocols", "addresses"))
    sources = networks(f"{subject}: sources", data["sources"])
    ports = tuple(port(f"{subject}: ports", one) for one in as_list(data["ports"]))
    where = networks(f"{subject}: addresses", data["addresses"]) if data.get("addresses") is not None else None
    for key, found in (("sources", sources), ("ports", ports), ("addresses", where)):
        if found is not None and not found:
            raise ContentError(f"{subject}: {key}: an empty list; it never means any")
    asked = as_list(data.get("protocols") or ("tcp",))
    protocols = tuple(dict.fromkeys(_protocol(f"{subject}: protocols", one) for one in asked))
    return AllowList(object_name(f"{subject}: name", data["name"]), sources, ports, protocols, where)


def check_private_covered(settings: CalicoSettings) -> None:
    """A private host endpoint that no policy selects cuts its node off. Raises ContentError."""
    if not settings.private_endpoints:
        return
    if settings.calico_private != "isolated" and PRIVATE_DEFAULT not in settings.default_policies:
        raise ContentError(
            f"host endpoints of private interfaces are asked for, but neither {PRIVATE_DEFAULT} nor the isolation set "
            "is: Calico drops all traffic of an endpoint that no policy opens, which would cut every worker off from "
            "the cluster. Set iks_calico_private to open or isolated"
        )
