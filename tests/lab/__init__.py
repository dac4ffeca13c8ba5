# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real nodes on one machine, to prove with packets what a firewall does. README.md tells how to use it."""

from __future__ import annotations

from .lab import Lab, down, up
from .probe import Outcome, Probe, expecting, run_probes
from .system import LabError

__all__ = ["Lab", "LabError", "Outcome", "Probe", "down", "expecting", "run_probes", "up"]
