#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/reference/: one page for every module, lookup, filter and role, from what ansible-doc says of them.

With --check nothing is written; the exit status is 1 if a page is missing, stale or of something that is gone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference"
COLLECTION = "iks.hardening"
KINDS = ("module", "lookup", "filter", "role")
NOTICE = "<!-- Written by `make docs` from the plugin's own documentation: edit that, not this page. -->"

Json = dict[str, Any]

# Ansible's documentation markup and what it becomes; the escape of a bracket or comma inside is undone.
_MARKUP = (
    (re.compile(r"\bHORIZONTALLINE\b"), r"\n\n---\n\n"),
    (re.compile(r"\b[BI]\(([^)]*)\)"), r"*\1*"),
    (re.compile(r"\b(?:C|O|V|RV|E)\(((?:[^\\)]|\\.)*)\)"), r"`\1`"),
    (re.compile(r"\bM\(([^)]*)\)"), r"`\1`"),
    (re.compile(r"\bP\(([^)#]*)#([^)]*)\)"), r"`\1` (\2)"),
    (re.compile(r"\bU\(([^)]*)\)"), r"<\1>"),
    (re.compile(r"\bL\(((?:[^\\)]|\\.)*?),\s*([^)]*)\)"), r"[\1](\2)"),
)


def markdown(text: Any) -> str:
    """Text in Ansible's markup as Markdown."""
    result = str(text).strip()
    for pattern, replacement in _MARKUP:
        result = pattern.sub(replacement, result)
    return re.sub(r"\\([),\\])", r"\1", result)


def paragraphs(text: Any) -> list[str]:
    """A description, which is a string or a list of them."""
    return [markdown(item) for item in (text if isinstance(text, list) else [text or ""])]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _type(option: Json) -> str:
    kind = option.get("type", "str")
    return f"list of {option['elements']}" if kind == "list" and option.get("elements") else str(kind)


def _meaning(option: Json) -> str:
    parts = paragraphs(option.get("description"))
    if option.get("choices"):
        parts.append("One of " + ", ".join(f"`{_value(choice)}`" for choice in option["choices"]) + ".")
        if isinstance(option["choices"], dict):
            parts += [f"`{choice}`: {' '.join(paragraphs(text))}" for choice, text in option["choices"].items()]
    if option.get("default") not in (None, ""):
        parts.append(f"Default: `{_value(option['default'])}`.")
    if option.get("aliases"):
        parts.append("Also written " + ", ".join(f"`{alias}`" for alias in option["aliases"]) + ".")
    if option.get("env"):
        parts.append("Environment: " + ", ".join(f"`{item['name']}`" for item in option["env"]) + ".")
    if option.get("vars"):
        parts.append("Variable: " + ", ".join(f"`{item['name']}`" for item in option["vars"]) + ".")
    return " ".join(part for part in parts if part)


def option_rows(options: Json, prefix: str = "") -> Iterator[str]:
    """Table rows of options and, by dotted name, of their suboptions; the required ones first."""
    for name, option in sorted(options.items(), key=lambda item: (not item[1].get("required"), item[0])):
        required = "**required**" if option.get("required") else ""
        yield f"| `{prefix}{name}` | {_type(option)} | {required} | {_cell(_meaning(option))} |"
        nested = option.get("suboptions") or option.get("options") or {}
        yield from option_rows(nested, f"{prefix}{name}.")


def option_table(options: Json) -> list[str]:
    """A heading and a table, or nothing if there are no options."""
    if not options:
        return []
    return ["## Options", "", "| option | type | | meaning |", "|---|---|---|---|", *option_rows(options), ""]


def return_rows(returns: Json, prefix: str = "") -> Iterator[str]:
    """Table rows of what is returned, nested values by dotted name."""
    for name, value in returns.items():
        returned = value.get("returned", "")
        meaning = " ".join(paragraphs(value.get("description")))
        yield f"| `{prefix}{name}` | {_type(value)} | {_cell(markdown(returned))} | {_cell(meaning)} |"
        yield from return_rows(value.get("contains") or {}, f"{prefix}{name}.")


def return_table(returns: Json) -> list[str]:
    """A heading and a table, or nothing if nothing is documented."""
    if not returns:
        return []
    return ["## Returns", "", "| value | type | when | meaning |", "|---|---|---|---|", *return_rows(returns), ""]


