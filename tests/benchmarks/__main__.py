# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: node_firewall against a no-op task and against ansible.builtin.iptables in a loop.

Every figure is the wall time of a whole play, median of several rounds in which the plays take turns, so that a slow
moment of the machine meets all of them. Exit status 0 whatever the figures say: they are printed, kept and compared by
people.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.lab import down, up
from tests.lab.state import resolve_id

from .plays import Bed
from .record import Bench, keep

NODE = "master"
RULES = 1000
LOOPED = 100


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    lab_id = resolve_id("auto")
    try:
        lab = up(lab_id, names=[NODE], kube=False)
        with tempfile.TemporaryDirectory() as folder:
            bed = Bed(lab, NODE, Path(folder))
            results = measure(bed, options.rounds)
    finally:
        down(lab_id)
    for result in results:
        print("  ".join(f"{name} {seconds:.2f} s" for name, seconds in result.figures.items()))
    for result in results:
        print(result)
    keep(results, {"ansible_core": version("ansible-core"), "python": sys.version.split()[0]})
    return 0


def measure(bed: Bed, rounds: int) -> list[Bench]:
    """The plays in turns, and the ratios."""
    bed.lab.run(NODE, ["apt-get", "update"])
    bed.lab.run(NODE, ["apt-get", "install", "-y", "--no-install-recommends", "iptables", "ipset"])
    lines = "\n".join(_line(number) for number in range(RULES))
    empty = bed.write("empty")
    noop = bed.write("no-op", {"ansible.builtin.ping": {}})
    load = {"iks.hardening.node_firewall": {"name": "bench", "rules": "{{ rules }}", "confirm_timeout": "{{ wait }}"}}
    ours = bed.write("ours-first", load, variables={"rules": lines, "wait": 0})
    confirmed = bed.write("ours-confirmed", load, variables={"rules": lines, "wait": 30})
    again = bed.write("ours-unchanged", load, variables={"rules": lines, "wait": 30})
    remove = bed.write(
        "remove", {"iks.hardening.node_firewall": {"name": "bench", "state": "absent", "confirm_timeout": 0}}
    )
    loop = bed.write("builtin-loop", _loop(), variables={"count": LOOPED})
    bed.run(noop, timed=False)
    for number in range(rounds):
        print(f"  round {number + 1} of {rounds}", flush=True)
        bed.run(empty)
        bed.run(noop)
        bed.run(ours, expect_changed=1)
        bed.run(again, expect_changed=0)
        bed.run(remove, timed=False, expect_changed=1)
        bed.run(confirmed, expect_changed=1)
        bed.run(remove, timed=False, expect_changed=1)
    print(f"  ansible.builtin.iptables, {LOOPED} rules in a loop", flush=True)
    bed.run(loop, expect_changed=1)
    return _ratios(bed)


def _ratios(bed: Bed) -> list[Bench]:
    names = ("empty", "no-op", "ours-first", "ours-unchanged", "ours-confirmed")
    empty, noop, first, unchanged, confirmed = map(bed.median, names)
    looped = (bed.median("builtin-loop") - empty) * RULES / LOOPED
    return [
        Bench("node_firewall_1000_first_vs_noop", first / noop, "<=", 1.5, {"first": first, "no-op": noop}),
        Bench(
            "node_firewall_1000_unchanged_vs_noop",
            unchanged / noop,
            "<=",
            1.3,
            {"unchanged": unchanged, "no-op": noop},
        ),
        # A confirmation adds one new connection and one module start: what a no-op play adds to an empty one.
        Bench(
            "node_firewall_1000_confirmation_vs_connection_and_task",
            (confirmed - first) / (noop - empty),
            "<=",
            2,
            {"confirmed": confirmed, "first": first, "no-op": noop, "empty": empty},
        ),
        Bench(
            "node_firewall_1000_vs_builtin_loop",
            looped / (first - empty),
            ">=",
            200,
            {"builtin loop, scaled to 1000": looped, "first": first, "empty": empty},
        ),
    ]


def _line(number: int) -> str:
    address = f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}"
    return f"accept in tcp from {address} port {1024 + number} name bench-{number} # benchmark rule {number}"


def _loop() -> dict[str, object]:
    return {
        "ansible.builtin.iptables": {
            "chain": "INPUT",
            "protocol": "tcp",
            "source": "198.18.{{ item // 256 }}.{{ item % 256 }}",
            "destination_port": "{{ 1024 + item }}",
            "comment": "benchmark rule {{ item }}",
            "jump": "ACCEPT",
        },
        "loop": "{{ range(count) | list }}",
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        print(f"bench: {error}\n{error.stderr or ''}", file=sys.stderr)
        sys.exit(1)
