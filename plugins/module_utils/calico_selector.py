# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calico's selectors: their grammar as libcalico-go reads it, and whether labels match.

Source: libcalico-go lib/selector (tokenizer, parser, ast), as of Calico 2.x for "v1" and of Calico 3.x for "v3".
`contains`, `starts with`, `ends with` and `global()` came with 3.x.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, FrozenSet, List, Mapping, NoReturn, Tuple

from .errors import HardeningError

# Deeper than anyone writes, and far from the depth at which Python itself gives up.
_DEEPEST = 100
# The tokenizers take these two for space, and no line break: a block text of YAML that ends in one is refused.
_SPACE = " \t"
_LABEL = re.compile(r"[a-zA-Z0-9_./-]+")
_LABEL_V1 = re.compile(r"[a-zA-Z0-9_./-]{1,512}")
_SYMBOL = re.compile(r"==|!=|&&|\|\||[(){},!]")
_CALL = re.compile(r"(all|global)\([ \t]*\)|has\([ \t]*([a-zA-Z0-9_./-]+)[ \t]*\)")
_CALL_V1 = re.compile(r"(all)\(\s*\)|has\(\s*([a-zA-Z0-9_./-]{1,512})\s*\)", re.ASCII)
_UNFINISHED_CALL = re.compile(r"(all|global|has)\(")
# The 3.x tokenizer looks for these only after a label and asks for no end of word: `a in{'b'}`, `a startswith 'b'`.
_WORD = re.compile(r"contains|starts[ \t]*with|ends[ \t]*with|not[ \t]*in|in")
# The one of 2.x looks for them everywhere, so that a label `in-zone` cannot be selected by.
_WORD_V1 = re.compile(r"not\s*in\b|in\b", re.ASCII)
_WITH_VALUE = ("==", "!=", "contains", "startswith", "endswith")

_Token = Tuple[str, str, int]


class SelectorError(HardeningError):
    """A selector that Calico does not accept. `position` is the offset of the place, from 0, in its text."""

    def __init__(self, text: str, position: int, reason: str) -> None:
        self.position = position
        rest = text[position:]
        place = f"at {rest[:24]!r}{' ...' if len(rest) > 24 else ''}" if rest else "at its end"
        super().__init__(f"selector {text!r}: position {position}, {place}: {reason}")


@dataclass(frozen=True)
class All:
    """`all()`, `global()` and an empty selector: true for whatever labels."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        return True


@dataclass(frozen=True)
class Has:
    """`has(label)`."""

    label: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        return self.label in labels


@dataclass(frozen=True)
class Compare:
    """A label against one value. A label that is not there makes `!=` true and every other operator false."""

    label: str
    operator: str
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        have = labels.get(self.label)
        if have is None:
            return self.operator == "!="
        if self.operator == "==":
            return have == self.value
        if self.operator == "!=":
            return have != self.value
        if self.operator == "contains":
            return self.value in have
        return have.startswith(self.value) if self.operator == "startswith" else have.endswith(self.value)


@dataclass(frozen=True)
class Member:
    """A label against a set of values; `not in` is true for a label that is not there."""

    label: str
    values: FrozenSet[str]
    negated: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        return (labels.get(self.label) in self.values) != self.negated


@dataclass(frozen=True)
class Not:
    """`!` before a comparison, a call or a parenthesis."""

    operand: Any

    def matches(self, labels: Mapping[str, str]) -> bool:
        return not self.operand.matches(labels)


@dataclass(frozen=True)
class Junction:
    """Operands joined by `&&` or `||`."""

    operator: str
    operands: Tuple[Any, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        found = (operand.matches(labels) for operand in self.operands)
        return all(found) if self.operator == "&&" else any(found)


@dataclass(frozen=True)
class Selector:
    """A selector that was read: its text as it was given, and its tree."""

    text: str
    root: Any

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return bool(self.root.matches(labels))


@lru_cache(maxsize=8192)
def parse(text: str, api: str = "v3") -> Selector:
    """Read a selector in the grammar of an API, "v1" or "v3". An empty one selects everything. Raises SelectorError."""
    reader = _Reader(text, _tokens(text, api == "v1"))
    if reader.kind == "end":
        return Selector(text, All())
    root = reader.expression(0)
    if reader.kind != "end":
        reader.fail("&&, || or the end is expected")
    return Selector(text, root)


def render(node: Any) -> str:
    """The text of a tree, which parses as a tree that matches the same labels. No value may hold both quotes."""
    if isinstance(node, All):
        return "all()"
    if isinstance(node, Has):
        return f"has({node.label})"
    if isinstance(node, Compare):
        operator = {"startswith": "starts with", "endswith": "ends with"}.get(node.operator, node.operator)
        return f"{node.label} {operator} {_quoted(node.value)}"
    if isinstance(node, Member):
        values = ", ".join(_quoted(value) for value in sorted(node.values))
        return f"{node.label} {'not in' if node.negated else 'in'} {{{values}}}"
    if isinstance(node, Not):
        return f"!({render(node.operand)})"
    return f" {node.operator} ".join(f"({render(operand)})" for operand in node.operands)


def _quoted(value: str) -> str:
    quote = "'" if '"' in value else '"'
    return f"{quote}{value}{quote}"


class _Reader:
    """The tokens of one selector, and how far they were read."""

    def __init__(self, text: str, tokens: List[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._next = 0
        self.kind, self.value, self.position = tokens[0]

    def fail(self, reason: str) -> NoReturn:
        raise SelectorError(self._text, self.position, reason)

    def take(self) -> str:
        """The present token's value; the next one becomes the present one."""
        value = self.value
        self._next += 1
        self.kind, self.value, self.position = self._tokens[self._next]
        return value

    def expression(self, depth: int) -> Any:
        """`||` of `&&` of operations."""
        if depth > _DEEPEST:
            self.fail(f"more than {_DEEPEST} parentheses inside each other")
        either = []
        while True:
            both = [self._operation(depth)]
            while self.kind == "&&":
                self.take()
                both.append(self._operation(depth))
            either.append(both[0] if len(both) == 1 else Junction("&&", tuple(both)))
            if self.kind != "||":
                return either[0] if len(either) == 1 else Junction("||", tuple(either))
            self.take()

    def _operation(self, depth: int) -> Any:
        negated = False
        while self.kind == "!":
            self.take()
            negated = not negated
        if self.kind == "(":
            self.take()
            node = self.expression(depth + 1)
            if self.kind != ")":
                self.fail("&&, || or ) is expected")
            self.take()
        elif self.kind == "all":
            self.take()
            node = All()
        elif self.kind == "has":
            node = Has(self.take())
        elif self.kind == "label":
            node = self._comparison(self.take())
        elif self.kind == "string":
            self.fail("a label's name is expected on the left of an operator, and it is written without quotes")
        else:
            self.fail("a comparison such as label == 'value', has(label), all(), ! or ( is expected")
        return Not(node) if negated else node

    def _comparison(self, label: str) -> Any:
        if self.kind in _WITH_VALUE:
            operator = self.take()
            if self.kind != "string":
                self.fail("a value in quotes is expected")
            return Compare(label, operator, self.take())
        if self.kind in ("in", "notin"):
            negated = self.take() == "notin"
            if self.kind != "{":
                self.fail("a set such as {'a', 'b'} is expected")
            self.take()
            return Member(label, self._values(), negated)
        return self.fail(f"an operator is expected after label {label}: ==, !=, in or not in; or write has({label})")

    def _values(self) -> FrozenSet[str]:
        values = []
        # A comma before the closing brace, and an empty set, are what the real parser takes as well.
        while self.kind == "string":
            values.append(self.take())
            if self.kind != ",":
                break
            self.take()
        if self.kind != "}":
            self.fail("a value in quotes, a comma or } is expected")
        self.take()
        return frozenset(values)


