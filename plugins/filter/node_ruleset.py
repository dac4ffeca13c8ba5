# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: a node's default ruleset from what firewall_info found."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_ruleset
short_description: Default firewall ruleset of a worker, master or gateway
version_added: 0.1.0
author: Contributors to the iks.hardening collection
description:
  - Turns the result of M(iks.hardening.firewall_info) into the rules and default verdicts for
    M(iks.hardening.node_firewall), the worker's after the default policies of the 2017 page.
options:
  _input:
    description: What M(iks.hardening.firewall_info) returned.
    type: dict
    required: true
  kind:
    description: The kind of node.
    type: str
    choices: [worker, master, gateway]
    required: true
  settings:
    description: The role's variables without their C(iks_) prefix; what is null keeps its default.
    type: dict
    default: {}
  provider:
    description: Open to the management systems of this provider.
    type: str
    choices: [ibm, none]
    default: none
  catalogue:
    description: Date of the region catalogue whose management networks count.
    type: str
  overlay:
    description: A dictionary that is laid over the catalogue.
    type: raw
  nodes:
    description: Addresses of the other nodes; on a single-interface node each has to lie in C(cluster_networks).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: The worker's ruleset
  ansible.builtin.debug:
    msg: "{{ node | iks.hardening.node_ruleset('worker', {'egress': 'restricted'}) }}"
"""

RETURN = r"""
_value:
  description:
    - Keys C(rules) (lines), C(defaults), C(guard), C(management), C(notes), C(public) and C(private) (interfaces).
  type: dict
"""

from typing import Any, Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError

from ..module_utils.errors import HardeningError, unchanged
from ..plugin_utils.catalogue import load_catalogue
from ..plugin_utils.node_profile import check_peers, node_ruleset
from ..plugin_utils.node_settings import Settings, Shape
from ..plugin_utils.region_rules import catalogue_networks, provider_management_networks


def _filter(
    info: Mapping[str, Any],
    kind: str,
    settings: Mapping[str, Any] | None = None,
    provider: str = "none",
    catalogue: str | None = None,
    nodes: Sequence[str] = (),
    overlay: Any = None,
) -> dict[str, Any]:
    options = dict(settings or {})
    try:
        known = load_catalogue(catalogue, overlay if isinstance(overlay, Mapping) else None)
        if provider == "ibm":
            options["provider_management"] = list(provider_management_networks(known))
        if options.get("intrusion_guard"):
            options["catalogue_networks"] = catalogue_networks(known)
        chosen = Settings.from_options(options)
        check_peers(Shape.of(info, chosen).single, chosen, nodes)
        return node_ruleset(kind, info, chosen)
    except HardeningError as error:
        raise AnsibleFilterError(unchanged(error)) from None


class FilterModule:
    """The filter under its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"node_ruleset": _filter}
