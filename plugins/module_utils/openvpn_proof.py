# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a tunnel is up: a handshake in the management interface, and a packet that crossed it and came back."""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from typing import Callable, Iterable, List, Optional

from .calicoctl_run import Run
from .openvpn_management import Status, status_of
from .openvpn_model import Endpoint
from .openvpn_text import socket_of
from .probe_packets import echo_request, is_echo_reply

_PAUSE = 0.2


def far_addresses(run: Run, endpoint: Endpoint) -> List[str]:
    """The server's addresses in a client's tunnel: the first host of each network of the interface."""
    _status, output, _errors = run(["ip", "-json", "address", "show", "dev", endpoint.device], "", 10.0)
    return first_hosts(output)


def first_hosts(text: str) -> List[str]:
    """The first host of each global network in `ip -json address`, IPv4 first. OpenVPN gives it to the server."""
    found: List[str] = []
    for link in json.loads(text) if text.strip() else []:
        for item in link.get("addr_info", []):
            if item.get("scope") == "global":
                network = ipaddress.ip_interface(f"{item['local']}/{item['prefixlen']}").network
                found.append(str(network[1]))
    return sorted(found, key=lambda address: ":" in address)


def ping(address: str, device: str, seconds: float = 1.0) -> bool:
    """Whether an echo request through an interface is answered within the time."""
    six = ":" in address
    protocol, number = ("icmpv6", 58) if six else ("icmp", 1)
    request = echo_request(protocol)
    try:
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, number) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
            sock.connect((address, 0))
            sock.send(request)
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                sock.settimeout(max(0.01, ends - time.monotonic()))
                if is_echo_reply(protocol, request, sock.recv(2048), True):
                    return True
    except OSError:
        return False
    return False


class Prover:
    """Waits for a tunnel; after `wait` seconds, `why` tells in which step it is stuck."""

    def __init__(self, run: Run, endpoint: Endpoint, peers: Iterable[str] = ()) -> None:
        self.run, self.endpoint, self.peers = run, endpoint, tuple(peers)
        self.status = Status()
        self.why: Optional[str] = "OpenVPN does not answer at its management socket"

    def wait(self, wait: float, ended: Callable[[], bool] = lambda: False) -> bool:
        """Whether the tunnel came up within so many seconds; `ended` tells that waiting is in vain."""
        ends = time.monotonic() + wait
        while True:
            self.status = status_of(socket_of(self.endpoint.name))
            self.why = self._missing()
            if self.why is None:
                return True
            if time.monotonic() >= ends or ended():
                return False
            time.sleep(_PAUSE)

    def _missing(self) -> Optional[str]:
        if self.status.state == "unreachable":
            return "OpenVPN does not answer at its management socket"
        if self.status.state == "AUTH":
            # In TLS 1.3 a client has ended its part before the server looks at the client's certificate.
            return (
                "the handshake has not ended (state AUTH): the server answers and does not accept this client - its "
                "certificate is revoked, or of an authority that the server does not trust; its log tells which"
            )
        if not self.status.up:
            return f"the handshake has not ended (state {self.status.state})"
        if self.endpoint.role == "client":
            return self._unreached(far_addresses(self.run, self.endpoint))
        there = {peer.name: peer for peer in self.status.peers}
        for name in self.peers:
            if name not in there:
                return f"the client {name} has not connected"
            addresses = [item for item in (there[name].address, there[name].address6) if item]
            missing = self._unreached(addresses)
            if missing:
                return f"the client {name}: {missing}"
        return None

    def _unreached(self, addresses: List[str]) -> Optional[str]:
        if not addresses:
            return f"{self.endpoint.device} has no address"
        silent = [address for address in addresses if not ping(address, self.endpoint.device)]
        return f"no packet came back through the tunnel from {', '.join(silent)}" if silent else None
