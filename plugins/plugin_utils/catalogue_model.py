# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a region catalogue holds: values only, no files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Mapping

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError

from .names import normal, unknown

PUBLIC, PRIVATE = "public", "private"
ENDPOINT_SERVICES = ("registry", "monitoring", "logging")
SERVICES = ("master", *ENDPOINT_SERVICES, "private")
# The row of the provider's tables that stands for every location.
ALL_LOCATIONS = "all"


class CatalogueError(HardeningError):
    """The catalogue's data is defective, or does not hold what is asked for."""


@dataclass(frozen=True)
class Defect:
    """A slip of the source, and what was decided about it."""

    file: str
    place: str
    value: str
    problem: str
    decision: str
    used: str | None = None
    note: str | None = None

    def __str__(self) -> str:
        used = f" by {self.used}" if self.used else ""
        note = f" ({self.note})" if self.note else ""
        return f"{self.file}: {self.place}: {self.value}: {self.problem}; {self.decision}{used}{note}"


@dataclass(frozen=True)
class MasterGroup:
    """The master addresses that the source prints for one location, or for several together."""

    locations: tuple[str, ...]
    addresses: tuple[str, ...]
    origin: str


@dataclass(frozen=True)
class Region:
    key: str
    title: str
    aliases: tuple[str, ...]
    masters: tuple[MasterGroup, ...]
    private_locations: tuple[str, ...] = ()

    @property
    def locations(self) -> tuple[str, ...]:
        return tuple(location for group in self.masters for location in group.locations)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(normal(name) for name in (self.key, self.title, *self.aliases))


@dataclass(frozen=True)
class Endpoint:
    """A host of a service with the networks it may answer from, and the regions it serves."""

    host: str
    regions: tuple[str, ...]
    networks: tuple[str, ...]
    origin: str


@dataclass(frozen=True)
class Service:
    """`choice` says what the source leaves open and we decided; every rule's reason shows it."""

    name: str
    protocols: tuple[str, ...]
    ports: tuple[str, ...]
    choice: str = ""
    network: str = PUBLIC
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True)
class PrivateNetworks:
    """Step 5: what has to be reached on the private network besides the locations of the region."""

    protocols: tuple[str, ...]
    ports: tuple[str, ...]
    choice: str
    networks: tuple[str, ...]
    locations: tuple[str, ...]
    table: str
    ranges: tuple[str, ...]


@dataclass(frozen=True)
class Management:
    """Which tables of the address lists are the provider's management systems, and which networks are left out, why."""

    tables: tuple[str, ...]
    ranges: tuple[str, ...]
    excepted: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranges:
    """One dated address list of the provider: table -> location -> networks."""

    version: str
    title: str
    tables: Mapping[str, Mapping[str, tuple[str, ...]]]
    origin: str
    defects: tuple[Defect, ...] = ()
    own: bool = False  # from an overlay: counts for every table


@dataclass(frozen=True)
class Catalogue:
    """One version of the regions with the address lists it names, and a user's overlay if there is one."""

    version: str
    title: str
    steps: Mapping[str, str]
    regions: tuple[Region, ...]
    services: Mapping[str, Service]
    private: PrivateNetworks | None
    management: Management | None
    ranges: tuple[Ranges, ...]
    defects: tuple[Defect, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"page {self.version}"

    def step(self, name: str) -> str:
        """`page 2017-09-29 step 2`; without the step where the version does not number them."""
        return f"{self.label} step {self.steps[name]}" if name in self.steps else self.label

    @property
    def offered(self) -> tuple[str, ...]:
        """The services that this version can answer for."""
        held = {**self.services, "private": self.private}
        return tuple(name for name in SERVICES if held.get(name) is not None)

    def region(self, name: object) -> Region:
        """The region of a name, an alias, or one of its locations. Raises CatalogueError."""
        wanted = normal(name)
        for region in self.regions:
            if wanted in region.names or wanted in region.locations:
                return region
        known = [
            *(region.key for region in self.regions),
            *(place for region in self.regions for place in region.locations),
        ]
        raise CatalogueError(unknown(f"catalogue {self.version}: region or location", name, known))

    def lists(self, named: tuple[str, ...]) -> tuple[Ranges, ...]:
        """The address lists of these dates in their order, an overlay's own before them."""
        dated = {source.version: source for source in self.ranges}
        return (*(source for source in self.ranges if source.own), *(dated[version] for version in named))

    def has_location(self, name: str) -> bool:
        """Whether a private range is known for a location."""
        private = self.private
        return private is not None and any(
            name in source.tables.get(private.table, {}) for source in self.lists(private.ranges)
        )

    def private_ranges(self, location: str) -> tuple[tuple[str, ...], Ranges]:
        """A location's networks, with the list that printed them: the first named one that has it.

        Raises CatalogueError where no list has it: never an empty rule.
        """
        if self.private is None:
            raise CatalogueError(f"catalogue {self.version}: service private is not offered")
        sources = self.lists(self.private.ranges)
        for source in sources:
            networks = source.tables.get(self.private.table, {}).get(location)
            if networks:
                return networks, source
        lists = ", ".join(source.version for source in sources) or "none"
        raise CatalogueError(
            f"catalogue {self.version}: location {location} is in use, but has no private range in "
            f"the address lists ({lists}); "
            f"add it with an overlay: ranges: {{{self.private.table}: {{{location}: [...]}}}}"
        )

    def with_(self, **changes: object) -> Catalogue:
        """A copy with changes."""
        return replace(self, **changes)  # type: ignore[arg-type]
