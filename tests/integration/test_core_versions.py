# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every supported ansible-core hardens the same cluster; each finds nothing to change after the one before."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.demo.play import playbook
from tests.lab import Lab
from tests.lab.topology import topology
from tests.matrix.environments import ENVIRONMENTS, Environment, find_python, make
from tests.proof.expectations import variables

CONTROLLERS = [environment for environment in ENVIRONMENTS if environment.controller]


@pytest.fixture(scope="module")
def bare_lab(lab: Lab) -> Lab:
    lab.reset("master", "worker1", "worker2", "gateway")
    return lab


@pytest.mark.parametrize("core", CONTROLLERS, ids=lambda core: core.name)
def test_hardens_the_cluster(bare_lab: Lab, core: Environment, tmp_path: Path) -> None:
    python = find_python(core.pythons)
    if python is None:
        pytest.skip(f"no Python {' or '.join(core.pythons)} for ansible-core {core.core}")
    make(core, python)
    settings = tmp_path / "variables.yml"
    settings.write_text(yaml.safe_dump(variables(topology(bare_lab.lab_id))), encoding="utf-8")
    fresh = "IKS-" not in bare_lab.run("worker1", ["iptables-save"]).stdout
    runs = [
        playbook(
            bare_lab.inventory_file,
            settings,
            tmp_path,
            tmp_path / "log",
            *options,
            program=core.binary("ansible-playbook"),
        )
        for options in (("--check", "--diff"), (), ())
    ]
    assert all(run.clean for run in runs)
    check, real, again = runs
    assert check.changed == real.changed
    assert all(real.changed.values()) == fresh
    assert not any(again.changed.values())
