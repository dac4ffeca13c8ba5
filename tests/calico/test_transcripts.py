# Part of the stand-ins for calicoctl and its datastores, for tests only.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in does what the real tool did: every recorded case is run again, against a real etcd, and compared.

With CALICOCTL_BIN naming real binaries (1.4.0, 3.25.2) their cases run against those; then a dead datastore is
waited for as long as the tool does.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from . import transcripts
from .bed import Bed
from .install import VERSIONS, tool
from .transcripts import Case, comparable, comparable_keys

# Recorded, but not run again, and why.
NOT_REPLAYED = {
    "v1.4.0": {
        "245-get-goTemplate": "go-template output is not used, and needs Go's template language",
        "360-default-cfg-beats-env": "wants a file in /etc/calico of the machine",
        "407-no-route": "wants a network without a route",
    },
    "v3.25.2": {
        "050-convert-v1": "convert is not used: upstream removed it in 3.32, and the product converts by itself",
    },
}
REPLAYED = {"v1.4.0": 213, "v3.25.2": 74}
# Of a directory given to -f only the result was recorded.
DIRECTORY = {
    f"dirtest/{name}.yaml": "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n"
    f"metadata: {{name: {name}}}\nspec: {{selector: all()}}\n"
    for name in ("dira", "dirb")
}
# What a dead datastore costs: 30 s and 10 s of the real tool become 0.6 s and 0.2 s, and "for ever" is this long.
PATIENCE = 0.02
STILL_RUNNING_SECONDS = 1.5
ALL = {version: transcripts.cases(version) for version in transcripts.RECORDED}
RUN = [case for version, found in ALL.items() for case in found if case.name not in NOT_REPLAYED[version]]


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    made = Bed(tmp_path_factory.mktemp("bed"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """The executable of each version: the stand-in, or the real one that CALICOCTL_BIN names."""
    folder = tmp_path_factory.mktemp("tools")
    return {f"v{version}": tool(folder, version, PATIENCE) for version in VERSIONS}


def test_every_recorded_case_is_run_again_or_named():
    for version, found in ALL.items():
        names = {case.name for case in found}
        assert NOT_REPLAYED[version].keys() <= names, "named, but not recorded"
        assert len(names) - len(NOT_REPLAYED[version]) == REPLAYED[version]


def _start(case: Case, program: Path, bed: Bed, folder: Path) -> subprocess.Popen:
    everything = " ".join([*case.argv, *case.env.values(), *case.files.values()])
    bed.need(everything)
    files = {**case.files, **(DIRECTORY if "/work-dir/dirtest" in case.argv else {})}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(bed.real(text), encoding="utf-8")
    argv = [bed.real(word).replace("/work-dir", str(folder)) for word in case.argv[1:]]
    environment = {name: bed.real(value) for name, value in case.env.items()}
    stdin = (folder / "stdin").open("rb") if "stdin" in files else subprocess.DEVNULL
    try:
        return subprocess.Popen(
            [str(program), *argv],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        if stdin is not subprocess.DEVNULL:
            stdin.close()


def _meet(case: Case, bed: Bed) -> None:
    """Put into etcd what the case met there."""
    if case.version == "v1.4.0":
        bed.plain().replace_v2(case.before)
    else:
        bed.plain().replace_v3(case.before)


@pytest.mark.parametrize("case", RUN, ids=[case.id for case in RUN])
def test_as_recorded(case, bed, tools, tmp_path):
    _meet(case, bed)
    if case.name in transcripts.AFTER:
        (tmp_path / "first").mkdir()
        first = next(other for other in ALL[case.version] if other.name == transcripts.AFTER[case.name])
        _start(first, tools[case.version], bed, tmp_path / "first").communicate(timeout=120)
    process = _start(case, tools[case.version], bed, tmp_path)
    if case.rc is None:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=STILL_RUNNING_SECONDS)
        process.kill()
        assert process.communicate() == ("", "")
        return
    out, err = process.communicate(timeout=120)
    assert (comparable(bed.recorded(out)), process.returncode) == (comparable(case.stdout), case.rc)
    assert comparable(bed.recorded(err)) == comparable(case.stderr)
    if case.after is not None:
        held = bed.plain().keys_v2() if case.version == "v1.4.0" else bed.plain().keys_v3()
        assert comparable_keys(held) == comparable_keys(case.after)