def _tokens(text: str, first: bool) -> List[_Token]:
    """Kind, value and position of each token, the last one of kind "end"; `first` for the grammar of 2.x."""
    tokens: List[_Token] = []
    position, end = 0, len(text)
    while True:
        while position < end and text[position] in _SPACE:
            position += 1
        if position == end:
            tokens.append(("end", "", end))
            return tokens
        start = text[position]
        if start in "\"'":
            close = text.find(start, position + 1)
            if close < 0:
                raise SelectorError(text, position, f"the quote {start} is never closed")
            tokens.append(("string", text[position + 1 : close], position))
            position = close + 1
            continue
        match = _SYMBOL.match(text, position)
        if match is not None:
            tokens.append((match.group(), match.group(), position))
        else:
            match = _word_v1(text, position, tokens) if first else _word(text, position, tokens)
        position = match.end()


def _word(text: str, position: int, tokens: List[_Token]) -> Any:
    if tokens and tokens[-1][0] == "label":
        match = _WORD.match(text, position)
        if match is None:
            _unexpected(text, position, tokens)
        kind = "".join(match.group().split())
        tokens.append((kind, kind, position))
        return match
    match = _CALL.match(text, position)
    if match is None and _UNFINISHED_CALL.match(text, position):
        raise SelectorError(text, position, "expected is all(), global() or has(label), each with its )")
    return _call_or_label(text, position, tokens, match, _LABEL)


def _word_v1(text: str, position: int, tokens: List[_Token]) -> Any:
    match = _WORD_V1.match(text, position)
    if match is not None:
        kind = "".join(match.group().split())
        tokens.append((kind, kind, position))
        return match
    later = _WORD.match(text, position)
    if later is not None and tokens and tokens[-1][0] == "label":
        raise SelectorError(
            text, position, f"calicoctl 1.x has no operator {later.group()!r}; allowed are ==, !=, in, not in"
        )
    return _call_or_label(text, position, tokens, _CALL_V1.match(text, position), _LABEL_V1)


def _call_or_label(text: str, position: int, tokens: List[_Token], call: Any, label: Any) -> Any:
    if call is not None:
        tokens.append(("all", "", position) if call.group(1) else ("has", call.group(2), position))
        return call
    match = label.match(text, position)
    if match is None:
        _unexpected(text, position, tokens)
    tokens.append(("label", match.group(), position))
    return match


def _unexpected(text: str, position: int, tokens: List[_Token]) -> NoReturn:
    start = text[position]
    if start in "=&|":
        reason = f"{start} is no operator; did you mean {start * 2}?"
    elif start in "\r\n":
        reason = "a line break is not allowed in a selector; in YAML write it on one line, or as a block with >-"
    elif tokens and tokens[-1][0] == "label":
        reason = (
            f"an operator is expected after label {tokens[-1][1]}: ==, !=, in, not in, contains, starts with, ends with"
        )
    else:
        reason = f"{start!r} has no meaning here; label names hold letters, digits and _ . / -, values stand in quotes"
    raise SelectorError(text, position, reason)
