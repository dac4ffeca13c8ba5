# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What iptables-save prints, read without loss: tables, chains, and rules with a structured view. Pure.

Every line is kept as it was printed, also one that nobody here understands, so `render` gives back the same text. The
view of a rule is made when it is asked for: a node has thousands of rules, and a question is about a few of them.

node_firewall itself reads its own chains with `iptables_text.read_table`, one pass without objects; where both read the
same rule they say the same (a property test holds them together).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Dict, Iterator, List, Optional, Tuple

from .errors import HardeningError

# A quoted part ends at the next bare quote; only inside quotes a backslash takes the meaning of the next character
# (add_param_to_argv in the tools' xshared.c). Everything else up to a blank is part of the word.
_WORD = re.compile(r'(?:[^ \t\r\n\v\f"]|"(?:[^"\\]|\\.)*")+', re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BLANKS = " \t\r\n\v\f"
_TABLE = re.compile(r"\*(\S+)\s*", re.ASCII)
_CHAIN = re.compile(r":(\S+) (\S+)(?: \[([0-9]{1,20}):([0-9]{1,20})\])?\s*", re.ASCII)
_RULE = re.compile(r"(?:\[([0-9]{1,20}):([0-9]{1,20})\] )?-A (\S+)(?: (.*))?", re.ASCII | re.DOTALL)
# xt_comment.h: a comment has at most 256 bytes, so a quoted newline in one cannot be followed by more lines than that.
_LONGEST_QUOTE = 256

# The short forms that the tools print; a rule typed by hand may have the long ones.
_SHORT = {
    "--source": "-s",
    "--src": "-s",
    "--destination": "-d",
    "--dst": "-d",
    "--in-interface": "-i",
    "--out-interface": "-o",
    "--protocol": "-p",
    "--proto": "-p",
    "--fragment": "-f",
    "--match": "-m",
    "--jump": "-j",
    "--goto": "-g",
    "--set-counters": "-c",
    "--source-port": "--sport",
    "--destination-port": "--dport",
    "--source-ports": "--sports",
    "--destination-ports": "--dports",
}
_CORE = ("-s", "-d", "-i", "-o", "-p", "-f", "-c")
# Options whose one value may begin with a dash or be an exclamation mark: the tools print such a text without quotes.
_TEXTS = ("--comment", "--log-prefix", "--nflog-prefix", "--ulog-prefix", "--string", "--hex-string", "--name", "-m")


class SaveError(HardeningError):
    """A rule that does not read as the tools write rules."""


@dataclass(frozen=True)
class Counters:
    """How often something matched."""

    packets: int
    octets: int


@dataclass(frozen=True)
class Option:
    """One option with its values, as in `! --dport 22`."""

    name: str
    values: Tuple[str, ...] = ()
    negated: bool = False

    @property
    def value(self) -> str:
        """The first value, or an empty string."""
        return self.values[0] if self.values else ""

    def __str__(self) -> str:
        return " ".join([*(["!"] if self.negated else []), self.name, *self.values])


@dataclass(frozen=True)
class Match:
    """What one `-m MODULE` looks at. `module` is empty for addresses, interfaces and protocol."""

    module: str
    options: Tuple[Option, ...] = ()

    def __str__(self) -> str:
        return " ".join([*([f"-m {self.module}"] if self.module else []), *map(str, self.options)])


@dataclass(frozen=True)
class View:
    """A rule taken apart. `target` is empty for a rule that only counts; `goto` tells `-g` from `-j`."""

    matches: Tuple[Match, ...] = ()
    target: str = ""
    goto: bool = False
    target_options: Tuple[Option, ...] = ()

    @property
    def comments(self) -> Tuple[str, ...]:
        """Every comment in order; Calico writes two, the first being its hash."""
        return tuple(
            option.value
            for match in self.matches
            for option in match.options
            if match.module == "comment" and option.name == "--comment"
        )

    @property
    def comment(self) -> str:
        return "; ".join(self.comments)

    def target_option(self, name: str) -> Optional[Option]:
        return next((option for option in self.target_options if option.name == name), None)


@dataclass(frozen=True)
class SavedRule:
    """One `-A` line: `spec` is what stands behind the chain's name."""

    chain: str
    spec: str
    counters: Optional[Counters] = None

    @cached_property
    def view(self) -> View:
        """The structured view. Raises SaveError for what no tool would print."""
        return view_of(self.spec)

    @property
    def text(self) -> str:
        return f"-A {self.chain} {self.spec}".rstrip(" ")


@dataclass(frozen=True)
class SavedChain:
    """A chain with its rules in order; `policy` is empty for a chain that somebody made."""

    name: str
    policy: str = ""
    counters: Optional[Counters] = None
    rules: Tuple[SavedRule, ...] = ()


@dataclass(frozen=True)
class SavedTable:
    name: str
    chains: Dict[str, SavedChain] = field(default_factory=dict)


@dataclass(frozen=True)
class Save:
    """A whole text: its tables, the lines that could not be read, and every line as it was printed.

    `warnings` are the tools' own remarks that what they print is not all (`# Warning: ...`, `# Table `x' is ...`).
    """

    lines: Tuple[str, ...]
    tables: Dict[str, SavedTable]
    unknown: Tuple[str, ...] = ()
    warnings: Tuple[str, ...] = ()

    def chain(self, table: str, name: str) -> Optional[SavedChain]:
        found = self.tables.get(table)
        return found.chains.get(name) if found else None


def render(save: Save) -> str:
    """The text that was read, byte for byte."""
    return "\n".join(save.lines)


def parse(text: str) -> Save:
    """Read the output of iptables-save or ip6tables-save, with or without `-c`. Never fails.

    A table printed twice (two outputs one after the other) counts as one, as iptables-restore would load it.
    """
    lines = list(_logical_lines(text))
    tables: Dict[str, Dict[str, _Growing]] = {}
    unknown: List[str] = []
    warnings: List[str] = []
    chains: Optional[Dict[str, _Growing]] = None
    for line in lines:
        bare = line.strip(_BLANKS)
        if not bare or bare[0] == "#":
            if bare.startswith(("# Warning", "# Table")):
                warnings.append(bare[2:])
            continue
        head = _TABLE.fullmatch(line)
        if head:
            chains = tables.setdefault(head.group(1), {})
        elif bare == "COMMIT" and chains is not None:
            chains = None
        elif chains is None or not _take(line, chains):
            unknown.append(line)
    return Save(
        tuple(lines),
        {name: SavedTable(name, {key: item.chain() for key, item in found.items()}) for name, found in tables.items()},
        tuple(unknown),
        tuple(warnings),
    )


@dataclass
class _Growing:
    """A chain while its rules are being read."""

    name: str
    policy: str = ""
    counters: Optional[Counters] = None
    rules: List[SavedRule] = field(default_factory=list)

    def chain(self) -> SavedChain:
        return SavedChain(self.name, self.policy, self.counters, tuple(self.rules))


def _take(line: str, chains: Dict[str, _Growing]) -> bool:
    """Put one line of a table where it belongs; False when it is neither a chain nor a rule."""
    declared = _CHAIN.fullmatch(line)
    if declared:
        name, policy, *counted = declared.groups()
        found = chains.setdefault(name, _Growing(name))
        found.policy, found.counters = ("" if policy == "-" else policy), _counters(*counted)
        return True
    rule = _RULE.fullmatch(line)
    if rule is None:
        return False
    packets, octets, name, spec = rule.groups()
    chains.setdefault(name, _Growing(name)).rules.append(SavedRule(name, spec or "", _counters(packets, octets)))
    return True


def _counters(packets: Optional[str], octets: Optional[str]) -> Optional[Counters]:
    return None if packets is None or octets is None else Counters(int(packets), int(octets))


def _logical_lines(text: str) -> Iterator[str]:
    """The lines of a text; a rule whose quote holds a newline is one line.

    A quote that never ends stays with its own line: it must not hide the rules that follow.
    """
    lines = text.split("\n")
    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        if '"' in line and "-A " in line and _is_open(line):
            longer = line
            for ahead in range(index, min(index + _LONGEST_QUOTE, len(lines))):
                longer = f"{longer}\n{lines[ahead]}"
                if len(longer) - len(line) > _LONGEST_QUOTE:
                    break
                if '"' in lines[ahead] and not _is_open(longer):
                    line, index = longer, ahead + 1
                    break
        yield line


def _is_open(line: str) -> bool:
    """Whether a quote is left open."""
    return '"' in _QUOTED.sub("", line)


def words_of(spec: str) -> List[Tuple[str, bool]]:
    """The words of a rule as iptables-restore takes them, each with whether a part of it was quoted.

    Raises SaveError for a quote that is not closed.
    """
    words: List[Tuple[str, bool]] = []
    position = 0
    for found in _WORD.finditer(spec):
        if spec[position : found.start()].strip(_BLANKS):
            break
        position = found.end()
        word = found.group()
        quoted = '"' in word
        words.append((_QUOTED.sub(_unquoted, word) if quoted else word, quoted))
    if spec[position:].strip(_BLANKS):
        raise SaveError(f"rule {spec!r}: a quote is not closed")
    return words


def _unquoted(found: re.Match[str]) -> str:
    return _ESCAPED.sub(r"\1", found.group(1))


def view_of(spec: str) -> View:
    """A rule's structured view. Raises SaveError that names the rule and what is wrong.

    An option's values are the words up to the next option. An option before any `-m` belongs to the protocol, as the
    tools understand it.
    """
    building = _Builder(spec)
    words = words_of(spec)
    index = 0
    while index < len(words):
        word, quoted = words[index]
        negated = word == "!" and not quoted
        if negated:
            index += 1
            if index == len(words):
                raise SaveError(f"rule {spec!r}: nothing stands behind the last '!'")
            word, quoted = words[index]
        if quoted or not word.startswith("-") or len(word) < 2:
            raise SaveError(f"rule {spec!r}: {word!r} is not an option")
        index += 1
        values: List[str] = []
        name = _SHORT.get(word, word)
        while index < len(words) and not (name in _TEXTS and values):
            value, quoted = words[index]
            if name not in _TEXTS and not quoted and (value == "!" or (value[0] == "-" and len(value) > 1)):
                break
            values.append(value)
            index += 1
        building.add(Option(name, tuple(values), negated))
    return building.view()


class _Builder:
    """Sorts options to the match or the target that they belong to."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.matches: List[Tuple[str, List[Option]]] = [("", [])]
        self.target = ""
        self.goto = False
        self.target_options: List[Option] = []
        # Where the next option belongs: a match's list, the target's, or (None) the protocol's, to be made.
        self.owner: Optional[List[Option]] = None

    def add(self, option: Option) -> None:
        if option.name in ("-m", "-j", "-g"):
            self._begin(option)
        elif option.name in _CORE:
            self._must_have_value(option)
            self.matches[0][1].append(option)
        elif self.owner is None:
            module = next((item.value for item in self.matches[0][1] if item.name == "-p"), "")
            self.owner = [option]
            self.matches.append((module, self.owner))
        else:
            self.owner.append(option)

    def _begin(self, option: Option) -> None:
        self._must_have_value(option)
        if option.negated or len(option.values) > 1:
            raise SaveError(f"rule {self.spec!r}: {option} is not one match or target")
        if option.name == "-m":
            self.owner = []
            self.matches.append((option.value, self.owner))
            return
        if self.target:
            raise SaveError(f"rule {self.spec!r}: it has two targets, {self.target} and {option.value}")
        self.target, self.goto, self.owner = option.value, option.name == "-g", self.target_options

    def _must_have_value(self, option: Option) -> None:
        if option.name != "-f" and not option.value:
            raise SaveError(f"rule {self.spec!r}: {option.name} has no value")

    def view(self) -> View:
        found = tuple(Match(module, tuple(options)) for module, options in self.matches if module or options)
        return View(found, self.target, self.goto, tuple(self.target_options))
