# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small cluster, and a plain reading of policies at a host endpoint, for the tests of Calico's content.

The reading is not the product's verdict: it follows rules one by one at one endpoint, without sets, profiles and
failsafe ports, which is all that these policies need.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.iks.hardening.plugins.plugin_utils.calico_content import Cluster

WORKER: dict[str, Any] = {
    "interfaces": {
        "lo": ["127.0.0.1/8"],
        "eth0": ["10.0.0.11/24"],
        "eth1": ["203.0.113.11/24", "2001:db8::11/64", "fe80::11/64"],
        "tunl0": ["172.30.4.0/32"],
    },
    "default_interfaces": ["eth1"],
    "cards": ["eth0", "eth1"],
    "resolvers": ["10.0.80.11", "198.51.100.53", "127.0.0.53", "fe80::1%eth1"],
    "time_servers": ["192.0.2.123"],
}
MASTER: dict[str, Any] = {**WORKER, "interfaces": {"lo": [], "eth0": ["10.0.0.10/24"], "eth1": ["203.0.113.10/24"]}}
SINGLE: dict[str, Any] = {**WORKER, "interfaces": {"lo": [], "eth0": ["10.0.0.12/24"]}, "cards": ["eth0"],
                          "default_interfaces": ["eth0"]}  # fmt: skip
HOSTVARS: dict[str, Any] = {"worker1": {"iks_node": WORKER}, "master1": {"iks_node": MASTER}}
ISOLATED = {"regions": ["us-south"], "calico_private": "isolated", "calico_public": "isolated"}


def cluster(hostvars: dict[str, Any] | None = None, workers=("worker1",), masters=("master1",), **options: Any):
    """The cluster of `HOSTVARS` with these settings."""
    return Cluster(options, HOSTVARS if hostvars is None else hostvars, workers, masters)


def named(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Documents by their names, each of which stands once."""
    found = {item["metadata"]["name"]: item for item in documents}
    if len(found) != len(documents):
        raise AssertionError("a name stands twice")
    return found


_SELECTORS = {
    "ibm.role == 'worker_public'": lambda labels: labels.get("ibm.role") == "worker_public",
    "ibm.role == 'worker_private'": lambda labels: labels.get("ibm.role") == "worker_private",
    "ibm.role == 'master_public'": lambda labels: labels.get("ibm.role") == "master_public",
    "ibm.role in { 'worker_public', 'master_public' }": lambda labels: (
        labels.get("ibm.role") in ("worker_public", "master_public")
    ),
    "ibm.role in { 'worker_public', 'master_public', 'worker_private' }": lambda labels: "ibm.role" in labels,
    "projectcalico.org/orchestrator == 'k8s'": lambda labels: labels.get("projectcalico.org/orchestrator") == "k8s",
    "ibm.role == 'worker_public' && dedicated != 'edge'": lambda labels: (
        labels.get("ibm.role") == "worker_public" and labels.get("dedicated") != "edge"
    ),
}


def selects(selector: str, labels: dict[str, str]) -> bool:
    """Whether one of the selectors that the content uses matches; another is an error."""
    return _SELECTORS[selector](labels)


def decide(
    policies: list[dict[str, Any]],
    labels: dict[str, str],
    direction: str,
    protocol: str,
    peer: str,
    port: int | None = None,
    pre_dnat: bool = False,
    here: str = "203.0.113.11",
) -> tuple[str, str]:
    """Action and deciding policy for a packet; `-` where no rule matches (dropped, or passed on before DNAT)."""
    chosen = [
        item
        for item in policies
        if item["spec"].get("preDNAT", False) == pre_dnat and selects(item["spec"]["selector"], labels)
    ]
    chosen.sort(key=lambda item: (item["spec"].get("order", float("inf")), item["metadata"]["name"]))
    for item in chosen:
        for rule in item["spec"].get("ingress" if direction == "in" else "egress", ()):
            far, near = ("source", "destination") if direction == "in" else ("destination", "source")
            if (
                _protocol(rule, protocol, peer)
                and _address(rule.get(far, {}), peer)
                and _address(rule.get(near, {}), here)
                and _port(rule.get("destination", {}), port)
            ):
                return rule["action"], item["metadata"]["name"]
    return "-", "-"


def _protocol(rule: dict[str, Any], protocol: str, peer: str) -> bool:
    return str(rule.get("protocol", protocol)).lower() == protocol


def _address(entity: dict[str, Any], address: str) -> bool:
    item = ipaddress.ip_address(address)
    if "selector" in entity:
        return False
    nets, outside = ([ipaddress.ip_network(net) for net in entity.get(key, ())] for key in ("nets", "notNets"))
    if nets and not any(net.version == item.version and item in net for net in nets):
        return False
    return not outside or (outside[0].version == item.version and not any(item in net for net in outside))


def _port(entity: dict[str, Any], port: int | None) -> bool:
    if "ports" not in entity:
        return True
    ranges = [str(one).split(":") for one in entity["ports"]]
    return port is not None and any(int(one[0]) <= port <= int(one[-1]) for one in ranges)
