# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user can choose about a node's default ruleset, and which of its interfaces is which. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields
from typing import Any, Mapping, Sequence

from ..module_utils.confirmation import check_confirmation
from ..module_utils.errors import HardeningError, NodeError, choices
from ..module_utils.traffic_reading import as_list, parse_network, parse_ports

# The first node port and the last, Kubernetes' default --service-node-port-range.
NODE_PORTS = "30000-32767"


class ProfileError(HardeningError):
    """A node whose default ruleset cannot be made; says which variable to set."""


@dataclass(frozen=True)
class Settings:
    """What a user can choose; every field is the role variable `iks_<field>`. Networks are CIDR texts."""

    egress: str = "open"
    private: str = "open"
    public_interface: str | None = None
    private_interface: str | None = None
    cluster_networks: Sequence[str] = ()
    management_networks: Sequence[str] = ()
    operator_networks: Sequence[str] = ()
    resolvers: Sequence[str] = ()
    time_servers: Sequence[str] = ()
    package_mirrors: Sequence[str] = ()
    apiserver_ports: Sequence[Any] = (443, 6443)
    etcd_ports: Sequence[Any] = (2379,)
    node_ports: str = NODE_PORTS
    apiserver_connections: int | None = 500
    apiserver_rate: str | None = "100/second"
    log_denied: bool = True
    intrusion_guard: bool = False
    intrusion_hold: int | None = None
    provider_management: Sequence[tuple[str, str]] = ()
    catalogue_networks: Sequence[str] = ()
    extra_rules: Sequence[Any] = ()
    allow_lockout: bool = False
    confirm_timeout: int = 30
    confirm_port: int = 22

    def __post_init__(self) -> None:
        for name in ("egress", "private"):
            if getattr(self, name) not in ("open", "restricted"):
                raise ProfileError(choices(f"iks_{name}", getattr(self, name), ("open", "restricted")))
        for name in (
            "cluster_networks",
            "management_networks",
            "operator_networks",
            "resolvers",
            "time_servers",
            "package_mirrors",
        ):
            for item in getattr(self, name):
                parse_network(f"iks_{name}", item)
        try:
            check_confirmation({"confirm_timeout": self.confirm_timeout, "confirm_port": self.confirm_port})
        except NodeError as error:
            raise ProfileError(f"iks_{error}") from None
        for name in ("apiserver_ports", "etcd_ports", "node_ports"):
            for item in as_list(getattr(self, name)):
                parse_ports(f"iks_{name}", item)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Settings:
        """Settings from a dictionary; what is None keeps its default, what is unknown is refused."""
        known = [item.name for item in fields(cls)]
        for key in options:
            if key not in known:
                raise ProfileError(choices("setting", key, known))
        lists = {item.name for item in fields(cls) if str(item.type).startswith("Sequence")}
        numbers = {item.name for item in fields(cls) if str(item.type).startswith("int")}
        found: dict[str, Any] = {}
        for key, value in options.items():
            if value is None:
                continue
            # Templates of ansible-core before 2.19 give numbers as text.
            is_text = key in numbers and isinstance(value, str) and value.isascii() and value.isdigit()
            found[key] = tuple(as_list(value)) if key in lists else int(value) if is_text else value
        return cls(**found)


@dataclass(frozen=True)
class Shape:
    """Which interface is which. On a node with a single card public and private are the same one."""

    public: str
    private: str | None
    single: bool

    @classmethod
    def of(cls, info: Mapping[str, Any], settings: Settings) -> Shape:
        """From the user's words, else from the routes (`info` is what firewall_info returned)."""
        links = info["interfaces"]
        for option in ("public_interface", "private_interface"):
            chosen = getattr(settings, option)
            if chosen is not None and chosen not in links:
                raise ProfileError(choices(f"iks_{option}", chosen, [name for name in links if name != "lo"]))
        public = settings.public_interface or next(iter(info["default_interfaces"]), None)
        if public is None:
            raise ProfileError(
                "the public interface is unknown, as the node has no default route; set iks_public_interface"
            )
        cards = [name for name in info["cards"] if name != public]
        private = settings.private_interface
        if private is None:
            candidates = [
                name for name in cards if any(ipaddress.ip_interface(item).is_private for item in links[name])
            ]
            private = candidates[0] if len(candidates) == 1 else None
        return cls(public, private, single=not cards or private == public)
