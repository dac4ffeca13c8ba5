# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An endpoint as files for OpenVPN 2.5 and 2.6, and the unit that runs it. Pure, in stable order.

Directives: openvpn(8) of both versions.
"""

from __future__ import annotations

from typing import Dict, List, Tuple

from .openvpn_model import ClientSettings, Endpoint, Network, VpnError

ROOT = "/etc/iks-hardening/openvpn"
RUN = "/run/iks-openvpn"
UNIT = "iks-openvpn@.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
CONFIG = "openvpn.conf"
CA, CERT, KEY, CRL, TLS_CRYPT = "ca.pem", "cert.pem", "key.pem", "crl.pem", "tls-crypt-v2.key"
SECRET = (KEY, TLS_CRYPT)
CLIENTS = "clients"

# The whole of OpenVPN's rights: the interface, routes, a low port, and giving up what it does not need any more.
UNIT_TEXT = f"""\
# Written by iks.hardening; a change by hand is undone by the next run of the collection.
[Unit]
Description=iks.hardening: the OpenVPN endpoint %i
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=/usr/sbin/openvpn --suppress-timestamps --config {ROOT}/%i/{CONFIG}
WorkingDirectory={ROOT}/%i
RuntimeDirectory=iks-openvpn/%i
RuntimeDirectoryMode=0700
UMask=0077
Restart=always
RestartSec=2s
TimeoutStartSec=20
TimeoutStopSec=10
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SETGID CAP_SETUID CAP_SETPCAP
NoNewPrivileges=true
DevicePolicy=closed
DeviceAllow=/dev/net/tun rw
ProtectSystem=strict
ProtectHome=true
ProtectControlGroups=true
ProtectKernelModules=true
PrivateTmp=true
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
LockPersonality=true
MemoryDenyWriteExecute=true
LimitNPROC=10

[Install]
WantedBy=multi-user.target
"""


def unit_of(name: str) -> str:
    """The unit of one endpoint."""
    return f"iks-openvpn@{name}.service"


def socket_of(name: str) -> str:
    """The endpoint's management socket; only root may enter its directory."""
    return f"{RUN}/{name}/management.sock"


def folder_of(name: str) -> str:
    """The link that leads to the endpoint's files."""
    return f"{ROOT}/{name}"


def render(endpoint: Endpoint, version: Tuple[int, int]) -> Dict[str, str]:
    """Relative path -> text of every file that holds no key. Raises VpnError for a version that cannot do it."""
    if version < (2, 5):
        raise VpnError(
            f"OpenVPN {version[0]}.{version[1]} is too old: it knows neither data-ciphers nor tls-crypt-v2; install "
            "2.5 or later"
        )
    lines = ["# Written by iks.hardening; a change by hand is undone by the next run of the collection."]
    lines += _server(endpoint) if endpoint.role == "server" else _client(endpoint)
    lines += _common(endpoint)
    files = {CONFIG: "\n".join(lines) + "\n"}
    for client in endpoint.clients:
        files[f"{CLIENTS}/{client.name}"] = _client_file(client, endpoint)
    return files


def _server(endpoint: Endpoint) -> List[str]:
    folder = folder_of(endpoint.name)
    lines = [*_transport(endpoint, "server"), f"port {endpoint.port}"]
    if endpoint.listen:
        lines.append(f"local {endpoint.listen}")
    lines.append("topology subnet")
    for network in endpoint.networks:
        lines.append(
            f"server {network.network_address} {network.netmask}" if network.version == 4 else f"server-ipv6 {network}"
        )
    behind = [network for client in endpoint.clients for network in client.networks]
    lines += [_route(network) for network in (*endpoint.routes, *behind)]
    lines += [f'push "{_route(network)}"' for network in endpoint.pushed]
    if endpoint.clients or endpoint.only_listed:
        lines.append(f"client-config-dir {folder}/{CLIENTS}")
    if endpoint.only_listed:
        lines.append("ccd-exclusive")
    if endpoint.client_to_client:
        lines.append("client-to-client")
    if endpoint.protocol == "udp":
        # Clients come back at once after a restart instead of waiting for keepalive.
        lines.append("explicit-exit-notify 1")
    lines += ["dh none", "remote-cert-tls client", f"tls-crypt-v2 {folder}/{TLS_CRYPT}"]
    return lines


