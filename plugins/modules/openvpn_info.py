#!/usr/bin/python
# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: how an OpenVPN endpoint is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: openvpn_info
short_description: State, clients, bytes and days left of an OpenVPN endpoint
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Asks the management interface of an endpoint of M(iks.hardening.openvpn_endpoint), and looks when its certificates
    and its revocation list expire.
options:
  name:
    description: Name of the endpoint.
    type: str
    required: true
extends_documentation_fragment:
  - iks.hardening.attributes.reading
seealso:
  - module: iks.hardening.openvpn_endpoint
"""

EXAMPLES = r"""
- name: Who is connected
  iks.hardening.openvpn_info:
    name: cluster
  register: tunnel
"""

RETURN = r"""
present:
  description: Whether the node has files of this endpoint.
  returned: always
  type: bool
active:
  description: Whether its service runs.
  returned: always
  type: bool
tunnel:
  description:
    - C(state) (V(CONNECTED) when up, V(unreachable) when nobody answers), the own C(address) and C(address6), the
      C(remote), bytes C(received) and C(sent), C(cipher), and C(peers) of a server, each with C(name), addresses,
      bytes, C(since) (seconds since 1970) and C(cipher).
  returned: always
  type: dict
days_left:
  description: Days until C(certificate), C(ca) and C(crl) expire; null for what is not there.
  returned: always
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import run_program
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError, unchanged
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_task import Host, gathered


def main() -> None:
    """Read, and exit once."""
    module = AnsibleModule(argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True)
    try:
        result = gathered(module.params["name"], Host(run_program, module.tmpdir, time.time()))
    except HardeningError as error:
        module.fail_json(msg=unchanged(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
