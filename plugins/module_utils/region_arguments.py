# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of region_ports, shared by its module (documentation) and its action plugin (work)."""

from __future__ import annotations

# What the request on the controller checks (names, addresses, services) is raw here: its messages say more.
ARGUMENTS = {
    "regions": {"type": "list", "elements": "str"},
    "locations": {"type": "list", "elements": "str"},
    "services": {"type": "list", "elements": "str"},
    "catalogue": {"type": "str", "default": "2017-09-29"},
    "overlay": {"type": "raw"},
    "worker_addresses": {"type": "list", "elements": "str"},
    "worker_private_addresses": {"type": "list", "elements": "str"},
    "load_balancers": {"type": "list", "elements": "dict"},
    "ingress": {"type": "list", "elements": "dict"},
    "operator_networks": {"type": "list", "elements": "str"},
    "point": {"type": "str", "choices": ["worker", "gateway"], "default": "worker"},
    "interface": {"type": "str"},
    "private_interface": {"type": "str"},
    "name": {"type": "str", "default": "region"},
    "priority": {"type": "int", "default": 500},
    "confirm_timeout": {"type": "int", "default": 30},
    "confirm_from": {"type": "str"},
    "confirm_port": {"type": "int", "default": 22},
    "confirm_address": {"type": "str"},
    "confirm_connect_timeout": {"type": "int"},
    "assume_ipset": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent", "rendered"], "default": "present"},
}
