# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of the seconds of calico_resource and of calicoctl. Pure.

A task is its play less the empty play; a raw calicoctl is the process alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log

from .record import Bench

# Seconds that the real tools took for 500 policies and an etcd on loopback: shortest and longest of what was recorded.
# calicoctl 3.25.2 took the shorter time for policies that were there already. Another machine, another day: good for
# an order of magnitude only.
RECORDED = {"v1": (0.69, 0.95), "v3": (2.5, 5.6)}


def ratios(api: str, seconds: Mapping[str, float], policies: int, looped: int, real: bool) -> list[Bench]:
    """Every value that these medians allow, in seconds by name (`first`, `raw apply`, ...)."""
    empty = seconds["empty"]
    task = {name: seconds[name] - empty for name in ("first", "unchanged", "command apply", "command get", "loop")}
    raw = {name: seconds[name] for name in ("raw apply", "raw get")}
    name = f"calico_resource_{api}_{policies}"
    loop = task["loop"] * policies / looped
    found = [
        _ratio(f"{name}_first_vs_raw_apply", "first", task, "raw apply", raw, 1.3),
        _ratio(f"{name}_first_vs_command_task_apply", "first", task, "command apply", task),
        _ratio(f"{name}_unchanged_vs_raw_get", "unchanged", task, "raw get", raw, 1.3),
        _ratio(f"{name}_unchanged_vs_command_task_get", "unchanged", task, "command get", task),
        Bench(
            f"{name}_vs_loop_of_calicoctl_apply_scaled_from_{looped}",
            loop / task["first"],
            ">=",
            50,
            {f"loop over {looped}": task["loop"], f"loop, scaled to {policies}": loop, "first": task["first"]},
        ),
        # What no task can be below: Ansible's own, and the tool's.
        Bench(
            f"{name}_first_vs_noop_task_and_raw_apply",
            task["first"] / (seconds["no-op"] - empty + raw["raw apply"]),
            figures={"first": task["first"], "no-op, less empty": seconds["no-op"] - empty, **raw},
        ),
        Bench(
            f"{name}_unchanged_vs_noop_task_and_raw_get",
            task["unchanged"] / (seconds["no-op"] - empty + raw["raw get"]),
            figures={"unchanged": task["unchanged"], "no-op, less empty": seconds["no-op"] - empty, **raw},
        ),
        _ratio(f"{name}_unchanged_vs_noop_task", "unchanged", task, "no-op", {"no-op": seconds["no-op"] - empty}),
    ]
    if not real:
        for bound, recorded in zip(("shortest", "longest"), RECORDED[api], strict=True):
            # What the module adds to the tool is measured; the tool's own time is the recorded one.
            added = task["first"] - raw["raw apply"]
            figures = {"first less raw apply, measured": added, "raw apply, recorded": recorded}
            title = f"{name}_first_vs_{bound}_recorded_apply_estimate"
            found.append(Bench(title, (recorded + added) / recorded, figures=figures))
    return found


def planning(api: str, seconds: Mapping[int, float]) -> list[Bench]:
    """The time for the larger number of resources, and how it grows: 1 is linear."""
    small, large = min(seconds), max(seconds)
    exponent = log(seconds[large] / seconds[small]) / log(large / small)
    figures = {f"{count} resources": value for count, value in seconds.items()}
    name = f"calico_resource_{api}_planning"
    return [
        Bench(f"{name}_{large}_seconds", seconds[large], "<=", 2, figures),
        Bench(f"{name}_growth_exponent", exponent, "<=", 1.1, figures),
    ]


def _ratio(
    title: str, ours: str, tasks: Mapping[str, float], theirs: str, peers: Mapping[str, float], goal: float = 0
) -> Bench:
    names = {f"{name}, less empty" if name in tasks else name: {**tasks, **peers}[name] for name in (ours, theirs)}
    return Bench(title, tasks[ours] / peers[theirs], *(("<=", goal) if goal else ()), figures=names)
