# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines in docopt's manner: which options a command has, and what is said if a line does not fit."""

from __future__ import annotations

from typing import Dict, List


class Misfit(Exception):
    """The command line is not one of the command's forms."""


_SHORT = {"-f": "--filename", "-c": "--config", "-o": "--output", "-n": "--namespace", "-R": "--recursive"}
_SHORT.update({"-p": "--patch", "-t": "--type", "-A": "--all-namespaces", "-a": "--all-namespaces", "-h": "--help"})
_SHORT["-l"] = "--log-level"


def parse(words: List[str], valued: tuple, flags: tuple) -> Dict[str, object]:
    """Options by their long names, and the other words under `words`; Misfit for what the command does not have."""
    out: Dict[str, object] = {"words": []}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "-" or not word.startswith("-"):
            out["words"].append(word)  # type: ignore[attr-defined]
            continue
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            name = _whole(name, valued + flags)
        else:
            name, equals, value = _SHORT.get(word[:2], ""), word[2:], word[2:].lstrip("=")
        if name in flags:
            if equals or name in out:
                raise Misfit
            out[name] = True
        elif name in valued:
            if name in out or (not equals and not rest):
                raise Misfit
            out[name] = value if equals else rest.pop(0)
        else:
            raise Misfit
    return out


def _whole(name: str, known: tuple) -> str:
    """A long option may be abbreviated as long as it stays the only one."""
    if name in known:
        return name
    candidates = [option for option in known if option.startswith(name)]
    return candidates[0] if len(candidates) == 1 else ""
