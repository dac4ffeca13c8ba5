# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""calico_resource against calicoctl itself and against a loop over it: 500 policies in a real etcd, for both APIs.

All on this machine: Ansible over its local connection with pipelining, etcd on loopback behind TLS, and the tool of the
tests, which is a stand-in unless CALICOCTL_BIN names real ones.
"""

from __future__ import annotations

import contextlib
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.calico.fixtures import Calico, datastore
from tests.calico.install import real_tool

from . import calico_goals, calico_texts
from .calico_texts import plan, stored_resource, wanted
from .plays import Plays
from .record import Bench

KINDS = {"v1": "policy", "v3": "globalnetworkpolicy"}
VERSIONS = {"v1": "1.4.0", "v3": "3.25.2"}
POLICIES = 500


def measure(rounds: int, looped: int, planned: tuple[int, int]) -> list[Bench]:
    """All figures of both APIs: rounds of every play, policies in the loop, resources in the two plans."""
    found: list[Bench] = []
    for api, version in VERSIONS.items():
        tool = f"calicoctl {version}" if real_tool(version) else f"a stand-in for calicoctl {version}"
        print(f"  API {api}: {tool}", flush=True)
        with tempfile.TemporaryDirectory() as folder, contextlib.contextmanager(datastore)(
            api, version, Path(folder)
        ) as calico:
            seconds = _seconds(calico, Path(folder), rounds, looped)
        found += calico_goals.ratios(api, seconds, POLICIES, looped, real=real_tool(version) is not None)
        found += calico_goals.planning(api, {count: planning_time(api, count) for count in planned})
    return found


def _seconds(calico: Calico, folder: Path, rounds: int, looped: int) -> dict[str, float]:
    """Medians by name, in rounds in which all take turns; the loop once, it is long enough."""
    documents = calico_texts.policies(calico.api, POLICIES)
    file = folder / "policies.json"
    file.write_text(calico_texts.file_text(documents), encoding="utf-8")
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"here": host}}}), encoding="utf-8")
    bed = Plays(inventory, "here", folder)
    common = [str(calico.tool), f"--config={calico.config}"]
    apply = [common[0], "apply", "-f", str(file), common[1]]
    get = [common[0], "get", KINDS[calico.api], "-o", "json", common[1]]
    options = {"calicoctl": common[0], "config": str(calico.config), "src": str(file)}
    empty = bed.write("empty")
    noop = bed.write("no-op", {"ansible.builtin.ping": {}})
    module = bed.write("resource", {"iks.hardening.calico_resource": options})
    commands = {name: bed.write(name, {"ansible.builtin.command": argv}) for name, argv in _named(apply, get)}
    bed.run(noop, timed=False)
    for number in range(rounds):
        print(f"  round {number + 1} of {rounds}", flush=True)
        bed.run(empty)
        bed.run(noop)
        calico.empty()
        _timed(bed, "raw apply", apply)
        _timed(bed, "raw get", get)
        calico.empty()
        bed.run(commands["command apply"], expect_changed=1)
        bed.run(commands["command get"], expect_changed=1)
        calico.empty()
        bed.run(module, name="first", expect_changed=1)
        bed.run(module, name="unchanged", expect_changed=0)
    calico.empty()
    print(f"  calicoctl apply, {looped} policies in a loop", flush=True)
    bed.run(_loop(bed, folder, common, documents[:looped]), expect_changed=1)
    return {name: bed.median(name) for name in bed.times}


def _named(apply: list[str], get: list[str]) -> list[tuple[str, dict[str, list[str]]]]:
    return [("command apply", {"argv": apply}), ("command get", {"argv": get})]


def _timed(bed: Plays, name: str, argv: list[str]) -> None:
    """Keep the time of a program, without anything of Ansible's."""
    began = time.monotonic()
    subprocess.run(argv, check=True, capture_output=True, timeout=300)
    bed.times.setdefault(name, []).append(time.monotonic() - began)


def _loop(bed: Plays, folder: Path, common: list[str], documents: list[dict[str, object]]) -> Path:
    """What people write: a task that applies one file a turn."""
    files = []
    for number, document in enumerate(documents):
        file = folder / f"policy-{number}.json"
        file.write_text(json.dumps(document), encoding="utf-8")
        files.append(str(file))
    task = {"ansible.builtin.command": {"argv": [common[0], "apply", "-f", "{{ item }}", common[1]]}}
    return bed.write("loop", {**task, "loop": "{{ files }}"}, variables={"files": files})


def planning_time(api: str, count: int, times: int = 3) -> float:
    """Seconds of processor time from documents to a plan: half of them as they are stored, half to be changed.

    As on a host: everything is checked, read from what the datastore printed, and compared, without the collector of
    cycles, which the module switches off.
    """
    documents = calico_texts.policies(api, count)
    held = json.loads(json.dumps(documents))
    for document in held[::2]:
        document["spec"]["order"] += 1
    found = []
    for _round in range(times):
        gc.collect()
        gc.disable()
        began = time.process_time()
        want = wanted((("file", document) for document in documents), api, "present")
        have = {item.identity: item for item in (stored_resource(document, api) for document in held)}
        steps = plan(have, want, "present")
        found.append(time.process_time() - began)
        gc.enable()
        assert len(steps.writes) == (count + 1) // 2
    return median(found)
