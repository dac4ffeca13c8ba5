# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The region catalogue: dated data files of the collection, verified and validated, with a user's overlay on top.

Versions are never merged silently: a regions file names the address lists it uses, and every rule's reason shows them.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Mapping

from .addresses import network
from .catalogue_model import (
    ENDPOINT_SERVICES,
    Catalogue,
    CatalogueError,
    Defect,
    Management,
    PrivateNetworks,
    Ranges,
    Region,
    Service,
)
from .catalogue_overlay import apply_overlay, read_overlay
from .catalogue_reader import Reader, parse_yaml
from .names import unknown

DEFAULT_VERSION = "2017-09-29"
DIRECTORY = Path(__file__).parents[2] / "catalogue"
SCHEMA = "1"
CHECKSUMS = "CHECKSUMS"
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_HEAD = ("schema", "kind", "version", "title", "source", "defects")
_STEPS = ("master", "registry", "monitoring", "logging", "private", "load_balancer", "ingress")


def versions(directory: Path = DIRECTORY) -> tuple[str, ...]:
    """The published dates of which the collection has the regions, the oldest first."""
    return tuple(sorted(path.stem[len("regions-") :] for path in directory.glob("regions-*.yml")))


def load_catalogue(version: object = None, overlay: Any = None, directory: Path = DIRECTORY) -> Catalogue:
    """A version of the catalogue, by default the page of 2017-09-29, with an overlay (a path, or its content) applied.

    Raises CatalogueError: unknown version, a file that differs from its checksum, defective data (each with its place).
    """
    wanted = DEFAULT_VERSION if version is None else str(version)
    known = versions(directory)
    if wanted not in known:
        raise CatalogueError(unknown("catalogue", wanted, known))
    catalogue = _catalogue(directory, wanted)
    if overlay is None:
        return catalogue
    return apply_overlay(catalogue, read_overlay(overlay))


@lru_cache(maxsize=16)
def _catalogue(directory: Path, version: str) -> Catalogue:
    name = f"regions-{version}.yml"
    reader, doc = _open(directory, name, f"page {version}", "regions", version, ("steps", "regions", "services"))
    services = reader.mapping(
        doc.get("services", {}), "services", ("master", *ENDPOINT_SERVICES, "private", "management"), ("master",)
    )
    steps = {key: str(value) for key, value in reader.mapping(doc.get("steps", {}), "steps", _STEPS).items()}
    regions = reader.regions(doc.get("regions", {}), "regions")
    _check_regions(reader, regions)
    held = {
        key: reader.service(key, services[key], f"services.{key}")
        for key in ("master", *ENDPOINT_SERVICES)
        if key in services
    }
    _check_services(reader, held, regions)
    private = _private(reader, services["private"]) if "private" in services else None
    management = _management(reader, services["management"]) if "management" in services else None
    defects = reader.defects(doc.get("defects", []), doc)
    reader.finish(defects)
    lists = dict.fromkeys((*(private.ranges if private else ()), *(management.ranges if management else ())))
    return Catalogue(
        version=version,
        title=doc["title"],
        steps=steps,
        regions=regions,
        services=held,
        private=private,
        management=management,
        ranges=tuple(load_ranges(name, directory) for name in lists),
        defects=defects,
    )


@lru_cache(maxsize=16)
def load_ranges(version: str, directory: Path = DIRECTORY) -> Ranges:
    """A dated list of the provider's networks. Raises CatalogueError."""
    origin = f"IP ranges {version}"
    reader, doc = _open(
        directory, f"ranges-{version}.yml", origin, "ranges", version, ("private_blocks", "private_tables", "tables")
    )
    blocks = reader.items(doc.get("private_blocks", []), "private_blocks", network)
    private = reader.items(doc.get("private_tables", []), "private_tables", str)
    tables = {
        name: reader.table(table, f"tables.{name}", blocks if name in private else ())
        for name, table in reader.mapping(doc.get("tables", {}), "tables").items()
    }
    for name in private:
        if name not in tables:
            reader.fail("private_tables", name, f"table {name} does not exist")
    for name, table in tables.items():
        reader.duplicates([(f"tables.{name}.{location}", networks) for location, networks in table.items()])
    defects = reader.defects(doc.get("defects", []), doc)
    reader.finish(defects)
    return Ranges(version, doc["title"], tables, origin, defects)


