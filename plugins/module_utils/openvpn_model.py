# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One OpenVPN endpoint as a value: a server or a client that cannot be built wrong.

Pure: paths are where files will be, none is read here.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Iterable, List, Mapping, Optional, Tuple, Union

from .errors import HardeningError, choices

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

ROLES = ("server", "client")
PROTOCOLS = ("udp", "tcp")
# AEAD only: no cipher with a separate HMAC, none without forward secrecy.
CIPHERS = ("AES-256-GCM", "CHACHA20-POLY1305", "AES-128-GCM")
TLS_VERSIONS = ("1.2", "1.3")
# Directives that tune and cannot weaken, run a program, or lead to another file; with how many words each may take.
TUNING = {
    "bind-dev": 1,
    "connect-retry": 2,
    "connect-retry-max": 1,
    "connect-timeout": 1,
    "fast-io": 0,
    "float": 0,
    "hand-window": 1,
    "mark": 1,
    "max-clients": 1,
    "max-packet-size": 1,
    "mute": 1,
    "passtos": 0,
    "rcvbuf": 1,
    "remote-random": 0,
    "reneg-sec": 2,
    "replay-window": 2,
    "resolv-retry": 1,
    "server-poll-timeout": 1,
    "sndbuf": 1,
    "tls-ciphersuites": 1,
    "tls-groups": 1,
    "tran-window": 1,
    "txqueuelen": 1,
    "verb": 1,
}
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?")
_COMMON_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\.?")
_WORD = re.compile(r"[A-Za-z0-9_.:,/@+-]{1,200}")


class VpnError(HardeningError):
    """An endpoint that cannot be built, or may not be put in place."""


@dataclass(frozen=True)
class Remote:
    """A server that a client may connect to: an address or a name, and its port."""

    host: str
    port: int

    @property
    def address(self) -> Optional[Address]:
        """The address, or None when it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


@dataclass(frozen=True)
class ClientSettings:
    """What a server knows of one client: the common name of its certificate, its addresses, networks behind it."""

    name: str
    address: Optional[Address] = None
    address6: Optional[Address] = None
    networks: Tuple[Network, ...] = ()
    disabled: bool = False


@dataclass(frozen=True)
class Endpoint:
    """An endpoint; `networks` are those of the tunnel itself (server), `routes` lead into it from this host."""

    name: str
    role: str
    protocol: str = "udp"
    port: int = 1194
    listen: Optional[Address] = None
    networks: Tuple[Network, ...] = ()
    routes: Tuple[Network, ...] = ()
    pushed: Tuple[Network, ...] = ()
    clients: Tuple[ClientSettings, ...] = ()
    only_listed: bool = False
    client_to_client: bool = False
    remotes: Tuple[Remote, ...] = ()
    server_name: Optional[str] = None
    has_crl: bool = False
    ciphers: Tuple[str, ...] = CIPHERS
    tls_version: str = "1.3"
    mtu: int = 1500
    mss: Optional[int] = None
    keepalive: Tuple[int, int] = (5, 20)
    user: str = "nobody"
    group: str = "nogroup"
    options: Tuple[Tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        for subject, value, allowed in (
            ("role", self.role, ROLES),
            ("protocol", self.protocol, PROTOCOLS),
            ("tls_version", self.tls_version, TLS_VERSIONS),
            *(("ciphers", cipher, CIPHERS) for cipher in self.ciphers),
        ):
            if value not in allowed:
                raise VpnError(choices(subject, value, allowed))
        if not self.ciphers:
            raise VpnError(f"ciphers: none is given; give at least one of {', '.join(CIPHERS)}")
        _check_port("port", self.port)
        _check_numbers(self)
        if self.user in ("root", "0"):
            raise VpnError(
                "user: root keeps every right that OpenVPN gives up after its start; give for instance nobody"
            )
        _check_server(self) if self.role == "server" else _check_client(self)
        _check_options(self.options)

    @property
    def device(self) -> str:
        """The tunnel's network interface."""
        return f"tun-{self.name}"


def check_name(name: str) -> str:
    """An endpoint's name, from which paths, a unit and an interface are named. Raises VpnError."""
    if not _NAME.fullmatch(name):
        raise VpnError(
            f"name: {name!r} is no name of an endpoint; give up to 11 small letters, digits and dashes, for instance "
            "cluster"
        )
    return name


def check_common_name(subject: str, name: str) -> str:
    """A certificate's common name that may become a file's name. Raises VpnError."""
    if not _COMMON_NAME.fullmatch(name) or ".." in name:
        raise VpnError(
            f"{subject}: the common name {name!r} becomes the name of a file, so that it may hold letters, digits and "
            "_ . @ : - only, and no '..'; issue the certificate with another name"
        )
    return name


def read_network(subject: str, value: Any) -> Network:
    """A network in CIDR form, without host bits. Raises VpnError."""
    text = str(value).strip()
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise VpnError(f"{subject}: {text!r} is no network ({error}); give for instance 172.20.0.0/24") from None
    if "/" not in text:
        raise VpnError(f"{subject}: {text} has no prefix length; give {found} if this one address is meant")
    if found.prefixlen == 0:
        raise VpnError(
            f"{subject}: {text} is everything, OpenVPN's own packets included; name networks that the tunnel leads to"
        )
    return found


def read_address(subject: str, value: Any, version: int = 0) -> Address:
    """An address of one family (0: either). Raises VpnError."""
    try:
        found = ipaddress.ip_address(str(value).strip())
    except ValueError:
        raise VpnError(f"{subject}: {value!r} is no address; give for instance 172.20.0.10") from None
    if version and found.version != version:
        raise VpnError(f"{subject}: {found} is no IPv{version} address; give it as the other option")
    return found


