# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test compares before and after: a node's whole packet filter, in a normal form, and its packages."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.lab.lab import Lab

# One shell for all, also as a task of a play: every iptables the node may have, sets, native nft tables, packages.
SCRIPT = r"""
for backend in nft legacy; do
  for tool in iptables ip6tables; do
    if command -v $tool-$backend-save >/dev/null; then echo "== $backend $tool"; $tool-$backend-save 2>/dev/null; fi
  done
done
if command -v ipset >/dev/null; then echo "== sets"; ipset save 2>/dev/null; fi
for table in $(nft list tables | awk '{ print $2 "/" $3 }'); do
  case $table in
    ip/filter | ip/nat | ip/mangle | ip/raw | ip6/filter | ip6/nat | ip6/mangle | ip6/raw) ;;
    *) echo "== native $table"; nft list table ${table%/*} ${table#*/} ;;
  esac
done
echo "== packages"
dpkg-query --show
"""
# Counters, and the seed of a set's hash.
_COUNTERS = re.compile(r" \[[0-9]+:[0-9]+\]$| initval 0x[0-9a-f]+$")


def node_state(lab: Lab, node: str) -> list[str]:
    """Lines of text; without counters, dates, and tables that hold neither a rule nor a chain of anybody's."""
    return parse(lab.run(node, ["sh", "-c", SCRIPT]).stdout)


def parse(output: str) -> list[str]:
    """What SCRIPT printed, in the normal form."""
    sections: dict[str, list[str]] = {}
    title = ""
    for line in output.splitlines():
        if line.startswith("== "):
            title = line
        elif line.startswith("*"):
            title = f"{title.split(' *')[0]} {line}"
        elif line and not line.startswith("#") and line != "COMMIT":
            sections.setdefault(title, []).append(_COUNTERS.sub("", re.sub(r"counter packets \d+ bytes \d+", "", line)))
    # The kernel lists a set's members in the order of their hashes.
    sections["== sets"] = sorted(sections.get("== sets", []))
    return [f"{title}: {line}" for title, lines in sections.items() if not _is_void(lines) for line in lines]


def _is_void(lines: list[str]) -> bool:
    """Base chains alone, all accepting: what iptables leaves behind when the last rule is gone."""
    return all(line.startswith(":") and line.endswith(" ACCEPT") for line in lines)


def states(lab: Lab, nodes: Iterable[str]) -> dict[str, list[str]]:
    return {node: node_state(lab, node) for node in nodes}


def without_ours(lines: Iterable[str]) -> list[str]:
    """The same without chains and rules of the collection: what belongs to others, in its order."""
    sections: dict[str, list[str]] = {}
    for line in lines:
        if "IKS-" not in line and "IKS~" not in line:
            title, _colon, text = line.partition(": ")
            sections.setdefault(title, []).append(text)
    return [f"{title}: {line}" for title, found in sections.items() if not _is_void(found) for line in found]
