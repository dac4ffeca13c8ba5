# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole task against a datastore in memory: refused before the first change, told truly afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_flows import read_flows
from ansible_collections.iks.hardening.plugins.module_utils.calico_model import CalicoError
from ansible_collections.iks.hardening.plugins.module_utils.calico_task import (
    Done,
    Request,
    failure_of,
    perform,
    result_of,
)
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import Tool

from .fake_datastore import FakeDatastore

TOOL = Tool("/usr/local/bin/calicoctl", "/etc/calico/calicoctl.cfg", "v3")
V3 = "projectcalico.org/v3"
PUBLIC = "ibm.role == 'worker_public'"
SSH = {
    "name": "ssh",
    "direction": "in",
    "protocol": "tcp",
    "networks": ["192.0.2.0/24"],
    "ports": ["22"],
    "reason": "operators",
}
KUBELET = {**SSH, "name": "kubelet", "ports": ["10250"], "networks": ["10.1.2.0/24"], "reason": "the API server"}


def node(name: str = "worker1") -> dict[str, Any]:
    return {"apiVersion": V3, "kind": "Node", "metadata": {"name": name}, "spec": {}}


def policy(name: str, **spec: Any) -> dict[str, Any]:
    given = {"order": 1000, "selector": PUBLIC, "types": ["Ingress"], "ingress": [{"action": "Allow"}], **spec}
    return {"apiVersion": V3, "kind": "GlobalNetworkPolicy", "metadata": {"name": name}, "spec": given}


def endpoint(name: str = "worker1-public", role: str = "worker_public", node: str = "worker1") -> dict[str, Any]:
    return {
        "apiVersion": V3,
        "kind": "HostEndpoint",
        "metadata": {"name": name, "labels": {"ibm.role": role}},
        "spec": {"node": node, "interfaceName": "eth1", "expectedIPs": ["203.0.113.11"]},
    }


def done(store: FakeDatastore, *documents: dict[str, Any], check_mode: bool = False, **options: Any) -> Done:
    origins = [(f"resources[{number}]", document) for number, document in enumerate(documents)]
    flows = read_flows(options.pop("flows", ()))
    request = Request(origins, options.pop("state", "present"), flows=flows, **options)
    return perform(store, TOOL, request, check_mode)


def test_check_mode_tells_what_the_real_run_does_and_writes_nothing() -> None:
    store = FakeDatastore("v3", [node()])
    documents = (endpoint(), policy("allow-all"))
    checked = result_of(done(store, *documents, check_mode=True), TOOL, True)
    assert store.written == []
    real = result_of(done(store, *documents), TOOL, True)
    assert checked["changed"] is real["changed"] is True
    assert (checked["before"], checked["after"], checked["diff"]) == (real["before"], real["after"], real["diff"])
    assert [item["result"] for item in real["resources"]] == ["applied", "applied"]
    again = result_of(done(store, *documents), TOOL, True)
    assert (again["changed"], again["diff"], again["unchanged"]) == (False, [], 2)


def test_nothing_but_what_is_asked_for_is_read_when_nothing_changes() -> None:
    store = FakeDatastore("v3", [node(), policy("a")])
    done(store, policy("a"))
    assert store.calls == ["get"]


def test_every_mistake_is_told_at_once_and_nothing_is_read() -> None:
    store = FakeDatastore()
    with pytest.raises(CalicoError) as caught:
        done(store, policy("a", selector="a = b"), policy("B!"), policy("fine"), policy("c", ordre=5))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("resources[3]: GlobalNetworkPolicy c: spec.ordre:")
    assert "order" in lines[2]
    assert store.calls == []


def test_a_host_endpoint_of_an_unknown_node_is_refused_with_the_nearest() -> None:
    store = FakeDatastore("v3", [node("worker1"), policy("a")])
    with pytest.raises(CalicoError, match="node: 'wroker1' is not one of worker1; did you mean worker1"):
        done(store, endpoint(node="wroker1"))
    assert store.written == []
    assert done(store, endpoint(node="wroker1"), allow_unknown_nodes=True).fates[0].result == "applied"


def test_F29_a_host_endpoint_that_no_policy_selects_is_refused() -> None:
    store = FakeDatastore("v3", [node(), policy("a")])
    with pytest.raises(CalicoError, match="no policy selects it"):
        done(store, endpoint(role="worker_private"))
    assert store.written == []
    # With its policy in the same batch it passes, and so it does when that is what is wanted.
    private = policy("allow-all-private-default", selector="ibm.role == 'worker_private'")
    assert done(store, endpoint(role="worker_private"), private, check_mode=True).plan.steps
    assert done(store, endpoint(role="worker_private"), allow_lockout=True).fates[0].result == "applied"


