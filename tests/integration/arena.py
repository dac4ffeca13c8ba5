# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host under test and the wire around it, in two network namespaces of a lab node; runs there, on its own.

    far0 ---- eth0 [ host ] eth1 ---- far1        both far ends are in one namespace that answers nothing

Requests come as JSON lines on standard input, answers go to standard output. What arrives is recognised by the last
eight bytes of a packet: MAGIC and its number. On the host a raw socket stands behind the INPUT hook; what is sent or
forwarded is seen on the far ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import subprocess
import sys
import time
from typing import Any

HOST, FAR = "iks-arena-host", "iks-arena-far"
MAGIC = b"IKS!"
LINKS = ("eth0", "eth1")
FAR_LINKS = ("far0", "far1")
MACS = {link: f"02:00:00:00:00:{number}" for number, link in enumerate((*LINKS, *FAR_LINKS), 10)}
ADDRESSES = {"eth0": ("203.0.113.11/24", "2001:db8:113::11/64"), "eth1": ("10.171.0.11/24", "fd00:171::11/64")}
# What lies behind far1; everything else is behind far0. Neighbours are behind the gateways, too: nobody answers ARP.
BEHIND_FAR1 = ("10.0.0.0/8", "fd00::/8")
NEIGHBOURS = {"eth0": ("203.0.113.16/28", "2001:db8:113:0:1::/80"), "eth1": ("10.171.0.16/28", "fd00:171::ff00/120")}
GATEWAYS = {"eth0": ("203.0.113.1", "2001:db8:113::1"), "eth1": ("10.171.0.1", "fd00:171::1")}
PROTOCOLS = {4: (1, 6, 17, 47, 50, 51, 112, 132), 6: (6, 17, 47, 50, 51, 58, 112, 132)}
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_OUTGOING = 4  # PACKET_OUTGOING (linux/if_packet.h)


def call(*argv: str, stdin: str = "") -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}\n{stdin}")
    return done.stdout


def enter(name: str) -> None:
    with open(f"/run/netns/{name}", encoding="ascii") as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0):
            raise OSError(ctypes.get_errno(), "setns")


def remove() -> None:
    for name in (HOST, FAR):
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def sysctl(path: str, value: str) -> None:
    with contextlib.suppress(FileNotFoundError), open(f"/proc/sys/net/{path}", "w", encoding="ascii") as setting:
        setting.write(value)


def build() -> None:
    """Make both namespaces; the process stays in the host's."""
    remove()
    for name in (HOST, FAR):
        call("ip", "netns", "add", name)
    enter(FAR)
    sysctl("ipv6/conf/all/disable_ipv6", "1")
    sysctl("ipv6/conf/default/disable_ipv6", "1")
    enter(HOST)
    for setting in ("accept_dad", "accept_ra", "router_solicitations"):
        sysctl(f"ipv6/conf/default/{setting}", "0")
    sysctl("ipv4/ip_forward", "1")
    sysctl("ipv6/conf/all/forwarding", "1")
    # Noise of its own would be counted by rules: pings are not answered, multicast reports are over within moments.
    for setting in ("mldv1_unsolicited_report_interval", "mldv2_unsolicited_report_interval"):
        sysctl(f"ipv6/conf/default/{setting}", "1")
    sysctl("ipv4/icmp_echo_ignore_all", "1")
    sysctl("ipv6/icmp/echo_ignore_all", "1")
    for setting in ("all", "default"):
        sysctl(f"ipv4/conf/{setting}/rp_filter", "0")
    call("ip", "link", "set", "lo", "up")
    for link, far in zip(LINKS, FAR_LINKS):
        call("ip", "link", "add", link, "address", MACS[link], "type", "veth",
             "peer", "name", far, "address", MACS[far], "netns", FAR)  # fmt: skip
        call("ip", "link", "set", link, "up", "multicast", "off", "addrgenmode", "none")
        call("ip", "netns", "exec", FAR, "ip", "link", "set", far, "up")
        for address in ADDRESSES[link]:
            call("ip", "address", "add", address, "dev", link, *(["nodad"] if ":" in address else []))
        for gateway in GATEWAYS[link]:
            call("ip", "neighbour", "replace", gateway, "lladdr", MACS[far], "dev", link, "nud", "permanent")
    for index, family in enumerate(("-4", "-6")):
        call("ip", family, "route", "add", "default", "via", GATEWAYS["eth0"][index], "dev", "eth0")
        call("ip", family, "route", "add", BEHIND_FAR1[index], "via", GATEWAYS["eth1"][index], "dev", "eth1")
        for link in LINKS:
            call("ip", family, "route", "add", NEIGHBOURS[link][index], "via", GATEWAYS[link][index], "dev", link)


