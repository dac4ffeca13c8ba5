# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stays after the demo: the report and the rule listing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.proof.table import Proof, table

from .play import Run


def write_rules(folder: Path, states: Mapping[str, Mapping[str, Any]]) -> Path:
    """One listing of all hosts' own rules, as read back from the kernel."""
    parts = []
    for host, state in states.items():
        for family, lines in state["after"].items():
            parts += [f"# {host}, {family} ({len(lines)} rules)", *lines, ""]
    path = folder / "rules.txt"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def write_report(
    folder: Path, runs: Sequence[Run], proofs: Sequence[Proof], before: Sequence[Proof], seed: int
) -> Path:
    """The proof as Markdown: both runs, and every claim with what its packets met without and with the rules."""
    lines = ["# Hardened lab cluster", "", "| host | changed, first run | changed, second run |", "|---|---|---|"]
    lines += [f"| {host} | {count} | {runs[1].changed.get(host, '-')} |" for host, count in runs[0].changed.items()]
    packets = sum(len(proof.outcomes) for proof in proofs)
    wrong = [proof for proof in proofs if not proof.holds]
    lines += [
        "",
        f"{packets} packets, {len(proofs)} claims, {len(wrong)} wrong. Random ports from seed {seed}.",
        "",
        "```",
    ]
    lines += [table(proofs, before), "```"]
    for proof in wrong:
        lines += [f"- {outcome}" for outcome in proof.outcomes if not outcome.matched]
    path = folder / "report.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def open_to_whom(states: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """Rule, reason and hosts of what is open from outside, from the comments of the accepting rules in the kernel."""
    rows: dict[tuple[str, str], dict[str, None]] = {}
    for host, state in states.items():
        managers = 0
        for line in state["after"]["ipv4"]:
            name, _colon, reason = line.partition('--comment "')[2].partition('"')[0].partition(": ")
            if (
                not line.endswith("-j ACCEPT")
                or name.startswith("always-")
                or not line.startswith(("-A IKS-INPUT-", "-A IKS-FORWARD-"))
            ):
                continue
            if name.startswith("provider-"):
                managers += 1
            elif line.startswith("-A IKS-INPUT-") or name.startswith(("lb-", "ingress-")):
                rows.setdefault((name, reason.replace("\\'", "'")), {})[host] = None
        if managers:
            rows.setdefault(
                ("provider-*", f"{managers} networks of the provider's management systems: allow-sys-mgmt"), {}
            )[host] = None
    return [(name, reason, list(hosts)) for (name, reason), hosts in rows.items()]
