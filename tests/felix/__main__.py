# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python3 -m felix --node NAME [--apply] < documents.json`: print what is programmed, or program it.

Applied are our chains and sets alone, beside whatever else the node has; ours that are no longer wanted go.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Dict, List

from .programmer import APPENDED, HOOKS, Program, program, read

TOOLS = {4: "iptables", 6: "ip6tables"}


def run(*argv: str, stdin: str = "", check: bool = True) -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, encoding="utf-8", check=False)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(argv)}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout if done.returncode == 0 else "failed"


def interfaces() -> Dict[str, List[str]]:
    """The node's own."""
    return {
        link["ifname"]: [f"{item['local']}/{item['prefixlen']}" for item in link["addr_info"]]
        for link in json.loads(run("ip", "-json", "address"))
    }


def apply(wanted: Program) -> None:
    """Sets first, chains in one call a family, their places in the built-in chains, and then what is left over."""
    run("ipset", "-exist", "restore", stdin=wanted.sets_text())
    for version, tool in TOOLS.items():
        run(f"{tool}-restore", "--noflush", "-w", "5", stdin=wanted.text(version))
        for table, hooks in HOOKS.items():
            for chain, own in hooks.items():
                _ensure(tool, table, chain, ["-j", own], "-I")
            if table == "filter":
                for line in APPENDED:
                    _ensure(tool, table, "FORWARD", line.split(), "-A")
            # They may enter one another: empty all of them before the first one goes.
            left = sorted(_chains(tool, table) - set(wanted.tables[version][table]))
            for how in ("-F", "-X"):
                for chain in left:
                    run(tool, "-w", "5", "-t", table, how, chain)
    known = {name for sets in wanted.sets.values() for name in sets}
    for name in run("ipset", "list", "-n").split():
        if name.startswith(("cali40", "cali60")) and name not in known:
            run("ipset", "destroy", name, check=False)


def _ensure(tool: str, table: str, chain: str, rule: List[str], how: str) -> None:
    if run(tool, "-w", "5", "-t", table, "-C", chain, *rule, check=False) == "failed":
        run(tool, "-w", "5", "-t", table, how, chain, *rule)


def _chains(tool: str, table: str) -> set[str]:
    lines = run(f"{tool}-save", "-t", table).splitlines()
    return {line[1:].split()[0] for line in lines if line.startswith(":cali-")}


def main() -> None:
    parser = argparse.ArgumentParser(prog="felix", description=__doc__)
    parser.add_argument("--node", required=True, help="the node's name in the documents")
    parser.add_argument("--apply", action="store_true", help="program this machine; otherwise print")
    options = parser.parse_args()
    wanted = program(read(sys.stdin.read()), options.node, interfaces())
    if options.apply:
        apply(wanted)
        return
    print(wanted.sets_text(), *(f"# {TOOLS[version]}\n{wanted.text(version)}" for version in TOOLS), sep="\n")


if __name__ == "__main__":
    main()
