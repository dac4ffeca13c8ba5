# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proof by packets: what to try, from which node, and what came of it.

    outcomes = run_probes(lab, "worker1", [Probe("tcp", "169.46.7.238", 20000, expected="open")])

The packets leave from the node's own network namespace, so they pass its firewall both ways; the program that sends
them (prober.py) runs from this machine and refuses to work outside a lab.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .system import LabError

if TYPE_CHECKING:
    from .lab import Lab

PORT_PROTOCOLS = ("tcp", "udp")
# Protocols without ports or answers: proved by a raw socket that receives behind the other side's firewall.
RAW_PROTOCOLS = {"vrrp": 112, "esp": 50, "ah": 51}
RAW_WAIT = 1.0


@dataclass(frozen=True)
class Probe:
    """One packet's question. `expected` is open, closed (refused or filtered), refused, filtered, or None.

    A raw protocol needs `dst` to be an address of a node of the lab, or a multicast address and `receiver`, a node.
    """

    proto: str
    dst: str
    port: int | None = None
    src: str | None = None
    expected: str | None = None
    receiver: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        ip_address(self.dst)
        if self.proto not in (*PORT_PROTOCOLS, "icmp", *RAW_PROTOCOLS):
            raise ValueError(f"probe of {self.dst}: protocol {self.proto} is not known")
        if (self.port is None) == (self.proto in PORT_PROTOCOLS):
            raise ValueError(f"probe of {self.dst}: a port goes with tcp and udp, and only with them")
        if self.expected not in (None, "open", "closed", "refused", "filtered"):
            raise ValueError(f"probe of {self.dst}: expected {self.expected}: not open, closed, refused or filtered")

    @property
    def family(self) -> int:
        return ip_address(self.dst).version

    def __str__(self) -> str:
        where = f"[{self.dst}]" if self.family == 6 else self.dst
        return f"{self.proto} {where}{'' if self.port is None else f':{self.port}'}"


@dataclass(frozen=True)
class Outcome:
    """What a probe met: open, refused, filtered, or error (it could not be sent, so it proves nothing)."""

    probe: Probe
    result: str
    detail: str = ""
    node: str = ""

    @property
    def matched(self) -> bool:
        if self.probe.expected == "closed":
            return self.result in ("refused", "filtered")
        return self.probe.expected in (None, self.result)

    def __str__(self) -> str:
        mark = "ok" if self.matched else "NOT AS EXPECTED"
        wanted = f", expected {self.probe.expected}" if self.probe.expected else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{mark}: {self.node} -> {self.probe}: {self.result}{detail}{wanted}"


def run_probes(
    lab: Lab,
    node: str,
    probes: Iterable[Probe],
    *,
    timeout: float = 0.7,
    concurrency: int = 400,
    deadline: float | None = None,
) -> list[Outcome]:
    """Send all probes from a node (or `worker1/pod`, or `controller`); outcomes in the order of the probes.

    `timeout` is for one answer; an expected answer that does not come is asked for once more. `deadline` bounds the
    whole call in seconds; by default it follows from the number of probes.
    """
    wanted = list(probes)
    plain = [index for index, probe in enumerate(wanted) if probe.proto not in RAW_PROTOCOLS]
    raw = [index for index, probe in enumerate(wanted) if probe.proto in RAW_PROTOCOLS]
    results: dict[int, tuple[str, str]] = {}
    if plain:
        rounds = len(plain) // concurrency + 1
        limit = deadline or 5 + 3.5 * timeout * rounds
        answers = _prober(
            lab,
            lab.node_netns(node),
            {
                "mode": "probe",
                "timeout": timeout,
                "concurrency": concurrency,
                "deadline": limit,
                "probes": [_plain(wanted[index]) for index in plain],
            },
            limit,
        )
        results.update(zip(plain, answers))
    if raw:
        results.update(zip(raw, _raw_outcomes(lab, node, [wanted[index] for index in raw])))
    return [Outcome(probe, *results[index], node=node) for index, probe in enumerate(wanted)]


def _plain(probe: Probe) -> list[Any]:
    return [probe.proto, probe.dst, probe.port, probe.src, probe.expected == "open"]


def _raw_outcomes(lab: Lab, node: str, probes: Sequence[Probe]) -> list[tuple[str, str]]:
    """Listen on each target, send one marked packet a probe, and see which marks arrived."""
    marks = [uuid.uuid4().hex for _ in probes]
    targets = [probe.receiver or _owner(lab, probe.dst) for probe in probes]
    listeners = {target: _start_prober(lab.node_netns(target)) for target in set(targets)}
    for target, listener in listeners.items():
        mine = [probe for probe, owner in zip(probes, targets) if owner == target]
        request = {
            "mode": "listen",
            "lab": lab.lab_id,
            "protocols": sorted({RAW_PROTOCOLS[probe.proto] for probe in mine}),
            "groups": sorted({probe.dst for probe in mine if ip_address(probe.dst).is_multicast}),
            "wait": RAW_WAIT,
        }
        assert listener.stdin is not None
        assert listener.stdout is not None
        listener.stdin.write(json.dumps(request) + "\n")
        listener.stdin.flush()
        if listener.stdout.readline().strip() != "ready":
            _finish(listener, 5)
    sends = [[RAW_PROTOCOLS[probe.proto], probe.dst, probe.src, mark] for probe, mark in zip(probes, marks)]
    sent = _prober(lab, lab.node_netns(node), {"mode": "send", "packets": sends}, 10)
    heard = {target: set(json.loads(_finish(listener, RAW_WAIT + 5))) for target, listener in listeners.items()}
    outcomes = []
    for mark, target, error in zip(marks, targets, sent):
        if mark in heard[target]:
            outcomes.append(("open", ""))
        else:
            # A packet that the sender's own firewall stopped (EPERM) is filtered too.
            outcomes.append(("filtered", "") if error in ("", "EPERM") else ("error", error))
    return outcomes


def _owner(lab: Lab, address: str) -> str:
    for node in lab.topology.nodes:
        if any(address in (str(nic.ipv4.ip), str(nic.ipv6.ip)) for nic in node.nics):
            return node.name
    raise LabError(f"probe of {address}: no node of the lab has this address: name the node that receives (receiver)")


def _start_prober(netns: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-I", str(Path(__file__).with_name("prober.py"))]
    return subprocess.Popen(
        ["nsenter", f"--net={netns}", *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _prober(lab: Lab, netns: str, request: dict[str, Any], limit: float) -> list[Any]:
    process = _start_prober(netns)
    return json.loads(_finish(process, limit + 10, json.dumps({**request, "lab": lab.lab_id}) + "\n"))


def _finish(process: subprocess.Popen[str], limit: float, request: str | None = None) -> str:
    try:
        answer, complaint = process.communicate(request, timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise LabError(f"probes did not end within {limit:.0f} s") from None
    if process.returncode != 0:
        raise LabError((complaint.strip().splitlines() or ["the prober ended without a word"])[-1])
    return answer


def probes_from_json(text: str) -> list[Probe]:
    """A list of objects with the fields of Probe."""
    return [Probe(**entry) for entry in json.loads(text)]


def outcomes_as_json(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    return [
        {**asdict(outcome.probe), "node": outcome.node, "result": outcome.result, "detail": outcome.detail,
         "matched": outcome.matched}
        for outcome in outcomes
    ]  # fmt: skip


def expecting(probes: Iterable[Probe], expected: str | None) -> list[Probe]:
    """The same probes with another expectation: a proof is also run with the firewall absent, where it must fail."""
    return [replace(probe, expected=expected) for probe in probes]
