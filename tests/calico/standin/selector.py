# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a label selector is one: a recogniser of Calico's grammar, for validation only."""

from __future__ import annotations

import re

_TOKENS = re.compile(
    r"""\s*(?:
      (?P<string>"[^"]*"|'[^']*')
    | (?P<call>(?:all|global)\(\s*\))
    | (?P<has>has\(\s*[a-zA-Z0-9_./-]+\s*\))
    | (?P<op>==|!=|&&|\|\||[!(){},])
    | (?P<word>[a-zA-Z0-9_./-]+)
    )""",
    re.VERBOSE,
)


class _Bad(Exception):
    pass


def _tokens(text: str) -> list:
    out = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        found = _TOKENS.match(text, position)
        if not found:
            raise _Bad
        out.append((found.lastgroup, found.group(found.lastgroup)))
        position = found.end()
    out.append(("end", ""))
    return out


class _Parser:
    def __init__(self, text: str, modern: bool) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.modern = modern

    def take(self, *values: str) -> bool:
        if self.tokens[self.at][0] in ("op", "word") and self.tokens[self.at][1] in values:
            self.at += 1
            return True
        return False

    def kind(self, *kinds: str) -> bool:
        if self.tokens[self.at][0] in kinds:
            self.at += 1
            return True
        return False

    def need(self, happened: bool) -> None:
        if not happened:
            raise _Bad

    def either(self) -> None:
        self.both()
        while self.take("||"):
            self.both()

    def both(self) -> None:
        self.one()
        while self.take("&&"):
            self.one()

    def one(self) -> None:
        while self.take("!"):
            pass
        if self.take("("):
            self.either()
            self.need(self.take(")"))
        elif not self.kind("call", "has"):
            self.need(self.kind("word"))
            self.comparison()

    def comparison(self) -> None:
        if self.take("==", "!=") or (self.modern and self.takes_part()):
            self.need(self.kind("string"))
        else:
            self.take("not")
            self.need(self.take("in"))
            self.need(self.take("{"))
            if not self.take("}"):
                self.need(self.kind("string"))
                while self.take(","):
                    self.need(self.kind("string"))
                self.need(self.take("}"))

    def takes_part(self) -> bool:
        """`contains`, `starts with` or `ends with`."""
        if self.take("contains"):
            return True
        if not self.take("starts", "ends"):
            return False
        self.need(self.take("with"))
        return True


def valid(text: str, modern: bool = True) -> bool:
    """An empty text selects everything; `modern` adds the operators of API v3."""
    if not text.strip():
        return True
    try:
        parser = _Parser(text, modern)
        parser.either()
    except _Bad:
        return False
    return parser.tokens[parser.at][0] == "end"
