# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel as judge of the verdicts: random rules, real packets, both families, both backends, no disagreement.

For each packet: does it come out where the verdict says, or nowhere? For each ruleset: has every rule counted as many
packets as the verdict says that it matched? IKS_NIGHTLY=1 compares ten times as many; IKS_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.chain_walk import WayVerdict, decide_saved
from ansible_collections.iks.hardening.plugins.module_utils.iptables_save import Save, parse
from ansible_collections.iks.hardening.plugins.module_utils.rule_match import Surroundings
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.verdict import decide

from .judge import Arena
from .random_model import model_save, random_rules
from .random_rules import LOCAL, Packets, random_save

FAMILIES = {4: "ipv4", 6: "ipv6"}
NIGHTLY = bool(os.environ.get("IKS_NIGHTLY"))
# Rulesets for each backend, family and direction, with this many packets each: 2 * 2 * 3 * 5 * 50 comparisons.
RULESETS = 50 if NIGHTLY else 5
PACKETS = 50


def one_sided(compared: Counter[str]) -> bool:
    return not 5 <= compared["accept"] <= compared.total() - 5


def turns(compared: Counter[str]) -> Iterator[int]:
    """As many as are wanted, and more of them as long as nearly every packet passed, or none."""
    for turn in range(RULESETS * 4):
        if turn >= RULESETS and not one_sided(compared):
            return
        yield turn


def counted(save: Save) -> Counter[tuple[str, str, int]]:
    """Packets that each rule counted, by table, chain and number; the arena's own table aside."""
    return Counter(
        {
            (table.name, chain.name, number): rule.counters.packets
            for table in save.tables.values()
            for chain in table.chains.values()
            for number, rule in enumerate(chain.rules, 1)
            if rule.counters and rule.counters.packets and table.name != "security"
        }
    )


def matched(verdicts: list[WayVerdict]) -> Counter[tuple[str, str, int]]:
    """The same as foretold."""
    return Counter(
        (hook.table, chain, number)
        for verdict in verdicts
        for hook in verdict.hooks
        for chain, number in hook.matched
        if hook.table != "security"
    )


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("direction", ["in", "out", "forward"])
def test_rules_of_others_decide_as_the_verdict_says(
    arena: Arena, seed: int, backend: str, version: int, direction: str
) -> None:
    rng = random.Random(f"{seed} {backend} {version} {direction}")
    node = Surroundings(LOCAL, arena.sets)
    maker = Packets(rng)
    maker.number = rng.randrange(2**20)
    compared = Counter[str]()
    for turn in turns(compared):
        cases = maker.some(direction, version, PACKETS)
        text = random_save(rng, direction, cases)
        where = f"seed {seed}, {backend}, IPv{version}, {direction}, ruleset {turn}"
        typed = [decide_saved(parse(text), case.packet, node) for case in cases]
        loaded, passed, after = arena.judge(backend, text, cases, [verdict.passes for verdict in typed])
        verdicts = [decide_saved(loaded, case.packet, node) for case in cases]
        for index, (case, verdict) in enumerate(zip(cases, verdicts, strict=True)):
            assert verdict.passes is not None, f"{where}: uncertain: {case.packet}\n{verdict.doubts}\n{text}"
            told = f"{where}\n{case.packet}\n{verdict.action} by {verdict.decision}\n{verdict.hooks}\n{text}"
            assert verdict.passes == (index in passed), f"the kernel said {index in passed}: {told}"
            assert (typed[index].action, typed[index].passes) == (verdict.action, verdict.passes), told
            compared[verdict.action] += 1
        foretold, found = matched(verdicts), counted(after)
        assert foretold == found, f"{where}: counters\n{foretold - found}\n{found - foretold}\n{text}"
    assert compared.total() >= RULESETS * PACKETS
    assert not one_sided(compared), "it proves nothing"


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("direction", ["in", "out", "forward"])
def test_rules_of_the_model_decide_as_the_verdict_says(
    arena: Arena, seed: int, backend: str, version: int, direction: str
) -> None:
    """Our own rules as rendered: what the model says, what the rendered text says, and what the kernel does."""
    rng = random.Random(f"{seed} model {backend} {version} {direction}")
    node = Surroundings(LOCAL, arena.sets)
    maker = Packets(rng, ours=True)
    hook = {"in": "INPUT", "out": "OUTPUT", "forward": "FORWARD"}[direction]
    compared = Counter[str]()
    for turn in turns(compared):
        cases = maker.some(direction, version, PACKETS)
        closing = default_rules([{"direction": direction, "interface": "eth0"}]) if rng.random() < 0.6 else ()
        ruleset = Ruleset("node", 900, tuple(random_rules(rng, direction, cases, 10)), closing)
        rules = ruleset.for_direction(direction)
        text = model_save(rules, FAMILIES[version], hook)
        said = [decide(rules, case.packet) for case in cases]
        passing = [verdict.action in ("accept", "return") for verdict in said]
        loaded, passed, _after = arena.judge(backend, text, cases, passing)
        for index, (case, verdict) in enumerate(zip(cases, said, strict=True)):
            told = f"seed {seed}, {backend}, {direction}, ruleset {turn}\n{case.packet}\n{verdict}\n{text}"
            assert passing[index] == (index in passed), f"the kernel said {index in passed}: {told}"
            compared[verdict.action] += 1
            if (case.packet.protocol, version) == ("ah", 6):
                continue  # rules of other protocols may look behind the header, or not
            walked = decide_saved(loaded, case.packet, node)
            by = walked.decision
            assert by is not None, told
            assert by.action == verdict.action.replace("return", "accept"), f"{by}: {told}"
            assert by.comment == (verdict.rule.comment if verdict.rule else ""), f"{by}: {told}"
    assert compared.total() >= RULESETS * PACKETS
    assert not one_sided(compared), "it proves nothing"
