# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of the measured seconds: ratios, marginal costs and growth, each with its goal. Pure.

A play costs Ansible's own start, so a task's price is the play less the empty play: its marginal cost. The unit is what
one task that does nothing costs in that sense (`ping`), or what the kernel's own tool needs on the node (`raw`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log

from .record import Bench

RUNS = ("first", "unchanged", "check")
RULES = 1000


def ratios(seconds: Mapping[str, float], sizes: Sequence[int], prefixes: int, looped: int) -> list[Bench]:
    """Every value that these medians allow, in seconds by name (`first-1000`, `no-op`, ...)."""
    empty, noop = seconds["empty"], seconds["no-op"]
    task = noop - empty
    first, unchanged, confirmed = (seconds[f"{name}-{RULES}"] for name in ("first", "unchanged", "confirmed"))
    raw = seconds[f"iptables-restore-{RULES}"]
    common = {"empty": empty, "no-op": noop}
    found = [
        Bench(
            "node_firewall_1000_first_vs_noop_and_raw_restore",
            first / (noop + raw),
            "<=",
            1.25,
            {"first": first, "no-op": noop, "iptables-restore": raw},
        ),
        Bench("node_firewall_1000_first_vs_noop", first / noop, "<=", 1.5, {"first": first, "no-op": noop}),
        Bench(
            "node_firewall_1000_unchanged_vs_noop",
            unchanged / noop,
            "<=",
            1.2,
            {"unchanged": unchanged, "no-op": noop},
        ),
        # A confirmation adds one new connection and one module start: what a no-op play adds to an empty one.
        Bench(
            "node_firewall_1000_confirmation_vs_connection_and_task",
            (confirmed - first) / task,
            "<=",
            2,
            {"confirmed": confirmed, "first": first, **common},
        ),
    ]
    for size in sizes:
        found += [
            Bench(
                f"node_firewall_{size}_{name}_marginal_vs_noop_task",
                (seconds[f"{name}-{size}"] - empty) / task,
                *(("<=", 1.3) if size == RULES else ()),
                figures={name: seconds[f"{name}-{size}"], **common},
            )
            for name in RUNS
        ]
    found += [_growth(f"node_firewall_{name}_growth_exponent", name, seconds, sizes) for name in RUNS]
    scaled = (seconds["builtin-loop"] - empty) * RULES / looped
    found.append(
        Bench(
            "node_firewall_1000_vs_builtin_loop",
            scaled / (first - empty),
            ">=",
            300,
            {"builtin loop, scaled to 1000": scaled, "first": first, "empty": empty},
        )
    )
    found += _against_others(seconds, first - empty, confirmed - empty)
    return [*found, *_of_sets(seconds, prefixes)]


def planning(seconds: Mapping[int, float], goal: float = 1.1) -> Bench:
    """How reading and planning grow with the rules: 1 is linear."""
    small, large = min(seconds), max(seconds)
    exponent = log(seconds[large] / seconds[small]) / log(large / small)
    figures = {f"{count} rules": value for count, value in seconds.items()}
    return Bench("node_firewall_planning_growth_exponent", exponent, "<=", goal, figures)


def _growth(title: str, name: str, seconds: Mapping[str, float], sizes: Sequence[int]) -> Bench:
    """The exponent of a task's marginal cost between the two largest sizes; below, what is constant hides it."""
    small, large = sorted(sizes)[-2:]
    costs = {size: max(0.001, seconds[f"{name}-{size}"] - seconds["empty"]) for size in (small, large)}
    exponent = log(costs[large] / costs[small]) / log(large / small)
    return Bench(title, exponent, "<=", 1.1, {f"{name} of {size}, less empty": cost for size, cost in costs.items()})


def _against_others(seconds: Mapping[str, float], first: float, confirmed: float) -> list[Bench]:
    empty = seconds["empty"]
    found = []
    if "iptables-state" in seconds:
        theirs = seconds["iptables-state"] - empty
        found.append(
            Bench(
                "iptables_state_1000_vs_node_firewall_confirmed",
                theirs / confirmed,
                figures={"iptables_state, less empty": theirs, "confirmed, less empty": confirmed},
            )
        )
    for name in ("iptables-restore", "nft"):
        raw = seconds[f"{name}-{RULES}"]
        title = f"node_firewall_1000_first_less_empty_vs_{name.replace('-', '_')}"
        found.append(Bench(title, first / raw, figures={"first, less empty": first, name: raw}))
    return found


def _of_sets(seconds: Mapping[str, float], prefixes: int) -> list[Bench]:
    """One rule with very many sources."""
    noop = seconds["no-op"]
    raw, nft = seconds["ipset-restore"], seconds["nft-set"]
    peers = {"no-op": noop, "ipset restore": raw}
    found = []
    for name in RUNS:
        took = seconds[f"{name}-set"]
        title = f"node_firewall_set_{prefixes}_{name}_vs_noop_and_two_ipset_restores"
        goal = ("<=", 1) if name == "first" else ()
        found.append(Bench(title, took / (noop + 2 * raw), *goal, figures={name: took, **peers}))
    return [*found, Bench(f"ipset_restore_{prefixes}_vs_nft", raw / nft, figures={"ipset restore": raw, "nft -f": nft})]
