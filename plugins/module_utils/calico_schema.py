# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fields of a Calico resource hold: how a value is read, and its canonical form.

Each field type has two halves. `read` is strict: what a user wrote becomes what is sent, or ValueRefused says why not.
`canonical` never raises, keeps what it does not know, and is equal for two values that mean the same; None is "as if
the field were not there".
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from .calico_values import ValueRefused, canonical_order, one_of, text_of

# What YAML 1.1 takes for true and false beside these two words; the reader of files keeps them as they were written.
_YES = frozenset(("y", "yes", "on"))
_NO = frozenset(("n", "no", "off"))

Check = Callable[[Dict[str, Any]], None]


class Free:
    """Whatever JSON can hold."""

    def read(self, value: Any) -> Any:
        return value

    def canonical(self, value: Any) -> Any:
        return value


class Text:
    """Text; a number becomes its digits, as calicoctl does it."""

    def __init__(
        self,
        reader: Optional[Callable[[str], Any]] = None,
        canonical: Optional[Callable[[Any], Any]] = None,
        default: Optional[str] = None,
    ) -> None:
        self._reader = reader
        self._canonical = canonical
        self._default = default

    def read(self, value: Any) -> Any:
        text = value if isinstance(value, str) else text_of(value)
        if text is None:
            raise ValueRefused(_not_text(value))
        return self._reader(text) if self._reader is not None and text else text

    def canonical(self, value: Any) -> Any:
        if value == "" or value == self._default:
            return None
        return value if self._canonical is None else self._canonical(value)


def _not_text(value: Any) -> str:
    if isinstance(value, bool):
        return f"{json.dumps(value)} is not text; YAML reads yes, no, on and off so: write it in quotes"
    return f"{_shown(value)} is not text"


class Words:
    """One of a few words."""

    def __init__(self, words: Tuple[str, ...], default: Optional[str] = None, required: bool = False) -> None:
        self._words = words
        self._default = default
        self._required = required

    def read(self, value: Any) -> str:
        if value in self._words:
            return str(value)
        if value == "" and not self._required:
            return ""
        raise ValueRefused(one_of(value, self._words))

    def canonical(self, value: Any) -> Any:
        return None if value == "" or value == self._default else value


