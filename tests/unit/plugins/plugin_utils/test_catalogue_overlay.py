# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Overlays: a region added, an address changed, a service dropped; and what an overlay cannot say."""

from __future__ import annotations

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.plugin_utils.catalogue import load_catalogue
from ansible_collections.iks.hardening.plugins.plugin_utils.region_rules import rules_for

OWN = {
    "title": "our lab",
    "regions": {
        "lab-west": {
            "title": "Lab West",
            "aliases": ["lw"],
            "masters": {"lab01": ["203.0.113.10", "2001:db8:cafe::10"], "lab02": ["203.0.113.20"]},
        }
    },
    "registry": {"registry.lab.example": {"regions": ["lab-west"], "networks": ["203.0.113.64/27"]}},
    "ranges": {"service_network": {"lab01": ["10.77.0.0/24"], "lab02": ["10.77.1.0/24"]}},
}


def rules(overlay, **options):
    asked = {"regions": "us-south", "worker_addresses": "192.0.2.1", "overlay": overlay, **options}
    return {rule["name"]: rule for rule in rules_for(asked)}


def refused(overlay, **options):
    with pytest.raises(HardeningError) as caught:
        rules(overlay, **options)
    return str(caught.value)


def test_a_region_is_added():
    found = rules(OWN, regions="LW")
    assert found["lab-west-master-lab01-tcp"]["destinations"] == ["203.0.113.10/32", "2001:db8:cafe::10/128"]
    assert found["lab-west-master-lab02-udp"]["reason"].startswith("lab-west, master lab02, overlay our lab (")
    assert found["registry.lab.example-tcp"]["reason"] == "registry for lab-west, overlay our lab"
    assert found["private-lab02-tcp"]["reason"].startswith("private network of lab02, overlay our lab, page 2017-09-29")
    assert "private-dal01-tcp" in found


def test_ipv6_masters_are_reached_by_ipv6_workers_only():
    found = rules(
        OWN, regions="lw", point="gateway", services="master", worker_addresses=["192.0.2.1", "2001:db8:113::11"]
    )
    assert found["lab-west-master-lab01-tcp-ipv6"]["sources"] == ["2001:db8:113::11/128"]
    assert found["lab-west-master-lab01-tcp"]["destinations"] == ["203.0.113.10/32"]


def test_an_address_is_changed_and_the_rest_stays():
    found = rules({"title": "May", "regions": {"us-south": {"masters": {"dal10": ["169.46.7.240"]}}}})
    assert found["us-south-master-dal10-tcp"]["destinations"] == ["169.46.7.240/32"]
    assert "overlay May" in found["us-south-master-dal10-tcp"]["reason"]
    assert found["us-south-master-dal12-tcp"]["reason"].startswith("us-south, master dal12, page 2017-09-29 step 2")


def test_a_location_leaves_a_group_that_is_printed_together():
    found = rules({"regions": {"us-south": {"masters": {"dal10": ["169.46.7.240"]}}}}, catalogue="2026-08-20")
    assert found["us-south-master-dal10-tcp"]["destinations"] == ["169.46.7.240/32"]
    assert "169.46.7.238/32" in found["us-south-master-sjc03-sjc04-dal12-dal13-tcp"]["destinations"]


def test_a_service_is_dropped():
    overlay = {"drop": {"services": ["registry"]}}
    assert not [name for name in rules(overlay) if name.startswith("registry")]
    assert "service registry was dropped by the overlay; offered, nearest first: " in refused(
        overlay, services="registry"
    )


def test_a_region_and_a_host_are_dropped():
    assert "'ap-south' is not known" in refused({"drop": {"regions": ["ap-south"]}}, regions="ap-south")
    text = refused({"drop": {"endpoints": ["metrics.ng.bluemix.net"]}}, services="monitoring")
    assert "region us-south has no monitoring host" in text


def test_a_host_serves_one_more_region():
    overlay = {
        "monitoring": {
            "metrics.ng.bluemix.net": {"regions": ["us-south", "us-east"], "networks": ["169.47.204.128/29"]}
        }
    }
    assert "metrics.ng.bluemix.net-tcp" in rules(overlay, regions="us-east", services="monitoring")


def test_a_file_says_the_same_as_its_content(tmp_path):
    path = tmp_path / "own.yml"
    path.write_text("title: May\nregions:\n  us-south:\n    masters:\n      dal10: [169.46.7.240]\n", encoding="utf-8")
    assert rules(str(path)) == rules(
        {"title": "May", "regions": {"us-south": {"masters": {"dal10": ["169.46.7.240"]}}}}
    )


def test_a_file_without_a_title_goes_by_its_name(tmp_path):
    path = tmp_path / "own.yml"
    path.write_text("regions: {us-south: {masters: {dal10: [169.46.7.240]}}}", encoding="utf-8")
    assert "overlay own.yml" in rules(path)["us-south-master-dal10-tcp"]["reason"]


def test_the_catalogue_itself_does_not_change():
    before = load_catalogue()
    rules(OWN)
    assert load_catalogue() == before


