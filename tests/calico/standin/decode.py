# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents into typed values, with the real tool's conversions and refusals.

A type is a class below; `decode` gives the value as the Go structure would be written again: fields in the structure's
order, what `omitempty` leaves out left out.
"""

from __future__ import annotations

import re

from .golang import number


class DecodeError(Exception):
    """Text as after `error parsing document: `."""


def _go_kind(value) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _misfit(value, go_type: str, where: str) -> DecodeError:
    if isinstance(value, str):
        return DecodeError(f"cannot parse string '{value}' into field {where} of type {go_type}")
    return DecodeError(f"cannot parse {_go_kind(value)} into field {where} of type {go_type}")


class Text:
    """A string; numbers and truth values become their spelling, as YAML in Go does it."""

    empty = ("",)

    def decode(self, value, where: str):
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, float)):
            return number(value)
        if not isinstance(value, str):
            raise _misfit(value, "string", where)
        return value


class Flag:
    """A truth value; `pointer` keeps false, as Go's *bool does."""

    def __init__(self, pointer: bool = False) -> None:
        self.empty = () if pointer else (False,)

    def decode(self, value, where: str):
        if not isinstance(value, bool):
            raise _misfit(value, "bool", where)
        return value


class Float:
    empty = ()

    def decode(self, value, where: str):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _misfit(value, "float64", where)
        return float(value)


class Int:
    """A whole number of a Go type; pointers, so 0 is kept."""

    empty = ()

    def __init__(self, low: int, high: int, go_type: str) -> None:
        self.low, self.high, self.go_type = low, high, go_type

    def decode(self, value, where: str):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _misfit(value, self.go_type, where)
        if value != int(value) or not self.low <= value <= self.high:
            raise DecodeError(f"json: cannot unmarshal number {number(value)} into Go value of type {self.go_type}")
        return int(value)


class Many:
    """A list of one type."""

    empty = ([],)

    def __init__(self, of) -> None:
        self.of = of

    def decode(self, value, where: str):
        if not isinstance(value, list):
            raise _misfit(value, "[]" + type(self.of).__name__.lower(), where)
        return [self.of.decode(item, where) for item in value]


class Labels:
    """A map of strings, written sorted."""

    empty = ({},)

    def decode(self, value, where: str):
        if not isinstance(value, dict):
            raise _misfit(value, "map[string]string", where)
        text = Text()
        return {key: text.decode(value[key], where) if value[key] is not None else "" for key in sorted(value)}


class Raw:
    """Anything, as it is."""

    empty = ()

    def decode(self, value, where: str):
        return value


class Struct:
    """Named fields in order: (JSON name, type[, default that is always written])."""

    empty = ()

    def __init__(self, name: str, *fields) -> None:
        self.name = name
        self.fields = fields
        self.exact = {field[0]: field for field in fields}
        self.lower = {field[0].lower(): field for field in fields}

    def decode(self, value, where: str):
        if not isinstance(value, dict):
            raise _misfit(value, self.name, where)
        given = {}
        for key, item in value.items():
            field = self.exact.get(key) or self.lower.get(str(key).lower())
            if field is None:
                raise DecodeError(f"field in document is not recognized or is in the wrong location: {key}")
            given[field[0]] = item
        out = {}
        for field in self.fields:
            name, kind = field[0], field[1]
            item = given.get(name)
            if item is not None:
                decoded = kind.decode(item, f"{self.name}.{name}")
                if decoded not in kind.empty or len(field) > 2:
                    out[name] = decoded
                    continue
            if len(field) > 2:
                default = field[2]
                out[name] = type(default)(default)
        return out


_RANGE = re.compile(r"(\d+):(\d+)\Z")
_NAMED = re.compile(r"[a-zA-Z0-9_.-]{1,128}\Z")


class Port:
    """A number or a range `low:high`; from API v3 on also a name."""

    empty = ()

    def __init__(self, named: bool) -> None:
        self.named = named

    def _single(self, text: str) -> int:
        value = int(text)
        if value > 65535:
            raise DecodeError(f"invalid port format ({text})")
        return value

    def _number(self, value) -> int:
        if 0 <= value <= 65535 and value == int(value):
            return int(value)
        raise DecodeError(f"json: cannot unmarshal number {number(value)} into Go value of type uint16")

    def decode(self, value, where: str):
        if isinstance(value, (bool, list, dict)):
            raise _misfit(value, "numorstring.Port", where)
        if isinstance(value, (int, float)):
            return self._number(value)
        found = _RANGE.match(value)
        if found:
            low, high = self._single(found.group(1)), self._single(found.group(2))
            if low > high:
                raise DecodeError(
                    f"minimum port number ({low}) is greater than maximum port number ({high}) in port range"
                )
            return low if low == high else value
        if value.isdigit():
            return self._single(value)
        if self.named and _NAMED.match(value):
            return value
        raise DecodeError(
            f"invalid port format ({value})" if not self.named else f'invalid name for named port ("{value}")'
        )


class Protocol:
    """A number or a name; which names are allowed is the validator's affair."""

    empty = ()

    def decode(self, value, where: str):
        if isinstance(value, (bool, list, dict)):
            raise _misfit(value, "numorstring.Protocol", where)
        if isinstance(value, (int, float)):
            return Int(0, 255, "uint8").decode(value, where)
        if value.isdigit() and int(value) < 256:
            return int(value)
        return value
