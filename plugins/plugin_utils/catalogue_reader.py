# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the text of a catalogue file to values: every problem is found, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Mapping

import yaml

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import parse_ports

from . import addresses
from .catalogue_model import (
    ENDPOINT_SERVICES,
    PRIVATE,
    PUBLIC,
    CatalogueError,
    Defect,
    Endpoint,
    MasterGroup,
    Region,
    Service,
)
from .names import nearest_first

_KEY = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
_LOCATION = re.compile(r"[a-z][a-z0-9]{1,15}", re.ASCII)
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII)
# Goes into the reason of a rule, and with it into a comment of the kernel: short, no quotes.
_TEXT = re.compile(r"[^\"\\\x00-\x1f\x7f]{1,200}")
DECISIONS = ("kept", "excluded", "replaced")
PROTOCOLS = ("tcp", "udp")


@dataclass(frozen=True)
class Problem:
    """What is wrong at a place. One that is not fatal may be declared in the file's list of defects."""

    place: str
    value: str
    text: str
    fatal: bool = True


class _Loader(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]
    """Every scalar stays the text that was written (no octal, dates, 22:25 = 1345); no key may stand twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _value in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(label: str, text: str) -> Any:
    """The document of a catalogue or an overlay file. Raises CatalogueError."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise CatalogueError(f"{label}:{where} is not valid YAML: {getattr(error, 'problem', None) or error}") from None


