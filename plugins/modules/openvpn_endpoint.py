#!/usr/bin/python
# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: one OpenVPN server or client, proved by its tunnel."""

from __future__ import annotations

DOCUMENTATION = r"""
module: openvpn_endpoint
short_description: One OpenVPN server or client, proved by a packet that crossed the tunnel
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Writes configuration, keys and settings of clients of one endpoint for OpenVPN 2.5 or 2.6 and runs it as
    C(iks-openvpn@NAME.service). All its files change together or not at all.
  - Only modern settings can be had - TLS 1.2 or 1.3, AEAD ciphers, tls-crypt-v2, names and usages of certificates
    compared, no compression, no rights after the start, a sandbox by systemd.
  - Before a file is written, certificates, key, revocation list, networks, port, TUN device and options are checked.
  - A client is up when the handshake has ended and a packet came back through the tunnel; a server when it listens and
    answers, and when the clients of O(peers) are reached through it. Where that does not happen within O(wait), the
    former files are put back and the task fails with the reason, taken from OpenVPN's log.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and return changed status prediction without modifying the target.
  diff_mode:
    support: full
    description: Returns the files before and after, without keys.
  platform:
    support: full
    platforms: linux
    description: Target platform.
options:
  name:
    description: Name of the endpoint, up to 11 small letters, digits and dashes. Its interface is C(tun-NAME).
    type: str
    required: true
  state:
    description: V(absent) stops the endpoint and removes its files, keys included.
    type: str
    choices: [present, absent]
    default: present
  role:
    description: Which end this is. Needed for O(state=present).
    type: str
    choices: [server, client]
  protocol:
    description: Transport of the tunnel's packets.
    type: str
    choices: [udp, tcp]
    default: udp
  port:
    description: The server's port; for a client, that of every server that names none.
    type: int
    default: 1194
  listen:
    description: Address at which a server listens; all of them by default.
    type: str
  network:
    description: Networks of a server's tunnel, one of each family at most. The server has the first address.
    type: list
    elements: str
  routes:
    description: Networks to which this host comes through the tunnel.
    type: list
    elements: str
  push_routes:
    description: Networks to which clients come through the tunnel, for instance those of pods and services.
    type: list
    elements: str
  reserved_networks:
    description: Networks of pods and services, which the tunnel's own must not overlap.
    type: list
    elements: str
  clients:
    description: What a server knows of clients.
    type: list
    elements: dict
    suboptions:
      name:
        description: Common name of the client's certificate.
        type: str
        required: true
      address:
        description: The client's IPv4 address in the tunnel.
        type: str
      address6:
        description: The client's IPv6 address in the tunnel.
        type: str
      networks:
        description: Networks behind the client; the server gets routes to them.
        type: list
        elements: str
      disabled:
        description: Whether the client is refused.
        type: bool
        default: false
  only_listed:
    description: Whether clients that O(clients) does not list are refused.
    type: bool
    default: false
  client_to_client:
    description: Whether clients reach each other through the server.
    type: bool
    default: false
  remotes:
    description: A client's servers; when one is silent the next is tried.
    type: list
    elements: dict
    suboptions:
      host:
        description: Address or name.
        type: str
        required: true
      port:
        description: Port, when it is another than O(port).
        type: int
  server_name:
    description: Common name that the server's certificate must have. Needed for a client.
    type: str
  ca:
    description: Path on the node of the authority's certificates.
    type: path
  ca_content:
    description: The authority's certificates themselves.
    type: str
  cert:
    description: Path of the endpoint's certificate, intermediate ones after it.
    type: path
  cert_content:
    description: The certificate itself.
    type: str
  key:
    description: Path of the certificate's key. A file that others can read is refused.
    type: path
  key_content:
    description: The key itself.
    type: str
  crl:
    description: Path of the revocation list.
    type: path
  crl_content:
    description: The revocation list itself.
    type: str
  tls_crypt:
    description: Path of the tls-crypt-v2 key, a server's or a client's as O(role) says.
    type: path
  tls_crypt_content:
    description: That key itself.
    type: str
  ciphers:
    description: Ciphers of the data channel, the preferred first.
    type: list
    elements: str
    choices: [AES-256-GCM, CHACHA20-POLY1305, AES-128-GCM]
    default: [AES-256-GCM, CHACHA20-POLY1305, AES-128-GCM]
  tls_version:
    description: The least version of TLS.
    type: str
    choices: ['1.2', '1.3']
    default: '1.3'
  mtu:
    description: MTU of the tunnel's interface.
    type: int
    default: 1500
  mss:
    description: Bytes that a packet of the tunnel may have on the way, to which TCP's segments are cut (C(mssfix)).
    type: int
  keepalive_interval:
    description: Seconds after which a silent end sends a ping.
    type: int
    default: 5
  keepalive_timeout:
    description: Seconds of silence after which a client tries the next server.
    type: int
    default: 20
  user:
    description: User that OpenVPN becomes after its start, with that user's group.
    type: str
    default: nobody
  options:
    description: More directives that tune and cannot weaken, for instance C(sndbuf) with V(524288).
    type: dict
  peers:
    description: Common names of clients that must be reached through a server's tunnel for the task to succeed.
    type: list
    elements: str
  wait:
    description: Seconds within which the tunnel must be up.
    type: float
    default: 20
  expiry_days:
    description: What expires within so many days is noted.
    type: int
    default: 30
seealso:
  - module: iks.hardening.openvpn_info
"""