def _open(
    directory: Path, name: str, origin: str, kind: str, version: str, keys: tuple[str, ...]
) -> tuple[Reader, dict[str, Any]]:
    """A file of the collection, checked against CHECKSUMS and its head."""
    reader = Reader(f"{directory.name}/{name}", origin)
    doc = reader.mapping(
        parse_yaml(reader.label, _verified(directory, name)),
        "",
        (*_HEAD, *keys),
        ("schema", "kind", "version", "title", "source", "defects", *(key for key in keys if key != "steps")),
    )
    for key, wanted in (("schema", SCHEMA), ("kind", kind), ("version", version)):
        if doc.get(key) != wanted:
            reader.fail(key, doc.get(key), f"{doc.get(key)!r} where {wanted!r} is expected")
    source = reader.mapping(
        doc.get("source", {}),
        "source",
        ("repository", "path", "commit", "date", "note"),
        ("repository", "path", "date"),
    )
    if not _VERSION.fullmatch(str(source.get("date"))):
        reader.fail("source.date", source.get("date"), f"{source.get('date')!r} is not a date such as 2017-09-29")
    reader.text(doc.get("title"), "title")
    return reader, doc


def _verified(directory: Path, name: str) -> str:
    """A file's text, if it is what CHECKSUMS says. Raises CatalogueError."""
    label = f"{directory.name}/{name}"
    try:
        data = (directory / name).read_bytes()
        sums = (directory / CHECKSUMS).read_text(encoding="ascii")
    except OSError as error:
        raise CatalogueError(f"{label}: {error.strerror}: {error.filename}; install the collection again") from None
    known = {line.split()[1]: line.split()[0] for line in sums.splitlines() if len(line.split()) == 2}
    found = hashlib.sha256(data).hexdigest()
    if name not in known:
        raise CatalogueError(
            f"{label}: has no line in {directory.name}/{CHECKSUMS}; your own data belongs in an overlay"
        )
    if found != known[name]:
        raise CatalogueError(
            f"{label}: sha256 is {found}, but {CHECKSUMS} says {known[name]}: the file was changed or damaged; "
            "install the collection again, and put your own data in an overlay"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{label}: byte {error.start} is not UTF-8") from None


def _check_regions(reader: Reader, regions: tuple[Region, ...]) -> None:
    entries: list[tuple[str, tuple[str, ...]]] = []
    for region in regions:
        place = f"regions.{region.key}"
        if not region.title:
            reader.fail(f"{place}.title", "", "is missing")
        if not region.masters:
            reader.fail(f"{place}.masters", "", "is missing; a region without a master address opens nothing")
        entries += [(f"{place}.masters.{', '.join(group.locations)}", group.addresses) for group in region.masters]
    reader.duplicates(entries)
    reader.unique_names(regions)


def _check_services(reader: Reader, services: Mapping[str, Service], regions: tuple[Region, ...]) -> None:
    keys = [region.key for region in regions]
    for service in services.values():
        place = f"services.{service.name}.endpoints"
        reader.duplicates([(f"{place}.{item.host}.networks", item.networks) for item in service.endpoints])
        for item in service.endpoints:
            for key in item.regions:
                if key not in keys:
                    reader.fail(f"{place}.{item.host}.regions", key, unknown("region", key, keys))


def _private(reader: Reader, raw: object) -> PrivateNetworks:
    place = "services.private"
    known = ("protocols", "ports", "choice", "networks", "locations", "table", "ranges")
    data = reader.mapping(raw, place, known, ("protocols", "ports", "locations", "table", "ranges"))
    return PrivateNetworks(
        protocols=reader.protocols(data.get("protocols", []), f"{place}.protocols"),
        ports=reader.ports(data.get("ports", []), f"{place}.ports"),
        choice=reader.text(data["choice"], f"{place}.choice") if "choice" in data else "",
        networks=reader.items(data.get("networks", []), f"{place}.networks", network, empty=True),
        locations=reader.locations(data.get("locations", []), f"{place}.locations"),
        table=str(data.get("table")),
        ranges=reader.items(data.get("ranges", []), f"{place}.ranges", reader.matching(_VERSION, "a date")),
    )


def _management(reader: Reader, raw: object) -> Management:
    place = "services.management"
    data = reader.mapping(raw, place, ("tables", "ranges", "except"), ("tables", "ranges"))
    excepted = reader.mapping(data.get("except", {}), f"{place}.except")
    reader.items(list(excepted), f"{place}.except", network, empty=True)
    return Management(
        tables=reader.items(data.get("tables", []), f"{place}.tables", str),
        ranges=reader.items(data.get("ranges", []), f"{place}.ranges", reader.matching(_VERSION, "a date")),
        excepted={net: reader.text(why, f"{place}.except.{net}") for net, why in excepted.items()},
    )


def known_defects(catalogue: Catalogue) -> tuple[Defect, ...]:
    """What the sources of a catalogue print wrongly, regions and address lists together."""
    return (*catalogue.defects, *(defect for source in catalogue.ranges for defect in source.defects))
