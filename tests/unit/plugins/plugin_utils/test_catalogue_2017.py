# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The default catalogue is the page of 2017-09-29: read off the page a second time, by hand, not from the data file."""

from __future__ import annotations

import pytest

from ansible_collections.iks.hardening.plugins.plugin_utils.catalogue import DEFAULT_VERSION, load_catalogue
from ansible_collections.iks.hardening.plugins.plugin_utils.region_rules import rules_for

MASTERS = """
US South    dal10  169.46.7.238
US South    dal12  169.47.70.10
US East     wdc06  169.60.73.142
US East     wdc07  169.61.83.62
UK South    lon02  159.122.242.78
UK South    lon04  158.175.65.170
EU Central  ams03  169.50.169.110
EU Central  fra02  169.50.56.174
AP South    syd01  168.1.8.195
AP South    syd04  130.198.64.19
"""
HOSTS = {
    "registry": {
        "registry.au-syd.bluemix.net": ["168.1.45.160/27", "168.1.139.32/27"],
        "registry.eu-de.bluemix.net": ["169.50.56.144/28", "159.8.73.80/28"],
        "registry.eu-gb.bluemix.net": ["159.8.188.160/27", "169.50.153.64/27"],
        "registry.ng.bluemix.net": ["169.55.39.112/28", "169.46.9.0/27", "169.55.211.0/27"],
    },
    "monitoring": {
        "metrics.ng.bluemix.net": ["169.47.204.128/29"],
        "metrics.eu-gb.bluemix.net": ["169.50.196.136/29"],
        "metrics.eu-de.bluemix.net": ["159.122.78.136/29"],
    },
    "logging": {
        "ingest.logging.ng.bluemix.net": ["169.48.79.236/32", "169.46.186.113/32"],
        "ingest.logging.eu-gb.bluemix.net": ["169.50.115.113/32"],
        "ingest.logging.eu-de.bluemix.net": ["169.50.25.125/32"],
    },
}
PORTS = {
    "master": (("tcp", "udp"), ("20000-32767", "443")),
    "registry": (("tcp",), ("443",)),
    "monitoring": (("tcp",), ("443", "9095")),
    "logging": (("tcp",), ("443", "9091")),
}
STEPS = {
    "master": "2",
    "registry": "3",
    "monitoring": "4",
    "logging": "4",
    "private": "5",
    "load_balancer": "6",
    "ingress": "7",
}


@pytest.fixture(name="page")
def _page():
    return load_catalogue()


def test_the_page_is_the_default(page):
    assert DEFAULT_VERSION == page.version == "2017-09-29"
    assert page.defects == ()


def test_master_table(page):
    wanted = [tuple(line.rsplit(maxsplit=2)) for line in MASTERS.strip().splitlines()]
    found = [
        (region.title, group.locations[0], address[: -len("/32")])
        for region in page.regions
        for group in region.masters
        for address in group.addresses
    ]
    assert found == wanted
    assert len(page.regions) == 5
    assert all(len(group.locations) == 1 for region in page.regions for group in region.masters)


@pytest.mark.parametrize("service", HOSTS)
def test_host_tables(page, service):
    found = {item.host: list(item.networks) for item in page.services[service].endpoints}
    assert found == HOSTS[service]


@pytest.mark.parametrize("service", PORTS)
def test_ports(page, service):
    held = page.services[service]
    assert (held.protocols, held.ports) == PORTS[service]


def test_step_5_ports_and_dal01(page):
    assert (page.private.protocols, page.private.ports, page.private.locations) == (("tcp",), ("80", "443"), ("dal01",))


def test_steps(page):
    assert page.steps == STEPS


def test_counts_of_the_facts(page):
    addresses = sum(len(group.addresses) for region in page.regions for group in region.masters)
    networks = {name: sum(len(item.networks) for item in page.services[name].endpoints) for name in HOSTS}
    assert addresses == 10
    assert networks == {"registry": 9, "monitoring": 3, "logging": 4}


@pytest.mark.parametrize(
    ("region", "registry"),
    [("us-south", "ng"), ("us-east", "ng"), ("uk-south", "eu-gb"), ("eu-central", "eu-de"), ("ap-south", "au-syd")],
)
def test_registry_of_each_region_after_the_column_of_2018(region, registry):
    (rule,) = rules_for({"regions": region, "services": "registry"})
    assert rule["name"] == f"registry.{registry}.bluemix.net-tcp"
    assert "region column of 2018-04-23" in rule["reason"]


def test_every_rule_of_every_region_opens_only_what_the_page_prints(page):
    printed = {line.split()[-1] + "/32" for line in MASTERS.strip().splitlines()}
    printed |= {net for hosts in HOSTS.values() for networks in hosts.values() for net in networks}
    rules = rules_for(
        {
            "regions": [region.key for region in page.regions],
            "services": ["master", "registry"],
            "worker_addresses": "192.0.2.1",
        }
    )
    rules += rules_for({"regions": ["us-south", "uk-south", "eu-central"], "services": ["monitoring", "logging"]})
    opened = {net for rule in rules for net in rule["destinations"]}
    assert opened - {"192.0.2.1/32"} == printed
