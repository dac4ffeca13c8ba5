# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calico's policies, host endpoints and required flows of a cluster: the settings, the inventory and the catalogue
together. Pure; the roles' filters call this.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Iterable, Mapping, Sequence

from . import cluster_addresses
from .calico_defaults import default_policies, own_policies
from .calico_endpoints import check_pod_networks, host_endpoints, pod_addresses, pools, single_interface
from .calico_forms import Document
from .calico_isolation import private_isolation, public_isolation
from .calico_required_flows import required_flows
from .calico_services import service_policies
from .calico_settings import CalicoSettings, check_private_covered
from .catalogue import load_catalogue
from .catalogue_model import Catalogue

# Options of the filters that are not settings of the content.
_CATALOGUE = ("catalogue", "catalogue_overlay")


class Cluster:
    """The settings of a cluster with what its inventory and nodes say where the settings are silent."""

    def __init__(
        self,
        options: Mapping[str, Any],
        hostvars: Mapping[str, Any] | None = None,
        workers: Iterable[str] = (),
        masters: Iterable[str] = (),
    ) -> None:
        """Raises HardeningError: a setting that cannot be meant, a node of which nothing is known."""
        self.hostvars = hostvars or {}
        self.workers, self.masters = list(workers), list(masters)
        self.catalogue: Catalogue = load_catalogue(*(options.get(name) or None for name in _CATALOGUE))
        told = {key: value for key, value in options.items() if key not in _CATALOGUE}
        self.settings = self._with_nodes(CalicoSettings.from_options(told))

    def _with_nodes(self, settings: CalicoSettings) -> CalicoSettings:
        hosts = [*self.masters, *self.workers]
        found: dict[str, Any] = {}
        if not settings.cluster_nodes and hosts:
            found["cluster_nodes"] = cluster_addresses.node_addresses(self.hostvars, hosts)
        if not settings.cluster_masters and self.masters:
            found["cluster_masters"] = cluster_addresses.node_addresses(self.hostvars, self.masters)
        if not settings.single_interface:
            found["single_interface"] = single_interface(self.hostvars, hosts)
        for name in ("resolvers", "time_servers"):
            if not getattr(settings, name):
                found[name] = self._found(name)
        return replace(settings, **found)

    def _found(self, name: str) -> list[str]:
        """What the nodes use, without addresses that hold on one link only."""
        every = [item for host in self.workers for item in (self.hostvars[host].get("iks_node") or {}).get(name, ())]
        return [item for item in dict.fromkeys(every) if "%" not in item]

    def policies(self) -> list[Document]:
        """The policies in the order in which they are written. Raises HardeningError."""
        settings, catalogue = self.settings, self.catalogue
        check_private_covered(settings)
        made = default_policies(settings, catalogue) + own_policies(settings)
        if settings.calico_private == "isolated":
            made += private_isolation(settings, catalogue)
        if settings.calico_public == "isolated":
            made += public_isolation(settings, catalogue)
        return made + service_policies(settings)

    def host_endpoints(self) -> list[Document]:
        """The host endpoints of the nodes, after a look at where their pods are. Raises HardeningError."""
        self.check_pods()
        return host_endpoints(self.settings, self.hostvars, self.workers, self.masters)

    def check_pods(self, found: Sequence[str | Mapping[str, Any]] = ()) -> None:
        """The pods' networks hold the pods that are seen on the nodes, and the pools that were `found`."""
        check_pod_networks(self.settings.pod_networks, [*pod_addresses(self.hostvars, self.workers), *pools(found)])

    def flows(self) -> list[dict[str, Any]]:
        """What has to pass at the host endpoints whatever is changed. Raises HardeningError."""
        return required_flows(self.settings, self.catalogue)
