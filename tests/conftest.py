# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For every pytest run: the checkout is importable as ansible_collections.iks.hardening, and no skip goes unnoticed.

A skipped (or expectedly failing) test is a gap. Each gap is named in tests/expected_skips.txt with its reason, or the
run fails; the named ones are printed at the end. Counts and gaps are appended to the file IKS_TEST_RECORD names, from
which `make test` prints its totals.
"""

from __future__ import annotations

import contextlib
import fnmatch
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXPECTED_SKIPS = ROOT / "tests" / "expected_skips.txt"


def _make_importable() -> None:
    """Put the checkout on the import path under its collection name, unless a runner (ansible-test) has done so."""
    try:
        if importlib.util.find_spec("ansible_collections.iks.hardening") is not None:
            return
    except ModuleNotFoundError:
        pass
    link = ROOT / "build" / "checkout" / "ansible_collections" / "iks" / "hardening"
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(ROOT, target_is_directory=True)
    sys.path.insert(0, str(link.parents[2]))


_make_importable()


def _expected() -> list[tuple[str, str]]:
    """Lines `pattern | named gap` of tests/expected_skips.txt."""
    pairs = []
    for line in EXPECTED_SKIPS.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, _bar, gap = line.partition("|")
            pairs.append((pattern.strip(), gap.strip()))
    return pairs


class SkipAccount:
    """Collects what was not run, sorts it into named gaps and surprises, and fails the run for a surprise."""

    def __init__(self) -> None:
        self.expected = _expected()
        self.named: dict[str, list[str]] = {}
        self.surprises: list[str] = []
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}

    def _not_run(self, nodeid: str, why: str) -> None:
        self.counts["skipped"] += 1
        for pattern, gap in self.expected:
            if fnmatch.fnmatchcase(nodeid, pattern):
                self.named.setdefault(gap, []).append(nodeid)
                return
        self.surprises.append(f"{nodeid}: {why}")

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.skipped:
            reason = getattr(report, "wasxfail", None) or report.longrepr
            self._not_run(report.nodeid, str(reason[-1] if isinstance(reason, tuple) else reason))
        elif report.failed:
            self.counts["failed"] += 1
        elif report.when == "call":
            self.counts["passed"] += 1

    def pytest_collectreport(self, report: Any) -> None:
        if report.skipped:
            self._not_run(report.nodeid, str(report.longrepr))

    def pytest_sessionfinish(self, session: Any) -> None:
        if self.surprises and session.exitstatus == 0:
            session.exitstatus = 1
        record = os.environ.get("IKS_TEST_RECORD")
        if record and not hasattr(session.config, "workerinput"):
            entry = dict(self.counts, gaps={gap: len(ids) for gap, ids in self.named.items()})
            with open(record, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.named:
            terminalreporter.section("named gaps")
            for gap, nodeids in sorted(self.named.items()):
                terminalreporter.line(f"{len(nodeids):4d} not run: {gap}")
        if self.surprises:
            terminalreporter.section("skips that tests/expected_skips.txt does not name: the run fails")
            for line in self.surprises:
                terminalreporter.line(f"  {line}")


def pytest_configure(config: Any) -> None:
    config.pluginmanager.register(SkipAccount(), "iks-skip-account")
