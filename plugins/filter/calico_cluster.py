# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters: Calico's policies, host endpoints and required flows of a cluster, and Kubernetes' network policies."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping

from ansible.errors import AnsibleFilterError

from ..module_utils.errors import HardeningError, unchanged
from ..plugin_utils.calico_content import Cluster
from ..plugin_utils.network_policies import network_policies

Documents = list[dict[str, Any]]


def _told(make: Callable[[], Documents]) -> Documents:
    try:
        return make()
    except HardeningError as error:
        raise AnsibleFilterError(unchanged(error)) from None


def _policies(
    settings: Mapping[str, Any],
    hostvars: Mapping[str, Any] | None = None,
    workers: Iterable[str] = (),
    masters: Iterable[str] = (),
) -> Documents:
    return _told(lambda: Cluster(settings, hostvars, workers, masters).policies())


def _host_endpoints(
    settings: Mapping[str, Any],
    hostvars: Mapping[str, Any],
    workers: Iterable[str],
    masters: Iterable[str] = (),
    pools: Iterable[str | Mapping[str, Any]] = (),
) -> Documents:
    def make() -> Documents:
        cluster = Cluster(settings, hostvars, workers, masters)
        cluster.check_pods(list(pools))
        return cluster.host_endpoints()

    return _told(make)


def _flows(
    settings: Mapping[str, Any],
    hostvars: Mapping[str, Any] | None = None,
    workers: Iterable[str] = (),
    masters: Iterable[str] = (),
) -> Documents:
    return _told(lambda: Cluster(settings, hostvars, workers, masters).flows())


def _network_policies(items: Any) -> Documents:
    return _told(lambda: network_policies(items))


class FilterModule:
    """The filters under their names."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "calico_flows": _flows,
            "calico_host_endpoints": _host_endpoints,
            "calico_policies": _policies,
            "network_policies": _network_policies,
        }
