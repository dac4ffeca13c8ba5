# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup plugin: what a region requires, as traffic rules."""

from __future__ import annotations

DOCUMENTATION = r"""
name: region_rules
short_description: Traffic rules that a cloud region requires
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Reads the region catalogue of the collection and returns the traffic rules that steps 1 to 7 of the page's section
    "Opening required ports and IP addresses in your firewall" ask for.
  - Every rule carries its reason - the region and location, the date of the page, the step, and what was decided where
    the page is silent.
  - Works on the controller alone and changes nothing. M(iks.hardening.region_ports) puts the same rules on a node.
options:
  _terms:
    description:
      - The regions of the cluster, by any name that people use, such as V(us-south), V(US South) or a location
        (V(dal10)).
    type: list
    elements: str
    required: true
  locations:
    description:
      - More locations in use. One of another region adds that whole region; one without a master adds its
        private range.
      - It never narrows. Step 2 opens the masters of all locations of a region.
    type: list
    elements: str
  services:
    description:
      - What to open.
      - The default is V(master), V(registry) and V(private), as far as the catalogue's version publishes
        their addresses.
        V(monitoring) and V(logging) are optional on the page.
      - A region without a host for a service that is asked for is an error.
    type: list
    elements: str
    choices: [master, registry, monitoring, logging, private]
  catalogue:
    description: The version of the catalogue, by the date on which it was published.
    type: str
    default: "2017-09-29"
  overlay:
    description:
      - Your own data on top of the catalogue, as a dictionary or as the path of a YAML file (relative to the playbook).
      - It can add a region, change addresses and drop a service. See the region catalogue's page in the documentation.
    type: raw
  worker_addresses:
    description:
      - The workers' public addresses (step 1), required when V(master) is among the services.
      - The filter P(iks.hardening.worker_addresses#filter) reads them from the output of C(bx cs workers), and
        P(iks.hardening.public_addresses#filter) from the inventory.
    type: list
    elements: str
  worker_private_addresses:
    description:
      - The workers' private addresses, from which a gateway opens private networks (step 5).
      - Without it, those of O(worker_addresses) count that are private.
    type: list
    elements: str
  load_balancers:
    description: Load balancers to open from outside of the VLAN (step 6).
    type: list
    elements: dict
    suboptions:
      address:
        description: The load balancer's address.
        type: str
        required: true
      port:
        description: The port of the service.
        type: int
        required: true
      protocol:
        description: V(tcp) or V(udp).
        type: str
        choices: [tcp, udp]
        required: true
  ingress:
    description: Ingress controllers to open from outside of the VLAN (step 7).
    type: list
    elements: dict
    suboptions:
      address:
        description: The controller's address.
        type: str
        required: true
      port:
        description: The port that is configured, V(80) or V(443).
        type: int
        choices: [80, 443]
        required: true
  operator_networks:
    description:
      - Networks of people who run C(kubectl) and C(calicoctl) (the page's third situation); from there the masters are
        opened over TCP.
    type: list
    elements: str
  point:
    description:
      - Where the rules are enforced. On a V(worker) they are about packets it sends (and receives, steps 6 and 7), on a
        V(gateway) about packets it forwards, with the workers' addresses as sources.
    type: str
    choices: [worker, gateway]
    default: worker
  interface:
    description: The public interface. Without it the rules name none.
    type: str
  private_interface:
    description: The private interface. Without it the rules name none.
    type: str
requirements:
  - netaddr and PyYAML on the controller
seealso:
  - module: iks.hardening.region_ports
"""

EXAMPLES = r"""
- name: What does US South require of two workers?
  ansible.builtin.debug:
    msg: "{{ query('iks.hardening.region_rules', 'us-south', worker_addresses=['169.46.1.2', '169.47.1.3']) }}"

- name: Only the optional services of two regions, as of April 2018
  ansible.builtin.debug:
    msg: "{{ query('iks.hardening.region_rules', 'US South', 'EU Central', services=['monitoring', 'logging'],
             catalogue='2018-04-23') }}"

- name: The address of one master has changed
  ansible.builtin.debug:
    msg: "{{ query('iks.hardening.region_rules', 'dal10', services=['master'], worker_addresses=['169.46.1.2'],
             overlay={'title': 'notes of May', 'regions': {'us-south': {'masters': {'dal10': ['169.46.7.240']}}}}) }}"
"""

RETURN = r"""
_list:
  description: Traffic rules in the order of the page's steps. Names are unique, and the same from run to run.
  type: list
  elements: dict
  contains:
    name:
      description: The rule's name.
      type: str
      sample: us-south-master-dal10-tcp
    direction:
      description: V(out) or V(in) on a worker, V(forward) on a gateway.
      type: str
    action:
      description: Always V(accept).
      type: str
    protocol:
      description: V(tcp) or V(udp).
      type: str
    sources:
      description: Networks that packets come from; absent means any.
      type: list
      elements: str
    destinations:
      description: Networks that packets go to.
      type: list
      elements: str
    ports:
      description: Destination ports and ranges.
      type: list
      elements: str
    interface:
      description: The interface that is named by the options, if any.
      type: str
    reason:
      description: Why the traffic is allowed, and after which source.
      type: str
      sample: "us-south, master dal10, page 2017-09-29 step 2 (443 over tcp and udp: page silent)"
"""

from typing import Any

from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ..module_utils.errors import HardeningError
from ..plugin_utils.names import check_overlay_path, unknown
from ..plugin_utils.region_rules import rules_and_slips

OPTIONS = (
    "locations", "services", "catalogue", "overlay", "worker_addresses", "worker_private_addresses", "load_balancers",
    "ingress", "operator_networks", "point", "interface", "private_interface",
)  # fmt: skip


class LookupModule(LookupBase):
    """`query('iks.hardening.region_rules', 'us-south', ...)`."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        try:
            for key in kwargs:
                if key not in OPTIONS:
                    raise HardeningError(unknown("option", key, OPTIONS))
            # Checked as they were written: Ansible's own casts would turn 443.7, yes or None into something.
            options = {**kwargs, "regions": self._flatten(terms)}
            options["overlay"] = self._overlay(kwargs.get("overlay"))
            rules, slips = rules_and_slips(options)
        except HardeningError as error:
            raise AnsibleLookupError(str(error)) from None
        for slip in slips:
            Display().warning(slip)
        return rules

    def _overlay(self, overlay: Any) -> Any:
        """A path is looked for as Ansible looks for files: beside the role and the playbook."""
        if not isinstance(overlay, str) or self._loader is None:
            return overlay
        check_overlay_path(overlay)
        try:
            return self._loader.path_dwim(overlay)
        except AnsibleError as error:
            raise HardeningError(f"overlay {overlay}: {error}") from error
