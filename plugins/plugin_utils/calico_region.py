# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the region catalogue goes into policies: masters, the provider's private networks, services. Pure."""

from __future__ import annotations

from typing import Any

from .calico_forms import ContentError, Document, port, rules
from .calico_settings import CalicoSettings
from .catalogue_model import ALL_LOCATIONS, PRIVATE, Catalogue
from .region_request import DEFAULT_SERVICES, RegionRequest
from .region_rules import region_rules, regions_in_use

# From these the provider manages the workers of every region (comments of IBM's allow-sys-mgmt-private).
MANAGING_LOCATIONS = ("dal01", "dal10", "wdc04")


def request(settings: CalicoSettings, services: tuple[str, ...] | None = None) -> RegionRequest:
    """The settings as a request to the catalogue. Raises RequestError, ContentError."""
    if not settings.regions:
        raise ContentError("iks_regions: no region is named, and the isolation sets are made for one; name it")
    return RegionRequest.from_options(
        {"regions": list(settings.regions), "locations": list(settings.locations), "services": services}
    )


def master_rules(settings: CalicoSettings, catalogue: Catalogue) -> list[Document]:
    """To the masters of all locations of the regions, as the page's step 2 asks. Raises HardeningError."""
    found = [
        address
        for region in regions_in_use(catalogue, request(settings))
        for group in region.masters
        for address in group.addresses
    ]
    service = catalogue.services["master"]
    return rules("Allow", _protocols(service.protocols), _ports(service.ports), destinations=_each_once(found))


def service_rules(settings: CalicoSettings, catalogue: Catalogue, private: bool) -> list[Document]:
    """To the services of the regions that are on the private network, or on the public one, without the masters."""
    found = []
    for rule in service_traffic(settings, catalogue, private):
        found += rules("Allow", _protocols((rule["protocol"],)), _ports(rule["ports"]), None, rule["destinations"])
    return found


def service_traffic(settings: CalicoSettings, catalogue: Catalogue, private: bool) -> list[dict[str, Any]]:
    """The traffic rules of those services, with their reasons. Raises HardeningError."""
    asked = settings.services or tuple(name for name in DEFAULT_SERVICES if name in catalogue.offered)
    names = tuple(
        name
        for name in asked
        if name != "master" and private == (name == PRIVATE or _network(catalogue, name) == PRIVATE)
    )
    return region_rules(catalogue, request(settings, names)) if names else []


def _network(catalogue: Catalogue, name: str) -> str:
    service = catalogue.services.get(name)
    return service.network if service is not None else ""


def managing_networks(settings: CalicoSettings, catalogue: Catalogue) -> list[str]:
    """The private networks from which the provider manages workers of the regions. Raises CatalogueError."""
    regions = regions_in_use(catalogue, request(settings))
    fixed = catalogue.private.locations if catalogue.private is not None else ()
    places = dict.fromkeys(
        (
            # Later lists print dal01's network for all locations instead.
            *(place for place in MANAGING_LOCATIONS if catalogue.has_location(place)),
            *fixed,
            *(place for region in regions for place in (*region.locations, *region.private_locations)),
            *settings.locations,
        )
    )
    found = [network for place in places for network in catalogue.private_ranges(place)[0]]
    if catalogue.has_location(ALL_LOCATIONS):
        found += catalogue.private_ranges(ALL_LOCATIONS)[0]
    return _each_once(found)


def _protocols(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.upper() for name in names)


def _ports(ports: Any) -> list[int | str]:
    return [port("catalogue: port", item) for item in ports]


def _each_once(networks: list[str]) -> list[str]:
    return list(dict.fromkeys(item if "/" in item else f"{item}/{128 if ':' in item else 32}" for item in networks))
