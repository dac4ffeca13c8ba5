# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs claims and shows them as a table that a person can read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.lab import Lab, Outcome, Probe, run_probes
from tests.lab.system import LabError

from .expectations import Claim


@dataclass(frozen=True)
class Proof:
    """A claim and what its packets met."""

    claim: Claim
    outcomes: tuple[Outcome, ...]

    @property
    def holds(self) -> bool:
        return all(outcome.matched for outcome in self.outcomes)

    @property
    def found(self) -> str:
        """The results in words, the most frequent first."""
        counts = Counter(outcome.result for outcome in self.outcomes)
        return ", ".join(result if len(counts) == 1 else f"{count} {result}" for result, count in counts.most_common())


def wait_for_paths(lab: Lab, seconds: float = 15) -> None:
    """Wait until the unhardened lab's workers reach the internet on both families; only then a closed port says much.

    IPv6 takes a moment after boot until neighbours have found each other.
    """
    paths = [Probe("tcp", address, 443, expected="open") for address in ("198.51.100.7", "2001:db8:cafe::1")]
    deadline = time.monotonic() + seconds
    for node in ("worker1", "worker2"):
        while not all(outcome.matched for outcome in run_probes(lab, node, paths)):
            if time.monotonic() > deadline:
                raise LabError(f"{node} does not reach the lab's internet on both families within {seconds:.0f} s")


def prove(lab: Lab, claims: Sequence[Claim]) -> list[Proof]:
    """Send every claim's packets, all of a node's at once; proofs in the order of the claims."""
    found: dict[Claim, tuple[Outcome, ...]] = {}
    for node in dict.fromkeys(claim.node for claim in claims):
        mine = [claim for claim in claims if claim.node == node]
        outcomes = iter(run_probes(lab, node, [probe for claim in mine for probe in claim.probes]))
        for claim in mine:
            found[claim] = tuple(next(outcomes) for _probe in claim.probes)
    return [Proof(claim, found[claim]) for claim in claims]


def table(proofs: Sequence[Proof], before: Sequence[Proof] | None = None) -> str:
    """Lines of text: from, what, packets, expected, found (and found without a firewall)."""
    rows = [("from", "what", "packets", "expected", *(["without rules"] if before else []), "with rules", "")]
    for index, proof in enumerate(proofs):
        claim = proof.claim
        rows.append(
            (
                claim.node,
                claim.title,
                str(len(proof.outcomes)),
                claim.expected,
                *([before[index].found] if before else []),
                proof.found,
                "ok" if proof.holds else "WRONG",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
