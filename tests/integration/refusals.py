# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Input to refuse, as data: what is given, what the error has to say, and that nothing was changed around it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.lab.lab import Lab

from .node_state import states
from .playbooks import Result, Run, play, run_playbook, task

UNCHANGED = "nothing was changed"
# As the page's cluster is described; each host of a faulty cluster adds one mistake.
GOOD: dict[str, Any] = {"iks_regions": ["us-south"], "iks_egress": "restricted"}
# A module runs for real on the first and in check mode on the second; both have eth0 and eth1.
REAL, CHECKED = "worker1", "master"


@dataclass(frozen=True)
class Case:
    """One mistake: what is given, and what the error has to say besides that nothing was changed."""

    given: dict[str, Any]
    says: tuple[str, ...]
    module: str = "node_firewall"
    ansible_says: bool = field(default=False)  # Ansible's own check of a module's options, with its own words

    def judge(self, result: Result) -> None:
        text = result.message
        assert result.failed, result
        assert not result.changed, text
        assert "Traceback" not in json.dumps(result.data), result.data
        for part in self.says:
            assert part in text, text
        assert self.ansible_says or text.lower().count(UNCHANGED) == 1, text


def rule(says: tuple[str, ...] | str, **fields: Any) -> Case:
    """A ruleset of one rule."""
    given = {"name": "mine", "direction": "in", "action": "accept", "protocol": "tcp", "reason": "a test", **fields}
    return Case({"rules": [given]}, (says,) if isinstance(says, str) else says)


def line(text: str, *says: str) -> Case:
    return Case({"rules": f"{text} name mine # a test"}, says)


def region(*says: str, **options: Any) -> Case:
    return Case({"regions": ["us-south"], **options}, says, "region_ports")


def balancer(*says: str, **fields: Any) -> Case:
    return region(*says, load_balancers=[{"address": "203.0.113.11", "port": 443, "protocol": "tcp", **fields}])


def overlay(**south: Any) -> dict[str, Any]:
    return {"regions": {"us-south": south}}


@dataclass(frozen=True)
class Batch:
    """A run of Ansible and the nodes' states around it."""

    run: Run
    before: dict[str, list[str]]
    after: dict[str, list[str]]

    def nothing_changed(self) -> None:
        assert self.run.changed == {}
        assert self.after == self.before
        assert "Traceback" not in self.run.output


def batches(lab: Lab, runs: Mapping[str, Callable[[], Run]]) -> dict[str, Batch]:
    """Runs that change nothing, side by side: most of a run's time is the controller's, which is a single process."""
    nodes = ["master", "worker1", "worker2", "gateway"]
    before = states(lab, nodes)
    with ThreadPoolExecutor() as pool:
        started = {name: pool.submit(run) for name, run in runs.items()}
        done = {name: item.result() for name, item in started.items()}
    after = states(lab, nodes)
    return {name: Batch(run, before, after) for name, run in done.items()}


def inventory_of(lab: Lab, hosts: Mapping[str, Mapping[str, Any]], group: str = "iks_workers") -> dict[str, Any]:
    """An inventory in which every host, whatever its name, is worker1 unless its variables say otherwise."""
    known = json.loads(lab.inventory_file.read_text(encoding="utf-8"))["all"]
    worker1 = known["children"]["iks_workers"]["hosts"]["worker1"]
    groups = {"iks_workers": {"hosts": {}}, group: {"hosts": {name: {**worker1, **own} for name, own in hosts.items()}}}
    return {"all": {"vars": {**known["vars"], **GOOD}, "children": groups}}


def module_batches(lab: Lab, cases: Mapping[str, Case], checked: Iterable[str]) -> list[Batch]:
    """Every case as a task of its own, on one node for real and on another in check mode; three runs side by side."""

    def run(host: str, names: list[str]) -> Run:
        tasks = [task(name, cases[name].module, cases[name].given, ignore_errors=True) for name in names]
        return run_playbook(lab, [play(host, tasks)], check=host == CHECKED)

    real = list(cases)
    parts = {"half": (REAL, real[::2]), "other half": (REAL, real[1::2]), "check": (CHECKED, list(checked))}
    return list(batches(lab, {name: partial(run, *part) for name, part in parts.items()}).values())


def judge_module(found: list[Batch], cases: Mapping[str, Case], mode: str, name: str) -> None:
    """A case in one mode, and that its whole run changed nothing."""
    host = REAL if mode == "real" else CHECKED
    (batch,) = [item for item in found if item.run.of(name, host)]
    cases[name].judge(batch.run.one(name, host))
    batch.nothing_changed()
