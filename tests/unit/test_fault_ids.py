# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault to survive (F..) and every input to refuse (B..) has a test that bears its id.

An id counts when a test function is named after it (`test_F01_...`) or a case of a table is (`"B27-name": ...`). A
mention in a comment or a docstring does not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
REQUIRED = {
    *(f"F{number:02d}" for number in (*range(1, 31), *range(35, 44), 46)),
    *(f"B{number:02d}" for number in (*range(1, 49), *range(52, 63))),
}
_IN_FUNCTION = re.compile(r"(?<=_)[FB][0-9]{2}(?=_|$)")
_CASE = re.compile(r"([FB][0-9]{2})(?:-[A-Za-z0-9-]*)?")
_ID = re.compile(r"[FB][0-9]{2}")


def ids_in(source: str) -> set[str]:
    """Ids after which a test file names tests or cases."""
    return {name for text in _names(ast.parse(source)) for name in _ID.findall(text)}


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.name.startswith("test_"):
                yield from _IN_FUNCTION.findall(node.name)
        elif isinstance(node, ast.Dict):
            yield from (text for key in node.keys if key is not None and (text := _case(key)))
        elif isinstance(node, ast.DictComp):
            yield _case(node.key)
        elif isinstance(node, ast.keyword) and node.arg in ("id", "ids"):
            yield from (text for part in ast.walk(node.value) if (text := _case(part)))


def _case(node: ast.AST) -> str:
    """The name of a case; of one made by an f-string, its beginning."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) and _CASE.fullmatch(value) else ""


def test_every_id_has_a_test() -> None:
    found: set[str] = set()
    # Tables of cases stand beside the tests that take them, too.
    for path in (*TESTS.rglob("test_*.py"), *TESTS.glob("integration/soak/*.py")):
        found |= ids_in(path.read_text(encoding="utf-8"))
    assert sorted(REQUIRED - found) == [], "no test is named after these"


def test_what_counts_as_a_name() -> None:
    source = '''
"""F90."""
def test_F01_F02_both(): "F91"
def test_module_B03(): pass
def helper_F92(): pass
CASES = {"B04": 1, "B05-more": 2, "B93 is not one": 3, **{f"B34-{n}": n for n in (1, 2)}}
mark(ids=["F07"], other="F94")
'''
    assert ids_in(source) == {"F01", "F02", "B03", "B04", "B05", "F07", "B34"}
