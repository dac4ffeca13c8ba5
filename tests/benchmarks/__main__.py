# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: node_firewall against a no-op task, the kernel's own tools and the modules of others; calico_resource
against calicoctl.

Every figure is the median of several rounds in which all take turns, so that a slow moment of the machine meets each of
them. Exit status 0 whatever the figures say: they are printed, kept and compared by people. README.md tells how to read
them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from tests import carried
from tests.lab import down, up
from tests.lab.state import resolve_id

from . import calico, goals, texts
from .plays import Bed
from .record import Bench, keep

NODE = "master"
# iptables_state replaces what it does not know, so it gets a node that nothing else is measured on.
PEER_NODE = "worker2"
_STATE_FILE = "/run/bench.rules"
_INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "iptables", "ipset", "nftables"]


@dataclass(frozen=True)
class Scale:
    """How much is measured: numbers of rules, prefixes in a set, rules in the builtin loop, rounds; for Calico,
    policies in the loop and resources in the plans."""

    sizes: tuple[int, ...] = (10, 100, 1000, 10000)
    prefixes: int = 100_000
    looped: int = 100
    rounds: int = 5
    looped_policies: int = 50
    planned: tuple[int, int] = (1000, 10000)


QUICK = Scale(sizes=(10, 1000), prefixes=10_000, looped=20, rounds=2, looped_policies=10)
PARTS = ("firewall", "calico")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, rules and prefixes; not kept")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    options = parser.parse_args()
    scale = QUICK if options.quick else Scale()
    print(f"  load of the machine, of {os.cpu_count()} cores: {os.getloadavg()[0]:.1f}", flush=True)
    rounds = options.rounds or scale.rounds
    results: list[Bench] = []
    if options.only != "calico":
        results += _firewall(scale, rounds)
    if options.only != "firewall":
        results += calico.measure(rounds, scale.looped_policies, scale.planned)
    for result in results:
        print("  ".join(f"{name} {seconds:.3f} s" for name, seconds in result.figures.items()))
    for result in results:
        print(result)
    if not options.quick:
        load = f"{os.getloadavg()[0]:.1f} of {os.cpu_count()}"
        keep(results, {"ansible_core": version("ansible-core"), "python": sys.version.split()[0], "load": load})
    return 0


def _firewall(scale: Scale, rounds: int) -> list[Bench]:
    """node_firewall, on nodes of the lab that are there for as long as it takes."""
    lab_id = resolve_id("auto")
    try:
        lab = up(lab_id, names=[NODE, PEER_NODE], kube=False)
        with tempfile.TemporaryDirectory() as folder:
            return measure(Bed(lab, NODE, Path(folder)), Bed(lab, PEER_NODE, Path(folder)), scale, rounds)
    finally:
        down(lab_id)


def measure(bed: Bed, other: Bed, scale: Scale, rounds: int) -> list[Bench]:
    """All in turns, and what is made of the times."""
    for place in (bed, other):
        place.lab.run(place.node, ["apt-get", "update"], timeout=300)
        place.lab.run(place.node, _INSTALL, timeout=300)
    lines = {str(size): texts.rule_lines(size) for size in scale.sizes} | {"set": texts.prefix_line(scale.prefixes)}
    empty = bed.write("empty")
    noop = bed.write("no-op", {"ansible.builtin.ping": {}})
    load = {
        "iks.hardening.node_firewall": {
            "name": texts.NAME,
            "rules": "{{ lookup('ansible.builtin.file', text) }}",
            "confirm_timeout": "{{ wait }}",
        }
    }
    plays = {}
    for name, text in lines.items():
        source = bed.folder / f"{name}.txt"
        source.write_text(text, encoding="utf-8")
        variables = {"text": str(source), "wait": 0}
        plays[name] = bed.write(f"load-{name}", load, variables=variables)
        plays[f"{name}-confirmed"] = bed.write(f"confirmed-{name}", load, variables={**variables, "wait": 30})
    remove = bed.write(
        "remove", {"iks.hardening.node_firewall": {"name": texts.NAME, "state": "absent", "confirm_timeout": 0}}
    )
    state = _iptables_state(other)
    bed.run(noop, timed=False)
    for number in range(rounds):
        print(f"  round {number + 1} of {rounds}", flush=True)
        bed.run(empty)
        bed.run(noop)
        for name in lines:
            bed.run(plays[name], name=f"check-{name}", options=["--check"], expect_changed=1)
            bed.run(plays[name], name=f"first-{name}", expect_changed=1)
            bed.run(plays[name], name=f"unchanged-{name}", expect_changed=0)
            bed.run(remove, timed=False, expect_changed=1)
        confirmed = plays[f"{goals.RULES}-confirmed"]
        bed.run(confirmed, name=f"confirmed-{goals.RULES}", expect_changed=1)
        bed.run(remove, timed=False, expect_changed=1)
        _raw(bed, lines)
        if state is not None:
            _run_iptables_state(other, *state)
    counts = _counted(bed, plays, remove)
    print(f"  ansible.builtin.iptables, {scale.looped} rules in a loop", flush=True)
    loop = bed.write("builtin-loop", _loop(), variables={"count": scale.looped})
    bed.run(loop, expect_changed=1)
    seconds = {name: bed.median(name) for name in bed.times} | {name: other.median(name) for name in other.times}
    return [
        *goals.ratios(seconds, scale.sizes, scale.prefixes, scale.looped),
        goals.planning({size: _planning_time(lines[str(size)]) for size in scale.sizes[-2:]}),
        *counts,
    ]


