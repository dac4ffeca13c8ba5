# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the harnesses measured, for the end of the run (conftest.py prints it)."""

from __future__ import annotations

LINES: list[str] = []


def tell(line: str) -> None:
    """Keep a line for the end, and print it, for whoever watches with -s."""
    LINES.append(line)
    print(f"\n{line}", flush=True)
