# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selectors, as docs.tigera.io describes them ("Selectors"); of its own, so that it proves the collection's."""

from __future__ import annotations

import re
from typing import Callable, Dict, List

Test = Callable[[Dict[str, str]], bool]
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'[^']*'|\"[^\"]*\")|(?P<call>(?:has|all|global)\s*\()|(?P<sign>==|!=|&&|\|\||[!(){},])"
    r"|(?P<words>not\s+in\b|starts\s+with\b|ends\s+with\b)|(?P<name>[A-Za-z0-9_./-]+))"
)


def test_of(selector: str) -> Test:
    """A function from labels to whether they are selected. ValueError for what is no selector."""
    tokens: List[str] = []
    place, text = 0, selector.strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"{selector!r} at {text[place:]!r}")
        tokens.append("".join(match.group().split()) if match.lastgroup != "text" else match.group("text"))
        place = match.end()
    if not tokens:
        return lambda labels: True
    tokens.reverse()
    found = _any(tokens)
    if tokens:
        raise ValueError(f"{selector!r}: {tokens[-1]!r} is too much")
    return found


def _any(tokens: List[str]) -> Test:
    parts = [_every(tokens)]
    while tokens and tokens[-1] == "||":
        tokens.pop()
        parts.append(_every(tokens))
    return lambda labels: any(part(labels) for part in parts)


def _every(tokens: List[str]) -> Test:
    parts = [_one(tokens)]
    while tokens and tokens[-1] == "&&":
        tokens.pop()
        parts.append(_one(tokens))
    return lambda labels: all(part(labels) for part in parts)


def _one(tokens: List[str]) -> Test:
    token = tokens.pop()
    if token == "!":
        inner = _one(tokens)
        return lambda labels: not inner(labels)
    if token == "(":
        inner = _any(tokens)
        _expect(tokens, ")")
        return inner
    if token == "has(":
        name = tokens.pop()
        _expect(tokens, ")")
        return lambda labels: name in labels
    if token in ("all(", "global("):
        _expect(tokens, ")")
        return lambda labels: True
    return _comparison(token, tokens)


def _comparison(name: str, tokens: List[str]) -> Test:
    operator = tokens.pop()
    if operator in ("in", "notin"):
        _expect(tokens, "{")
        values = set()
        while tokens[-1] != "}":
            item = tokens.pop()
            if item != ",":
                values.add(item[1:-1])
        tokens.pop()
        # A label that is missing is in no set, and so "not in" every set.
        return lambda labels: (labels.get(name) in values) == (operator == "in")
    value = tokens.pop()[1:-1]
    tests: Dict[str, Test] = {
        "==": lambda labels: labels.get(name) == value,
        "!=": lambda labels: labels.get(name) != value,
        "contains": lambda labels: value in labels.get(name, "\0"),
        "startswith": lambda labels: labels.get(name, "\0").startswith(value),
        "endswith": lambda labels: labels.get(name, "\0").endswith(value),
    }
    if operator == "contains" or operator.endswith("with"):
        return lambda labels: name in labels and tests[operator](labels)
    return tests[operator]


def _expect(tokens: List[str], wanted: str) -> None:
    token = tokens.pop() if tokens else "the end"
    if token != wanted:
        raise ValueError(f"{wanted} is expected, not {token}")
