# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: a lab cluster, the playbook twice, packets as proof, and a summary.

Exit status 0 only if the second run changed nothing on any host, nothing failed, and every probe met what was expected.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time

import yaml

from tests.calico import lab as calico
from tests.lab import Lab, down, up
from tests.lab.state import resolve_id
from tests.lab.system import LabError
from tests.lab.topology import topology
from tests.proof.expectations import claims, variables
from tests.proof.table import Proof, prove, table, wait_for_paths

from .play import ROOT, Run, examined, gathered, playbook
from .report import open_to_whom, write_report, write_rules

HARDENED = "iks_masters:iks_workers:iks_gateways"
BOLD, RESET = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")


class Story:
    """Says what happens, with the time since the beginning."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def chapter(self, text: str) -> None:
        print(f"\n{BOLD}[{time.monotonic() - self.began:5.1f} s] {text}{RESET}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", default=os.environ.get("KEEP") == "1", help="leave the lab up (KEEP=1)"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100000, help="for the random ports")
    options = parser.parse_args()
    lab_id = resolve_id(None)
    try:
        return demo(lab_id, options.seed, options.keep)
    except LabError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    finally:
        if not options.keep:
            down(lab_id)


def demo(lab_id: int, seed: int, keep: bool) -> int:
    folder = ROOT / "build" / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    story = Story()

    story.chapter("A lab cluster: master, two workers, gateway; the internet; an on-premises network")
    down(lab_id)
    lab = up(lab_id)
    inventory = lab.inventory_file
    cluster = topology(lab_id)
    wanted = claims(cluster, seed, calico=True)
    settings = folder / "variables.yml"
    chosen = {**variables(cluster, calico=True), **calico.variables(cluster)}
    settings.write_text(yaml.safe_dump(chosen, sort_keys=False), encoding="utf-8")

    story.chapter("Calico: etcd with client certificates, and what programs its policies on the workers")
    calico.provision(lab)
    print("   calicoctl and Felix are stand-ins here (tests/calico, tests/felix): neither can be had in a test")

    story.chapter("Packets, before anything is hardened")
    wait_for_paths(lab)
    before = prove(lab, wanted)
    unprotected = sum(not proof.holds for proof in before)
    needing = sum(claim.needs_firewall for claim in wanted)
    print(f"   {unprotected} of {len(wanted)} claims do not hold yet; {needing} of them need the rules")

    runs = []
    for count in ("first", "second"):
        story.chapter(f"ansible-playbook iks.hardening.harden_cluster, {count} run")
        runs.append(playbook(inventory, settings, folder, folder / f"{count}-run.log"))
        if not runs[-1].clean:
            print(f"\ndemo: the {count} run failed; its output is in {folder / f'{count}-run.log'}", file=sys.stderr)
            return 1

    story.chapter("The same packets again")
    after = prove(lab, wanted)
    print(table(after, before))
    states = gathered(inventory, folder, HARDENED)
    rules = write_rules(folder, states)
    report = write_report(folder, runs, after, before, seed)
    story.chapter("What was done")
    good = _summary(runs, after, before)
    print("\n   Open on the public side, and why:")
    for name, reason, hosts in open_to_whom(states):
        print(f"     {reason}\n         {', '.join(hosts)}   (rule {name})")
    print("\n   Calico's policies, as calico_info examines them:")
    for line in examined(inventory, folder, "master", "/etc/calico/calicoctl.cfg"):
        print(f"     {line}")
    print(f"\n   Report  {report}\n   Rules   {rules}\n   Output  {folder}/first-run.log, second-run.log")
    if keep:
        _how_to_log_in(lab)
    verdict = "The cluster is hardened, and packets say so." if good else "NOT as promised: see WRONG above."
    print(f"\n{BOLD}{verdict}{RESET}")
    return 0 if good else 1


def _summary(runs: list[Run], after: list[Proof], before: list[Proof]) -> bool:
    first, second = runs
    print(f"   {'host':10}{'changed, first run':>20}{'changed, second run':>21}")
    for host, count in first.changed.items():
        print(f"   {host:10}{count:>20}{second.changed.get(host, 0):>21}")
    print(f"   {'took':10}{first.seconds:>18.1f} s{second.seconds:>19.1f} s")
    wrong = [proof for proof in after if not proof.holds]
    # A closed port proves nothing unless it was open before.
    idle = [proof.claim.title for proof in before if proof.claim.needs_firewall and proof.holds]
    packets = sum(len(proof.outcomes) for proof in after)
    print(f"\n   {packets} packets for {len(after)} claims: {len(after) - len(wrong)} hold, {len(wrong)} are wrong")
    for title in idle:
        print(f"   proves nothing, as it held without rules: {title}")
    return not wrong and not idle and not any(second.changed.values())


def _how_to_log_in(lab: Lab) -> None:
    print(
        f"\n   The lab stays up. Log in:  .venv/bin/python -m tests.lab ssh worker1   (or another node)"
        f"\n   Ansible inventory:         {lab.inventory_file}"
        f"\n   End it:                    make lab-down"
    )


if __name__ == "__main__":
    sys.exit(main())
