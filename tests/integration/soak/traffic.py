# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floods beside a change of rules, and what came of them: leaks, losses, stalls.

    with flooding(lab, "worker2", "gateway") as flood:
        ...swap rules...
    report = flood.report()

Whatever the machine does, a figure counts only when the run was worth something: `Report.void` says why it was not.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.lab import Lab

PROGRAM = Path(__file__).with_name("flood.py")
ROOT = Path(__file__).resolve().parents[3]
# Ports of the node under flood: UDP that the rules deny, UDP that they allow, TCP for the ping-pong.
DENIED, ALLOWED, PINGPONG = 7101, 7100, 7102
# Packets a second, and the share of them below which nothing was proved. The rates stand for both families together.
RATES = {"denied": 60_000, "allowed": 20_000}
FLOOR = 0.25
FAMILIES = ("ipv4", "ipv6")
# Seconds that an established connection may wait.
STALL = 1.0


@dataclass(frozen=True)
class Report:
    """Counts of one flood. Rates are packets a second, stalls seconds."""

    seconds: float
    rates: dict[str, float]
    leaked: dict[str, int]
    lost: dict[str, int]
    lost_elsewhere: int
    stalls: dict[str, float]
    broken: dict[str, str]
    gaps: dict[str, list[Any]]

    @property
    def void(self) -> str:
        """Why the run proves nothing, or an empty string."""
        for kind, wanted in RATES.items():
            if self.rates[kind] < FLOOR * wanted:
                return f"only {self.rates[kind]:.0f} {kind} packets a second, wanted {wanted}"
        if sum(self.lost.values()) and self.lost_elsewhere:
            return f"{self.lost_elsewhere} packets were lost in queues, so a loss by the rules cannot be told from them"
        return ""

    def __str__(self) -> str:
        rates = ", ".join(f"{rate:.0f}/s {kind}" for kind, rate in self.rates.items())
        leaks = ", ".join(f"{count} {family}" for family, count in self.leaked.items())
        losses = ", ".join(f"{count} {family}" for family, count in self.lost.items())
        return (
            f"{self.seconds:.1f} s, {rates}; denied but accepted: {leaks}; allowed but lost: {losses} "
            f"({self.lost_elsewhere} in queues); longest stall {max(self.stalls.values()) * 1000:.0f} ms"
        )


class Part:
    """One running flood.py."""

    def __init__(self, lab: Lab, node: str, request: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            ["nsenter", f"--net={lab.node_netns(node)}", sys.executable, "-I", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**request, "lab": lab.lab_id}) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "ready\n", f"{request['mode']} on {node} did not start"

    def finish(self) -> dict[str, Any]:
        """End it; its counts."""
        output, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, output
        found = json.loads(output)
        assert isinstance(found, dict)
        return found

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class Flood:
    """The parts of a flood, and after its end the report."""

    def __init__(self, lab: Lab, source: str, target: str) -> None:
        nic = next(nic for nic in lab.topology.node(target).nics if nic.bridge == "priv")
        addresses = {"ipv4": str(nic.ipv4.ip), "ipv6": str(nic.ipv6.ip)}
        flows = [
            {"name": f"{kind} {family}", "address": addresses[family], "port": port, "rate": RATES[kind] / 2}
            for kind, port in (("denied", DENIED), ("allowed", ALLOWED))
            for family in FAMILIES
        ]
        pair = {"addresses": list(addresses.values()), "port": PINGPONG}
        self.parts: dict[str, Part] = {}
        self._report: Report | None = None
        self._addresses = addresses
        for name, node, request in (
            ("receive", target, {"flows": flows}),
            ("serve", target, pair),
            ("ping", source, pair),
            ("send", source, {"flows": flows}),
        ):
            self.parts[name] = Part(lab, node, {"mode": name, **request})

    def end(self) -> None:
        """Senders first, so that nothing is under way when the receiver counts."""
        found = {name: self.parts.pop(name).finish() for name in ("send", "ping", "receive", "serve")}
        self._report = _report(found, self._addresses)

    def kill(self) -> None:
        for part in self.parts.values():
            part.kill()

    def report(self) -> Report:
        assert self._report is not None, "the flood has not ended"
        return self._report


@contextlib.contextmanager
def flooding(lab: Lab, source: str, target: str) -> Iterator[Flood]:
    """Flood the private address of `target` from `source` while the block runs."""
    flood = Flood(lab, source, target)
    try:
        yield flood
        flood.end()
    finally:
        flood.kill()


def _report(found: dict[str, Any], addresses: dict[str, str]) -> Report:
    seconds = found["send"]["seconds"]
    sent = {name: flow["sent"] for name, flow in found["send"]["flows"].items()}
    got = {name: flow["received"] for name, flow in found["receive"]["flows"].items()}
    kernel = found["receive"]["kernel"]
    # A round trip of the ping-pong is one packet in; its acknowledgement rides on the next.
    arrived = kernel["IpInReceives"] + kernel["Ip6InReceives"] - sum(link["rounds"] for link in found["ping"].values())
    in_queues = max(0, sum(sent.values()) - arrived)
    return Report(
        seconds=seconds,
        rates={kind: sum(count for name, count in sent.items() if name.startswith(kind)) / seconds for kind in RATES},
        leaked={family: got[f"denied {family}"] for family in FAMILIES},
        lost={family: sent[f"allowed {family}"] - got[f"allowed {family}"] for family in FAMILIES},
        lost_elsewhere=in_queues + kernel["UdpRcvbufErrors"] + kernel["Udp6RcvbufErrors"],
        stalls={family: found["ping"][address]["worst"] for family, address in addresses.items()},
        broken={family: found["ping"][address]["broken"] for family, address in addresses.items()},
        gaps={name: flow["gaps"] for name, flow in found["receive"]["flows"].items()},
    )
