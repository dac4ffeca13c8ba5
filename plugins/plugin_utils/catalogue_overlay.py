# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's overlay on the catalogue: a region added, an address changed, a service dropped.

It has the form of a catalogue file, less its head. What it names takes the place of what the catalogue says of the same
thing, and every rule made from it says so; what it does not name stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Mapping

from .addresses import PRIVATE_USE, network
from .catalogue_model import (
    ENDPOINT_SERVICES,
    Catalogue,
    CatalogueError,
    Endpoint,
    MasterGroup,
    PrivateNetworks,
    Ranges,
    Region,
    Service,
)
from .catalogue_reader import Reader, parse_yaml
from .names import unknown

_KEYS = ("title", "regions", *ENDPOINT_SERVICES, "ranges", "private_blocks", "drop")
_DROP = ("regions", "services", "endpoints")
# A private network of the user's own lies in one of these, or in one that the overlay adds with `private_blocks`.
PRIVATE_BLOCKS = (*PRIVATE_USE, "161.26.0.0/16", "166.8.0.0/14")


@dataclass(frozen=True)
class Overlay:
    """A validated overlay, not yet compared with the catalogue it is laid on."""

    label: str
    origin: str
    regions: tuple[Region, ...]
    endpoints: Mapping[str, tuple[Endpoint, ...]]
    ranges: Mapping[str, Mapping[str, tuple[str, ...]]]
    drop: Mapping[str, tuple[str, ...]]


def read_overlay(overlay: Any) -> Overlay:
    """An overlay from a path or from its content. Raises CatalogueError with every problem and its place."""
    if isinstance(overlay, Mapping):
        label, doc, name = "overlay", overlay, "overlay"
    elif isinstance(overlay, (str, Path)):
        path = Path(overlay)
        label, name = f"overlay {path}", f"overlay {path.name}"
        try:
            doc = parse_yaml(label, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise CatalogueError(f"{label} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    else:
        raise CatalogueError(f"overlay: {overlay!r} is neither the path of a file nor a dictionary")
    reader = Reader(label, name)
    data = reader.mapping(doc, "", _KEYS)
    if "title" in data:
        reader.origin = f"overlay {reader.text(data['title'], 'title')}"
    if len(reader.origin.encode("utf-8")) > 60:
        reader.fail(
            "title", reader.origin, f"{reader.origin!r} is longer than 60 bytes; it goes into the reason of every rule"
        )
    blocks = PRIVATE_BLOCKS + reader.items(data.get("private_blocks", []), "private_blocks", network, empty=True)
    drop = reader.mapping(data.get("drop", {}), "drop", _DROP)
    found = Overlay(
        label=label,
        origin=reader.origin,
        regions=reader.regions(data.get("regions", {}), "regions"),
        endpoints={key: reader.endpoints(data[key], key) for key in ENDPOINT_SERVICES if key in data},
        ranges={
            key: reader.table(table, f"ranges.{key}", blocks)
            for key, table in reader.mapping(data.get("ranges", {}), "ranges").items()
        },
        drop={key: reader.items(listed, f"drop.{key}", str) for key, listed in drop.items()},
    )
    reader.finish()
    return found


def apply_overlay(catalogue: Catalogue, overlay: Overlay) -> Catalogue:
    """The catalogue with the overlay on it. Raises CatalogueError where the overlay speaks of what does not exist."""
    reader = Reader(overlay.label, overlay.origin)
    catalogue = _drop(reader, catalogue, overlay)
    regions = {region.key: region for region in catalogue.regions}
    for change in overlay.regions:
        present = regions.get(change.key)
        if present is None and not (change.title and change.masters):
            reader.fail(
                f"regions.{change.key}",
                change.key,
                f"{unknown('region', change.key, regions)}; to add one, give title and masters",
            )
        regions[change.key] = _region(present, change) if present else change
    services = dict(catalogue.services)
    for name, endpoints in overlay.endpoints.items():
        for item in endpoints:
            for key in item.regions:
                if key not in regions:
                    reader.fail(f"{name}.{item.host}.regions", key, unknown("region", key, regions))
        services[name] = _service(reader, services.get(name), name, endpoints)
    reader.unique_names(tuple(regions.values()))
    ranges = _ranges(reader, catalogue, overlay)
    reader.finish()
    return catalogue.with_(regions=tuple(regions.values()), services=services, ranges=ranges)


def _drop(reader: Reader, catalogue: Catalogue, overlay: Overlay) -> Catalogue:
    keys = [region.key for region in catalogue.regions]
    droppable = [name for name in catalogue.offered if name != "master"]
    hosts = [item.host for service in catalogue.services.values() for item in service.endpoints]
    for place, known in (("regions", keys), ("services", droppable), ("endpoints", hosts)):
        for name in overlay.drop.get(place, ()):
            if name not in known:
                reader.fail(f"drop.{place}", name, unknown(place[:-1], name, known))
    gone = overlay.drop.get("services", ())
    without = overlay.drop.get("endpoints", ())
    services = {
        name: replace(service, endpoints=tuple(item for item in service.endpoints if item.host not in without))
        for name, service in catalogue.services.items()
        if name not in gone
    }
    return catalogue.with_(
        regions=tuple(region for region in catalogue.regions if region.key not in overlay.drop.get("regions", ())),
        services=services,
        private=None if "private" in gone else catalogue.private,
        dropped=tuple(gone),
    )


def _region(present: Region, change: Region) -> Region:
    """Named locations get the change's addresses; the others of a group that is printed together keep theirs."""
    named = set(change.locations)
    groups: list[MasterGroup] = []
    for group in present.masters:
        rest = tuple(location for location in group.locations if location not in named)
        if rest:
            groups.append(replace(group, locations=rest))
    return replace(
        present,
        title=change.title or present.title,
        aliases=tuple(dict.fromkeys((*present.aliases, *change.aliases))),
        masters=(*groups, *change.masters),
        private_locations=tuple(dict.fromkeys((*present.private_locations, *change.private_locations))),
    )


def _service(reader: Reader, present: Service | None, name: str, endpoints: tuple[Endpoint, ...]) -> Service:
    if present is None:
        reader.fail(
            name, name, f"this version of the catalogue has no ports for {name}; choose a version that offers it"
        )
        return Service(name, (), ())
    hosts = {item.host: item for item in (*present.endpoints, *endpoints)}
    return replace(present, endpoints=tuple(hosts.values()))


def _ranges(reader: Reader, catalogue: Catalogue, overlay: Overlay) -> tuple[Ranges, ...]:
    """The overlay's own list comes first: what it names for a location counts."""
    if not overlay.ranges:
        return catalogue.ranges
    private: PrivateNetworks | None = catalogue.private
    tables = sorted(
        {*(name for source in catalogue.ranges for name in source.tables), *([private.table] if private else [])}
    )
    for name in overlay.ranges:
        if name not in tables:
            reader.fail(f"ranges.{name}", name, unknown("table", name, tables))
    own = Ranges(overlay.origin, overlay.origin, overlay.ranges, overlay.origin, own=True)
    return (own, *catalogue.ranges)
