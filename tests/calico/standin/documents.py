# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resource files as the real tool reads them: JSON, and the YAML of Go's library."""

from __future__ import annotations

import re

from .decode import DecodeError

_BOOLEANS = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_INTEGER = re.compile(r"[-+]?(?:0x[0-9a-fA-F_]+|0b[01_]+|[0-9][0-9_]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")


def _json(text: str):
    import json

    return json.loads(text)


def _integer(text: str):
    plain = text.replace("_", "")
    sign = -1 if plain.startswith("-") else 1
    digits = plain.lstrip("+-")
    try:
        if digits.lower().startswith("0x"):
            return sign * int(digits, 16)
        if digits.startswith("0b"):
            return sign * int(digits[2:], 2)
        if len(digits) > 1 and digits.startswith("0"):
            return sign * int(digits, 8)
        return sign * int(digits)
    except ValueError:
        return float(plain)


def scalar(text: str):
    """What a plain scalar is to go-yaml: YAML 1.1, but without numbers to the base of 60."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.match(text):
        return _integer(text)
    if _FLOAT.match(text):
        return float(text)
    return text


def _value(node, yaml):
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else scalar(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, yaml) for item in node.value]
    out = {}
    for key, item in node.value:
        name = _value(key, yaml)
        if name == "<<" and isinstance(item, yaml.MappingNode):
            out = {**_value(item, yaml), **out}
            continue
        if isinstance(name, bool):
            name = "true" if name else "false"
        out[str(name)] = _value(item, yaml)
    return out


def _yaml_module():
    try:
        import yaml
    except ImportError:
        # The program runs with -S, which leaves out the directories of the distribution's packages.
        import site

        site.main()
        import yaml
    return yaml


def load(text: str, scanner_line: int = 0):
    """One document. `scanner_line` is what the version adds to the line of a scanner's complaint."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return _json(text)
        except ValueError:
            pass
    yaml = _yaml_module()
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)(text)
    try:
        node = loader.get_node() if loader.check_node() else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + (scanner_line if isinstance(error, yaml.scanner.ScannerError) else 0)
        raise DecodeError(f"yaml: line {line}: {error.problem}") from None
    finally:
        loader.dispose()
    return None if node is None else _value(node, yaml)


def split(text: str) -> list:
    """The texts between lines of `---`, without those that hold nothing at all."""
    if text.lstrip()[:1] in ("{", "[") or "---" not in text:
        return [text] if text.strip() else []
    parts = [[]]
    for line in text.splitlines(keepends=True):
        if line.startswith("---"):
            rest = line[3:]
            parts.append([rest] if rest.strip() else [])
        else:
            parts[-1].append(line)
    return [joined for joined in ("".join(part) for part in parts) if joined.strip()]


def read(name: str) -> str:
    """The text of a file, or of standard input for `-`."""
    if name == "-":
        import sys

        return sys.stdin.read()
    with open(name, encoding="utf-8") as handle:
        return handle.read()


def go_error(error: OSError, name: str) -> str:
    """As Go spells the failure to open a file."""
    import os

    return f"open {name}: {os.strerror(error.errno or 0).lower()}"
