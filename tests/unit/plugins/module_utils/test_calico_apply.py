# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of every resource of a batch, whatever failed."""

from __future__ import annotations

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_apply import Fate, carry_out, read
from ansible_collections.iks.hardening.plugins.module_utils.calico_model import Resource
from ansible_collections.iks.hardening.plugins.module_utils.calico_plan import plan
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import Tool

from .fake_datastore import FakeDatastore
from .test_calico_plan import endpoint, policy, v1

KINDS = ("GlobalNetworkPolicy", "HostEndpoint")
REFUSED = "[error with field Selector = 'a = b']"
GONE = "connection refused"


def tool(api: str) -> Tool:
    return Tool("/usr/local/bin/calicoctl", "/etc/calico/calicoctl.cfg", api)


def carried_out(
    store: FakeDatastore, wanted: list[Resource], state: str = "present", atomic: bool = False
) -> dict[str, Fate]:
    have = read(store, tool(store.api), KINDS)
    store.calls.clear()
    fates = carry_out(store, tool(store.api), plan(have, wanted, state), atomic, sleep=lambda seconds: None)
    return {fate.step.resource.identity.name: fate for fate in fates}


def results(fates: dict[str, Fate]) -> dict[str, str]:
    return {name: fate.result for name, fate in fates.items()}


def failing(name: str, error: str, times: int = 99):
    left = [times]

    def broken(verb: str, document: dict) -> str | None:
        if document["metadata"]["name"] != name or not left[0]:
            return None
        left[0] -= 1
        return error

    return broken


def test_one_process_writes_everything_and_one_a_kind_reads_it_back() -> None:
    store = FakeDatastore()
    fates = carried_out(store, [policy(f"p{number}") for number in range(500)] + [endpoint("e")])
    assert set(results(fates).values()) == {"applied"}
    assert store.calls == ["apply", "get", "get"]
    assert len(store.held) == 501


def test_1x_stops_at_the_first_error_and_the_rest_was_not_tried() -> None:
    store = FakeDatastore("v1")
    store.broken = failing("b", "Hit error: error with field selector")
    fates = carried_out(store, [v1("policy", name=name) for name in "abc"])
    assert results(fates) == {"a": "applied", "b": "failed", "c": "not tried"}
    assert "error with field selector" in fates["b"].error


def test_3x_goes_on_after_an_error() -> None:
    store = FakeDatastore("v3")
    store.broken = failing("b", REFUSED)
    fates = carried_out(store, [policy(name) for name in "abc"])
    assert results(fates) == {"a": "applied", "b": "failed", "c": "applied"}


def test_a_refusal_is_not_sent_again() -> None:
    store = FakeDatastore("v3")
    store.broken = failing("b", REFUSED)
    carried_out(store, [policy("b")])
    assert store.calls.count("apply") == 1


def test_F28_a_datastore_that_is_gone_for_a_moment_gets_the_rest_again() -> None:
    store = FakeDatastore("v3")
    store.broken = failing("e", GONE, times=1)
    fates = carried_out(store, [policy("a"), endpoint("e")])
    assert results(fates) == {"a": "applied", "e": "applied"}
    assert store.written == ["apply GlobalNetworkPolicy a", "apply HostEndpoint e"]


def test_F28_a_datastore_that_stays_away_leaves_policies_without_endpoints_and_the_next_run_ends_it() -> None:
    store = FakeDatastore("v1")
    wanted = [v1("hostEndpoint", name="e", node="worker1"), v1("policy", name="a"), v1("policy", name="b")]
    store.broken = failing("b", GONE)
    assert results(carried_out(store, wanted)) == {"a": "applied", "b": "failed", "e": "not tried"}
    store.broken = lambda verb, document: None
    assert results(carried_out(store, wanted)) == {"b": "applied", "e": "applied"}


def test_F38_what_cannot_be_read_back_is_unknown() -> None:
    store = FakeDatastore("v3")
    made = plan({}, [policy("a")], "present")
    store.broken = lambda verb, document: "hang"
    store.unreadable = lambda: "hang"
    fates = carry_out(store, tool("v3"), made, False, sleep=lambda seconds: None)
    assert [fate.result for fate in fates] == ["unknown"]
    assert "could not be read back" in fates[0].error


def test_F38_another_writer_at_the_same_time_is_told() -> None:
    store = FakeDatastore("v3")

    def with_another_writer(argv, stdin, timeout):
        answer = store(argv, stdin, timeout)
        if argv[1] == "apply":
            store.held[("GlobalNetworkPolicy", "", "a")] = policy("a", order=7).document()
        return answer

    made = plan({}, [policy("a")], "present")
    fates = carry_out(with_another_writer, tool("v3"), made, False, sleep=lambda seconds: None)
    assert [fate.result for fate in fates] == ["failed"]
    assert "another writer" in fates[0].error


@pytest.mark.parametrize("error", [REFUSED, "no space left on device"])
def test_F38_an_atomic_batch_is_taken_back(error: str) -> None:
    old = [policy("kept", order=1).document(), endpoint("gone").document()]
    store = FakeDatastore("v3", old)
    before = dict(store.held)
    store.broken = failing("b", error)
    fates = carried_out(store, [policy("kept", order=2), policy("a"), policy("b")], atomic=True)
    assert results(fates) == {"kept": "undone", "a": "undone", "b": "failed"}
    assert store.held == before


def test_what_could_not_be_taken_back_is_told_as_applied() -> None:
    store = FakeDatastore("v3")
    store.broken = lambda verb, document: REFUSED if document["metadata"]["name"] == "b" or verb == "delete" else None
    fates = carried_out(store, [policy("a"), policy("b")], atomic=True)
    assert results(fates) == {"a": "applied", "b": "failed"}
    assert "not undone" in fates["a"].error


def test_deletions_wait_for_what_is_written() -> None:
    store = FakeDatastore("v3", [policy("old").document()])
    store.broken = failing("new", REFUSED)
    have = read(store, tool("v3"), KINDS)
    made = plan(have, [policy("new")], "present")
    made = type(made)(made.writes, plan(have, [policy("old")], "absent").deletes)
    fates = carry_out(store, tool("v3"), made, False, sleep=lambda seconds: None)
    assert ("GlobalNetworkPolicy", "", "old") in store.held
    assert [fate.result for fate in fates] == ["failed", "not tried"]
