# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Five hundred resources cost as many processes as five: a read a kind, a write, a delete, a read-back a kind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.integration.calico.cluster import Cluster
from tests.integration.calico.obstacles import wrapped

COUNT = 500
_TO_PRUNE = 40


def mixed(cluster: Cluster) -> list[dict[str, Any]]:
    """Policies and host endpoints, and in API v3 network sets."""
    found: list[dict[str, Any]] = []
    for number in range(COUNT):
        if number % 10 == 0:
            ips = [f"203.0.113.{number // 10 + 1}"]
            found.append(cluster.endpoint(f"host{number}", interfaceName=f"eth{number}", expectedIPs=ips))
        elif number % 10 < 4 and cluster.api == "v3":
            spec = {"nets": [f"10.{number // 256}.{number % 256}.0/24"]}
            metadata = {"name": f"set{number}"}
            version = "projectcalico.org/v3"
            found.append({"apiVersion": version, "kind": "GlobalNetworkSet", "metadata": metadata, "spec": spec})
        else:
            found.append(cluster.policy(f"policy{number:03d}", 1000 + number, order=number))
    return found


def verbs(log: Path) -> Counter[str]:
    """How often each command was started; reads with their kind."""
    lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
    log.write_text("", encoding="utf-8")
    return Counter(" ".join(words[:2]).lower() if words[0] == "get" else words[0] for words in lines)


def test_five_hundred_with_pruning(cluster: Cluster, tmp_path: Path) -> None:
    program, log = wrapped(tmp_path, cluster.calico.tool)
    counted = cluster.with_tool(program)
    documents = mixed(cluster)
    exact: dict[str, Any] = {"state": "exact", "owner": "us", "allow_lockout": True, "timeout": 120}
    old = [cluster.policy(f"old{number}", 80) for number in range(_TO_PRUNE)]
    assert not counted.resource(*old, **exact).failed
    verbs(log)

    done = counted.resource(*documents, **exact)
    assert not done.failed, done.message
    told = Counter(item["action"] for item in done.data["resources"])
    assert told == {"created": COUNT, "deleted": _TO_PRUNE}
    starts = verbs(log)
    assert (starts["apply"], starts["delete"]) == (1, 1)
    written = {"policy", "hostendpoint"} if cluster.api == "v1" else {
        "globalnetworkpolicy", "hostendpoint", "globalnetworkset",
    }  # fmt: skip
    reads = {command.partition(" ")[2]: count for command, count in starts.items() if command.startswith("get ")}
    assert {kind: reads[kind] for kind in written} == dict.fromkeys(written, 2)
    # The guard and the check of nodes read what else decides, once.
    assert all(count == 1 for kind, count in reads.items() if kind not in written)

    assert not counted.resource(*documents, **exact).changed
    starts = verbs(log)
    assert set(starts.values()) == {1}
    assert not {"apply", "delete"} & set(starts)
