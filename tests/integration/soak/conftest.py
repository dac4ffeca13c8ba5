# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What most proofs begin with, and what was measured printed: a passed test says that a bound held, not by how much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import Lab

from .beds import BACKENDS, FORMER, NODE, Bed, prepare
from .drive import Driver, driving
from .figures import LINES


@pytest.fixture(scope="module", params=BACKENDS)
def bed(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Bed]:
    """A prepared node on each backend."""
    yield prepare(lab, NODE, request.param)
    lab.reset(NODE)


@pytest.fixture
def driver(bed: Bed) -> Iterator[Driver]:
    """A driver on it, and the former rules confirmed."""
    with driving(bed.lab, NODE) as driver:
        driver.commit(FORMER)
        yield driver


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if LINES:
        terminalreporter.section("figures")
        for line in LINES:
            terminalreporter.line(line)
