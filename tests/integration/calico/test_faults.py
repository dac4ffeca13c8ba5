# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datastores that fail in mid-batch: the task tells each resource's fate, and the next run ends the work."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.calico.kube_objects import Refused
from tests.integration.calico.cluster import Cluster
from tests.integration.calico.obstacles import line_to, when, wrapped
from tests.integration.playbooks import Result

MANY = 30


def batch(cluster: Cluster) -> list[dict[str, Any]]:
    """The host endpoint first: the plan has to put it last."""
    return [cluster.endpoint("worker1-public"), *(cluster.policy(f"p{number:02d}", 80) for number in range(MANY))]


def held(cluster: Cluster, documents: list[dict[str, Any]]) -> set[str]:
    """Which of the documents the datastore holds, by its own API."""
    text = "\n".join(cluster.keys())
    words = text.replace("/metadata", "").replace("/default.", "/").split("\n")
    ends = {part for word in words for part in word.split("/")}
    return {item["metadata"]["name"] for item in documents} & ends


def fates(result: Result) -> dict[str, str]:
    return {item["name"]: item["result"] for item in result.data["resources"]}


def check_true(result: Result, cluster: Cluster, documents: list[dict[str, Any]]) -> None:
    """No fate is a lie: applied is there, failed and not tried is not."""
    there, told = held(cluster, documents), fates(result)
    assert {name for name, fate in told.items() if fate == "applied"} <= there
    assert not {name for name, fate in told.items() if fate in ("failed", "not tried")} & there
    assert "Traceback" not in json.dumps(result.data)


def test_F28_F38_gone_in_the_middle_and_the_next_run_ends_it(cluster: Cluster) -> None:
    documents = batch(cluster)
    with line_to(cluster.url) as line:
        far = cluster.reached_at(line.url)
        checked = far.resource(*documents, check=True)
        assert not checked.failed, checked.message
        assert held(cluster, documents) == set()
        line.slow(0.01)
        with when(lambda: len(held(cluster, documents)) >= 3, line.cut) as was_cut:
            result = far.resource(*documents, timeout=4)
        assert was_cut.is_set()
        assert result.failed
        there = held(cluster, documents)
        assert 3 <= len(there) <= MANY, "the line was cut too late"
        assert "worker1-public" not in there, "a host endpoint stands without its policies"
        assert set(fates(result).values()) <= {"unknown", "failed", "not tried", "applied"}
        assert "could not be read back" in result.message
        assert "Nothing was changed" not in result.message
        check_true(result, cluster, documents)
        line.mend()
        ended = far.resource(*documents)
        assert not ended.failed, ended.message
        assert ended.data["unchanged"] == len(there)
        assert not far.resource(*documents).changed


def test_F28_gone_for_a_moment_is_not_even_noticed(cluster: Cluster) -> None:
    documents = batch(cluster)
    cut: list[float] = []
    with line_to(cluster.url) as line:
        far = cluster.reached_at(line.url)
        line.slow(0.01)

        def blink() -> None:
            line.cut()
            cut.append(1)
            line.mend()

        with when(lambda: len(held(cluster, documents)) >= 3, blink):
            result = far.resource(*documents, timeout=6)
        assert cut
        assert not result.failed, result.message
        assert held(cluster, documents) == {item["metadata"]["name"] for item in documents}


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_F38_a_certificate_that_has_expired(cluster: Cluster, check: bool) -> None:
    assert cluster.calico.authority is not None
    authority = cluster.calico.authority
    days, authority.days = authority.days, 0
    try:
        expired = authority.issue("admin", organisation="ibm-admins", file_name="expired")
    finally:
        authority.days = days
    before = cluster.keys()
    result = cluster.reached_at(cluster.url, expired).resource(cluster.policy("a"), check=check, timeout=4)
    assert result.failed
    assert "certificate" in result.message
    assert result.message.endswith("Nothing was changed")
    assert cluster.keys() == before


def test_F38_a_certificate_that_expires_in_the_middle(cluster: Cluster, tmp_path: Path) -> None:
    authority, admin = cluster.calico.authority, cluster.calico.admin
    assert authority is not None
    assert admin is not None
    pair = authority.issue("admin", organisation="system:masters", file_name="short")
    days, authority.days = authority.days, 0
    try:
        late = authority.issue("admin", organisation="system:masters", file_name="late")
    finally:
        authority.days = days
    swap = " && ".join(
        f"cp {shlex.quote(str(old))} {shlex.quote(str(new))}"
        for old, new in ((late.cert, pair.cert), (late.key, pair.key))
    )
    program, _log = wrapped(tmp_path, cluster.calico.tool, after_apply=swap)
    documents = batch(cluster)
    result = cluster.with_tool(program).reached_at(cluster.url, pair).resource(*documents, timeout=4)
    assert result.failed
    assert set(fates(result).values()) == {"unknown"}
    assert "certificate" in result.message
    assert result.changed
    assert not cluster.resource(*documents).changed


def test_F38_a_writer_at_the_same_time(cluster: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(cluster.policy("p01", 443)))
    tool, config = str(cluster.calico.tool), str(cluster.calico.config)
    write = f"{shlex.quote(tool)} apply -f {shlex.quote(str(other))} --config={shlex.quote(config)} >/dev/null"
    program, _log = wrapped(tmp_path, cluster.calico.tool, after_apply=write)
    documents = [cluster.policy("p00", 80), cluster.policy("p01", 80)]
    result = cluster.with_tool(program).resource(*documents)
    assert result.failed
    assert fates(result) == {"p00": "applied", "p01": "failed"}
    assert "another writer" in result.message
    assert result.changed


