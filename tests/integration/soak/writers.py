# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers that share a node's tables, one like kube-proxy, one like Felix. Runs in a node; standard library only.

    python3 writers.py '{"like": "kube-proxy", "backend": "nft", "writes": 300, "pause": 0}'

Each write takes the next number into chains of its own, IPv4 and IPv6 in turn. Before it, the writer reads the table: a
number that is not the one it wrote last is a lost update. `writes` 0 is without end. After the last write, or when
standard input ends, it prints {"writes": ..., "lost": [...], "repairs": ..., "refused": [...], "seconds": ...}.

kube-proxy (pkg/proxy/iptables) declares its chains, which empties them, fills them, and puts its jumps first when they
are missing, with a command each. Felix (iptables/table.go) compares what stands where with what it wants, and mends
chains and places in one restore: in Insert mode its jump is the first of INPUT and OUTPUT, in Append mode the last.
`repairs` are the times it found its jump elsewhere than it had left it.
"""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
import time
from typing import Any, Dict, List, Tuple

TOOLS = ("iptables", "ip6tables")
HOOKS = ("INPUT", "OUTPUT")
# Felix's failsafe ports, and an endpoint policy that lets everything out.
FELIX_RULES = {"INPUT": "-p tcp -m multiport --dports 22 -j ACCEPT", "OUTPUT": "-j ACCEPT"}
WAIT = ["-w", "30"]


class Writer:
    """One writer on one node."""

    def __init__(self, request: Dict[str, Any]) -> None:
        self.like, self.backend = request["like"], request["backend"]
        self.accepts = request.get("accepts", True)
        self.written: Dict[str, int] = {}
        self.lost: List[str] = []
        self.refused: List[str] = []
        self.repairs = 0

    def write(self, tool: str, number: int) -> None:
        """Read, see whether the last write is still there, write the next."""
        table = self.read(tool)
        last = self.written.get(tool)
        if last is not None and f"write {last}" not in self.number_in(table):
            self.lost.append(f"{tool}: wrote {last}, found {self.number_in(table) or 'nothing'}")
        text, jumps = (self.kube_proxy if self.like == "kube-proxy" else self.felix)(tool, table, number)
        done = subprocess.run(
            [f"{tool}-{self.backend}-restore", *WAIT, "--noflush", "--counters"],
            input=text, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            # Somebody was faster with a chain or a position: both programs read anew and try again.
            self.refused.append(f"{tool} {number}: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
            return
        for jump in jumps:
            subprocess.run([f"{tool}-{self.backend}", *WAIT, *jump], capture_output=True, check=False)
        self.written[tool] = number

    def read(self, tool: str) -> str:
        return subprocess.run(
            [f"{tool}-{self.backend}-save", "-t", "filter"], capture_output=True, text=True, check=False
        ).stdout

    def number_in(self, table: str) -> str:
        """The number that this writer's chain holds."""
        chain = "KUBE-SERVICES" if self.like == "kube-proxy" else "cali-number"
        found = re.search(rf'^-A {chain} .*"(write [0-9]+)"', table, re.MULTILINE)
        return found.group(1) if found else ""

    def kube_proxy(self, _tool: str, table: str, number: int) -> Tuple[str, List[List[str]]]:
        lines = ["*filter", ":KUBE-SERVICES - [0:0]", ":KUBE-FORWARD - [0:0]"]
        lines += [f'-A KUBE-SERVICES -m comment --comment "write {number}" -j RETURN']
        lines += [f"-A KUBE-SERVICES -p tcp --dport {9000 + part} -j RETURN" for part in range(number % 7)]
        lines += ["-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP"]
        spec = ["-m", "comment", "--comment", "kubernetes service portals", "-j", "KUBE-SERVICES"]
        missing = [hook for hook in HOOKS if f"-A {hook} " not in _jumps(table, "KUBE-SERVICES")]
        return "\n".join([*lines, "COMMIT", ""]), [["-I", hook, *spec] for hook in missing]

    def felix(self, tool: str, table: str, number: int) -> Tuple[str, List[List[str]]]:
        lines = ["*filter", ":cali-number - [0:0]"]
        chains = [f"cali-{hook}" for hook in HOOKS if f":cali-{hook} " not in table]
        lines += [f":{chain} - [0:0]" for chain in chains]
        lines += [f'-A cali-number -m comment --comment "write {number}" -j RETURN']
        for hook in HOOKS:
            if f"cali-{hook}" in chains:
                rule = FELIX_RULES[hook] if self.accepts else "-j RETURN"
                lines += [f'-A cali-{hook} -m comment --comment "cali:rule{hook}" {rule}']
            spec = f'-m comment --comment "cali:jump{hook}" -j cali-{hook}'
            present = [line for line in table.splitlines() if line.startswith(f"-A {hook} ")]
            ours = [place for place, line in enumerate(present) if line.endswith(f"-j cali-{hook}")]
            wanted = 0 if self.like == "felix-insert" else len(present) - 1
            if ours == [wanted]:
                continue
            self.repairs += tool in self.written
            lines += [f"-D {hook} {spec}" for _ in ours]
            lines += [f"{'-I' if self.like == 'felix-insert' else '-A'} {hook} {spec}"]
        return "\n".join([*lines, "COMMIT", ""]), []

    def report(self) -> Dict[str, Any]:
        """Once more everything is read: the last write counts too."""
        for tool, last in self.written.items():
            if f"write {last}" not in self.number_in(self.read(tool)):
                self.lost.append(f"{tool}: wrote {last} at last, found {self.number_in(self.read(tool)) or 'nothing'}")
        return {"writes": sum(self.written.values()), "lost": self.lost[:20], "repairs": self.repairs,
                "refused": self.refused[:20]}  # fmt: skip


def _jumps(table: str, chain: str) -> str:
    return "\n".join(line for line in table.splitlines() if line.endswith(f"-j {chain}"))


def main() -> None:
    request = json.loads(sys.argv[1])
    writer, number = Writer(request), 0
    began = time.monotonic()
    print("ready", flush=True)
    while not request["writes"] or number < request["writes"]:
        if select.select([0], [], [], request["pause"])[0]:
            break
        writer.write(TOOLS[number % 2], number)
        number += 1
    print(json.dumps({**writer.report(), "writes": number, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main()
