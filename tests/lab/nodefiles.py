# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that turn the common root file system into one particular node: pure text, no side effects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .topology import Node, Topology, networkd_file

LIBRARY = "usr/local/lib/iks-lab"
EVERY_PORT = 7


@dataclass(frozen=True)
class NodeFile:
    """A file of a node, its path relative to the node's root; with `link_to` a symbolic link."""

    path: str
    text: str = ""
    mode: int = 0o644
    owner: int = 0
    link_to: str | None = None


@dataclass(frozen=True)
class Keys:
    """What lets the controller in and lets it recognise the nodes."""

    login_public: str
    host_private: str
    host_public: str


def service(
    name: str,
    description: str,
    command: str,
    *,
    before: str = "",
    after: str = "network.target",
    kind: str = "simple",
    stop_command: str = "",
) -> list[NodeFile]:
    """A systemd service of the node that starts at boot."""
    remain = "RemainAfterExit=yes\n" if kind == "oneshot" else "Restart=on-failure\n"
    stop = f"ExecStop={stop_command}\n" if stop_command else ""
    text = (
        f"[Unit]\nDescription={description}\nAfter={after}\n{f'Before={before}{chr(10)}' if before else ''}\n"
        f"[Service]\nType={kind}\nExecStart={command}\n{stop}{remain}\n[Install]\nWantedBy=multi-user.target\n"
    )
    return [
        NodeFile(f"etc/systemd/system/{name}.service", text),
        NodeFile(
            f"etc/systemd/system/multi-user.target.wants/{name}.service", link_to=f"/etc/systemd/system/{name}.service"
        ),
    ]


def common_files(topology: Topology, node: Node, keys: Keys) -> list[NodeFile]:
    """Name, addresses, keys and the node's own listeners."""
    hosts = "127.0.0.1 localhost\n::1 localhost\n" + "".join(
        f"{other.ssh_address} {other.name}\n" for other in topology.nodes
    )
    files = [
        NodeFile("etc/hostname", f"{node.name}\n"),
        NodeFile("etc/hosts", hosts),
        NodeFile("etc/ssh/ssh_host_ed25519_key", keys.host_private, 0o600),
        NodeFile("etc/ssh/ssh_host_ed25519_key.pub", keys.host_public),
        NodeFile("root/.ssh/authorized_keys", keys.login_public, 0o600),
        NodeFile("home/iks/.ssh/authorized_keys", keys.login_public, 0o600, owner=1000),
        NodeFile(f"{LIBRARY}/echo.py", Path(__file__).with_name("echo.py").read_text(encoding="utf-8")),
    ]
    files += [NodeFile(f"etc/systemd/network/10-{nic.name}.network", networkd_file(nic)) for nic in node.nics]
    if node.forwards:
        files.append(
            NodeFile("etc/sysctl.d/90-iks-lab.conf", "net.ipv4.ip_forward=1\nnet.ipv6.conf.all.forwarding=1\n")
        )
    if node.listens_tcp or node.listens_udp:
        ports = f"--tcp {','.join(map(str, node.listens_tcp))}"
        if node.listens_udp:
            ports += f" --udp {','.join(map(str, node.listens_udp))}"
        files += service("iks-lab-listen", "What listens on this node", f"/usr/bin/python3 /{LIBRARY}/echo.py {ports}")
    return files


# The far end of everything. An address that nobody else has is local: the default route stands in the local table (ICMP
# replies come only from addresses of that table), and the way to everybody else stands beside it, more specific.
# A transparent proxy rule hands every port to one listener, which so answers from the very address and port that were
# asked: no translation, no conntrack.
INTERNET_SCRIPT = """\
#!/bin/sh
set -e
ip link set eth0 up
ip link set eth1 up
ROUTES
ip route replace local default dev lo table local
ip -6 route replace local 2001:db8:cafe::/48 dev lo
nft -f - <<'END'
table inet iks_lab
delete table inet iks_lab
table inet iks_lab {
    chain every_port {
        type filter hook prerouting priority mangle
        iifname != "eth0" return
        meta pkttype != host return
        meta l4proto { tcp, udp } tproxy to :PORT accept
    }
}
END
"""


def internet_files(node: Node) -> list[NodeFile]:
    """The internet node owns every address that nobody else has, and answers on all ports."""
    routes = []
    for nic in node.nics:
        routes.append(f"ip route replace {nic.ipv4.network} dev {nic.name} src {nic.ipv4.ip} scope link table local")
        routes += [
            f"ip route replace {route.destination} via {route.via} dev {nic.name} onlink table local"
            for route in nic.routes
            if ":" not in route.destination
        ]
    script = INTERNET_SCRIPT.replace("ROUTES", "\n".join(routes)).replace("PORT", str(EVERY_PORT))
    return [
        NodeFile("etc/systemd/networkd.conf.d/iks-lab.conf", "[Network]\nManageForeignRoutes=no\n"),
        NodeFile(
            "etc/sysctl.d/90-iks-lab.conf",
            "net.ipv4.conf.all.rp_filter=0\nnet.ipv4.conf.default.rp_filter=0\nnet.ipv4.conf.eth0.rp_filter=0\n"
            "net.ipv4.icmp_ratelimit=0\nnet.ipv6.icmp.ratelimit=0\n",
        ),
        NodeFile(f"{LIBRARY}/internet.sh", script, 0o755),
        *service(
            "iks-lab-internet",
            "Own every address",
            f"/{LIBRARY}/internet.sh",
            after="systemd-networkd.service",
            kind="oneshot",
        ),
        *service(
            "iks-lab-echo", "Answer on every port", f"/usr/bin/python3 /{LIBRARY}/echo.py --every-port {EVERY_PORT}"
        ),
    ]
