# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the region catalogue: options as users write them, checked before anything is looked up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.module_utils.traffic import check_interface
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import parse_ports

from . import addresses
from .catalogue_model import SERVICES
from .names import normal, unknown

DEFAULT_SERVICES = ("master", "registry", "private")
POINTS = ("worker", "gateway")
# Step 7: "either port 80 or 443".
INGRESS_PORTS = ("80", "443")
Service = tuple[str, str, str]  # address, port, protocol


class RequestError(HardeningError):
    """An option that cannot be meant as it is written."""


@dataclass(frozen=True)
class RegionRequest:
    """What to open. Addresses are canonical text; `None` means the option was not given.

    `services` is None for the defaults: master, registry and private, as far as the catalogue's version offers them.
    """

    regions: tuple[str, ...]
    locations: tuple[str, ...] = ()
    services: tuple[str, ...] | None = None
    worker_addresses: tuple[str, ...] | None = None
    worker_private_addresses: tuple[str, ...] | None = None
    load_balancers: tuple[Service, ...] = ()
    ingress: tuple[Service, ...] = ()
    operator_networks: tuple[str, ...] = ()
    point: str = "worker"
    interface: str | None = None
    private_interface: str | None = None
    catalogue: str | None = None
    overlay: str | Mapping[str, Any] | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> RegionRequest:
        """A request from options as a task or a lookup carries them; `None` is the same as not given.

        Raises RequestError (or another HardeningError) that names the option and the value.
        """
        for key in options:
            if key not in _READERS:
                raise RequestError(unknown("option", key, _READERS))
        read = {key: _READERS[key](f"option {key}", value) for key, value in options.items() if value is not None}
        if not read.get("regions"):
            raise RequestError("option regions: no region is named; name at least one, such as us-south")
        return cls(**read)


def _list(option: str, value: object, empty: bool = False) -> list[Any]:
    """A list, or one thing as a list of one. An empty one is an error unless it can only mean none."""
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if not items and not empty:
        raise RequestError(f"{option}: an empty list; it never means any. Name what is meant")
    return items


def _names(option: str, value: object, empty: bool = False) -> tuple[str, ...]:
    return tuple(dict.fromkeys(normal(_text(option, item)) for item in _list(option, value, empty)))


def _locations(option: str, value: object) -> tuple[str, ...]:
    return _names(option, value, empty=True)


def _text(option: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RequestError(f"{option}: {value!r} is not a name")
    return value


def _services(option: str, value: object) -> tuple[str, ...]:
    names = _names(option, value)
    for name in names:
        if name not in SERVICES:
            raise RequestError(unknown(f"{option}: service", name, SERVICES))
    return tuple(name for name in SERVICES if name in names)


def _each(check: Callable[[object], str], empty: bool = False) -> Callable[[str, object], tuple[str, ...]]:
    def read(option: str, value: object) -> tuple[str, ...]:
        found = []
        for number, item in enumerate(_list(option, value, empty)):
            try:
                found.append(check(item))
            except addresses.AddressError as error:
                raise RequestError(f"{option}[{number}]: {error}") from None
        return tuple(dict.fromkeys(found))

    return read


def _host(value: object) -> str:
    text = addresses.host(value)
    return f"{text}/{32 if addresses.version(text) == 4 else 128}"


def _exposed(fixed_protocol: str | None, ports: tuple[str, ...]) -> Callable[[str, object], tuple[Service, ...]]:
    """Reader of `{address, port}` or `{address, port, protocol}`: one address, one port, nothing wider."""
    known = ("address", "port") if fixed_protocol else ("address", "port", "protocol")

    def read(option: str, value: object) -> tuple[Service, ...]:
        found = []
        for number, item in enumerate(_list(option, value, empty=True)):
            here = f"{option}[{number}]"
            if not isinstance(item, Mapping):
                raise RequestError(f"{here}: {item!r} is not a dictionary with {', '.join(known)}")
            for key in item:
                if key not in known:
                    raise RequestError(unknown(f"{here}: key", key, known))
            for key in known:
                if item.get(key) is None:
                    raise RequestError(f"{here}: {key} is missing")
            found.append(_exposed_one(here, item, fixed_protocol, ports))
        return tuple(dict.fromkeys(found))

    return read


def _exposed_one(here: str, item: Mapping[str, Any], fixed_protocol: str | None, ports: tuple[str, ...]) -> Service:
    try:
        address = _host(item["address"])
    except addresses.AddressError as error:
        raise RequestError(f"{here}: address: {error}") from None
    port = str(parse_ports(f"{here}: port", item["port"]))
    if "-" in port:
        raise RequestError(f"{here}: port: {port} is a range; name the one port of this service")
    if ports and port not in ports:
        raise RequestError(f"{here}: port: {port} is not one of {', '.join(ports)}, the ports of an Ingress controller")
    protocol = fixed_protocol or str(item["protocol"]).lower()
    if protocol not in ("tcp", "udp"):
        raise RequestError(f"{here}: protocol: {item['protocol']!r} is not one of tcp, udp")
    return address, port, protocol


def _point(option: str, value: object) -> str:
    if value not in POINTS:
        raise RequestError(unknown(option, value, POINTS))
    return str(value)


def _interface(option: str, value: object) -> str:
    return check_interface(option, value)


def _version(option: str, value: object) -> str:
    return str(value)  # YAML reads an unquoted 2017-09-29 as a date


def _overlay(option: str, value: object) -> Any:
    return value


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "regions": _names,
    "locations": _locations,
    "services": _services,
    "worker_addresses": _each(_host),
    "worker_private_addresses": _each(_host),
    "load_balancers": _exposed(None, ()),
    "ingress": _exposed("tcp", INGRESS_PORTS),
    "operator_networks": _each(addresses.network, empty=True),
    "point": _point,
    "interface": _interface,
    "private_interface": _interface,
    "catalogue": _version,
    "overlay": _overlay,
}
