# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel as judge: arena.py in a lab node, driven from here, and the fixtures for tests that ask it."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.ipset_save import IpSet, read_sets
from ansible_collections.iks.hardening.plugins.module_utils.iptables_save import Save, parse
from tests.lab import Lab

from .random_rules import EMPTY, SETS, Case

NODE = "master"
TOOLS = {4: "iptables", 6: "ip6tables"}


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
def judging_node(lab: Lab) -> Iterator[Lab]:
    lab.reset(NODE)
    lab.run(NODE, ["apt-get", "update"])
    lab.run(NODE, ["apt-get", "install", "-y", "--no-install-recommends", "iptables", "ipset"])
    yield lab
    lab.reset(NODE)


@pytest.fixture
def arena(judging_node: Lab) -> Iterator[Arena]:
    """A new one for each test: the kernel remembers connections for minutes."""
    found = Arena(judging_node)
    yield found
    found.close()


@pytest.fixture(scope="module")
def seed() -> int:
    return int(os.environ.get("IKS_SEED") or random.SystemRandom().randrange(2**32))