class Scalar:
    """A value with a reader of its own, text or number (ports, protocols)."""

    def __init__(self, reader: Callable[[Any], Any], canonical: Callable[[Any], Any]) -> None:
        self._reader = reader
        self._canonical = canonical

    def read(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValueRefused(f"{_shown(value)} is neither a number nor text")
        return self._reader(value)

    def canonical(self, value: Any) -> Any:
        return None if value == "" else self._canonical(value) if isinstance(value, (str, int)) else value


class Flag:
    """True or false; where it is `kept`, false says something else than silence."""

    def __init__(self, kept: bool = False) -> None:
        self._kept = kept

    def read(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = value.lower() if isinstance(value, str) else ""
        if word in _YES or word in _NO:
            return word in _YES
        hint = "; write it without quotes" if word in ("true", "false") else ""
        raise ValueRefused(f"{_shown(value)} is neither true nor false{hint}")

    def canonical(self, value: Any) -> Any:
        return value if self._kept or value is not False else None


class Whole:
    """A whole number between two limits; where it is `kept`, 0 says something else than silence."""

    def __init__(self, least: int = -(2**31), most: int = 2**32 - 1, kept: bool = True) -> None:
        self._least = least
        self._most = most
        self._kept = kept

    def read(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            hint = "; write it without quotes" if isinstance(value, str) and value.isdigit() else ""
            raise ValueRefused(f"{_shown(value)} is not a whole number{hint}")
        if not self._least <= value <= self._most:
            raise ValueRefused(f"{value} is not from {self._least} to {self._most}")
        return value

    def canonical(self, value: Any) -> Any:
        return value if self._kept or value != 0 else None


class Real:
    """A number, with a fraction or without."""

    def read(self, value: Any) -> Union[int, float]:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            hint = "; write it without quotes" if isinstance(value, str) and value[:1].isdigit() else ""
            raise ValueRefused(f"{_shown(value)} is not a number{hint}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueRefused(f"{value} is not a number that JSON can hold")
        return value

    def canonical(self, value: Any) -> Any:
        return canonical_order(value)


class ListOf:
    """A list; where it is not `ordered`, neither the order nor a repetition in it means anything."""

    def __init__(self, item: Any, ordered: bool = False, kept: bool = False) -> None:
        self._item = item
        self._ordered = ordered
        self._kept = kept

    def read(self, value: Any) -> List[Any]:
        if not isinstance(value, (list, tuple)):
            raise ValueRefused(f"{_shown(value)} is not a list; write [{_shown(value)}]")
        read = self._item.read
        out = []
        for place, item in enumerate(value):
            try:
                out.append(read(item))
            except ValueRefused as error:
                error.path.insert(0, place)
                raise
        return out

    def canonical(self, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        if not value:
            return [] if self._kept else None
        canonical = self._item.canonical
        if self._ordered:
            return [canonical(item) for item in value]
        if len(value) == 1:
            return [canonical(value[0])]
        return [item for _key, item in sorted({_sort_key(item): item for item in map(canonical, value)}.items())]


def _sort_key(item: Any) -> Tuple[int, Any]:
    if isinstance(item, str):
        return (1, item)
    return (0, item) if isinstance(item, int) else (2, json.dumps(item, sort_keys=True))


class MapOf:
    """Names and texts: labels, annotations. `reader` refuses a pair."""

    def __init__(self, reader: Optional[Callable[[str, str], None]] = None) -> None:
        self._reader = reader

    def read(self, value: Any) -> Dict[str, str]:
        if not isinstance(value, Mapping):
            raise ValueRefused(f"{_shown(value)} is not a mapping of names to texts")
        out = {}
        for key, item in value.items():
            name = text_of(key)
            # Here, and only here, calicoctl's "true" for true is what was meant.
            text = json.dumps(item) if isinstance(item, bool) else "" if item is None else text_of(item)
            if name is None or text is None:
                raise ValueRefused(f"{_shown(item)} is not text", str(key))
            if self._reader is not None:
                try:
                    self._reader(name, text)
                except ValueRefused as error:
                    error.path.insert(0, name)
                    raise
            out[name] = text
        return out

    def canonical(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: text_of(item) if text_of(item) is not None else item for key, item in value.items()} or None


class Struct:
    """Named fields.

    `check` refuses what the fields do not allow together, `settle` fills in what the datastore fills in. An empty one
    that is `kept` says something else than silence. In an `open` one a name that is not known is refused only if it
    looks like a slip of the pen: new versions add names. `hints` tell what to write instead of a name of another API.
    """

    def __init__(
        self,
        fields: Mapping[str, Any],
        check: Optional[Check] = None,
        settle: Optional[Check] = None,
        kept: bool = False,
        open: bool = False,
        hints: Optional[Mapping[str, str]] = None,
    ) -> None:
        self.fields = fields
        self.check = check
        self.settle = settle
        self._kept = kept
        self._open = open
        self._hints = hints or {}

    def read(self, value: Any) -> Dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueRefused(f"{_shown(value)} is not a mapping of fields")
        out: Dict[str, Any] = {}
        fields = self.fields
        for key, item in value.items():
            field = fields.get(key)
            if field is None:
                key, field = self._respelled(key, value)
            if item is None:
                continue
            try:
                out[key] = field.read(item)
            except ValueRefused as error:
                error.path.insert(0, key)
                raise
        if self.check is not None:
            self.check(out)
        return out

    def _respelled(self, key: Any, value: Mapping[str, Any]) -> Tuple[str, Any]:
        """calicoctl finds a field whatever its case; what is sent has the field's own."""
        name = str(key)
        if name in self._hints:
            raise ValueRefused(f"there is no such field here; {self._hints[name]}", name)
        for known, field in self.fields.items():
            if known.lower() == name.lower():
                if known in value:
                    raise ValueRefused(f"is there twice, as {known} and as {name}", name)
                return known, field
        if self._open and not difflib.get_close_matches(name, list(self.fields), n=1, cutoff=0.9):
            return name, Free()
        raise ValueRefused(f"there is no such field here; {one_of(name, sorted(self.fields))}", name)

    def canonical(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        out: Dict[str, Any] = {}
        fields = self.fields
        for key, item in value.items():
            if item is None:
                continue
            field = fields.get(key)
            if field is None:
                out[key] = item
                continue
            found = field.canonical(item)
            if found is not None:
                out[key] = found
        if self.settle is not None:
            self.settle(out)
        return out if out or self._kept else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
