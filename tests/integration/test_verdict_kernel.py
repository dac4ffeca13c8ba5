# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel as judge of the verdicts: random rules, real packets, both families, both backends, no disagreement.

For each packet: does it come out where the verdict says, or nowhere? For each ruleset: has every rule counted as many
packets as the verdict says that it matched? IKS_NIGHTLY=1 compares ten times as many; IKS_SEED repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.chain_walk import WayVerdict, decide_saved
from ansible_collections.iks.hardening.plugins.module_utils.ipset_save import IpSet, read_sets
from ansible_collections.iks.hardening.plugins.module_utils.iptables_save import Save, parse
from ansible_collections.iks.hardening.plugins.module_utils.rule_match import Surroundings
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.verdict import decide
from tests.lab import Lab

from .random_model import model_save, random_rules
from .random_rules import EMPTY, LOCAL, SETS, Case, Packets, random_save

NODE = "master"
TOOLS = {4: "iptables", 6: "ip6tables"}
FAMILIES = {4: "ipv4", 6: "ipv6"}
NIGHTLY = bool(os.environ.get("IKS_NIGHTLY"))
# Rulesets for each backend, family and direction, with this many packets each: 2 * 2 * 3 * 5 * 50 comparisons.
RULESETS = 50 if NIGHTLY else 5
PACKETS = 50


class Arena:
    """The program of arena.py in a node: one request, one answer."""

    def __init__(self, lab: Lab) -> None:
        lab.write(NODE, "/run/arena.py", Path(__file__).with_name("arena.py").read_text(encoding="utf-8"))
        self.process = subprocess.Popen(
            [*lab.enter_command(NODE), "python3", "/run/arena.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()
        self.sets: dict[str, IpSet] = read_sets(self.ask({"sets": SETS})["save"])

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the arena ended with status {self.process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)

    def judge(self, backend: str, text: str, cases: list[Case], expect: Any) -> tuple[Save, set[int], Save]:
        """The rules as loaded, the numbers of the cases that passed, and the rules with their counters.

        `expect` says for the rules as loaded which cases should pass, so that nobody waits for the others.
        """
        version = cases[0].packet.destination.version
        answer = self.ask(
            {
                "backend": backend,
                "family": TOOLS[version],
                "empty": EMPTY,
                "rules": text,
                "prime": [(case.prime[0], case.prime[1].hex()) for case in cases if case.prime],
                "packets": [(case.how, case.data.hex()) for case in cases],
                "expected": [(case.where, _number(case)) for case, passes in zip(cases, expect, strict=True) if passes],
            }
        )
        arrived = {(where, number) for where, number in answer["arrived"]}
        passed = {index for index, case in enumerate(cases) if (case.where, _number(case)) in arrived}
        # The host's refusals quote what they refuse; what it forwards or sends goes one way only.
        places = {case.where for case in cases if case.packet.direction == "in"} or {"host", "far0", "far1"}
        strays = {item for item in arrived if item[0] in places} - {(case.where, _number(case)) for case in cases}
        assert not strays, f"packets where none should come: {strays}"
        return parse(answer["loaded"]), passed, parse(answer["counted"])


def _number(case: Case) -> int:
    return int.from_bytes(case.data[-4:], "big")


@pytest.fixture(scope="module")
def node(lab: Lab) -> Iterator[Lab]:
    lab.reset(NODE)
    lab.run(NODE, ["apt-get", "update"])
    lab.run(NODE, ["apt-get", "install", "-y", "--no-install-recommends", "iptables", "ipset"])
    yield lab
    lab.reset(NODE)


@pytest.fixture
def arena(node: Lab) -> Iterator[Arena]:
    """A new one for each test: the kernel remembers connections for minutes."""
    found = Arena(node)
    yield found
    found.close()


@pytest.fixture(scope="module")
def seed() -> int:
    return int(os.environ.get("IKS_SEED") or random.SystemRandom().randrange(2**32))


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
    for turn in range(RULESETS):
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
    assert compared.total() == RULESETS * PACKETS
    assert 5 <= compared["accept"] <= compared.total() - 5, "one-sided: it proves nothing"


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
    for turn in range(RULESETS):
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
    assert compared.total() == RULESETS * PACKETS
    assert 5 <= compared["accept"] <= compared.total() - 5, "one-sided: it proves nothing"
