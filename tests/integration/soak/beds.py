# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes to try things on: fresh, with packages, on a backend; and rulesets whose difference packets can tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.lab import Probe, run_probes
from tests.lab.lab import Lab

from . import names

BACKENDS = ("nft", "legacy")
# The node that is tried on (no kube-proxy, so that it can have either backend), and the one that sends.
NODE, PEER = "gateway", "worker2"
# Interface of the private network on NODE, by which the controller comes.
PRIVATE = "eth1"
TOOLS = {"ipv4": "iptables", "ipv6": "ip6tables"}
DEFAULTS = [{"direction": "in", "interface": PRIVATE}]
SSH = "accept in tcp port 22 name ssh # the way in"
# Ports with a listener: one that only the former, one that only the new rules open.
FORMER_PORT, NEW_PORT = 7001, 7002


@dataclass(frozen=True)
class Bed:
    """A prepared node: `backend` holds its rules."""

    lab: Lab
    node: str
    backend: str

    def address(self, family: str) -> str:
        """Its address on the private network."""
        nic = next(nic for nic in self.lab.topology.node(self.node).nics if nic.bridge == "priv")
        return str((nic.ipv4 if family == "ipv4" else nic.ipv6).ip)

    def sh(self, script: str, *, check: bool = True, stdin: str | None = None, timeout: float = 60) -> str:
        """Run a shell script as root in the node, past its network."""
        return self.lab.run(self.node, ["sh", "-c", script], check=check, stdin=stdin, timeout=timeout).stdout

    def tool(self, family: str, action: str = "") -> str:
        """iptables of this backend and family: `save`, `restore`, or nothing for the plain command."""
        return f"{TOOLS[family]}-{self.backend}{f'-{action}' if action else ''}"


def prepare(lab: Lab, node: str, backend: str) -> Bed:
    """A fresh node with packages, rules of the backend on it, and listeners on both ports."""
    lab.reset(node)
    bed = Bed(lab, node, backend)
    bed.sh("apt-get -q update >/dev/null 2>&1; apt-get -q -y install iptables ipset >/dev/null")
    # A probe that is refused is told so each time.
    bed.sh("sysctl -q -w net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")
    # And a source port that is used once more is a stranger's: what was let in a while ago counts as known.
    bed.sh("sysctl -q -w net.netfilter.nf_conntrack_udp_timeout=1 net.netfilter.nf_conntrack_udp_timeout_stream=1")
    if backend == "legacy":
        # Rules of others decide the backend.
        bed.sh("for t in iptables ip6tables; do $t-legacy -N FOREIGN; $t-legacy -A FOREIGN -j RETURN; done")
    listen(bed, FORMER_PORT, NEW_PORT)
    return bed


def listen(bed: Bed, *ports: int) -> None:
    """Something that answers on these UDP ports, until the node's end."""
    words = ",".join(map(str, ports))
    unit = f"systemd-run --quiet --collect python3 /usr/local/lib/iks-lab/echo.py --udp {words}"
    bed.sh(unit)


def ruleset(*lines: str, defaults: Iterable[dict[str, Any]] = DEFAULTS, **more: Any) -> dict[str, Any]:
    """Arguments of a ruleset that lets SSH in, these lines, and nothing else on the private interface."""
    return {"name": "node", "rules": "\n".join((SSH, *lines)), "defaults": list(defaults), **more}


def opening(port: int) -> str:
    return f"accept in udp port {port} name port-{port} # what the packets ask for"


# What they deny they refuse, so that a probe has its answer at once. (A TCP client takes an ICMPv6 error for passing.)
REFUSING = [{"direction": "in", "interface": PRIVATE, "action": "reject"}]
FORMER = ruleset(opening(FORMER_PORT), defaults=REFUSING)
NEW = ruleset(opening(NEW_PORT), defaults=REFUSING)
# What each port looks like from outside, former port first.
OLD_SEEN, NEW_SEEN = ("open", "refused"), ("refused", "open")


def seen(bed: Bed) -> dict[str, tuple[str, ...]]:
    """Family -> what the two ports look like from the controller."""
    probes = [Probe("udp", bed.address(family), port) for family in TOOLS for port in (FORMER_PORT, NEW_PORT)]
    results = [outcome.result for outcome in run_probes(bed.lab, "controller", probes, timeout=1.0)]
    return {"ipv4": tuple(results[:2]), "ipv6": tuple(results[2:])}


def expire(bed: Bed) -> None:
    """Bring about what the kernel does when a gate's time is over: the entries that have a time are gone."""
    timed = f'$1 == "add" && $2 ~ /^{names.GATE_PREFIX}/ && $5 > 0 {{ print "del", $2, $3 }}'
    bed.sh(f"ipset save | awk '{timed}' | ipset restore")


def roll_back(bed: Bed) -> None:
    """What time does to a trial: the gate closes, and the timers' services run."""
    expire(bed)
    bed.sh(
        f"for timer in $(systemctl list-units --plain --no-legend '{names.UNDO_UNITS}.timer' | cut -d' ' -f1); do "
        "systemctl start --wait ${timer%.timer}.service; systemctl stop $timer; done"
    )


def poll(condition: Callable[[], bool], seconds: float, what: str, step: float = 0.1) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s: {what}"
        time.sleep(step)
