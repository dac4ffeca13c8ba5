# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A DHCPv4 server for one node, so that a test can watch a short lease being renewed, or expire.

It runs in the lab's namespace, on the node's bridge, and always hands out the address the node has in the topology; the
node's firewall therefore sees the traffic of a real lease. Each message goes to a log, one JSON object a line.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cgroup
from . import node as nodes
from .system import LabError, tool_path, wait_until
from .topology import Nic, networkd_file

if TYPE_CHECKING:
    from .lab import Lab

COOKIE = bytes([99, 130, 83, 99])
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
NAMES = {1: "discover", 3: "request", 4: "decline", 7: "release", 8: "inform"}
HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s192x4s")


@dataclass(frozen=True)
class Lease:
    """What the server gives, to whoever asks on its bridge from the node's interface."""

    address: str
    netmask: str
    router: str | None
    server: str
    seconds: int


def options_of(packet: bytes) -> dict[int, bytes]:
    """The options of a DHCP message: code -> value."""
    found, position = {}, HEADER.size
    while position < len(packet) and packet[position] != 255:
        if packet[position] == 0:
            position += 1
            continue
        length = packet[position + 1]
        found[packet[position]] = packet[position + 2 : position + 2 + length]
        position += 2 + length
    return found


def reply(packet: bytes, lease: Lease) -> bytes | None:
    """The answer to a message; None when it wants none."""
    kind = options_of(packet).get(53, b"\0")[0]
    answer = {DISCOVER: OFFER, REQUEST: ACK}.get(kind)
    if answer is None:
        return None
    _, _, _, _, xid, _, flags, ciaddr, _, _, _, chaddr, _ = HEADER.unpack_from(packet)
    yours, server = _ip(lease.address), _ip(lease.server)
    header = HEADER.pack(2, 1, 6, 0, xid, 0, flags, ciaddr, yours, server, bytes(4), chaddr, COOKIE)
    options = [(53, bytes([answer])), (54, server), (51, struct.pack("!I", lease.seconds)), (1, _ip(lease.netmask))]
    if lease.router:
        options.append((3, _ip(lease.router)))
    return header + b"".join(bytes([code, len(value)]) + value for code, value in options) + b"\xff"


def _ip(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def serve(bridge: str, mac: str, lease: Lease, log: Path) -> None:
    """Answer for ever; called in a process of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, open(log, "a", buffering=1) as sink:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bridge.encode())
        sock.bind(("", 67))
        sink.write(json.dumps({"time": time.time(), "message": "ready"}) + "\n")
        while True:
            packet, source = sock.recvfrom(2048)
            if len(packet) < HEADER.size or packet[28:34].hex(":") != mac:
                continue
            kind = options_of(packet).get(53, b"\0")[0]
            unicast = source[0] != "0.0.0.0"
            sink.write(json.dumps({"time": time.time(), "message": NAMES.get(kind, kind), "unicast": unicast}) + "\n")
            answer = reply(packet, lease)
            if answer is not None:
                # Who renews has its address and is answered there; who has none yet hears only a broadcast.
                sock.sendto(answer, (source[0] if unicast else "255.255.255.255", 68))


def log_file(lab: Lab, node: str) -> Path:
    return lab.state.folder / f"dhcp-{node}.jsonl"


def log(lab: Lab, node: str) -> list[dict[str, Any]]:
    """The messages seen so far, oldest first: time, message, unicast."""
    file = log_file(lab, node)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def networkd_dhcp_file(nic: Nic) -> str:
    """As networkd_file, but the IPv4 address and default route come from DHCP."""
    fixed = networkd_file(replace(nic, routes=tuple(route for route in nic.routes if route.destination != "0.0.0.0/0")))
    lines = fixed.replace("[Network]", "[Network]\nDHCP=ipv4").split(f"[Address]\nAddress={nic.ipv4}\n")
    after = lines[1].split("\n", 1)[1]  # the line of the same section about duplicate addresses
    return lines[0] + after + "\n[DHCPv4]\nClientIdentifier=mac\nUseDNS=no\nUseHostname=no\nUseMTU=no\n"


def enable(lab: Lab, name: str, *, lease_seconds: int = 20) -> None:
    """Turn the node's private interface to DHCP; returns when it has its lease. The address stays the same."""
    nic = _private_nic(lab, name)
    router = next((route.via for route in nic.routes if route.destination == "0.0.0.0/0"), None)
    mac = json.loads(lab.run(name, ["ip", "-json", "link", "show", nic.name]).stdout)[0]["address"]
    lease = {
        "address": str(nic.ipv4.ip),
        "netmask": str(nic.ipv4.netmask),
        "router": router,
        "server": str(nic.ipv4.network[1]),
        "seconds": lease_seconds,
    }
    stop_server(lab, name)
    log_file(lab, name).unlink(missing_ok=True)
    _start_server(lab, name, [nic.bridge, mac, json.dumps(lease)])
    wait_until(lambda: bool(log(lab, name)), 10, "the DHCP server starts")
    _reconfigure(lab, name, nic, networkd_dhcp_file(nic))
    wait_until(lambda: "dynamic" in _addresses(lab, name, nic), 20, f"node {name} gets its DHCP lease")
    lab.wait_for_ssh([name])


def disable(lab: Lab, name: str) -> None:
    """Back to the fixed address; the server ends."""
    nic = _private_nic(lab, name)
    _reconfigure(lab, name, nic, networkd_file(nic))
    wait_until(lambda: _fixed(_addresses(lab, name, nic)), 20, f"node {name} has its fixed address again")
    stop_server(lab, name)
    lab.wait_for_ssh([name])


def _fixed(addresses: str) -> bool:
    return "inet " in addresses and "dynamic" not in addresses


def _addresses(lab: Lab, name: str, nic: Nic) -> str:
    return lab.run(name, ["ip", "-4", "address", "show", "dev", nic.name, "scope", "global"]).stdout


def _private_nic(lab: Lab, name: str) -> Nic:
    for nic in lab.topology.node(name).nics:
        if nic.bridge == "priv":
            return nic
    raise LabError(f"node {name}: has no interface on the private network, where the DHCP server could answer")


def _reconfigure(lab: Lab, name: str, nic: Nic, text: str) -> None:
    lab.write(name, f"/etc/systemd/network/10-{nic.name}.network", text)
    lab.run(name, ["networkctl", "reload"])  # which reconfigures the interfaces whose file has changed


def _groups(lab: Lab, name: str) -> list[Path]:
    return [group / f"dhcp-{name}" for group in nodes.groups(lab.state)]


def stop_server(lab: Lab, name: str) -> None:
    cgroup.end(_groups(lab, name))


def _start_server(lab: Lab, name: str, arguments: list[str]) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from tests.lab.dhcp import main; main(sys.argv[2:])"
    root = str(Path(__file__).resolve().parents[2])
    subprocess.Popen(
        ["nsenter", f"--net={lab.netns}", sys.executable, "-I", "-c", code, root, *arguments, str(log_file(lab, name))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={"PATH": tool_path()},
        preexec_fn=lambda: cgroup.join(nodes.groups(lab.state), f"dhcp-{name}"),
    )


def main(arguments: list[str]) -> None:
    bridge, mac, lease, file = arguments
    serve(bridge, mac, Lease(**json.loads(lease)), Path(file))
