#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""run_stages.py STAGE ...: run make targets one after the other, stop at the first that fails, print what all took.

The closing summary sums what the pytest runs of the stages recorded (tests/conftest.py) and names every gap.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "build" / "log" / "tests.jsonl"


@dataclass(frozen=True)
class Outcome:
    """One stage: its make target, whether it passed, and its wall time in seconds."""

    stage: str
    passed: bool
    seconds: float


def run_stage(stage: str, number: str) -> Outcome:
    """Run `make STAGE`, its output straight to the terminal."""
    print(f"\n=== {number} make {stage} {'=' * (60 - len(stage))}", flush=True)
    begin = time.monotonic()
    status = subprocess.call(["make", "-C", str(ROOT), stage], env=dict(os.environ, IKS_TEST_RECORD=str(RECORD)))
    outcome = Outcome(stage, status == 0, time.monotonic() - begin)
    print(f"=== {stage}: {'ok' if outcome.passed else 'FAILED'} after {_clock(outcome.seconds)}", flush=True)
    return outcome


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s" if seconds >= 60 else f"{seconds:.1f} s"


def recorded() -> tuple[Counter[str], Counter[str]]:
    """Counts of tests by outcome, and of tests not run by named gap."""
    counts: Counter[str] = Counter()
    gaps: Counter[str] = Counter()
    if RECORD.exists():
        for line in RECORD.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            gaps.update(entry.pop("gaps"))
            counts.update(entry)
    return counts, gaps


def summary(outcomes: list[Outcome], stages: list[str], seconds: float) -> str:
    """What is printed at the end."""
    counts, gaps = recorded()
    lines = ["", "=== summary " + "=" * 60]
    for stage in stages:
        done = next((outcome for outcome in outcomes if outcome.stage == stage), None)
        verdict = "not run" if done is None else f"{'ok' if done.passed else 'FAILED':7} {_clock(done.seconds):>13}"
        lines.append(f"  {stage:12} {verdict}")
    for gap, number in sorted(gaps.items()):
        lines.append(f"  named gap ({number} not run): {gap}")
    failed_stages = sum(not outcome.passed for outcome in outcomes)
    lines.append(
        f"{len(outcomes) - failed_stages} of {len(stages)} stages ok in {_clock(seconds)}; tests: "
        f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped in {len(gaps)} named gaps"
    )
    return "\n".join(lines)


def main(stages: list[str]) -> int:
    """Run the stages; 1 if one failed."""
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.unlink(missing_ok=True)
    begin = time.monotonic()
    outcomes: list[Outcome] = []
    for number, stage in enumerate(stages, 1):
        outcomes.append(run_stage(stage, f"{number}/{len(stages)}"))
        if not outcomes[-1].passed:
            break
    print(summary(outcomes, stages, time.monotonic() - begin), flush=True)
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
