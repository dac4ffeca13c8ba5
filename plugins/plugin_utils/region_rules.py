# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a region catalogue and a request to traffic rules. Pure; the page's steps 1 to 7 and its third situation.

Every rule carries where it comes from: the page or overlay, its date, the step, and what was decided where the page is
silent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Iterable

from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import check_names
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import rule_from_dict, rule_to_dict

from . import addresses
from .catalogue import load_catalogue
from .catalogue_model import (
    ALL_LOCATIONS,
    PRIVATE,
    Catalogue,
    CatalogueError,
    MasterGroup,
    PrivateNetworks,
    Region,
    Service,
)
from .names import nearest_first, unknown
from .region_request import DEFAULT_SERVICES, RegionRequest, RequestError
from .rule_parts import RuleDict, accept_rules


def rules_for(options: dict[str, Any]) -> list[RuleDict]:
    """Options in, rules out. Raises HardeningError."""
    return rules_and_slips(options)[0]


def rules_and_slips(options: dict[str, Any]) -> tuple[list[RuleDict], list[str]]:
    """What the lookup and the module do: the rules of the options, and warnings about the source's known slips.

    Raises HardeningError.
    """
    request = RegionRequest.from_options(options)
    catalogue = load_catalogue(request.catalogue, request.overlay)
    slips = [f"region catalogue, known slip of the source: {line}" for line in defects_in_use(catalogue, request)]
    return region_rules(catalogue, request), slips


def region_rules(catalogue: Catalogue, request: RegionRequest) -> list[RuleDict]:
    """The rules of a request, in the order of the page's steps, each with a name of its own. Raises HardeningError."""
    return _Builder(catalogue, request).build()


def regions_in_use(catalogue: Catalogue, request: RegionRequest) -> tuple[Region, ...]:
    """The regions that are named, and those of the named locations. Raises CatalogueError."""
    found = [_region(catalogue, name) for name in request.regions]
    for name in request.locations:
        owner = next((region for region in catalogue.regions if name in region.locations), None)
        if owner is not None:
            found.append(owner)
        elif not catalogue.has_location(name):
            subject = f"option locations: catalogue {catalogue.version}: location"
            raise CatalogueError(unknown(subject, name, _known_locations(catalogue)))
    return tuple(dict.fromkeys(found))


def _region(catalogue: Catalogue, name: str) -> Region:
    try:
        return catalogue.region(name)
    except CatalogueError as error:
        raise CatalogueError(f"option regions: {error}") from None


def provider_management_networks(catalogue: Catalogue) -> list[tuple[str, str]]:
    """The provider's systems that manage worker nodes (the page's allow-sys-mgmt): network and reason.

    Raises CatalogueError if the catalogue names no list for them.
    """
    management = catalogue.management
    if management is None:
        raise CatalogueError(
            f"catalogue {catalogue.version}: names no address list for the provider's management systems"
        )
    places: dict[tuple[str, str], list[str]] = {}
    for source in catalogue.lists(management.ranges):
        for table in management.tables:
            for location, networks in source.tables.get(table, {}).items():
                for network in networks:
                    if network not in management.excepted:
                        places.setdefault((network, source.origin), []).append(f"{table.replace('_', ' ')} {location}")
    found: dict[str, str] = {}
    for (network, origin), where in places.items():
        found.setdefault(network, f"provider management, {', '.join(where)}, {origin}")
    return list(found.items())


def catalogue_networks(catalogue: Catalogue) -> list[str]:
    """Every public network that the catalogue names: masters and services of all regions."""
    found = {address for region in catalogue.regions for group in region.masters for address in group.addresses}
    for service in catalogue.services.values():
        found |= {network for endpoint in service.endpoints for network in endpoint.networks}
    return sorted(found)


def _known_locations(catalogue: Catalogue) -> list[str]:
    known = [location for region in catalogue.regions for location in region.locations]
    if catalogue.private is not None:
        for source in catalogue.lists(catalogue.private.ranges):
            known += [place for place in source.tables.get(catalogue.private.table, {}) if place != ALL_LOCATIONS]
    return list(dict.fromkeys(known))


def defects_in_use(catalogue: Catalogue, request: RegionRequest) -> list[str]:
    """What the sources print wrongly about the regions and services of a request, as lines for the user."""
    regions = regions_in_use(catalogue, request)
    services = request.services or DEFAULT_SERVICES
    prefixes = [f"regions.{region.key}." for region in regions] if "master" in services else []
    for name in set(services) & set(catalogue.services):
        for item in catalogue.services[name].endpoints:
            if any(region.key in item.regions for region in regions):
                prefixes.append(f"services.{name}.endpoints.{item.host}.")
    found = [defect for defect in catalogue.defects if defect.place.startswith(tuple(prefixes))]
    if catalogue.private is not None and "private" in services:
        private = catalogue.private
        places = {*(place for region in regions for place in region.locations), *request.locations, *private.locations}
        used = {f"tables.{private.table}.{place}" for place in places}
        found += [item for source in catalogue.lists(private.ranges) for item in source.defects if item.place in used]
    return [str(defect) for defect in found]


