# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the harnesses know of the inside of a confirmed commit, all of it. Everything else is behaviour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Chains and sets that a trial leaves behind for a while, and whose presence in a dump decides nothing.
INERT = ("IKS~", "iks-gate", "iks-all")
# The gate's sets begin so. Without the entries that have a time they are as when that time is over.
GATE_PREFIX = "iks-gate"
# Transient units that clean up after a trial, as a pattern for systemctl, and what they read.
UNDO_UNITS = "iks-firewall-undo*"
UNDO_FOLDER = "/run/iks-hardening"
STATE_FOLDER = "/var/lib/iks-hardening"
XTABLES_LOCK = "/run/xtables.lock"
BOOT_UNIT = "iks-firewall.service"
GENERATIONS = f"{STATE_FOLDER}/generations"


def trial(arguments: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    """The module's arguments that put a ruleset on trial."""
    return {**arguments, "confirm_timeout": seconds, "phase": "trial"}


def confirmation(arguments: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    """The module's arguments that confirm it."""
    return {**arguments, "confirm_timeout": seconds, "phase": "confirm"}


def at_once(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The module's arguments that load a ruleset without a trial."""
    return {**arguments, "confirm_timeout": 0, "phase": "trial"}


def without_inert(lines: Iterable[str]) -> list[str]:
    """A dump (node_state) without what a trial may leave for the timer or the next run to remove."""
    return [line for line in lines if not any(mark in line for mark in INERT)]
