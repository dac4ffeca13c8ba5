# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written and deleted, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_model import (
    CalicoError,
    Resource,
    read_resource,
    stored_resource,
)
from ansible_collections.iks.hardening.plugins.module_utils.calico_owner import MARK, marked, owner_of
from ansible_collections.iks.hardening.plugins.module_utils.calico_plan import Plan, after, plan, undo

V3 = "projectcalico.org/v3"


def policy(name: str, order: int = 100, **metadata: Any) -> Resource:
    spec = {"order": order, "selector": "has(ibm.role)", "types": ["Ingress"], "ingress": [{"action": "Allow"}]}
    return _v3("GlobalNetworkPolicy", name, spec, **metadata)


def endpoint(name: str, **metadata: Any) -> Resource:
    return _v3("HostEndpoint", name, {"node": "worker1", "interfaceName": "eth1"}, **metadata)


def network_set(name: str) -> Resource:
    return _v3("GlobalNetworkSet", name, {"nets": ["192.0.2.0/24"]})


def _v3(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> Resource:
    document = {"apiVersion": V3, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}
    return read_resource(document, "v3", f"{name}.yml")


def v1(kind: str, **metadata: Any) -> Resource:
    spec: dict[str, Any] = {"interfaceName": "eth1"} if kind == "hostEndpoint" else {"selector": "all()"}
    document = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": {} if kind == "ipPool" else spec}
    return read_resource(document, "v1", "v1.yml")


def held(*resources: Resource) -> dict[Any, Resource]:
    return {resource.identity: resource for resource in resources}


def told(made: Plan) -> list[str]:
    return [f"{step.action} {step.resource.identity.kind} {step.resource.identity.name}" for step in made.steps]


def test_what_is_there_is_not_written_again() -> None:
    made = plan(held(policy("a"), endpoint("e")), [policy("a"), endpoint("e")], "present")
    assert not made
    assert [item.identity.name for item in made.unchanged] == ["a", "e"]


def test_sets_and_policies_are_written_before_the_endpoints_that_need_them() -> None:
    wanted = [endpoint("e"), policy("b"), network_set("s"), policy("a")]
    assert told(plan({}, wanted, "present")) == [
        "created GlobalNetworkSet s",
        "created GlobalNetworkPolicy b",
        "created GlobalNetworkPolicy a",
        "created HostEndpoint e",
    ]


def test_endpoints_are_deleted_before_their_policies() -> None:
    have = held(policy("a"), network_set("s"), endpoint("e"))
    assert told(plan(have, [network_set("s"), policy("a"), endpoint("e"), policy("gone")], "absent")) == [
        "deleted HostEndpoint e",
        "deleted GlobalNetworkPolicy a",
        "deleted GlobalNetworkSet s",
    ]


def test_present_deletes_nothing_and_exact_only_its_own() -> None:
    have = held(marked(policy("mine"), "us"), marked(policy("theirs"), "them"), policy("nobodys"))
    assert told(plan(have, [policy("new")], "present", "us")) == ["created GlobalNetworkPolicy new"]
    made = plan(have, [policy("new")], "exact", "us")
    assert told(made) == ["created GlobalNetworkPolicy new", "deleted GlobalNetworkPolicy mine"]
    assert owner_of(made.writes[0].resource) == "us"


def test_what_exact_wrote_is_unchanged_in_the_next_run() -> None:
    first = plan({}, [policy("a"), endpoint("e")], "exact", "us")
    assert not plan(after({}, first.steps), [policy("a"), endpoint("e")], "exact", "us")


def test_what_nobody_owns_is_taken_over_and_told_as_a_change() -> None:
    assert told(plan(held(policy("a")), [policy("a")], "exact", "us")) == ["updated GlobalNetworkPolicy a"]


def test_what_another_owner_has_is_not_touched() -> None:
    with pytest.raises(CalicoError, match=r"a\.yml: GlobalNetworkPolicy a belongs to owner them, not to us"):
        plan(held(marked(policy("a"), "them")), [policy("a")], "present", "us")


def test_a_resource_given_twice_is_refused_with_both_places() -> None:
    other = read_resource(policy("a").document(), "v3", "second.yml")
    with pytest.raises(CalicoError, match=r"second\.yml: GlobalNetworkPolicy a is given twice, first in a\.yml"):
        plan({}, [policy("a"), other], "present")


def test_what_calico_makes_itself_is_neither_written_nor_pruned() -> None:
    metadata = {"name": "knp.default.web", "namespace": "shop", "annotations": {MARK: "us"}}
    document = {"apiVersion": V3, "kind": "NetworkPolicy", "metadata": metadata, "spec": {"selector": "all()"}}
    made = stored_resource(document, "v3")
    with pytest.raises(CalicoError, match="made by Calico from an object of Kubernetes"):
        plan({}, [made], "present")
    with pytest.raises(CalicoError, match="made by Calico from an object of Kubernetes"):
        plan(held(made), [made], "absent")
    assert not plan(held(made), [], "exact", "us")


def test_the_mark_of_api_v1_has_a_place_or_exact_refuses_the_kind() -> None:
    assert marked(v1("policy", name="p"), "us").annotations == {MARK: "us"}
    assert marked(v1("hostEndpoint", name="e", node="worker1"), "us").labels == {MARK: "us"}
    with pytest.raises(CalicoError, match="neither labels nor annotations of its own in API v1"):
        plan({}, [v1("ipPool", cidr="172.30.0.0/16")], "exact", "us")


def test_undoing_leads_back_in_a_safe_order() -> None:
    have = held(policy("old"), endpoint("gone"))
    wanted = [policy("old", order=5), policy("new"), endpoint("e")]
    done = plan(have, wanted, "present").steps + plan(have, [endpoint("gone")], "absent").steps
    back = undo(done)
    assert told(back) == [
        "updated GlobalNetworkPolicy old",
        "created HostEndpoint gone",
        "deleted HostEndpoint e",
        "deleted GlobalNetworkPolicy new",
    ]
    assert after(after(have, done), back.steps) == have
