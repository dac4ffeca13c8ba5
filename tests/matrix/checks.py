# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is run in every environment of the matrix. A new check is a function in CHECKS."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.matrix.environments import ROOT, Environment

COLLECTIONS = ROOT / "build" / "collections"
INSTALLED = COLLECTIONS / "ansible_collections" / "iks" / "hardening"
# A directory without an ansible.cfg, inventory or collection: nothing is read from the checkout.
ELSEWHERE = ROOT / "build" / "matrix"
# Unit tests of the lab say nothing about ansible-core.
NOT_OURS = ("lab",)


@dataclass(frozen=True)
class Failure(Exception):
    """A check that failed, with what the command said."""

    command: str
    output: str

    def __str__(self) -> str:
        return f"{self.command}\n{self.output}"


def _environ(environment: Environment) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONPATH"))}
    return dict(
        inherited,
        PATH=f"{environment.path / 'bin'}:{os.environ['PATH']}",
        ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS),
        ANSIBLE_HOME=str(ELSEWHERE / "home"),
        ANSIBLE_NOCOLOR="1",
        # Three major versions of ansible-core, one suite: what one deprecates the other lacks.
        ANSIBLE_DEPRECATION_WARNINGS="0",
    )


def run(environment: Environment, *command: str, cwd: Path = ELSEWHERE) -> str:
    """Run a program of the environment and return its standard output; Failure if it fails."""
    ELSEWHERE.mkdir(parents=True, exist_ok=True)
    outcome = subprocess.run(
        [environment.binary(command[0]), *command[1:]],
        cwd=cwd,
        env=_environ(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if outcome.returncode != 0:
        raise Failure(" ".join(command), f"{outcome.stdout[-6000:]}{outcome.stderr[-3000:]}")
    return outcome.stdout


def units(environment: Environment) -> str:
    """The unit tests, on a target's Python those of what runs on targets."""
    paths = ["tests/unit"] if environment.controller else ["tests/unit/plugins/module_utils"]
    ignored = [f"--ignore=tests/unit/{name}" for name in NOT_OURS]
    cache = f"cache_dir={ELSEWHERE / 'pytest' / environment.name}"
    output = run(environment, "python", "-m", "pytest", "-q", "-o", cache, *ignored, *paths, cwd=ROOT)
    return output.strip().splitlines()[-1]


def playbooks(environment: Environment) -> str:
    """Every playbook of the installed collection passes a syntax check by its name, far from the checkout."""
    names = sorted(f"iks.hardening.{path.stem}" for path in (INSTALLED / "playbooks").glob("*.yml"))
    groups = {"iks_masters": {"hosts": {"m1": {}}}, "iks_workers": {"hosts": {"w1": {}}}, "iks_gateways": {"hosts": {}}}
    ELSEWHERE.mkdir(parents=True, exist_ok=True)
    inventory = ELSEWHERE / "inventory.json"
    inventory.write_text(json.dumps({"all": {"children": groups}}), encoding="utf-8")
    for name in names:
        run(environment, "ansible-playbook", "--syntax-check", "-i", str(inventory), name)
    return f"{len(names)} playbooks: {', '.join(names)}" if names else "no playbook yet"


def documentation(environment: Environment) -> str:
    """ansible-doc renders every module, lookup, filter and role of the installed collection."""
    told = []
    for kind in ("module", "lookup", "filter", "role"):
        names = sorted(json.loads(run(environment, "ansible-doc", "-t", kind, "--list", "--json", "iks.hardening")))
        if names:
            described = json.loads(run(environment, "ansible-doc", "-t", kind, "--json", *names))
            missing = sorted(set(names) - set(described))
            if missing:
                raise Failure(f"ansible-doc -t {kind}", f"not documented: {', '.join(missing)}")
        told.append(f"{len(names)} {kind}s")
    return ", ".join(told)


Check = Callable[[Environment], str]
# In this order; each returns a line for the reader or raises Failure. The second: controllers only.
CHECKS: tuple[tuple[Check, bool], ...] = (
    (units, False),
    (playbooks, True),
    (documentation, True),
)