class Reader:
    """Reads parts of one file; collects problems instead of stopping at the first."""

    def __init__(self, label: str, origin: str) -> None:
        self.label = label
        self.origin = origin
        self.problems: list[Problem] = []

    def fail(self, place: str, value: object, text: str, fatal: bool = True) -> None:
        self.problems.append(Problem(place, str(value), text, fatal))

    def finish(self, defects: tuple[Defect, ...] = ()) -> None:
        """Raise CatalogueError with every problem that the file does not declare itself as a known, kept one."""
        kept = {(defect.place, defect.value) for defect in defects if defect.decision == "kept"}
        found = {(problem.place, problem.value) for problem in self.problems if not problem.fatal}
        open_ = [problem for problem in self.problems if problem.fatal or (problem.place, problem.value) not in kept]
        stale = [
            defect for defect in defects if defect.decision == "kept" and (defect.place, defect.value) not in found
        ]
        lines = [f"{self.label}: {problem.place}: {problem.text}" for problem in open_]
        lines += [
            f"{self.label}: defects: {item.place}: {item.value} has no such problem (any more); remove the entry"
            for item in stale
        ]
        if lines:
            raise CatalogueError("\n".join(lines))

    def mapping(
        self, value: object, place: str, known: tuple[str, ...] | None = None, needed: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """A mapping with known keys only; a problem and an empty one otherwise."""
        if not isinstance(value, Mapping):
            self.fail(place or "top", value, f"{_kind(value)} where keys and values are expected")
            return {}
        prefix = f"{place}." if place else ""
        for key in value:
            if known is not None and key not in known:
                near = nearest_first(key, known)
                self.fail(f"{prefix}{key}", key, f"unknown key; did you mean {near[0]}? Known: {', '.join(near)}")
        for key in needed:
            if key not in value:
                self.fail(f"{prefix}{key}", "", "is missing")
        return {str(key): item for key, item in value.items() if known is None or key in known}

    def items(self, value: object, place: str, check: Callable[[object], str], empty: bool = False) -> tuple[str, ...]:
        """A list, each item checked; a repeated one is a problem, an empty list too."""
        if not isinstance(value, (list, tuple)):
            self.fail(place, value, f"{_kind(value)} where a list is expected")
            return ()
        if not value and not empty:
            self.fail(place, value, "an empty list; it never means any. Name what is meant, or leave the key out")
        found: list[str] = []
        for number, item in enumerate(value):
            try:
                good = check(item)
            except HardeningError as error:
                self.fail(f"{place}[{number}]", item, str(error))
                continue
            if good in found:
                self.fail(f"{place}[{number}]", item, f"{item} is a duplicate in its own list")
            else:
                found.append(good)
        return tuple(found)

    def word(self, value: object, place: str, allowed: tuple[str, ...]) -> str:
        if value in allowed:
            return str(value)
        near = nearest_first(value, allowed)
        self.fail(place, value, f"{value!r} is not one of {', '.join(near)}")
        return near[0]

    def text(self, value: object, place: str) -> str:
        if isinstance(value, str) and _TEXT.fullmatch(value):
            return value
        self.fail(place, value, f"{value!r} is not a line of 1 to 200 characters without quotes and backslashes")
        return ""

    def matching(self, pattern: re.Pattern[str], what: str) -> Callable[[object], str]:
        def check(value: object) -> str:
            if not isinstance(value, str) or not pattern.fullmatch(value):
                raise CatalogueError(f"{value!r} is not {what}")
            return value

        return check

    # ---- parts that catalogue and overlay share

    def ports(self, value: object, place: str) -> tuple[str, ...]:
        return self.items(value, place, lambda item: str(parse_ports("port", item)))

    def protocols(self, value: object, place: str) -> tuple[str, ...]:
        return self.items(value, place, lambda item: self.word(item, place, PROTOCOLS))

    def locations(self, value: object, place: str, empty: bool = False) -> tuple[str, ...]:
        return self.items(value, place, self.matching(_LOCATION, "a location such as dal10"), empty)

    def region_keys(self, value: object, place: str) -> tuple[str, ...]:
        return self.items(value, place, self.matching(_KEY, "a region's key such as us-south"))

    def masters(self, value: object, place: str) -> tuple[MasterGroup, ...]:
        """`dal10: [address, ...]`, or `dal10, dal12: [...]` where the source prints them together."""
        groups = []
        for key, listed in self.mapping(value, place).items():
            locations = self.locations([part.strip() for part in key.split(",")], f"{place}.{key}")
            groups.append(MasterGroup(locations, self.items(listed, f"{place}.{key}", addresses.endpoint), self.origin))
        return tuple(groups)

    def regions(self, value: object, place: str) -> tuple[Region, ...]:
        found = []
        for key, raw in self.mapping(value, place).items():
            here = f"{place}.{key}"
            if not _KEY.fullmatch(key):
                self.fail(here, key, f"{key!r} is not a region's key; only a-z, 0-9 and '-', such as us-south")
            data = self.mapping(raw, here, ("title", "aliases", "masters", "private_locations"))
            found.append(
                Region(
                    key=key,
                    title=self.text(data["title"], f"{here}.title") if "title" in data else "",
                    aliases=self.items(data.get("aliases", []), f"{here}.aliases", str, empty=True),
                    masters=self.masters(data["masters"], f"{here}.masters") if "masters" in data else (),
                    private_locations=self.locations(
                        data.get("private_locations", []), f"{here}.private_locations", empty=True
                    ),
                )
            )
        return tuple(found)

    def endpoints(self, value: object, place: str) -> tuple[Endpoint, ...]:
        found = []
        for host, raw in self.mapping(value, place).items():
            here = f"{place}.{host}"
            if len(host) > 58 or not _HOST.fullmatch(host):
                self.fail(here, host, f"{host!r} is not a host name in lower case of at most 58 characters")
            data = self.mapping(raw, here, ("regions", "networks"), ("regions", "networks"))
            found.append(
                Endpoint(
                    host,
                    self.region_keys(data.get("regions", ["x"]), f"{here}.regions"),
                    self.items(data.get("networks", ["192.0.2.1"]), f"{here}.networks", addresses.endpoint),
                    self.origin,
                )
            )
        return tuple(found)

    def service(self, name: str, raw: object, place: str) -> Service:
        known = ("protocols", "ports", "choice") + (("network", "endpoints") if name in ENDPOINT_SERVICES else ())
        data = self.mapping(raw, place, known, tuple(key for key in known if key not in ("choice", "network")))
        return Service(
            name=name,
            protocols=self.protocols(data.get("protocols", ["tcp"]), f"{place}.protocols"),
            ports=self.ports(data.get("ports", ["443"]), f"{place}.ports"),
            choice=self.text(data["choice"], f"{place}.choice") if "choice" in data else "",
            network=self.word(data.get("network", PUBLIC), f"{place}.network", (PUBLIC, PRIVATE)),
            endpoints=self.endpoints(data.get("endpoints", {}), f"{place}.endpoints"),
        )

    def table(self, value: object, place: str, blocks: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
        """Location -> networks; with blocks, every network has to lie in one of them."""
        found: dict[str, tuple[str, ...]] = {}
        for location, listed in self.mapping(value, place).items():
            here = f"{place}.{location}"
            if not _LOCATION.fullmatch(location):
                self.fail(here, location, f"{location!r} is not a location such as dal10")
            found[location] = self.items(listed, here, addresses.network)
            for net in found[location]:
                if blocks and not addresses.inside(net, blocks):
                    self.fail(
                        here, net, f"private range {net} lies outside of its blocks ({', '.join(blocks)})", fatal=False
                    )
        return found

    def duplicates(self, entries: list[tuple[str, tuple[str, ...]]]) -> None:
        """A value that two places hold."""
        first: dict[str, str] = {}
        for place, values in entries:
            for value in values:
                other = first.setdefault(value, place)
                if other != place:
                    plain = value[: -len("/32")] if value.endswith("/32") else value
                    self.fail(place, plain, f"{plain} is a duplicate: also in {other}", fatal=False)

    def unique_names(self, regions: tuple[Region, ...]) -> None:
        """Every name and every location leads to one region."""
        owner: dict[str, str] = {}
        for region in regions:
            for name in sorted({*region.names, *region.locations}):
                other = owner.setdefault(name, region.key)
                if other != region.key:
                    self.fail(
                        f"regions.{region.key}",
                        name,
                        f"name or location {name} is a duplicate: also in regions.{other}",
                    )
            if len(set(region.locations)) != len(region.locations):
                self.fail(f"regions.{region.key}.masters", region.key, "a location stands in two groups")

    def defects(self, value: object, doc: Mapping[str, Any]) -> tuple[Defect, ...]:
        """The file's own list of slips in its source; what it excludes or replaces must not stand in the data."""
        found = []
        if not isinstance(value, list):
            self.fail("defects", value, f"{_kind(value)} where a list is expected")
            return ()
        for number, raw in enumerate(value):
            here = f"defects[{number}]"
            needed = ("place", "value", "problem", "decision")
            data = self.mapping(raw, here, (*needed, "used", "note"), needed)
            if any(key not in data for key in needed):
                continue
            defect = Defect(self.label, decision=self.word(data.pop("decision"), f"{here}.decision", DECISIONS), **data)
            listed = _at(doc, defect.place)
            if defect.decision != "kept" and defect.value in listed:
                self.fail(
                    here, defect.value, f"{defect.value} is {defect.decision}, but still stands at {defect.place}"
                )
            if defect.decision == "replaced" and defect.used not in listed:
                self.fail(
                    here, defect.value, f"{defect.used} replaces {defect.value}, but does not stand at {defect.place}"
                )
            found.append(defect)
        return tuple(found)


def _at(doc: Any, place: str) -> list[Any]:
    """The list at a place; keys may have dots in them."""
    if place == "":
        return doc if isinstance(doc, list) else []
    if isinstance(doc, Mapping):
        for key, value in doc.items():
            if place == key:
                return _at(value, "")
            if place.startswith(f"{key}."):
                listed = _at(value, place[len(key) + 1 :])
                if listed:
                    return listed
    return []


def _kind(value: object) -> str:
    names = {str: "text", int: "a number", list: "a list", dict: "keys and values", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)
