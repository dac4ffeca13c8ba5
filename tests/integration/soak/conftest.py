# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints what was measured: a passed test says that a bound held, not by how much."""

from __future__ import annotations

from typing import Any

from .figures import LINES


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if LINES:
        terminalreporter.section("figures")
        for line in LINES:
            terminalreporter.line(line)