def with_masters(value):
    return {"regions": {"us-south": {"masters": {"dal10": value}}}}


@pytest.mark.parametrize(
    ("overlay", "text"),
    [
        pytest.param({"region": {}}, "overlay: region: unknown key; did you mean regions? Known: regions, ", id="key"),
        pytest.param(
            {"regions": {"us-south": {"master": {}}}},
            "overlay: regions.us-south.master: unknown key; did you mean masters?",
            id="key-of-a-region",
        ),
        pytest.param(
            {"regions": {"us-sout": {"masters": {"dal10": ["192.0.2.1"]}}}},
            "region 'us-sout' is not known; known, nearest first: us-south, ",
            id="B42-region",
        ),
        pytest.param(
            {"registry": {"a.example": {"regions": ["us-wst"], "networks": ["192.0.2.1"]}}},
            "overlay: registry.a.example.regions: region 'us-wst' is not known",
            id="B42-region-of-a-host",
        ),
        pytest.param(
            {"drop": {"services": ["registy"]}},
            "service 'registy' is not known; known, nearest first: registry",
            id="B42-drop",
        ),
        pytest.param({"drop": {"services": ["master"]}}, "service 'master' is not known", id="master-is-not-droppable"),
        pytest.param(
            {"drop": {"locations": ["dal12"]}}, "drop.locations: unknown key", id="locations-are-not-droppable"
        ),
        pytest.param(
            {"ranges": {"service_net": {"dal10": ["10.0.0.0/8"]}}}, "table 'service_net' is not known", id="table"
        ),
        pytest.param(with_masters(["10.0.0.0/33"]), "regions.us-south.masters.dal10[0]: '10.0.0.0/33'", id="B09"),
        pytest.param(with_masters(["10.0.0.256"]), "'10.0.0.256'", id="B10"),
        pytest.param(with_masters(["::1"]), "'::1' is a loopback address", id="B11"),
        pytest.param(with_masters(["master.example"]), "host names are not resolved", id="B12"),
        pytest.param(with_masters(["10.0.0.5/8"]), "host bits set", id="B13"),
        pytest.param(with_masters([]), "an empty list; it never means any", id="B14"),
        pytest.param(with_masters(["0.0.0.0/0"]), "'0.0.0.0/0' is every address", id="B15"),
        pytest.param(with_masters(["8.0.0.0/7"]), "wider than /16", id="B15-wide"),
        pytest.param(with_masters(["010.0.0.1"]), "leading zero", id="B17"),
        pytest.param(with_masters(["10.0.0.\u0661"]), "not ASCII", id="B18"),
        pytest.param(with_masters("169.46.7.238"), "text where a list is expected", id="text-for-a-list"),
        pytest.param(with_masters([1]), "write it as text", id="number-for-an-address"),
        pytest.param(
            {"regions": {"us-east": {"masters": {"dal10": ["192.0.2.1"]}}}},
            "name or location dal10 is a duplicate: also in regions.us-south",
            id="duplicate-location",
        ),
        pytest.param(
            {"ranges": {"service_network": {"dal10": ["11.0.0.0/24"]}}},
            "ranges.service_network.dal10: private range 11.0.0.0/24 lies outside of its blocks",
            id="private-outside-block",
        ),
        pytest.param({"title": 'the "best"'}, "without quotes and backslashes", id="B20-quote-in-a-title"),
        pytest.param({"title": "a\nb"}, "without quotes and backslashes", id="B19-newline-in-a-title"),
        pytest.param({"title": "x" * 80}, "longer than 60 bytes", id="B21-long-title"),
        pytest.param([], "neither the path of a file nor a dictionary", id="list"),
        pytest.param("/nonexistent/overlay.yml", "cannot be read: No such file", id="no-file"),
    ],
)
def test_refused(overlay, text):
    assert text in refused(overlay)


def test_own_blocks_widen_what_is_private():
    overlay = {"private_blocks": ["11.0.0.0/16"], "ranges": {"service_network": {"dal10": ["11.0.0.0/24"]}}}
    assert rules(overlay)["private-dal10-tcp"]["destinations"] == ["11.0.0.0/24"]


def test_a_region_without_a_private_range_is_an_error_never_an_empty_rule():
    overlay = {key: value for key, value in OWN.items() if key != "ranges"}
    text = refused(overlay, regions="lab-west")
    assert "location lab01 is in use, but has no private range in the address lists (2018-01-16)" in text
    assert "add it with an overlay: ranges: {service_network: {lab01: [...]}}" in text


def test_yaml_errors_name_file_and_line(tmp_path):
    path = tmp_path / "own.yml"
    path.write_text("title: a\ntitle: b\n", encoding="utf-8")
    assert refused(str(path)) == f"overlay {path}: line 2 is not valid YAML: key 'title' stands twice"


def test_several_problems_are_told_at_once():
    overlay = {"regions": {"us-south": {"masters": {"dal10": ["a", "10.0.0.5/8"]}}}, "regisry": {}}
    assert len(refused(overlay).splitlines()) == 3