@pytest.fixture(name="full")
def _full(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """A function that fills the datastore's disk, as far as the datastore can tell."""
    if cluster.api == "v1":
        pytest.skip("etcd ends itself when its log of API v2 finds no room: that is a datastore that is gone")
    if cluster.calico.kube is not None:
        faults = cluster.calico.kube.faults

        def refuse(method: str, path: str) -> None:
            # etcd lets go of things when it is full, too.
            if method in ("POST", "PUT"):
                raise Refused(500, "InternalError", "etcdserver: mvcc: database space exceeded")

        yield lambda: faults.append(refuse)
        return
    etcd = cluster.calico.etcd
    assert etcd is not None

    def alarm(action: str) -> None:
        status, body = etcd.request(
            "POST",
            "/v3/maintenance/alarm",
            json.dumps({"action": action, "memberID": _member(etcd), "alarm": "NOSPACE"}).encode(),
        )
        assert status == 200, body

    yield lambda: alarm("ACTIVATE")
    alarm("DEACTIVATE")


def _member(etcd: Any) -> str:
    _status, body = etcd.request("POST", "/v3/maintenance/status", b"{}")
    return str(json.loads(body)["header"]["member_id"])


@pytest.mark.parametrize("cluster", ["v3", "kube"], indirect=True)
@pytest.mark.parametrize("atomic", [False, True], ids=["", "atomic"])
def test_F38_a_disk_that_is_full_in_the_middle(cluster: Cluster, full: Callable[[], None], atomic: bool) -> None:
    documents = batch(cluster)
    with line_to(cluster.url) as line:
        far = cluster.reached_at(line.url)
        line.slow(0.01)
        with when(lambda: len(held(cluster, documents)) >= 3, full) as was_full:
            result = far.resource(*documents, timeout=20, atomic=atomic)
    assert was_full.is_set()
    assert result.failed
    assert "the datastore has no room left" in result.message
    assert "clear its alarm NOSPACE" in result.message
    told = fates(result)
    assert "failed" in told.values()
    assert result.changed is not atomic
    assert (held(cluster, documents) == set()) is atomic
    check_true(result, cluster, documents)
    assert set(told) == {item["metadata"]["name"] for item in documents}


def refusing(status: int, reason: str, text: str, after: int = 0) -> Callable[[str, str], None]:
    """A fault of the API server: it refuses every write after so many."""
    seen: list[str] = []

    def fault(method: str, path: str) -> None:
        if method != "GET":
            seen.append(path)
            if len(seen) > after:
                raise Refused(status, reason, text)

    return fault


@pytest.mark.parametrize("cluster", ["kube"], indirect=True)
@pytest.mark.parametrize(
    ("status", "reason", "text", "said"),
    [
        (401, "Unauthorized", "Unauthorized", "does not allow it to this user"),
        (403, "Forbidden", 'globalnetworkpolicies is forbidden: User "x" cannot create', "does not allow it to this"),
        (409, "Conflict", "the object has been modified", "somebody else changed"),
        (422, "Invalid", 'GlobalNetworkPolicy "b" is invalid: spec.order: Invalid value', "refused a resource"),
    ],
)
@pytest.mark.parametrize("after", [0, 1])
def test_what_the_api_server_refuses(
    cluster: Cluster, status: int, reason: str, text: str, said: str, after: int
) -> None:
    assert cluster.calico.kube is not None
    documents = [cluster.policy(name, 80) for name in "abc"]
    cluster.resource(cluster.policy("b", 81), cluster.policy("c", 81))
    before = held(cluster, documents)
    cluster.calico.kube.faults.append(refusing(status, reason, text, after))
    result = cluster.resource(*documents)
    assert result.failed
    assert said in result.message or (status == 409 and "exist" in result.message)
    assert "applied" not in fates(result).values() or after
    assert result.message.endswith("Nothing was changed") == (after == 0)
    assert result.changed == (after == 1)
    assert (held(cluster, documents) == before) == (after == 0)


@pytest.mark.parametrize("cluster", ["kube"], indirect=True)
@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_a_user_whom_the_api_server_does_not_know(cluster: Cluster, check: bool) -> None:
    before = cluster.keys()
    result = cluster.reached_at("", token="nobody").resource(cluster.policy("a"), check=check)
    assert "the datastore does not allow it to this user" in result.message
    assert result.message.endswith("Nothing was changed")
    assert cluster.keys() == before


@pytest.mark.parametrize("cluster", ["kube"], indirect=True)
def test_converted_policies_are_shown_and_never_touched(cluster: Cluster) -> None:
    assert cluster.calico.kube is not None
    mark = {"iks.hardening/owned-by": "us"}
    document = {
        "metadata": {"name": "web", "annotations": mark},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
    cluster.calico.kube.put("networkpolicies", document, group="networking.k8s.io", namespace="default")
    found = cluster.run("calico_info", {}).data
    assert [item["metadata"]["name"] for item in found["converted_policies"]] == ["knp.default.web"]
    assert found["policies"] == []
    own = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": "own", "namespace": "default"},
        "spec": {"types": ["Ingress"], "selector": "all()"},
    }
    assert cluster.resource(own, state="exact", owner="us").changed
    before = cluster.keys()
    converted = {**own, "metadata": {"name": "knp.default.web", "namespace": "default"}}
    for state in ("present", "absent"):
        refused = cluster.resource(converted, state=state)
        assert "is made by Calico from an object of Kubernetes" in refused.message
        assert refused.message.endswith("Nothing was changed")
    again = cluster.resource(own, state="exact", owner="us")
    assert not again.changed
    assert cluster.keys() == before