EXAMPLES = r"""
- name: The master's end
  iks.hardening.openvpn_endpoint:
    name: cluster
    role: server
    network: [172.20.0.0/24, "fd00:20::/64"]
    push_routes: [172.21.0.0/16]
    ca: /etc/pki/mycluster/openvpn/ca.pem
    cert: /etc/pki/mycluster/openvpn/master.pem
    key: /etc/pki/mycluster/openvpn/master-key.pem
    crl: /etc/pki/mycluster/openvpn/crl.pem
    tls_crypt: /etc/pki/mycluster/openvpn/server.key

- name: A worker's end, with two servers
  iks.hardening.openvpn_endpoint:
    name: cluster
    role: client
    remotes:
      - host: 10.0.0.10
      - host: 10.0.0.11
    server_name: master
    ca: /etc/pki/mycluster/openvpn/ca.pem
    cert: /etc/pki/mycluster/openvpn/worker1.pem
    key: /etc/pki/mycluster/openvpn/worker1-key.pem
    tls_crypt: /etc/pki/mycluster/openvpn/worker1.key
"""

RETURN = r"""
before:
  description: Whether the service ran, and the files by path (keys not shown).
  returned: always
  type: dict
after:
  description: The same after the task (in check mode - after a real run).
  returned: always
  type: dict
commands:
  description: What was done, in words; empty in check mode.
  returned: always
  type: list
  elements: str
common_name:
  description: Common name of the endpoint's certificate.
  returned: when O(state=present)
  type: str
days_left:
  description: Days until C(certificate), C(ca) and C(crl) expire; null for a revocation list that is not there.
  returned: when O(state=present)
  type: dict
tunnel:
  description: State, addresses and connected clients of the endpoint.
  returned: when the tunnel was proved
  type: dict
notes:
  description: What a reader should know.
  returned: always
  type: list
  elements: str
"""

import time
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import run_program
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError, unchanged
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_model import CIPHERS, PROTOCOLS, ROLES, TLS_VERSIONS
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_task import (
    Host,
    apply_plan,
    make_plan,
    put_in_force,
    result_of,
)

CLIENT = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str"},
    "address6": {"type": "str"},
    "networks": {"type": "list", "elements": "str"},
    "disabled": {"type": "bool", "default": False},
}
ARGUMENTS: Dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "role": {"type": "str", "choices": list(ROLES)},
    "protocol": {"type": "str", "choices": list(PROTOCOLS), "default": "udp"},
    "port": {"type": "int", "default": 1194},
    "listen": {"type": "str"},
    "network": {"type": "list", "elements": "str"},
    "routes": {"type": "list", "elements": "str"},
    "push_routes": {"type": "list", "elements": "str"},
    "reserved_networks": {"type": "list", "elements": "str"},
    "clients": {"type": "list", "elements": "dict", "options": CLIENT},
    "only_listed": {"type": "bool", "default": False},
    "client_to_client": {"type": "bool", "default": False},
    "remotes": {
        "type": "list",
        "elements": "dict",
        "options": {"host": {"type": "str", "required": True}, "port": {"type": "int"}},
    },
    "server_name": {"type": "str"},
    "ca": {"type": "path"},
    "ca_content": {"type": "str"},
    "cert": {"type": "path"},
    "cert_content": {"type": "str"},
    # A path is no secret, but a key that was given in its place would be.
    "key": {"type": "path", "no_log": False},
    "key_content": {"type": "str", "no_log": True},
    "crl": {"type": "path"},
    "crl_content": {"type": "str"},
    "tls_crypt": {"type": "path"},
    "tls_crypt_content": {"type": "str", "no_log": True},
    "ciphers": {"type": "list", "elements": "str", "choices": list(CIPHERS), "default": list(CIPHERS)},
    "tls_version": {"type": "str", "choices": list(TLS_VERSIONS), "default": "1.3"},
    "mtu": {"type": "int", "default": 1500},
    "mss": {"type": "int"},
    "keepalive_interval": {"type": "int", "default": 5},
    "keepalive_timeout": {"type": "int", "default": 20},
    "user": {"type": "str", "default": "nobody"},
    "options": {"type": "dict"},
    "peers": {"type": "list", "elements": "str"},
    "wait": {"type": "float", "default": 20},
    "expiry_days": {"type": "int", "default": 30},
}
_ONE_OF = [(name, f"{name}_content") for name in ("ca", "cert", "key", "crl", "tls_crypt")]


def main() -> None:
    """Parameters to plan, apply, prove, exit."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        mutually_exclusive=_ONE_OF,
        required_if=[("state", "present", ("role",))],
    )
    try:
        result = run(module)
    except HardeningError as error:
        module.fail_json(msg=unchanged(error))
    module.exit_json(**result)


def run(module: AnsibleModule) -> Dict[str, Any]:
    """The task's result."""
    params = module.params
    host = Host(run_program, module.tmpdir, time.time())
    plan = make_plan(params, host)
    result = result_of(plan, module._diff)
    done: List[str] = []
    if not module.check_mode:
        if plan.active:
            done, prover = put_in_force(plan, host, params["wait"], params["peers"] or [])
            result["tunnel"] = prover.status.shown()
        else:
            done = apply_plan(plan, host)
    return {**result, "commands": done}


if __name__ == "__main__":
    main()
