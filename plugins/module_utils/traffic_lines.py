# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic rules as lines of text: short to write, quick to hand over (a thousand dictionaries cost the controller more
than the kernel needs for the rules).

    accept in tcp from 10.0.0.0/8 to any port 22 on eth1 name ssh # SSH from the private network
    drop in any from 192.0.2.0/24 on eth0 name attackers # they scanned us for a week
"""

from __future__ import annotations

import re
from typing import Any, Iterable, List

from .errors import TrafficError, choices
from .traffic import ANY, FAMILIES, Rule
from .traffic_reading import as_list, rule_from_dict

# word in the line -> (field, is it a comma-separated list)
_WORDS = {
    "from": ("sources", True),
    "to": ("destinations", True),
    "port": ("ports", True),
    "source-port": ("source_ports", True),
    "type": ("icmp_types", True),
    "on": ("interface", False),
    "out-on": ("out_interface", False),
    "state": ("states", True),
    "family": ("families", True),
    "rate": ("rate", False),
    "burst": ("burst", False),
    "per": ("per", False),
    "connections": ("connections", False),
    "log": ("log", False),
    "name": ("name", False),
}
# What iptables-restore reads and iptables-save prints: a table, a chain, options, the end of a table.
_IPTABLES = re.compile(r"(\*[a-z]+|:\S+ .*|(\[[0-9]+:[0-9]+\] )?-.*|COMMIT|ip6?tables .*)", re.ASCII)


def rule_from_line(line: str) -> Rule:
    """One rule from one line: `ACTION DIRECTION PROTOCOL [WORD VALUE]... # reason`. Raises TrafficError."""
    if _IPTABLES.fullmatch(line.strip()):
        raise TrafficError(
            f"rule line {line.strip()!r}: iptables' own language is not taken, as nobody could say what it is for; "
            "write ACTION DIRECTION PROTOCOL [WORD VALUE]... name NAME # reason"
        )
    body, mark, reason = line.partition(" #")
    words = body.split()
    if not mark or not reason.strip():
        raise TrafficError(f"rule line {line.strip()!r}: the reason is missing; end the line with '# why'")
    if len(words) < 3 or len(words) % 2 == 0:
        raise TrafficError(
            f"rule line {line.strip()!r}: expected ACTION DIRECTION PROTOCOL, then pairs of word and value"
        )
    data: dict[str, Any] = {"action": words[0], "direction": words[1], "protocol": words[2], "reason": reason.strip()}
    for word, value in zip(words[3::2], words[4::2]):
        if word not in _WORDS:
            raise TrafficError(choices(f"rule line {line.strip()!r}: word", word, _WORDS))
        field, many = _WORDS[word]
        if field in data:
            raise TrafficError(f"rule line {line.strip()!r}: {word} is given twice")
        data[field] = value if not many or value == ANY else value.split(",")
    if "name" not in data:
        raise TrafficError(f"rule line {line.strip()!r}: name is missing; add 'name some-name' before the '#'")
    return rule_from_dict(data)


def rule_to_line(rule: Rule) -> str:
    """The line that reads back as the same rule."""
    parts: List[str] = [rule.action, rule.direction, rule.protocol]
    for word, (field, many) in _WORDS.items():
        value = getattr(rule, field) if field not in ("burst", "per") else getattr(rule.rate, field, None)
        if value is None or (field == "families" and value == FAMILIES):
            continue
        parts += [word, ",".join(str(item) for item in value) if many else str(value)]
    return f"{' '.join(parts)} # {rule.reason}"


def read_rules(value: Any) -> List[Rule]:
    """Rules from a list of dictionaries and lines, or from one text with a line a rule.

    Blank lines and lines that begin with `#` are passed over. A name given twice is refused.
    """
    if value is None:
        return []
    items: List[Any] = []
    for item in as_list(value):
        if isinstance(item, str):
            items += [line for line in item.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        else:
            items.append(item)
    rules = [rule_from_line(item) if isinstance(item, str) else rule_from_dict(item) for item in items]
    check_names(rules)
    return rules


def check_names(rules: Iterable[Rule]) -> None:
    """Refuse a name that stands twice: a reader could not tell which rule decided."""
    seen: set[str] = set()
    for rule in rules:
        if rule.name in seen:
            raise TrafficError(
                f"rule {rule.name}: the name is given twice in the ruleset; every rule has a name of its own"
            )
        seen.add(rule.name)
