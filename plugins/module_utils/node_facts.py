# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the firewall has to know of a node: links, routes, resolvers, time servers, who is logged in. Reads only."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

Run = Callable[[List[str], str], Tuple[int, str, str]]
# Made by container runtimes, network plugins and kube-proxy; never a node's own network card.
VIRTUAL = (
    "lo",
    "cali",
    "veth",
    "docker",
    "br-",
    "cni",
    "flannel",
    "tunl",
    "vxlan",
    "kube-",
    "nodelocaldns",
    "ipsec",
    "tun",
    "virbr",
    "ip6tnl",
    "sit",
    "gre",
    "erspan",
    "dummy",
    "wg",
)
RESOLV_FILES = ("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf")
TIME_FILES = (
    "/etc/chrony/chrony.conf",
    "/etc/chrony.conf",
    "/etc/ntp.conf",
    "/etc/ntpsec/ntp.conf",
    "/etc/systemd/timesyncd.conf",
)
# Entries, their limit, and statistics of the connection tracking table of this network namespace.
CONNTRACK_FILES = (
    "/proc/sys/net/netfilter/nf_conntrack_count",
    "/proc/sys/net/netfilter/nf_conntrack_max",
    "/proc/net/stat/nf_conntrack",
)
TIME_FOLDERS = (
    "/etc/chrony/conf.d",
    "/etc/chrony/sources.d",
    "/etc/systemd/timesyncd.conf.d",
    "/run/systemd/timesyncd.conf.d",
)


def read_text(path: str) -> str:
    """A file's text, or an empty one when it is not there or not ours to read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def interfaces(run: Run) -> Dict[str, List[str]]:
    """Every interface with its addresses in CIDR form, link-local ones left out."""
    status, output, _error = run(["ip", "-json", "address", "show"], "")
    found: Dict[str, List[str]] = {}
    for link in json.loads(output) if status == 0 and output.strip() else []:
        found[link["ifname"]] = [
            f"{item['local']}/{item['prefixlen']}"
            for item in link.get("addr_info", [])
            if item.get("scope") == "global"
        ]
    return found


def default_interfaces(ipv4: str, ipv6: str) -> List[str]:
    """Interfaces of the default routes, from `/proc/net/route` and `/proc/net/ipv6_route`, the lowest metric first."""
    found: List[Tuple[int, str]] = []
    for line in ipv4.splitlines()[1:]:
        words = line.split()
        # Destination and mask 0, flag RTF_UP (linux/route.h); RTF_REJECT routes lead nowhere.
        if len(words) > 7 and words[1] == words[7] == "00000000" and int(words[3], 16) & 0x201 == 1:
            found.append((int(words[6]), words[0]))
    if not found:
        for line in ipv6.splitlines():
            words = line.split()
            if len(words) == 10 and set(words[0]) == {"0"} and words[1] == "00" and words[9] != "lo":
                found.append((int(words[5], 16), words[9]))
    return [name for _metric, name in sorted(found)]


def is_virtual(name: str) -> bool:
    """Whether an interface's name says that it is no network card."""
    return name.startswith(VIRTUAL)


def addresses_in(text: str, keys: str) -> Tuple[List[str], List[str]]:
    """Addresses and names that follow one of `keys` (a pattern) in a configuration text."""
    addresses: List[str] = []
    names: List[str] = []
    for match in re.finditer(rf"^[ \t]*(?:{keys})[ \t=]+([^#\n]+)", text, re.MULTILINE):
        words = match.group(1).split()
        for word in words if "=" in match.group(0) else words[:1]:
            target = addresses if _is_address(word.split("%")[0]) else names
            if word not in target:
                target.append(word)
    return addresses, names


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def resolvers() -> List[str]:
    """The name servers that the node really asks: systemd-resolved's own list before the stub's address."""
    for path in RESOLV_FILES:
        found = [
            item
            for item in addresses_in(read_text(path), "nameserver")[0]
            if not ipaddress.ip_address(item.split("%")[0]).is_loopback
        ]
        if found:
            return found
    return []


def time_servers(run: Run) -> Tuple[List[str], List[str]]:
    """Addresses of the time servers in use or configured, and names for which the node knows no address."""
    text = "\n".join(read_text(path) for path in _time_files())
    addresses, names = addresses_in(text, "server|pool|peer|NTP|FallbackNTP")
    if names and os.path.exists("/run/systemd/timesync"):
        status, output, _error = run(["timedatectl", "show-timesync", "--property=ServerAddress", "--value"], "")
        address = output.strip()
        if status == 0 and _is_address(address):
            return [*addresses, address], []
    return addresses, names


