# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calico policies to measure with, as allow-lists of a cluster look: selector, order, sources, ports. Pure."""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.demo.play import COLLECTIONS

if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))

# Late: from the installed collection, as the plays have it.
from ansible_collections.iks.hardening.plugins.module_utils.calico_model import stored_resource
from ansible_collections.iks.hardening.plugins.module_utils.calico_plan import plan
from ansible_collections.iks.hardening.plugins.module_utils.calico_task import wanted

__all__ = ["file_text", "plan", "policies", "stored_resource", "wanted"]


def policies(api: str, count: int) -> list[dict[str, Any]]:
    """Policies of the whole cluster in the words of an API, every one different and already as it is stored."""
    return [_policy(api, number) for number in range(count)]


def file_text(documents: list[dict[str, Any]]) -> str:
    """A file that calicoctl reads: JSON, which is its fastest input, and so the hardest to compare with."""
    return json.dumps(documents, indent=1) + "\n"


def _policy(api: str, number: int) -> dict[str, Any]:
    old = api == "v1"
    rules = [
        {
            "action": "allow" if old else "Allow",
            "protocol": "tcp" if old else "TCP",
            "source": {"nets": [f"198.{18 + number // 16384 % 2}.{number // 64 % 256}.{number % 64 * 4}/30"]},
            "destination": {"ports": [443, 1024 + number]},
        },
        {
            "action": "allow" if old else "Allow",
            "protocol": "udp" if old else "UDP",
            "source": {"selector": f"app == 'client-{number}' && has(team)"},
            "destination": {"ports": ["30000:32767"]},
        },
    ]
    spec: dict[str, Any] = {"order": 1000 + number, "selector": "ibm.role == 'worker_public'", "ingress": rules}
    return {
        "apiVersion": "v1" if old else "projectcalico.org/v3",
        "kind": "policy" if old else "GlobalNetworkPolicy",
        "metadata": {"name": f"allow-list-{number:05d}"},
        "spec": spec if old else {**spec, "types": ["Ingress"]},
    }
