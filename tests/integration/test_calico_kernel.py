# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel as judge of Calico's verdicts: random resources, programmed as Felix would, and real packets.

For each packet: does it come out where the verdict says, or nowhere? For each rule of each policy: has it decided as
many packets as the verdicts say? IKS_NIGHTLY=1 compares ten times as many; IKS_SEED repeats a run.
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
from collections import Counter
from collections.abc import Iterable

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_compile import compile_policies
from ansible_collections.iks.hardening.plugins.module_utils.calico_policy import ALLOW, UNTRACKED, Node
from ansible_collections.iks.hardening.plugins.module_utils.calico_verdict import Outcome, decide_packet
from ansible_collections.iks.hardening.plugins.module_utils.iptables_save import Save
from tests.felix.programmer import program

from .arena import ADDRESSES
from .judge import Arena
from .random_calico import NAT, NODE, CalicoPackets, Resources, Translated, untranslated

NIGHTLY = bool(os.environ.get("IKS_NIGHTLY"))
# Sets of resources for each backend, family and direction, with this many packets each: 2 * 2 * 3 * 6 * 30 = 2,160.
TURNS, PACKETS = (60 if NIGHTLY else 6), 30
LINKS = {link: tuple(ipaddress.ip_interface(text).ip for text in both) for link, both in ADDRESSES.items()}


def decided(outcomes: Iterable[Outcome], directions: Iterable[str]) -> Counter[str]:
    """How many packets each rule decides, by the comment that the programmer gives it."""
    return Counter(
        f"{(step.policy or '').replace('GlobalNetworkPolicy ', '')} {step.direction.lower()} {step.rule}"
        for outcome in outcomes
        for step in outcome.steps
        if step.rule is not None and step.direction in directions
    )


def counted(save: Save, directions: Iterable[str]) -> Counter[str]:
    words = {f" {direction.lower()} " for direction in directions}
    found = Counter[str]()
    for table in save.tables.values():
        for chain in table.chains.values():
            for rule in chain.rules:
                if rule.counters and rule.counters.packets and any(word in rule.view.comment for word in words):
                    found[rule.view.comment] += rule.counters.packets
    return found


def is_untranslated(item: Translated, outcome: Outcome) -> bool:
    return item.original != item.case.packet and any(
        step.stage == UNTRACKED and step.action == ALLOW for step in outcome.steps
    )


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("direction", ["in", "out", "forward"])
def test_the_kernel_does_what_the_verdict_says(
    arena: Arena, seed: int, backend: str, version: int, direction: str
) -> None:
    rng = random.Random(f"{seed} calico {backend} {version} {direction}")
    maker = CalicoPackets(rng)
    maker.number = rng.randrange(2**20)
    directions = {"in": ("Ingress",), "out": ("Egress",), "forward": ("Ingress", "Egress")}[direction]
    compared, stages = Counter[bool](), Counter[str]()
    for turn in range(TURNS):
        items = maker.translated(direction, version, PACKETS)
        documents = Resources(rng, direction, items).documents()
        policies = compile_policies(documents)
        node = Node(NODE, LINKS)
        outcomes = []
        for index, item in enumerate(items):
            outcome = decide_packet(policies, node, item.case.packet, item.original)
            if is_untranslated(item, outcome):
                items[index] = item = untranslated(item)
                outcome = decide_packet(policies, node, item.case.packet)
            outcomes.append(outcome)
        felix = program(documents, NODE, ADDRESSES)
        text = NAT[version] + felix.whole(version)
        arena.ask({"sets": felix.sets_text()})
        _loaded, passed, after = arena.judge(
            backend, text, [item.case for item in items], [outcome.allowed for outcome in outcomes]
        )
        where = f"seed {seed}, {backend}, IPv{version}, {direction}, turn {turn}"
        for index, (item, outcome) in enumerate(zip(items, outcomes, strict=True)):
            told = (
                f"{where}\n{item.case.packet}\nbefore DNAT: {item.original}\n{outcome}\n"
                f"{json.dumps(documents, indent=1)}\n{text}"
            )
            assert outcome.allowed == (index in passed), f"the kernel said {index in passed}: {told}"
            compared[outcome.allowed] += 1
            stages[outcome.decision.stage] += 1
        told_of = directions
        if direction == "forward" and any(item.case.packet.direction == "in" for item in items):
            # The host itself answers what was not translated, and its answers meet egress rules.
            told_of = ("Ingress",)
        foretold, found = decided(outcomes, told_of), counted(after, told_of)
        assert foretold == found, (
            f"{where}: rules that decided\nforetold {foretold - found}\nfound {found - foretold}\n"
            f"{json.dumps(documents, indent=1)}\n{text}"
        )
    assert compared.total() == TURNS * PACKETS
    assert min(compared[True], compared[False]) >= 5, f"one-sided, it proves nothing: {compared} {stages}"