def attribute_list(attributes: Json) -> list[str]:
    """What the module supports: check mode, diff mode, platforms."""
    if not attributes:
        return []
    lines = ["## Attributes", ""]
    for name, attribute in sorted(attributes.items()):
        platforms = attribute.get("platforms")
        told = platforms if platforms else attribute.get("support", "")
        details = " ".join(paragraphs(attribute.get("details"))) if attribute.get("details") else ""
        lines.append(f"- `{name}`: {' '.join(filter(None, [_value(told), details]))}")
    return [*lines, ""]


def plugin_page(name: str, kind: str, entry: Json) -> str:
    """The page of a module, lookup or filter."""
    doc = entry["doc"]
    lines = [f"# {name} ({kind})", "", NOTICE, "", markdown(doc["short_description"]), ""]
    for paragraph in paragraphs(doc.get("description")):
        lines += [paragraph, ""]
    lines += option_table(doc.get("options") or {})
    lines += attribute_list(doc.get("attributes") or {})
    if doc.get("notes"):
        lines += ["## Notes", "", *(f"- {note}" for note in paragraphs(doc["notes"])), ""]
    if entry.get("examples"):
        lines += ["## Examples", "", "```yaml", entry["examples"].strip(), "```", ""]
    lines += return_table(entry.get("return") or {})
    return "\n".join(lines).rstrip() + "\n"


def role_page(name: str, entry: Json) -> str:
    """The page of a role: the options of each entry point."""
    lines = [f"# {name} (role)", "", NOTICE, ""]
    for point, spec in sorted(entry["entry_points"].items()):
        if point != "main":
            lines += [f"# Entry point {point}", ""]
        lines += [markdown(spec.get("short_description", "")), ""]
        for paragraph in paragraphs(spec.get("description")):
            lines += [paragraph, ""]
        lines += option_table(spec.get("options") or {})
    return "\n".join(lines).rstrip() + "\n"


def ansible_doc(tree: Path, *arguments: str) -> Json:
    """What ansible-doc prints for the collection in this tree."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environ.update(ANSIBLE_COLLECTIONS_PATH=str(tree), ANSIBLE_HOME=str(tree / "home"))
    program = Path(sys.executable).parent / "ansible-doc"
    answer = subprocess.run([program, "--json", *arguments], env=environ, cwd=tree, check=True, capture_output=True)
    return json.loads(answer.stdout)


def pages() -> dict[str, str]:
    """File name -> text of every page, the index among them."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="docs-", dir=ROOT / "build") as folder:
        tree = Path(folder)
        subprocess.run([ROOT / "tools" / "stage.sh", tree / "ansible_collections" / "iks" / "hardening"], check=True)
        return pages_of(tree)


def pages_of(tree: Path) -> dict[str, str]:
    """The pages of the collection in this tree."""
    result = {}
    index = ["# Reference", "", NOTICE, ""]
    for kind in KINDS:
        names = sorted(ansible_doc(tree, "-t", kind, "--list", COLLECTION))
        if not names:
            continue
        index += [f"## {kind.capitalize()}s", ""]
        for name, entry in sorted(ansible_doc(tree, "-t", kind, *names).items()):
            file = f"{kind}-{name.rpartition('.')[2]}.md"
            if kind == "role":
                result[file] = role_page(name, entry)
                short = entry["entry_points"].get("main", {}).get("short_description", "")
            else:
                result[file] = plugin_page(name, kind, entry)
                short = entry["doc"]["short_description"]
            index.append(f"- [`{name}`]({file}): {markdown(short)}")
        index.append("")
    result["index.md"] = "\n".join(index).rstrip() + "\n"
    return result


def stale(wanted: dict[str, str]) -> list[str]:
    """Names of pages that are not what they should be."""
    present = {path.name: path.read_text(encoding="utf-8") for path in TARGET.glob("*.md")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not up to date")
    arguments = parser.parse_args()
    wanted = pages()
    differing = stale(wanted)
    if arguments.check:
        for name in differing:
            print(f"docs/reference/{name}: not what the plugins say; run `make docs`")
        print(f"docs-check: {len(wanted) - len(differing)} of {len(wanted)} pages up to date")
        return 1 if differing else 0
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in differing:
        if name in wanted:
            (TARGET / name).write_text(wanted[name], encoding="utf-8")
        else:
            (TARGET / name).unlink()
        print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
