# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rule of Felix's documented behaviour is a case in tests/unit/data/calico_verdicts, with its source.

A case has the file's documents, those of `replace` in their place or of `add` beside them, and `policies`: name ->
spec of a GlobalNetworkPolicy that selects everything unless it says otherwise. A packet reads `<direction>
<protocol> from <address> to <address> [port <n>] [source-port <n>] [type <n>] [state <s>] on <interface>
[out <interface>] [before <address> port <n>] [at <node>]`, a verdict `allow|deny <stage> [<policy> <rule>]`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.iks.hardening.plugins.module_utils.calico_compile import compile_policies
from ansible_collections.iks.hardening.plugins.module_utils.calico_policy import Node
from ansible_collections.iks.hardening.plugins.module_utils.calico_verdict import NO_ENDPOINT, decide_packet
from ansible_collections.iks.hardening.plugins.module_utils.verdict import Packet

DATA = Path(__file__).resolve().parents[2] / "data" / "calico_verdicts"


def cases() -> list[Any]:
    found = []
    for path in sorted(DATA.glob("*.yml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert content["source"], path
        for case in content["cases"]:
            case.setdefault("packet", content.get("packet"))
            documents = case.get("replace") or [*content["documents"], *case.get("add", [])]
            for name, spec in case.get("policies", {}).items():
                spec = {"selector": "all()", **spec}
                documents.append({"kind": "GlobalNetworkPolicy", "metadata": {"name": name}, "spec": spec})
            found.append(pytest.param({**case, "documents": documents}, id=f"{path.stem}: {case['rule']}"))
    return found


def read_packet(text: str) -> tuple[Packet, Packet | None, str]:
    """The packet after DNAT, the one before it if there is one, and the node."""
    words = text.split()
    more = dict(zip(words[2::2], words[3::2])) if "before" not in words else None
    if more is None:
        place = words.index("before")
        after, _none, node = read_packet(" ".join(words[:place]))
        address, port = words[place + 1], int(words[place + 3])
        return after, replace(after, destination=ipaddress.ip_address(address), port=port), node
    with_ports = words[1] in ("tcp", "udp", "sctp")
    packet = Packet(
        words[0], words[1], ipaddress.ip_address(more["from"]), ipaddress.ip_address(more["to"]), more["on"],
        port=int(more["port"]) if "port" in more else None,
        source_port=int(more.get("source-port", 45678)) if with_ports else None,
        icmp_type=int(more["type"]) if "type" in more else None, icmp_code=0 if "type" in more else None,
        out_interface=more.get("out"), states=(more.get("state", "new"),),
    )  # fmt: skip
    return packet, None, more.get("at", "w1")


@pytest.mark.parametrize("case", cases())
def test_documented_rule(case: dict[str, Any]) -> None:
    packet, original, name = read_packet(case["packet"])
    links = {
        link: tuple(ipaddress.ip_address(item) for item in items) for link, items in case.get("interfaces", {}).items()
    }
    outcome = decide_packet(compile_policies(case["documents"]), Node(name, links), packet, original)
    decision = outcome.decision
    stage = "no-endpoint" if decision.stage == NO_ENDPOINT else decision.stage
    said = ["allow" if outcome.allowed else "deny", stage]
    if decision.policy is not None:
        said += [decision.policy.split()[-1], str(decision.rule)]
    assert " ".join(said) == case["verdict"], outcome
    assert all(field in " ".join(outcome.doubts) for field in case.get("doubts", [])), outcome.doubts
    assert bool(outcome.doubts) == bool(case.get("doubts"))


def test_every_file_has_its_source_and_cases() -> None:
    assert len(cases()) >= 110
