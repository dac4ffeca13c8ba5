# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often everything is done: `make test` takes the short column, `make soak` (IKS_PROFILE=soak) the long one."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """Counts, each for one backend unless it says otherwise; seconds where the name says so."""

    # Under flood: confirmed swaps, swaps at once, trials left to expire, swaps by a whole Ansible run.
    swaps: int
    swaps_at_once: int
    expired: int
    ansible_swaps: int
    # The positive control: swaps in a round, and rounds until a run without a leak is void.
    control_swaps: int
    control_rounds: int
    # Runs of a flood that may be void (a busy machine) before the test fails for it.
    attempts: int
    # Changes of both families that are timed, by confirmation and by expiry.
    timed: int
    timed_expiries: int
    # Writes of each competing writer.
    writes: int
    # Runs beside a writer that does not share the lock.
    unshared: int
    # Rollbacks beside which others write.
    rollbacks: int
    # Lock-outs: backends, faults, and for each the seconds of the trial. (What the short one lacks: test_confirm.py.)
    lockout_backends: tuple[str, ...]
    lockout_faults: tuple[str, ...]
    lockout_seconds: tuple[int, ...]
    # Of the steps of a run, how many are passed over plus one.
    kill_stride: int
    # Random moments of kill -9, and those of them that wait for the real expiry of the gate.
    kills: int
    kills_waited: int
    # Runs of the module with too little memory, from hardly any to enough.
    starved: int
    # Single faults, most of which have nothing to do with the backend.
    fault_backends: tuple[str, ...]


PROFILES = {
    "short": Profile(
        swaps=20,
        swaps_at_once=40,
        expired=1,
        ansible_swaps=1,
        control_swaps=60,
        control_rounds=10,
        attempts=3,
        timed=3,
        timed_expiries=1,
        writes=150,
        unshared=15,
        rollbacks=5,
        lockout_backends=("nft",),
        lockout_faults=("F02", "F04", "F06"),
        lockout_seconds=(5,),
        kill_stride=2,
        kills=8,
        kills_waited=1,
        starved=8,
        fault_backends=("nft",),
    ),
    "soak": Profile(
        swaps=1000,
        swaps_at_once=500,
        expired=20,
        ansible_swaps=20,
        control_swaps=200,
        control_rounds=10,
        attempts=3,
        timed=100,
        timed_expiries=20,
        writes=10_000,
        unshared=500,
        rollbacks=200,
        lockout_backends=("nft", "legacy"),
        lockout_faults=("F01", "F02", "F03", "F04", "F05", "F06", "F07"),
        lockout_seconds=(5, 7, 10, 11, 14, 15, 20, 30),
        kill_stride=1,
        kills=1000,
        kills_waited=20,
        starved=240,
        fault_backends=("nft", "legacy"),
    ),
}
PROFILE = PROFILES[os.environ.get("IKS_PROFILE", "short")]