class Arena:
    """The sockets on both sides, and what is loaded between."""

    def __init__(self) -> None:
        build()
        self.loaded: dict[str, str] = {}
        self.senders = {
            4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
            6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
        }
        self.behind_input = {
            version: [
                socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_RAW, protocol)
                for protocol in PROTOCOLS[version]
            ]
            for version in (4, 6)
        }
        enter(FAR)
        self.far = {}
        for link in FAR_LINKS:
            self.far[link] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.far[link].bind((link, 3))
        enter(HOST)
        for one in self._receivers():
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)

    def _receivers(self) -> list[socket.socket]:
        return [*self.behind_input[4], *self.behind_input[6], *self.far.values()]

    def send(self, how: str, packet: bytes) -> None:
        """`host`: from the host itself; far0 or far1: onto the wire, to the host."""
        version = packet[0] >> 4
        if how == "host":
            if version == 4:
                target: Any = (socket.inet_ntop(socket.AF_INET, packet[16:20]), 0)
            else:
                target = (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0, 0, 0)
            # The kernel tells a sender that its packet was dropped.
            with contextlib.suppress(PermissionError):
                self.senders[version].sendto(packet, target)
            return
        link = LINKS[FAR_LINKS.index(how)]
        addresses = bytes.fromhex((MACS[link] + MACS[how]).replace(":", ""))
        self.far[how].send(addresses + ETHERTYPES[version].to_bytes(2, "big") + packet)

    def arrivals(self, expected: set[tuple[str, int]], patience: float) -> set[tuple[str, int]]:
        """(where, number) of what came: `host` behind INPUT, far0, far1. Waits for what is expected alone."""
        found: set[tuple[str, int]] = set()
        places = {one: "host" for version in (4, 6) for one in self.behind_input[version]}
        places.update({one: name for name, one in self.far.items()})
        end = time.monotonic() + patience
        while True:
            missing = expected - found
            ready, _, _ = select.select(list(places), [], [], max(0.0, end - time.monotonic()) if missing else 0.004)
            if not ready:
                return found
            for one in ready:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        data, source = one.recvfrom(4096)
                        if places[one] != "host" and source[2] == _OUTGOING:
                            continue
                        if data[-8:-4] == MAGIC:
                            found.add((places[one], int.from_bytes(data[-4:], "big")))

    def load(self, backend: str, family: str, text: str) -> None:
        call(f"{family}-{backend}-restore", "-w", "5", stdin=text)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "sets" in request:
            call("ipset", "-exist", "restore", stdin=request["sets"])
            for family in ("iptables", "ip6tables"):
                # Keeps connection tracking on between two rulesets, in a table that nobody tests.
                call(
                    f"{family}-legacy",
                    "-w",
                    "5",
                    "-t",
                    "security",
                    "-A",
                    "INPUT",
                    "-m",
                    "conntrack",
                    "--ctstate",
                    "NEW",
                )
            return {"save": call("ipset", "save")}
        backend, family = request["backend"], request["family"]
        if self.loaded.get(family, backend) != backend:
            # Packets pass both backends.
            self.load(self.loaded[family], family, request["empty"])
        self.loaded[family] = backend
        if request["prime"]:
            self.load(backend, family, request["empty"])
            for how, data in request["prime"]:
                self.send(how, bytes.fromhex(data))
            time.sleep(0.002)
        self.load(backend, family, request["rules"])
        loaded = call(f"{family}-{backend}-save")
        self.arrivals(set(), 0)
        for how, data in request["packets"]:
            self.send(how, bytes.fromhex(data))
        expected = {(where, number) for where, number in request["expected"]}
        arrived = self.arrivals(expected, 1.0)
        return {"loaded": loaded, "arrived": sorted(arrived), "counted": call(f"{family}-{backend}-save", "-c")}


def main() -> None:
    arena = Arena()
    try:
        print(json.dumps({"ready": os.getpid()}), flush=True)
        for line in sys.stdin:
            print(json.dumps(arena.answer(json.loads(line))), flush=True)
    finally:
        remove()


if __name__ == "__main__":
    main()
