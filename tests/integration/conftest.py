# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every integration test may ask for `lab`, one running lab for the whole session."""

from __future__ import annotations

from tests.lab.pytest_plugin import fresh_nodes, lab, vm

from .judge import arena, judging_node, seed

__all__ = ["arena", "fresh_nodes", "judging_node", "lab", "seed", "vm"]
