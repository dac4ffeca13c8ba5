# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a Go program spells values: numbers, JSON, YAML and tables as the real tool prints them."""

from __future__ import annotations

import json
import re

_YAML_PLAIN = re.compile(r"[A-Za-z0-9_./(<\\$+^;=~][^\x00-\x1f\x7f-\x9f]*\Z")
# What go-yaml would read back as something other than a string.
_YAML_OTHER = re.compile(
    r"(?:~|null|Null|NULL|y|Y|yes|Yes|YES|on|On|ON|n|N|no|No|NO|off|Off|OFF|true|True|TRUE|false|False|FALSE"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|<<|="
    r"|[-+]?(?:0x[0-9a-fA-F_]+|0b[01_]+|[0-9][0-9_]*)"
    r"|[-+]?(?:\.[0-9]+|[0-9_]+(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)\Z"
)
_WIDTH = 80


def _digits(value: float) -> tuple:
    """(sign, digits, exponent of the first digit) of the shortest decimal that reads back as the value."""
    sign = "-" if value < 0 or str(value).startswith("-") else ""
    mantissa, _e, exponent = format(abs(value), ".17e").partition("e")
    for precision in range(17):
        text = format(abs(value), f".{precision}e")
        if float(text) == abs(value):
            mantissa, _e, exponent = text.partition("e")
            break
    return sign, mantissa.replace(".", "").rstrip("0") or "0", int(exponent)


def _spelled(sign: str, digits: str, exponent: int, scientific: bool) -> str:
    if scientific:
        tail = "." + digits[1:] if len(digits) > 1 else ""
        mark = "-" if exponent < 0 else "+"
        return f"{sign}{digits[0]}{tail}e{mark}{abs(exponent):02d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    rest = digits[exponent + 1 :]
    return f"{sign}{whole}" + (f".{rest}" if rest else "")


def number(value) -> str:
    """As Go's encoding/json writes a number."""
    if isinstance(value, int):
        return str(value)
    sign, digits, exponent = _digits(value)
    return _spelled(sign, digits, exponent, exponent < -6 or exponent >= 21)


def shown(value) -> str:
    """As Go's %v prints a value of a table's cell."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        sign, digits, exponent = _digits(float(value))
        return _spelled(sign, digits, exponent, exponent < -4 or exponent >= max(6, 0))
    return str(value)


def _escaped(text: str) -> str:
    """Go escapes what HTML would read, and leaves other characters as they are."""
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def json_text(value, indent: int = 0, _level: int = 0) -> str:
    """JSON with the order of the dictionaries kept; `indent` blanks a level, 0 for none at all."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, str):
        return _escaped(value)
    colon = ": " if indent else ":"
    if isinstance(value, dict):
        parts = [f"{_escaped(str(k))}{colon}{json_text(v, indent, _level + 1)}" for k, v in value.items()]
        opening, closing = "{", "}"
    else:
        parts = [json_text(item, indent, _level + 1) for item in value]
        opening, closing = "[", "]"
    if not parts or not indent:
        return opening + ",".join(parts) + closing
    inner = "\n" + " " * (indent * (_level + 1))
    return opening + inner + ("," + inner).join(parts) + "\n" + " " * (indent * _level) + closing


def _quoted_yaml(text: str) -> str:
    if any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text) or _YAML_OTHER.match(text):
        return json.dumps(text, ensure_ascii=False)
    return "'" + text.replace("'", "''") + "'"


def _plain_allowed(text: str) -> bool:
    if not text or text != text.strip() or ": " in text or " #" in text or text.endswith(":"):
        return False
    first = text[0]
    if first in "-?:":
        if len(text) < 2 or text[1] == " ":
            return False
    elif not _YAML_PLAIN.match(text) and ord(first) < 128:
        return False
    if text.startswith(("---", "...")):
        return False
    return not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text)


def _folded(text: str, column: int, indent: int) -> str:
    """go-yaml breaks a scalar at the first single blank past column 80."""
    out = []
    position = column
    for index, character in enumerate(text):
        single = character == " " and text[index - 1 : index] != " " and text[index + 1 : index + 2] not in (" ", "")
        if single and position > _WIDTH and index:
            out.append("\n" + " " * indent)
            position = indent
        else:
            out.append(character)
            position += 1
    return "".join(out)


def _yaml_scalar(value, column: int, indent: int) -> str:
    if not isinstance(value, str):
        if isinstance(value, float) and value == int(value) and abs(value) < 1e21:
            return str(int(value))
        return json_text(value)
    if value == "":
        return '""'
    if _YAML_OTHER.match(value):
        return json.dumps(value, ensure_ascii=False)
    if "\n" in value:
        body = "".join(" " * indent + line + "\n" if line else "\n" for line in value.rstrip("\n").split("\n"))
        return ("|" if value.endswith("\n") else "|-") + "\n" + body.rstrip("\n")
    if _plain_allowed(value):
        return _folded(value, column, indent)
    return _folded(_quoted_yaml(value), column, indent)


def yaml_text(value, _indent: int = 0) -> str:
    """YAML in go-yaml's manner: keys sorted, lists not indented below their key."""
    pad = " " * _indent
    if isinstance(value, dict) and value:
        lines = []
        for key in sorted(value):
            item = value[key]
            name = _yaml_scalar(key, _indent, _indent + 2)
            if isinstance(item, dict) and item:
                lines.append(f"{pad}{name}:\n{yaml_text(item, _indent + 2)}")
            elif isinstance(item, (list, tuple)) and item:
                lines.append(f"{pad}{name}:\n{yaml_text(item, _indent)}")
            else:
                lines.append(f"{pad}{name}: {_leaf(item, _indent + len(name) + 2, _indent + 2)}\n")
        return "".join(lines)
    if isinstance(value, (list, tuple)) and value:
        lines = []
        for item in value:
            if isinstance(item, (dict, list, tuple)) and item:
                lines.append(f"{pad}- {yaml_text(item, _indent + 2)[_indent + 2 :]}")
            else:
                lines.append(f"{pad}- {_leaf(item, _indent + 2, _indent + 2)}\n")
        return "".join(lines)
    return f"{pad}{_leaf(value, _indent, _indent)}\n"


def _leaf(value, column: int, indent: int) -> str:
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, (list, tuple)):
        return "[]"
    return _yaml_scalar(value, column, indent)


def table(headings, rows) -> str:
    """Columns as Go's tabwriter aligns them (at least 5 wide, 3 blanks apart), and the blank line that follows."""
    lines = [list(headings), *rows]
    widths = [max(5, max(len(line[column]) for line in lines) + 3) for column in range(len(headings))]
    return "".join("".join(cell.ljust(width) for cell, width in zip(line, widths)) + "\n" for line in lines) + "\n"
