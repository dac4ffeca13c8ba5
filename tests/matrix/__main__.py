# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m tests.matrix [NAME ...]: run every check in every environment (or in those named).

An environment without an interpreter on this machine is a named gap: counted, printed, no failure.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

from tests.matrix.checks import CHECKS, Failure
from tests.matrix.environments import ENVIRONMENTS, Environment, find_python, make


def say(line: str) -> None:
    """Print at once, also through a pipe."""
    print(line, flush=True)


def note_newer(environment: Environment) -> None:
    """Say when the package index offers a newer ansible-core than the newest that is pinned here."""
    command = [environment.binary("python"), "-m", "pip", "index", "versions", "ansible-core"]
    outcome = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    offered = re.search(r"ansible-core \(([0-9.]+)\)", outcome.stdout)
    if offered and offered[1] != environment.core:
        say(
            f"matrix {environment.name}: note: the index offers ansible-core {offered[1]}, tested is {environment.core}"
        )


def run_environment(environment: Environment, python: str) -> tuple[int, int]:
    """Make the environment and run its checks: how many passed, how many failed."""
    begin = time.monotonic()
    say(f"matrix {environment.name}: ansible-core {environment.core} on {python} ...")
    make(environment, python)
    passed = failed = 0
    for check, controllers_only in CHECKS:
        if controllers_only and not environment.controller:
            continue
        try:
            say(f"matrix {environment.name}: {check.__name__}: ok: {check(environment)}")
            passed += 1
        except Failure as failure:
            say(f"matrix {environment.name}: {check.__name__}: FAILED: {failure}")
            failed += 1
    say(f"matrix {environment.name}: {time.monotonic() - begin:.0f} s")
    return passed, failed


def main(names: list[str]) -> int:
    """Run the matrix; 1 if a check failed, 2 for an unknown name."""
    known = {environment.name: environment for environment in ENVIRONMENTS}
    for name in names:
        if name not in known:
            say(f"matrix: {name}: unknown environment; known: {', '.join(known)}")
            return 2
    passed = failed = 0
    gaps: dict[str, int] = {}
    for environment in [known[name] for name in names or known]:
        python = find_python(environment.pythons)
        if python is None:
            gap = f"ansible-core {environment.core} not tested: no Python {' or '.join(environment.pythons)} here"
            say(f"matrix {environment.name}: NAMED GAP: {gap}")
            gaps[gap] = 1
            continue
        more_passed, more_failed = run_environment(environment, python)
        passed, failed = passed + more_passed, failed + more_failed
        if environment.name == "2.21":
            note_newer(environment)
    say(f"matrix: {passed} passed, {failed} failed, {len(gaps)} skipped (named gaps)")
    record = os.environ.get("IKS_TEST_RECORD")
    if record:
        entry = {"passed": passed, "failed": failed, "skipped": len(gaps), "gaps": gaps}
        with open(record, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
