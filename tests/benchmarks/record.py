# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A measured value, its goal, the line that says so, and the history that keeps it."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HISTORY = Path(__file__).parent / "history.jsonl"


@dataclass(frozen=True)
class Bench:
    """`relation` is <= or >=, or empty for a value without a goal; `figures` are the seconds that it was made from."""

    name: str
    value: float
    relation: str = ""
    bound: float = 0
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return {"<=": self.value <= self.bound, ">=": self.value >= self.bound}.get(self.relation, True)

    @property
    def goal(self) -> str:
        return f"{self.relation} {self.bound:g}" if self.relation else ""

    def __str__(self) -> str:
        goal = f" goal {self.goal} {'ok' if self.ok else 'short'}" if self.goal else " no goal"
        return f"BENCH {self.name} {self.value:.2f}{goal}"


def keep(results: Sequence[Bench], versions: dict[str, str], history: Path = HISTORY) -> None:
    """Append one JSON line a value."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with open(history, "a", encoding="utf-8") as stream:
        for result in results:
            entry = {
                "when": when,
                "name": result.name,
                "value": round(result.value, 3),
                "goal": result.goal,
                "ok": result.ok,
                "seconds": {key: round(value, 3) for key, value in result.figures.items()},
                "machine": platform.machine(),
                **versions,
            }
            stream.write(json.dumps(entry) + "\n")
