# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's variables stand in its argument specs, its defaults, its README and its page: all of them, in all four."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parents[1].name for path in ROOT.glob("roles/*/defaults/main.yml"))
_ROW = re.compile(r"^\| `(iks_[a-z0-9_]+)` \|", re.MULTILINE)


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_is_told(role: str) -> None:
    folder = ROOT / "roles" / role
    specs = yaml.safe_load((folder / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    wanted = set(specs["main"]["options"])
    assert wanted, role
    assert set(yaml.safe_load((folder / "defaults/main.yml").read_text(encoding="utf-8"))) == wanted
    for page in (folder / "README.md", ROOT / "docs" / f"role-{role}.md"):
        assert set(_ROW.findall(page.read_text(encoding="utf-8"))) == wanted, page
