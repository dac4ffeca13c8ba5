# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates of a traffic rule: so many packets in a second, minute, hour or day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Mapping, Optional

from .errors import TrafficError, choices

UNITS = ("second", "minute", "hour", "day")
_IN_SMALLER = {"minute": 60, "hour": 60, "day": 24}
_IN_A_DAY = {"second": 86400, "minute": 1440, "hour": 24, "day": 1}
PER = ("source", "all")
# Above a thousand the kernel's arithmetic rounds to another number (xt_hashlimit).
MOST = 1000
USUAL_BURST = 5
_RATE = re.compile(r"([1-9][0-9]{0,5})/(s|sec|second|m|min|minute|h|hour|d|day)", re.ASCII)


@dataclass(frozen=True)
class Rate:
    """So many packets in a `unit`, counted for each source or for all together; `burst` at once before that counts."""

    count: int
    unit: str
    burst: int = USUAL_BURST
    per: str = "source"

    def __post_init__(self) -> None:
        for field, value in (("rate", self.count), ("burst", self.burst)):
            if isinstance(value, bool) or not 1 <= value <= MOST:
                raise TrafficError(f"{field} {value} is outside 1-{MOST}")
        for field, value, allowed in (("rate unit", self.unit, UNITS), ("per", self.per, PER)):
            if value not in allowed:
                raise TrafficError(choices(field, value, allowed))
        most = most_at_once(self.count, self.unit)
        if self.burst > most:
            raise TrafficError(
                f"burst {self.burst} is more than the kernel counts at {self.count}/{self.unit}: a day's worth, {most}"
            )
        # The tools print the smallest unit in which the rate is a whole number.
        count, unit = self.count, self.unit
        while unit != UNITS[0] and count % _IN_SMALLER[unit] == 0:
            count, unit = count // _IN_SMALLER[unit], UNITS[UNITS.index(unit) - 1]
        object.__setattr__(self, "count", count)
        object.__setattr__(self, "unit", unit)

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"


def most_at_once(count: int, unit: str) -> int:
    """The highest burst of a rate: the kernel's credits hold a day's worth (CREDITS_PER_JIFFY in xt_hashlimit.c)."""
    return max(1, min(MOST, count * _IN_A_DAY[unit]))


def parse_rate(subject: str, data: Mapping[str, Any]) -> Optional[Rate]:
    """A rate from the keys rate (`50/second`), burst and per; None without a rate."""
    text = data.get("rate")
    if text is None:
        for key in ("burst", "per"):
            if data.get(key) is not None:
                raise TrafficError(f"{subject}: {key} {data[key]} needs a rate")
        return None
    match = _RATE.fullmatch(str(text))
    if match is None:
        raise TrafficError(f"{subject}: rate {text!r} is not a number and a unit, like 50/second ({', '.join(UNITS)})")
    unit = next(unit for unit in UNITS if unit.startswith(match.group(2)))
    count = int(match.group(1))
    if data.get("burst") is None:
        burst = min(USUAL_BURST, most_at_once(count, unit))
    else:
        burst = whole_number(subject, "burst", data["burst"], MOST)
    per = "source" if data.get("per") is None else str(data["per"])
    try:
        return Rate(count, unit, burst, per)
    except TrafficError as error:
        raise TrafficError(f"{subject}: {error}") from None


def whole_number(subject: str, field: str, value: object, highest: int) -> int:
    """A number from 1, written in ASCII digits."""
    text = "" if isinstance(value, bool) else str(value)
    if not (text.isascii() and text.isdigit()):
        raise TrafficError(f"{subject}: {field} {value!r} is not a number from 1 to {highest}")
    # Digits without end are no reason to reckon with them.
    if len(text) > len(str(highest)) or not 1 <= int(text) <= highest:
        raise TrafficError(f"{subject}: {field} {text[:20]} is outside 1-{highest}")
    return int(text)
