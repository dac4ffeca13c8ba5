# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules of the collection promise, said once."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of modules that change a node (CHANGING) and of those that only read (READING)."""

    DOCUMENTATION = "options: {}\n"

    CHANGING = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Can run in check mode and return changed status prediction without modifying the target.
  diff_mode:
    support: full
    description: Returns the rules of ours before and after.
  platform:
    support: full
    platforms: linux
    description: Target platform.
"""

    READING = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Changes nothing, and does the same in check mode.
  diff_mode:
    support: none
    description: There is nothing to compare, as nothing changes.
  platform:
    support: full
    platforms: linux
    description: Target platform.
"""