def _client(endpoint: Endpoint) -> List[str]:
    folder = folder_of(endpoint.name)
    lines = ["client", *_transport(endpoint, "client"), "nobind"]
    lines += [f"remote {remote.host} {remote.port}" for remote in endpoint.remotes]
    # Defaults that wait minutes before the next server is tried would make failover useless; a user's value wins.
    own = {name for name, _value in endpoint.options}
    defaults = (("connect-retry", "1 5"), ("server-poll-timeout", "5"), ("resolv-retry", "infinite"))
    lines += [f"{name} {value}" for name, value in defaults if name not in own]
    lines += [_route(network) for network in endpoint.routes]
    if endpoint.protocol == "udp":
        lines.append("explicit-exit-notify 1")
    lines += [
        "remote-cert-tls server",
        f"verify-x509-name {endpoint.server_name} name",
        f"tls-crypt-v2 {folder}/{TLS_CRYPT}",
        # What a server may change here: addresses, routes, timers. Not names, gateways or whatever else it likes.
        'pull-filter ignore "redirect-gateway"',
        'pull-filter ignore "redirect-private"',
        'pull-filter ignore "dhcp-option"',
        'pull-filter ignore "block-"',
    ]
    return lines


def _common(endpoint: Endpoint) -> List[str]:
    folder = folder_of(endpoint.name)
    interval, timeout = endpoint.keepalive
    lines = [
        f"dev {endpoint.device}",
        "dev-type tun",
        f"tun-mtu {endpoint.mtu}",
        f"ca {folder}/{CA}",
        f"cert {folder}/{CERT}",
        f"key {folder}/{KEY}",
    ]
    if endpoint.mss is not None:
        lines.append(f"mssfix {endpoint.mss}")
    if endpoint.has_crl:
        lines.append(f"crl-verify {folder}/{CRL}")
    lines += [
        f"tls-version-min {endpoint.tls_version}",
        f"data-ciphers {':'.join(endpoint.ciphers)}",
        "auth SHA256",
        "allow-compression no",
        "auth-nocache",
        "script-security 1",
        f"keepalive {interval} {timeout}",
        "persist-key",
        "persist-tun",
        f"user {endpoint.user}",
        f"group {endpoint.group}",
        f"management {socket_of(endpoint.name)} unix",
        "management-log-cache 300",
    ]
    if "verb" not in dict(endpoint.options):
        lines.append("verb 3")
    return lines + [f"{name} {value}".strip() for name, value in endpoint.options]


def _transport(endpoint: Endpoint, role: str) -> List[str]:
    if endpoint.protocol == "udp":
        return ["proto udp"]
    return [f"proto tcp-{role}"]


def _client_file(client: ClientSettings, endpoint: Endpoint) -> str:
    lines: List[str] = ["disable"] if client.disabled else []
    if client.address is not None:
        network = next(item for item in endpoint.networks if item.version == 4)
        lines.append(f"ifconfig-push {client.address} {network.netmask}")
    if client.address6 is not None:
        six = next(item for item in endpoint.networks if item.version == 6)
        lines.append(f"ifconfig-ipv6-push {client.address6}/{six.prefixlen} {six[1]}")
    lines += [_route(network).replace("route", "iroute", 1) for network in client.networks]
    return "\n".join(lines) + "\n" if lines else "# no settings of its own\n"


def _route(network: Network) -> str:
    if network.version == 6:
        return f"route-ipv6 {network}"
    return f"route {network.network_address} {network.netmask}"
