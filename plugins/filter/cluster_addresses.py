# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters: addresses of the cluster's nodes."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping

from ansible.errors import AnsibleFilterError

from ..module_utils.errors import HardeningError, unchanged
from ..plugin_utils import cluster_addresses


def _guarded(function: Callable[..., list[str]]) -> Callable[..., list[str]]:
    def wrapper(hostvars: Mapping[str, Any], hosts: Iterable[str]) -> list[str]:
        try:
            return function(hostvars, hosts)
        except HardeningError as error:
            raise AnsibleFilterError(unchanged(error)) from None

    return wrapper


class FilterModule:
    """The filters under their names."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "node_addresses": _guarded(cluster_addresses.node_addresses),
            "private_addresses": _guarded(cluster_addresses.private_addresses),
            "public_addresses": _guarded(cluster_addresses.public_addresses),
        }
