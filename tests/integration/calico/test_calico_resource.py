# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""calico_resource against a real etcd, for both APIs: what it writes, what it leaves, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.calico.cluster import Cluster


def test_check_mode_then_the_run_then_nothing(cluster: Cluster) -> None:
    documents = [cluster.endpoint("worker1-public"), cluster.policy("allow-kubelet-port", 10250)]
    before = cluster.keys()
    checked = cluster.resource(*documents, check=True)
    assert not checked.failed, checked.message
    assert cluster.keys() == before
    real = cluster.resource(*documents)
    for part in ("changed", "before", "after", "diff", "commands"):
        assert checked.data[part] == real.data[part], part
    assert [item["result"] for item in real.data["resources"]] == ["applied", "applied"]
    assert len(cluster.keys()) == len(before) + 2 or cluster.api == "v1"
    after = cluster.keys()
    again = cluster.resource(*documents)
    assert (again.changed, again.data["unchanged"]) == (False, 2)
    assert cluster.keys() == after


def test_exact_prunes_its_own_and_nothing_else(cluster: Cluster) -> None:
    cluster.resource(cluster.policy("somebodys", 443))
    cluster.resource(cluster.policy("a", 80), cluster.policy("b", 81), state="exact", owner="us")
    result = cluster.resource(cluster.policy("b", 81), cluster.policy("c", 82), state="exact", owner="us")
    assert [f"{item['action']} {item['name']}" for item in result.data["resources"]] == ["created c", "deleted a"]
    assert not cluster.resource(cluster.policy("b", 81), cluster.policy("c", 82), state="exact", owner="us").changed
    text = json.dumps(cluster.keys())
    assert "somebodys" in text
    assert '/a"' not in text


def test_files_folders_and_templates(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    (folder / "more").mkdir(parents=True)
    (folder / "one.yml").write_text(
        "---\n" + json.dumps(cluster.policy("one", 80)) + "\n---\n" + json.dumps(cluster.policy("two", 81)) + "\n"
    )
    (folder / "more" / "three.json").write_text(json.dumps([cluster.policy("three", 82)]))
    template = tmp_path / "four.yml.j2"
    template.write_text(
        json.dumps(cluster.policy("four", 83)).replace('"four"', '"{{ 2 * 2 }}-{{ inventory_hostname }}"')
    )
    options: dict[str, Any] = {"src": [str(folder)], "template": [str(template)]}
    result = cluster.resource(**options)
    assert not result.failed, result.message
    assert [item["name"] for item in result.data["resources"]] == ["three", "one", "two", "4-here"]
    assert not cluster.resource(**options).changed


def test_a_port_range_that_yaml_would_make_a_number(cluster: Cluster, tmp_path: Path) -> None:
    text = json.dumps(cluster.policy("trap", 80)).replace("[80]", "[22:25]")
    (tmp_path / "trap.yml").write_text(text)
    result = cluster.resource(src=[str(tmp_path / "trap.yml")])
    assert not result.failed, result.message
    assert '"22:25"' in json.dumps(result.data["after"])


def test_absent(cluster: Cluster) -> None:
    documents = [cluster.policy("a", 80), cluster.endpoint("worker1-public")]
    before = cluster.keys()
    cluster.resource(*documents)
    assert cluster.resource(*documents, state="absent").changed
    assert {key for key, value in cluster.keys().items() if value is not None} == {
        key for key, value in before.items() if value is not None
    }
    assert not cluster.resource(*documents, state="absent").changed


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_a_node_that_is_not_there_is_refused(cluster: Cluster, check: bool) -> None:
    cluster.resource(cluster.policy("a"))
    before = cluster.keys()
    result = cluster.resource(cluster.endpoint("worker3-public", node="worker3"), check=check)
    assert "'worker3' is not one of worker1, worker2" in result.message
    assert result.message.endswith("Nothing was changed")
    assert cluster.keys() == before


def test_F29_an_endpoint_without_a_policy_is_refused(cluster: Cluster) -> None:
    before = cluster.keys()
    result = cluster.resource(cluster.endpoint("worker1-public"))
    assert "no policy selects it" in result.message
    assert cluster.keys() == before


def test_F38_a_datastore_that_is_gone_is_told_in_time(cluster: Cluster) -> None:
    result = cluster.reached_at("https://127.0.0.1:9").resource(cluster.policy("a"), timeout=3)
    assert result.failed
    assert "datastore" in result.message
    assert result.message.endswith("Nothing was changed")


def test_calico_info_examines(cluster: Cluster) -> None:
    cluster.resource(cluster.policy("allow-kubelet-port", 10250, order=1900), cluster.policy("first", 80, order=5))
    cluster.resource(cluster.endpoint("worker1-public"))
    found = cluster.run("calico_info", {}).data
    assert found["nodes"] == ["worker1", "worker2"]
    assert found["api"] == cluster.api
    assert [item["metadata"]["name"] for item in found["policies"]] == ["first", "allow-kubelet-port"]
    assert list(found["selected"].values()) == [["first", "allow-kubelet-port"]]
    assert found["table"][1].split()[:2] == ["first", "5"]
