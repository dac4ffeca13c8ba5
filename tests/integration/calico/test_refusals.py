# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tasks refuse before the first change, in check mode too: the datastore's keys are the same before and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.calico.cluster import PUBLIC, Cluster

Documents = Callable[[Cluster], list[dict[str, Any]]]


def without_interface(cluster: Cluster) -> list[dict[str, Any]]:
    document = cluster.endpoint("nowhere")
    for field in ("interfaceName", "expectedIPs"):
        del document["spec"][field]
    return [document]


def without_failsafe(_cluster: Cluster) -> list[dict[str, Any]]:
    spec = {"failsafeInboundHostPorts": []}
    version = "projectcalico.org/v3"
    return [{"apiVersion": version, "kind": "FelixConfiguration", "metadata": {"name": "default"}, "spec": spec}]


# id: (documents, what the message says, APIs that can say it)
REFUSED: dict[str, tuple[Documents, str, tuple[str, ...]]] = {
    "B36": (lambda it: [it.policy("a", preDNAT=True)], "applyOnForward", ("v3", "kube")),
    "B37": (
        lambda it: [it.policy("a", preDNAT=True, applyOnForward=True, egress=[{"action": "Allow"}])],
        "egress",
        ("v3", "kube"),
    ),
    "B37-v1": (lambda it: [it.policy("a", preDNAT=True, egress=[{"action": "allow"}])], "egress", ("v1",)),
    "B38": (
        lambda it: [it.policy("a", preDNAT=True, doNotTrack=True, applyOnForward=True)],
        "doNotTrack",
        ("v3", "kube"),
    ),
    "B38-v1": (lambda it: [it.policy("a", preDNAT=True, doNotTrack=True)], "doNotTrack", ("v1",)),
    "B39": (without_failsafe, "its failsafe ports leave SSH out", ("v3", "kube")),
    "B40": (without_interface, "neither interfaceName nor expectedIPs is given", ("v1", "v3", "kube")),
    "B41": (lambda it: [it.policy("a", selector="role = 'x'")], "selector", ("v1", "v3", "kube")),
}
CASES = [(case, api) for case, (_documents, _said, apis) in REFUSED.items() for api in apis]


@pytest.mark.parametrize(("case", "cluster"), CASES, indirect=["cluster"])
@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_refused(cluster: Cluster, case: str, check: bool) -> None:
    documents, said, _apis = REFUSED[case]
    cluster.resource(cluster.policy("web", 80, selector=PUBLIC), cluster.endpoint("worker1-public"))
    before = cluster.keys()
    # A good one beside it is not written either.
    result = cluster.resource(cluster.policy("good", 81), *documents(cluster), check=check)
    assert result.failed
    assert said in result.message
    assert result.message.endswith("Nothing was changed")
    assert cluster.keys() == before


@pytest.mark.parametrize("cluster", ["v3", "kube"], indirect=True)
def test_B39_is_no_matter_where_a_policy_allows_ssh(cluster: Cluster) -> None:
    cluster.resource(cluster.policy("web", 80), cluster.endpoint("worker1-public"))
    result = cluster.resource(cluster.policy("ssh", 22), *without_failsafe(cluster))
    assert not result.failed, result.message