def test_a_flow_that_the_change_breaks_is_refused_by_name() -> None:
    store = FakeDatastore("v3", [node(), policy("allow-kubelet"), endpoint()])
    only_web = policy("allow-kubelet", ingress=[{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}}])
    with pytest.raises(CalicoError) as caught:
        done(store, only_web, flows=[SSH, KUBELET])
    assert "host endpoint worker1-public of node worker1: kubelet" in str(caught.value)
    assert store.written == []


def test_deleting_the_policy_that_opens_is_refused_and_deleting_both_is_not() -> None:
    store = FakeDatastore("v3", [node(), policy("allow-kubelet"), endpoint()])
    with pytest.raises(CalicoError, match="no policy selects it"):
        done(store, policy("allow-kubelet"), state="absent")
    gone = done(store, policy("allow-kubelet"), endpoint(), state="absent", flows=[KUBELET])
    assert store.written == ["delete HostEndpoint worker1-public", "delete GlobalNetworkPolicy allow-kubelet"]
    assert {fate.result for fate in gone.fates} == {"applied"}


def test_what_was_broken_before_is_a_note() -> None:
    web = [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}}]
    store = FakeDatastore("v3", [node(), policy("allow-web", ingress=web), endpoint()])
    made = done(store, policy("more", selector="all()", types=["Egress"], ingress=None), flows=[KUBELET])
    assert "already denied" in made.notes[0]
    assert made.fates[0].result == "applied"


def test_a_policy_of_api_v1_counts_in_both_directions() -> None:
    """Felix before 2.6 dropped what an endpoint sends when its only policy has no egress rules."""
    held = {"apiVersion": "v1", "kind": "node", "metadata": {"name": "worker1"}, "spec": {}}
    inbound = {
        "apiVersion": "v1",
        "kind": "policy",
        "metadata": {"name": "a"},
        "spec": {"selector": PUBLIC, "ingress": [{"action": "allow"}]},
    }
    host = {
        "apiVersion": "v1",
        "kind": "hostEndpoint",
        "metadata": {"name": "public", "node": "worker1", "labels": {"ibm.role": "worker_public"}},
        "spec": {"interfaceName": "eth1"},
    }
    out = {**SSH, "name": "master", "direction": "out", "ports": ["20000"], "reason": "the master"}
    request = Request([("one", inbound), ("two", host)], "present", flows=read_flows([out]))
    tool = Tool(TOOL.path, TOOL.config, "v1")
    store = FakeDatastore("v1", [held])
    with pytest.raises(CalicoError, match="master.*would be denied"):
        perform(store, tool, request, False)
    assert store.written == []
    inbound["spec"]["egress"] = [{"action": "allow"}]
    assert len(perform(store, tool, request, False).fates) == 2


def test_exact_reads_what_it_may_have_to_prune() -> None:
    store = FakeDatastore("v3", [node()])
    done(store, policy("a"), endpoint(), state="exact", owner="us")
    done(store, policy("a"), endpoint(), state="exact", owner="us")
    made = done(store, policy("b"), endpoint(), state="exact", owner="us")
    assert [f"{step.action} {step.resource.identity}" for step in made.plan.steps] == [
        "created GlobalNetworkPolicy b",
        "deleted GlobalNetworkPolicy a",
    ]
    with pytest.raises(CalicoError, match="state exact needs the option owner"):
        done(store, policy("a"), state="exact")


def test_absent_takes_a_name_for_enough() -> None:
    store = FakeDatastore("v3", [node(), policy("a")])
    named = {"apiVersion": V3, "kind": "GlobalNetworkPolicy", "metadata": {"name": "a"}}
    assert done(store, named, state="absent").fates[0].result == "applied"
    assert not done(store, named, state="absent").plan
    with pytest.raises(CalicoError, match=r"resources\[0\]: this is a GlobalNetworkPolicy without a name"):
        done(store, {"apiVersion": V3, "kind": "GlobalNetworkPolicy"}, state="absent")


def test_a_failure_says_what_became_of_the_rest() -> None:
    store = FakeDatastore("v3", [node()])
    store.broken = lambda verb, document: "no space" if document["metadata"]["name"] == "b" else None
    made = done(store, policy("a"), policy("b"), policy("c"))
    assert failure_of(made).startswith("GlobalNetworkPolicy b: ")
    assert failure_of(made).endswith("of 3 resources: 2 applied, 1 failed")
    assert result_of(made, TOOL, False)["changed"] is True
    atomic = done(FakeDatastore("v3", [node()]), policy("a"))
    assert failure_of(atomic) == ""


def test_an_atomic_failure_says_that_it_was_taken_back() -> None:
    store = FakeDatastore("v3", [node()])
    store.broken = lambda verb, document: "no space" if document["metadata"]["name"] == "b" else None
    made = done(store, policy("a"), policy("b"), atomic=True)
    assert failure_of(made).endswith("1 undone, 1 failed. What was done was taken back")
    result = result_of(made, TOOL, True)
    assert result["changed"] is False
    assert result["after"] == result["before"]
