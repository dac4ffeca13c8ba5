# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users read when something is refused."""

from __future__ import annotations

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.errors import choices, unchanged


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("port 0 is outside 1-65535", "port 0 is outside 1-65535. Nothing was changed"),
        ("did you mean eth1?", "did you mean eth1? Nothing was changed"),
        ("no lock; nothing was changed", "no lock; nothing was changed"),
        ("ip6tables failed; the ipv4 rules were put back", "ip6tables failed; the ipv4 rules were put back"),
        ("reason 'they changed it' is too long", "reason 'they changed it' is too long. Nothing was changed"),
    ],
)
def test_unchanged_says_it_once(text: str, told: str) -> None:
    assert unchanged(text) == told


def test_choices_names_the_nearest() -> None:
    assert (
        choices("action", "acept", ["accept", "drop"])
        == "action: 'acept' is not one of accept, drop; did you mean accept?"
    )