class _Builder:
    """Collects the rules of one request."""

    def __init__(self, catalogue: Catalogue, request: RegionRequest) -> None:
        self.catalogue = catalogue
        self.request = request
        self.regions = regions_in_use(catalogue, request)
        self.gateway = request.point == "gateway"
        self.rules: list[RuleDict] = []

    def build(self) -> list[RuleDict]:
        services = self._services()
        for name in services:
            if name == "master":
                self._masters()
                self._workers()
            elif name == "private":
                if self.catalogue.private is not None:
                    self._private(self.catalogue.private)
            else:
                self._endpoints(name)
        self._locations_have_a_use(services)
        self._exposed("load_balancer", "load balancer", "lb", self.request.load_balancers)
        self._exposed("ingress", "Ingress controller", "ingress", self.request.ingress)
        self._operator()
        rules = [rule_from_dict(rule) for rule in self.rules]
        check_names(rules)
        return [rule_to_dict(rule) for rule in rules]

    # ---- which services

    def _services(self) -> tuple[str, ...]:
        """The services that are asked for; each has to be offered for each region."""
        offered = self.catalogue.offered
        if self.request.services is None:
            return tuple(name for name in DEFAULT_SERVICES if name in offered)
        for name in self.request.services:
            if name not in offered:
                why = (
                    "was dropped by the overlay"
                    if name in self.catalogue.dropped
                    else "has no addresses in this version"
                )
                raise CatalogueError(
                    f"catalogue {self.catalogue.version}: service {name} {why}; offered, nearest first: "
                    f"{', '.join(nearest_first(name, offered))}"
                )
        return self.request.services

    def _locations_have_a_use(self, services: Iterable[str]) -> None:
        """A named location without a master opens private ranges only; without that service it would do nothing."""
        if "private" in services:
            return
        for name in self.request.locations:
            if not any(name in region.locations for region in self.regions):
                raise CatalogueError(
                    f"catalogue {self.catalogue.version}: location {name} has private ranges only; "
                    "add private to services"
                )

    # ---- step 2

    def _masters(self) -> None:
        service = self.catalogue.services["master"]
        for region in self.regions:
            for group in region.masters:
                where = _group_name(region, group)
                self._outbound(
                    f"{region.key}-master-{where}",
                    group.addresses,
                    service,
                    f"{region.key}, master {_group_text(region, group)}",
                    self._origin(group.origin, "master"),
                )

    def _workers(self) -> None:
        """Every worker's public address to the others, as the page asks for all locations of a region to each other."""
        service = self.catalogue.services["master"]
        workers = self._worker_addresses()
        both = ", both directions" if self.gateway else ""
        for protocol in service.protocols:
            self.rules += accept_rules(
                f"workers-{protocol}",
                "forward" if self.gateway else "out",
                protocol,
                f"workers of all locations to each other{both}, {self.catalogue.step('master')}"
                f"{_choice(service.choice)}",
                sources=workers if self.gateway else None,
                destinations=workers,
                ports=service.ports,
                # Workers may stand on either side of a gateway: addresses bind this rule, interfaces do not.
                interface=None if self.gateway else self.request.interface,
            )

    # ---- steps 3 and 4

    def _endpoints(self, name: str) -> None:
        service = self.catalogue.services[name]
        serving = {
            region.key: [item for item in service.endpoints if region.key in item.regions] for region in self.regions
        }
        for region, found in serving.items():
            if not found:
                having = nearest_first(region, dict.fromkeys(key for item in service.endpoints for key in item.regions))
                raise CatalogueError(
                    f"catalogue {self.catalogue.version}: region {region} has no {name} host; "
                    f"regions that have one, nearest first: {', '.join(having) or 'none'}"
                )
        used = [item for item in service.endpoints if any(item in found for found in serving.values())]
        for item in used:
            regions = ", ".join(region for region, found in serving.items() if item in found)
            subject = f"{name} for {regions}" if len(regions) <= 80 else f"{name} for {len(self.regions)} regions"
            # Which region a host serves was our choice only where the page says nothing; an overlay says it.
            chosen = service if item.origin == self.catalogue.label else replace(service, choice="")
            self._outbound(item.host, item.networks, chosen, subject, self._origin(item.origin, name))

    # ---- step 5

    def _private(self, private: PrivateNetworks) -> None:
        service = Service("private", private.protocols, private.ports, private.choice, PRIVATE)
        origin = self.catalogue.step("private")
        if private.networks:
            self._outbound(
                "private-required", private.networks, service, "private networks that every cluster needs", origin
            )
        needed = dict.fromkeys(place for region in self.regions for place in region.locations)
        required = dict.fromkeys(
            (*private.locations, *(place for region in self.regions for place in region.private_locations))
        )
        listed = [ALL_LOCATIONS] if self.catalogue.has_location(ALL_LOCATIONS) else []
        for place in dict.fromkeys((*needed, *self.request.locations, *required, *listed)):
            networks, source = self.catalogue.private_ranges(place)
            what = "all locations" if place == ALL_LOCATIONS else place
            why = ", required" if place in required and place not in needed else ""
            self._outbound(
                f"private-{place}", networks, service, f"private network of {what}{why}, {source.origin}", origin
            )

    # ---- steps 6 and 7, and the third situation

    def _exposed(self, step: str, title: str, prefix: str, services: Iterable[tuple[str, str, str]]) -> None:
        for address, port, protocol in services:
            plain = address.split("/")[0]
            choice = _choice("tcp: page silent") if step == "ingress" else ""
            self.rules += accept_rules(
                f"{prefix}-{plain.replace(':', '-')}-{port}-{protocol}",
                "forward" if self.gateway else "in",
                protocol,
                f"{title} {plain} port {port}, {self.catalogue.step(step)}{choice}",
                destinations=(address,),
                ports=(port,),
                interface=self.request.interface,
                out_interface=self.request.private_interface if self.gateway else None,
            )

    def _operator(self) -> None:
        """The operator's own network to the masters; kubectl and calicoctl speak TCP only."""
        if not self.request.operator_networks:
            return
        service = self.catalogue.services["master"]
        for region in self.regions:
            for group in region.masters:
                self.rules += accept_rules(
                    f"operator-{region.key}-{_group_name(region, group)}-tcp",
                    "forward" if self.gateway else "out",
                    "tcp",
                    f"kubectl and calicoctl to {region.key}, master {_group_text(region, group)}, "
                    f"{self._origin(group.origin)}, third situation (tcp: page silent)",
                    sources=self.request.operator_networks,
                    destinations=group.addresses,
                    ports=service.ports,
                    interface=None if self.gateway else self.request.interface,
                    out_interface=self.request.interface if self.gateway else None,
                )

    # ---- shared

    def _origin(self, origin: str, step: str | None = None) -> str:
        """The page with its step, or the overlay that said it."""
        if origin != self.catalogue.label:
            return origin
        return self.catalogue.step(step) if step else origin

    def _worker_addresses(self) -> tuple[str, ...]:
        if self.request.worker_addresses is None:
            raise RequestError(
                "option worker_addresses is missing: step 2 is for each worker's public address. Give the list "
                "(the filter iks.hardening.worker_addresses reads it from the output of bx cs workers)"
            )
        return self.request.worker_addresses

    def _sources(self, service: Service) -> tuple[str, ...] | None:
        """On a worker its own packets, whatever their source; on a gateway the workers' addresses."""
        if not self.gateway:
            return None
        if service.network != PRIVATE:
            return self._worker_addresses()
        if self.request.worker_private_addresses is not None:
            return self.request.worker_private_addresses
        # Workers with a single, private interface are named by it in worker_addresses.
        private = tuple(net for net in self.request.worker_addresses or () if addresses.is_private(net))
        if not private:
            raise RequestError(
                f"option worker_private_addresses is missing: on a gateway, {service.name} is opened from the workers' "
                "private addresses, and none of worker_addresses is private. Give the list, or leave "
                f"{service.name} out of services"
            )
        return private

    def _outbound(self, name: str, networks: tuple[str, ...], service: Service, subject: str, origin: str) -> None:
        """From the workers to networks of a service, one rule a protocol."""
        private = service.network == PRIVATE
        near = self.request.private_interface
        for protocol in service.protocols:
            self.rules += accept_rules(
                f"{name}-{protocol}",
                "forward" if self.gateway else "out",
                protocol,
                f"{subject}, {origin}{_choice(service.choice)}",
                sources=self._sources(service),
                destinations=networks,
                ports=service.ports,
                interface=near if self.gateway or private else self.request.interface,
                out_interface=self.request.interface if self.gateway and not private else None,
            )


def _choice(choice: str) -> str:
    return f" ({choice})" if choice else ""


def _group_name(region: Region, group: MasterGroup) -> str:
    return "all" if len(region.masters) == 1 and len(group.locations) > 1 else "-".join(group.locations)


def _group_text(region: Region, group: MasterGroup) -> str:
    return "all locations" if _group_name(region, group) == "all" else " ".join(group.locations)