def _time_files() -> Iterable[str]:
    yield from TIME_FILES
    for folder in TIME_FOLDERS:
        if os.path.isdir(folder):
            yield from (f"{folder}/{name}" for name in sorted(os.listdir(folder)))


def ssh_peer(environ: Dict[str, str], pid: int) -> Optional[Dict[str, Any]]:
    """Who this session came from: `{source, source_port, destination, port}`, or None.

    sudo clears the environment, so the ancestors' is looked at too (readable for root).
    """
    for _generation in range(32):
        value = environ.get("SSH_CONNECTION", "")
        words = value.split()
        if len(words) == 4 and _is_address(words[0].split("%")[0]):
            return {
                "source": words[0].split("%")[0],
                "source_port": int(words[1]),
                "destination": words[2].split("%")[0],
                "port": int(words[3]),
            }
        if pid <= 1:
            return None
        environ = dict(part.split("=", 1) for part in read_text(f"/proc/{pid}/environ").split("\0") if "=" in part)
        parent = re.search(r"^PPid:\s*([0-9]+)", read_text(f"/proc/{pid}/status"), re.MULTILINE)
        pid = int(parent.group(1)) if parent else 0
    return None


def os_release(text: str) -> Dict[str, str]:
    """ID and VERSION_ID of `/etc/os-release`."""
    values = dict(re.findall(r'^(ID|VERSION_ID|ID_LIKE)="?([^"\n]*)"?$', text, re.MULTILINE))
    return {"id": values.get("ID", ""), "version": values.get("VERSION_ID", ""), "like": values.get("ID_LIKE", "")}


def kube_proxy_mode(chains: Iterable[str], nft_tables: str, links: Iterable[str]) -> str:
    """How kube-proxy works on the node, from its traces: iptables, nftables, ipvs or none."""
    if "kube-ipvs0" in set(links):
        return "ipvs"
    if re.search(r"table ip6? kube-proxy", nft_tables):
        return "nftables"
    return "iptables" if any(chain.startswith(("KUBE-SERVICES", "KUBE-NODEPORTS")) for chain in chains) else "none"


@dataclass(frozen=True)
class Conntrack:
    """The connection tracking table: entries, how many it may hold, and packets dropped for it since the boot."""

    entries: int
    maximum: int
    dropped: int = 0

    @property
    def is_full(self) -> bool:
        """Whether new connections are in danger: the kernel begins to throw entries away before the last is taken."""
        return self.maximum > 0 and self.entries * 10 >= self.maximum * 9


def conntrack(count: str, maximum: str, statistics: str) -> Optional[Conntrack]:
    """The table as the texts of CONNTRACK_FILES tell it; None when the kernel does not track connections yet.

    The statistics have a line a processor, in hexadecimal; not every kernel has them.
    """
    if not count.strip().isdigit() or not maximum.strip().isdigit():
        return None
    names, *lines = statistics.split("\n") if statistics.strip() else [""]
    columns = names.split()
    place = columns.index("drop") if "drop" in columns else None
    rows = [line.split() for line in lines if line.strip()]
    dropped = sum(int(row[place], 16) for row in rows if place is not None and len(row) > place)
    return Conntrack(int(count), int(maximum), dropped)


def conntrack_note(now: Optional[Conntrack], before: Optional[Conntrack] = None) -> str:
    """What a reader should know of the table; empty when all is well.

    With `before` packets that were dropped between the two looks are told, also when there is room again. A full table
    loses the first packet of a new connection whatever the rules say, so a change may look like a lock-out.
    """
    if now is None:
        return ""
    dropped = max(0, now.dropped - (before.dropped if before else 0))
    if not now.is_full and not (before and dropped):
        return ""
    when = "meanwhile" if before else "since the boot"
    state = f"the connection tracking table holds {now.entries} of {now.maximum} entries"
    lost = f"{dropped} packet{'' if dropped == 1 else 's'} {'was' if dropped == 1 else 'were'} dropped for it {when}"
    danger = "new connections can be lost whatever the rules say; raise net.netfilter.nf_conntrack_max"
    return f"{state}, {lost}: {danger}"
