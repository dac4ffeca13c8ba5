# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops an endpoint before the first change: overlapping networks (pure), a taken port, a missing TUN device."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
from typing import List, Sequence, Tuple

from .openvpn_model import Endpoint, Network, VpnError

TUN = "/dev/net/tun"


def read_routes(text: str) -> List[Tuple[Network, str, bool]]:
    """(network, interface, directly connected) of `ip -json route show`; default routes are left out."""
    found: List[Tuple[Network, str, bool]] = []
    for item in json.loads(text) if text.strip() else []:
        try:
            network = ipaddress.ip_network(item["dst"])
        except (ValueError, KeyError):
            continue
        if not network.is_multicast and not network.is_link_local:
            found.append((network, str(item.get("dev", "")), "gateway" not in item))
    return found


def check_networks(endpoint: Endpoint, local: Sequence[Tuple[Network, str, bool]], reserved: Sequence[Network]) -> None:
    """Refuse a tunnel that would take over networks that are somewhere else. Raises VpnError."""
    others = [(network, device, near) for network, device, near in local if device != endpoint.device]
    for network in endpoint.networks:
        for known, device, _near in others:
            if _overlap(network, known):
                raise VpnError(
                    f"network: {network} overlaps {known}, to which this node has a route by {device}; give another one"
                )
        for known in reserved:
            if _overlap(network, known):
                raise VpnError(
                    f"network: {network} overlaps {known}, one of the pods' or services' networks; give another one"
                )
    behind = [network for client in endpoint.clients for network in client.networks]
    for route in (*endpoint.routes, *behind):
        for known, device, near in others:
            if route == known or (near and _overlap(route, known)):
                raise VpnError(
                    f"routes: {route} overlaps {known}, to which this node has a route by {device}; leave it out"
                )
        for network in endpoint.networks:
            if _overlap(route, network):
                raise VpnError(f"routes: {route} overlaps the tunnel's own network {network}; leave it out")


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)  # type: ignore[arg-type]


def check_port(endpoint: Endpoint) -> None:
    """Refuse a port that another program listens at. Raises VpnError."""
    kind = socket.SOCK_DGRAM if endpoint.protocol == "udp" else socket.SOCK_STREAM
    family = socket.AF_INET6 if endpoint.listen is not None and endpoint.listen.version == 6 else socket.AF_INET
    address = str(endpoint.listen) if endpoint.listen else "0.0.0.0"
    with socket.socket(family, kind) as probe:
        try:
            probe.bind((address, endpoint.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise VpnError(
                    f"port: {endpoint.protocol} {endpoint.port} is taken by another program on this node "
                    f"(`ss -lnp sport = :{endpoint.port}` names it); stop it, or give another port"
                ) from None
            if error.errno == errno.EADDRNOTAVAIL:
                raise VpnError(f"listen: {address} is no address of this node; give one of its own") from None
            raise VpnError(f"port: {endpoint.port}: {error.strerror}; let the task be root") from None


def check_tun(path: str = TUN) -> None:
    """Refuse a node that cannot make a tunnel's interface. Raises VpnError."""
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        raise VpnError(
            f"{path}: {error.strerror}; load the module tun (`modprobe tun`), or let the container have the device"
        ) from None
