# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift beside the filter rules (test_node_firewall.py has those): early denials, sets, and what boot loads.

Each is found in check mode and told, mended by the next run, and the run after that changes nothing.
"""
# Tables of cases: a wrapped line is harder to compare.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import Lab

from .firewall_steps import DEFAULTS, carry_out, checked, dump, dumped, firewall, foretold, shell
from .playbooks import Run, task

PEERS = ",".join(f"198.51.{number}.0/24" for number in range(20))
GIVEN: dict[str, Any] = {
    "rules": f"accept in tcp port 22 on eth0 name ssh # the way in\naccept in tcp from {PEERS} port 8080 on eth0 name peers # many",
    "defaults": DEFAULTS,
    "confirm_timeout": 0,
}
SCRIPT, UNIT = "/etc/iks-hardening/firewall-boot.sh", "/etc/systemd/system/iks-firewall.service"
WANTED = "/etc/systemd/system/sysinit.target.wants/iks-firewall.service"
GENERATIONS = "/var/lib/iks-hardening/generations"
# The newest generation by what it holds, as its number grows.
FILES = f"stat -c '%n %a %U %F' {SCRIPT} {UNIT} {WANTED} /var/lib/iks-hardening {GENERATIONS}; cat {SCRIPT} {UNIT} $(ls -r {GENERATIONS}/* | head -1) | sha256sum"
NEWEST = f"$(ls -r {GENERATIONS}/* | head -1)"
JUMP = "-m comment --comment iks.hardening -j IKS-INPUT"
SAVED = "the rules are saved for boot"
PEER_SET = "$(ipset list -n | grep iks4-)"

# name -> (what is done, what changes: a family's tables, or what is told in `saved`)
DRIFT = {
    "mangle-flushed": ("iptables -t mangle -F IKS-INPUT", "*mangle"),
    "mangle-flushed-v6": ("ip6tables -t mangle -F IKS-INPUT", "*mangle"),
    "mangle-opened": ("iptables -t mangle -I IKS-INPUT 1 -p tcp --dport 23 -j RETURN", "*mangle"),
    "mangle-jump-gone": (f"iptables -t mangle -D INPUT {JUMP}", "*mangle"),
    "both-tables": ("iptables -F IKS-INPUT-node; iptables -t mangle -F IKS-INPUT", "*filter"),
    "member-gone": (f"ipset del {PEER_SET} 198.51.7.0/24", " is filled"),
    "member-added": (f"ipset del {PEER_SET} 198.51.7.0/24; ipset add {PEER_SET} 192.0.2.0/24", " is filled"),
    "script-edited": (f"sed -i 's/-j DROP/-j ACCEPT/' {SCRIPT}", f"{SCRIPT} is written"),
    "script-writable": (f"chmod 666 {SCRIPT}", f"{SCRIPT} is written"),
    "script-linked": (f"cp {SCRIPT} /tmp/copy; ln -sf /tmp/copy {SCRIPT}", f"{SCRIPT} is written"),
    "unit-edited": (f"sed -i 's/^Before=.*/Before=shutdown.target/' {UNIT}", f"{UNIT} is written"),
    "unit-gone": (f"rm {UNIT}", f"{UNIT} is written"),
    "unit-disabled": ("systemctl -q disable iks-firewall", f"{WANTED} is written"),
    "generation-damaged": (f"echo '-A INPUT -j ACCEPT' >>{NEWEST}", SAVED),
    "generation-edited": (f"sed -i 's/--dport 22/--dport 23/' {NEWEST}", SAVED),
    "generation-older": (f"cp {NEWEST} /tmp/newest; sed -i 's/--dport 22/--dport 24/' /tmp/newest; sed 1d /tmp/newest | sha256sum | (read d _; sed -i \"1s/sha256 .*/sha256 $d/\" /tmp/newest); cp /tmp/newest {NEWEST}", SAVED),
    "generations-gone": ("rm -r /var/lib/iks-hardening", SAVED),
}  # fmt: skip
LEGACY = ("mangle-flushed", "mangle-flushed-v6", "mangle-jump-gone", "both-tables", "member-gone", "generation-older")
NODES = {"nft": ("worker2", tuple(DRIFT)), "legacy": ("gateway", LEGACY)}
RUNS = [(backend, name) for backend, (_node, names) in NODES.items() for name in names]


@pytest.fixture(scope="module")
def drifted(lab: Lab) -> Iterator[dict[str, Run]]:
    done = {}
    for backend, (node, names) in NODES.items():
        lab.reset(node)
        lab.run(node, ["sh", "-c", "apt-get -q update && apt-get -q -y install iptables ipset >/dev/null"])
        if backend == "legacy":
            lab.run(
                node,
                [
                    "sh",
                    "-c",
                    "for t in iptables ip6tables; do $t-legacy -N FOREIGN; $t-legacy -A FOREIGN -j RETURN; done",
                ],
            )
        steps = [firewall("first", GIVEN), shell("first files", FILES), dump("wanted")]
        for name in names:
            damage = DRIFT[name][0]
            if backend == "legacy":
                damage = damage.replace("tables -", "tables-legacy -")
            steps += [
                shell(f"{name} damage", damage),
                checked(f"{name} found", GIVEN),
                firewall(f"{name} mended", GIVEN),
                firewall(f"{name} again", GIVEN),
                shell(f"{name} files", FILES),
                dump(f"{name} dump"),
            ]
        done[backend] = carry_out(lab, node, *steps, task("info", "firewall_info")).succeeded()
    yield done
    lab.reset(*(node for node, _names in NODES.values()))


@pytest.mark.parametrize(("backend", "name"), RUNS, ids=[f"{name}-{backend}" for backend, name in RUNS])
def test_drift(drifted: dict[str, Run], backend: str, name: str) -> None:
    run = drifted[backend]
    assert run.one("first").data["backend"] == backend
    found, mended = run.one(f"{name} found"), run.one(f"{name} mended")
    assert found.changed
    foretold(found, mended)
    assert found.data["saved"] == mended.data["saved"]
    says = DRIFT[name][1]
    family = "ipv6" if name.endswith("v6") else "ipv4"
    if says.startswith("*"):
        assert list(found.data["commands"]) == [family]
        assert says in found.data["commands"][family]
        assert any(item.get("before") != item.get("after") for item in found.data["diff"])
    else:
        assert found.data["commands"] == {}
        assert any(says in line for line in found.data["saved"])
        assert says in "".join(item.get("prepared", "") for item in found.data["diff"])
    assert not run.one(f"{name} again").changed, run.one(f"{name} again").data
    assert run.one(f"{name} files").data["stdout"] == run.one("first files").data["stdout"]
    assert dumped(run, f"{name} dump") == dumped(run, "wanted")


def test_a_damaged_generation_is_a_note(drifted: dict[str, Run]) -> None:
    notes = drifted["nft"].one("generation-damaged found").data["notes"]
    assert any("is damaged; this run replaces it" in note for note in notes)
    boot = drifted["nft"].one("info").data["boot"]
    assert (boot["unit"], boot["generations"] == boot["intact"]) == (True, True)