def read_remote(value: Mapping[str, Any], port: int) -> Remote:
    """A client's server from an option. Raises VpnError."""
    host = str(value.get("host") or "")
    remote = Remote(host, int(value.get("port") or port))
    if remote.address is None and not _HOST.fullmatch(host):
        raise VpnError(f"remotes: {host!r} is neither an address nor a name of a host")
    _check_port(f"remotes: {host}: port", remote.port)
    return remote


def _check_port(subject: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise VpnError(f"{subject}: {port} is no port; give 1 to 65535")


def _check_numbers(endpoint: Endpoint) -> None:
    if not 1280 <= endpoint.mtu <= 9000:
        raise VpnError(f"mtu: {endpoint.mtu} is not between 1280 (the least for IPv6) and 9000")
    if endpoint.mss is not None and not 500 <= endpoint.mss <= endpoint.mtu:
        raise VpnError(f"mss: {endpoint.mss} is not between 500 and mtu ({endpoint.mtu})")
    interval, timeout = endpoint.keepalive
    if not 1 <= interval <= timeout // 2:
        raise VpnError(
            f"keepalive: a timeout of {timeout} seconds is not at least twice the interval of {interval}; one lost "
            "packet would end the tunnel"
        )


def _check_server(endpoint: Endpoint) -> None:
    if not endpoint.networks:
        raise VpnError("network: a server needs the network of its tunnel; give for instance 172.20.0.0/24")
    if endpoint.remotes or endpoint.server_name:
        raise VpnError("remotes, server_name: only a client has them; leave them out, or give role: client")
    for version in (4, 6):
        given = [network for network in endpoint.networks if network.version == version]
        if len(given) > 1:
            raise VpnError(f"network: {' and '.join(map(str, given))}: a tunnel has one network of each family")
    for network in endpoint.networks:
        longest = 29 if network.version == 4 else 112
        shortest = 8 if network.version == 4 else 64
        if not shortest <= network.prefixlen <= longest:
            raise VpnError(f"network: {network} has no prefix length between /{shortest} and /{longest}")
    names = [client.name for client in endpoint.clients]
    for name in names:
        check_common_name("clients", name)
        if names.count(name) > 1:
            raise VpnError(f"clients: {name} is there twice; give each client once")
    _check_addresses(endpoint)
    _disjoint([(f"client {client.name}", network) for client in endpoint.clients for network in client.networks])


def _check_addresses(endpoint: Endpoint) -> None:
    taken = {str(network[1]): "the server" for network in endpoint.networks}
    for client in endpoint.clients:
        for address in (client.address, client.address6):
            if address is None:
                continue
            network = next((item for item in endpoint.networks if item.version == address.version), None)
            if network is None or address not in network:
                raise VpnError(
                    f"client {client.name}: {address} is not in the tunnel's network "
                    f"({', '.join(map(str, endpoint.networks))})"
                )
            if address == network[0] or (address.version == 4 and address == network[-1]):
                raise VpnError(f"client {client.name}: {address} is no address of a host in {network}")
            if str(address) in taken:
                raise VpnError(f"client {client.name}: {address} belongs to {taken[str(address)]}; give another one")
            taken[str(address)] = f"client {client.name}"


def _disjoint(given: List[Tuple[str, Network]]) -> None:
    for index, (subject, network) in enumerate(given):
        for other, second in given[:index]:
            if network.version == second.version and network.overlaps(second):  # type: ignore[arg-type]
                raise VpnError(
                    f"{subject}: {network} overlaps {second} of {other}; a network is behind one client only"
                )


def _check_client(endpoint: Endpoint) -> None:
    if not endpoint.remotes:
        raise VpnError("remotes: a client needs at least one server; give its host")
    if not endpoint.server_name:
        raise VpnError(
            "server_name: a client needs the common name of the server's certificate, else any client's server "
            "certificate would do"
        )
    check_common_name("server_name", endpoint.server_name)
    for subject, value in (
        ("network", endpoint.networks),
        ("push_routes", endpoint.pushed),
        ("clients", endpoint.clients),
        ("listen", endpoint.listen),
    ):
        if value:
            raise VpnError(f"{subject}: only a server has it; leave it out, or give role: server")
    for remote in endpoint.remotes:
        for network in endpoint.routes:
            if remote.address is not None and remote.address in network:
                raise VpnError(
                    f"routes: {network} contains the server {remote.host}, so that OpenVPN's own packets would go into "
                    "the tunnel; give networks without it"
                )


def _check_options(options: Iterable[Tuple[str, str]]) -> None:
    for name, value in options:
        if "-----BEGIN" in value or "-----BEGIN" in name:
            raise VpnError(
                "options: one of them holds a key or a certificate; those are given as key, tls_crypt and so on, "
                "never as an option's words"
            )
        if name not in TUNING:
            raise VpnError(
                f"{choices('options', name, sorted(TUNING))}. Others are set by the module, or weaken the tunnel"
            )
        words = value.split()
        if len(words) > TUNING[name] or (TUNING[name] and not words):
            raise VpnError(f"options: {name} takes {TUNING[name] or 'no'} word(s), not {value!r}")
        for word in words:
            if not _WORD.fullmatch(word):
                raise VpnError(
                    f"options: {name}: {word!r} holds characters that mean something else in OpenVPN's files"
                )