def _raw(bed: Bed, lines: dict[str, str]) -> None:
    """The floor: what the kernel's own tools need for the same content."""
    state = texts.planned(lines[str(goals.RULES)])
    restore = ["iptables-restore", "-w", "10", "--noflush"]
    bed.run_on_node(f"iptables-restore-{goals.RULES}", restore, texts.load_text(state))
    bed.lab.run(bed.node, restore, stdin=texts.removal_text(state))
    name, text = texts.ipset_text(texts.planned(lines["set"]))
    bed.run_on_node("ipset-restore", ["ipset", "restore"], text)
    bed.lab.run(bed.node, ["ipset", "destroy", name])
    count = lines["set"].count(",") + 1
    for name, text in ((f"nft-{goals.RULES}", texts.nft_rules(goals.RULES)), ("nft-set", texts.nft_set(count))):
        bed.run_on_node(name, ["nft", "-f", "-"], text)
        bed.lab.run(bed.node, ["nft", "delete", "table", "inet", texts.NFT_TABLE])


def _iptables_state(other: Bed) -> tuple[Path, Path] | None:
    """The play of community.general.iptables_state and where its collection is; None when it cannot be had."""
    try:
        collections = carried.collections()
    except carried.PeerMissing as error:
        print(f"  peer missing: community.general.iptables_state: {error}", flush=True)
        return None
    # As its documentation says: asynchronous and not polled, or it has no rollback.
    task = {
        "community.general.iptables_state": {"state": "restored", "path": _STATE_FILE, "noflush": True},
        "async": "{{ ansible_timeout | default(10) }}",
        "poll": 0,
    }
    return other.write("iptables-state", task), collections


def _run_iptables_state(other: Bed, play: Path, collections: Path) -> None:
    state = texts.planned(texts.rule_lines(goals.RULES))
    other.lab.write(other.node, _STATE_FILE, texts.load_text(state))
    other.run(play, expect_changed=1, collections=collections)
    other.lab.run(other.node, ["iptables-restore", "--noflush"], stdin=texts.removal_text(state))


def _counted(bed: Bed, plays: dict[str, Path], remove: Path) -> list[Bench]:
    """What a confirmation adds, counted instead of timed: module starts and connections."""
    found = {}
    for kind in ("", "-confirmed"):
        said = bed.run(plays[f"{goals.RULES}{kind}"], timed=False, expect_changed=1, options=["-vvv"])
        bed.run(remove, timed=False, expect_changed=1)
        found[kind] = (said.count("Using module file"), said.count("ControlPath=none"))
    starts, connections = (after - before for before, after in zip(found[""], found["-confirmed"], strict=True))
    return [
        Bench("node_firewall_confirmation_module_starts", starts, "<=", 1),
        Bench("node_firewall_confirmation_new_connections", connections, "<=", 1),
    ]


def _planning_time(lines: str, times: int = 5) -> float:
    """Seconds of reading rules and planning, on the controller: the same pure functions that run on nodes."""
    found = []
    for _round in range(times):
        began = time.process_time()
        texts.load_text(texts.planned(lines))
        found.append(time.process_time() - began)
    return median(found)


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
