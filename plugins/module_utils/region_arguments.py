# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of region_ports, shared by its module (documentation) and its action plugin (work)."""

from __future__ import annotations

SERVICES = ("master", "registry", "monitoring", "logging", "private")
DEFAULT_SERVICES = ("master", "registry", "private")

ARGUMENTS = {
    "regions": {"type": "list", "elements": "str", "default": []},
    "locations": {"type": "list", "elements": "str", "default": []},
    "services": {"type": "list", "elements": "str", "choices": list(SERVICES), "default": list(DEFAULT_SERVICES)},
    "catalogue": {"type": "str", "default": "2017-09-29"},
    "overlay": {"type": "raw"},
    "worker_addresses": {"type": "list", "elements": "str", "default": []},
    "load_balancers": {"type": "list", "elements": "dict", "default": []},
    "ingress": {"type": "list", "elements": "dict", "default": []},
    "operator_networks": {"type": "list", "elements": "str", "default": []},
    "point": {"type": "str", "choices": ["worker", "gateway"], "default": "worker"},
    "name": {"type": "str", "default": "region"},
    "priority": {"type": "int", "default": 500},
    "state": {"type": "str", "choices": ["present", "absent", "rendered"], "default": "present"},
}
