# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programmer as a node's daemon calls it: beside the chains of others, as often as one likes, with no leftovers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.lab import Lab

from .judge import NODE

FELIX = Path(__file__).parents[1] / "felix"
ENDPOINT = {"kind": "HostEndpoint", "metadata": {"name": "h", "labels": {"a": "b"}},
            "spec": {"node": NODE, "interfaceName": "eth9"}}  # fmt: skip
OFFICE = {"kind": "GlobalNetworkSet", "metadata": {"name": "s", "labels": {"who": "office"}},
          "spec": {"nets": ["198.51.100.0/24", "2001:db8::/32"]}}  # fmt: skip
POLICY = {"kind": "GlobalNetworkPolicy", "metadata": {"name": "p"},
          "spec": {"selector": "a == 'b'", "applyOnForward": True, "preDNAT": True,
                   "ingress": [{"action": "Deny", "source": {"selector": "who == 'office'"}}]}}  # fmt: skip
OTHERS = (("filter", "IKS-TEST", "INPUT"), ("filter", "KUBE-TEST", "FORWARD"))


def apply(lab: Lab, documents: list[dict[str, Any]]) -> dict[str, str]:
    """What the node has afterwards, without counters and comments."""
    lab.write(NODE, "/run/documents.json", json.dumps(documents))
    lab.run(NODE, ["sh", "-c", f"cd /run && python3 -m felix --node {NODE} --apply < /run/documents.json"])
    found = {tool: lab.run(NODE, [f"{tool}-save"]).stdout for tool in ("iptables", "ip6tables")}
    found["ipset"] = lab.run(NODE, ["ipset", "list", "-n"]).stdout
    return {
        tool: "\n".join(line.split(" [")[0] for line in text.splitlines() if not line.startswith("#"))
        for tool, text in found.items()
    }


def test_it_lives_beside_others_and_leaves_nothing_over(judging_node: Lab) -> None:
    lab = judging_node
    lab.run(NODE, ["ip", "link", "add", "eth9", "type", "veth", "peer", "name", "eth8"])
    lab.run(NODE, ["mkdir", "-p", "/run/felix"])
    for path in FELIX.glob("*.py"):
        lab.write(NODE, f"/run/felix/{path.name}", path.read_text(encoding="utf-8"))
    for table, chain, hook in OTHERS:
        lab.run(NODE, ["iptables", "-t", table, "-N", chain])
        lab.run(NODE, ["iptables", "-t", table, "-A", hook, "-j", chain])
    bare = apply(lab, [])
    full = apply(lab, [ENDPOINT, OFFICE, POLICY])
    assert "-A cali-fh-host -i eth9 -g cali-fh-eth9" in full["iptables"]
    assert "cali-fh-eth9" in full["ip6tables"]
    assert full["ipset"].count("cali40s:") == full["ipset"].count("cali60s:") == 1
    assert apply(lab, [ENDPOINT, OFFICE, POLICY]) == full
    for _table, chain, hook in OTHERS:
        assert full["iptables"].count(f"-A {hook} -j {chain}") == 1
    # Felix's chains are entered first.
    lines = full["iptables"].splitlines()
    assert lines.index("-A INPUT -j cali-INPUT") < lines.index("-A INPUT -j IKS-TEST")
    # Another policy, another set: the former ones go, and with the endpoint everything that was about it.
    other = {**POLICY, "metadata": {"name": "q"}}
    assert apply(lab, [ENDPOINT, OFFICE, other])["ipset"] == full["ipset"]
    assert apply(lab, []) == bare
