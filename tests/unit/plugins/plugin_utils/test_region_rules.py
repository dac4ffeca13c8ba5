# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to rules: the page's steps 1 to 7 and its third situation, on a worker and on a gateway."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import rule_to_line
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import rule_from_dict
from ansible_collections.iks.hardening.plugins.plugin_utils.catalogue import load_catalogue
from ansible_collections.iks.hardening.plugins.plugin_utils.region_request import RegionRequest
from ansible_collections.iks.hardening.plugins.plugin_utils.region_rules import defects_in_use, region_rules, rules_for

WORKERS = ["169.46.1.2", "169.47.1.3"]
MASTER_PORTS = ["443", "20000-32767"]


def rules(**options):
    return {rule["name"]: rule for rule in rules_for({"regions": "us-south", "worker_addresses": WORKERS, **options})}


def refused(**options):
    with pytest.raises(HardeningError) as caught:
        rules(**options)
    return str(caught.value)


# ---- the steps on a worker


def test_defaults_on_a_worker():
    assert list(rules()) == [
        "us-south-master-dal10-tcp",
        "us-south-master-dal10-udp",
        "us-south-master-dal12-tcp",
        "us-south-master-dal12-udp",
        "workers-tcp",
        "workers-udp",
        "registry.ng.bluemix.net-tcp",
        "private-dal10-tcp",
        "private-dal12-tcp",
        "private-dal01-tcp",
        "private-all-tcp",
    ]


def test_step_2_master():
    rule = rules()["us-south-master-dal10-udp"]
    assert rule == {
        "name": "us-south-master-dal10-udp",
        "direction": "out",
        "action": "accept",
        "protocol": "udp",
        "destinations": ["169.46.7.238/32"],
        "ports": MASTER_PORTS,
        "families": ["ipv4"],
        "reason": "us-south, master dal10, page 2017-09-29 step 2 (443 over tcp and udp: page silent)",
    }


def test_step_2_every_worker_to_the_others():
    for protocol in ("tcp", "udp"):
        rule = rules()[f"workers-{protocol}"]
        assert rule["destinations"] == [f"{address}/32" for address in WORKERS]
        assert rule["ports"] == MASTER_PORTS
        assert "step 2" in rule["reason"]


def test_step_3_registry():
    rule = rules()["registry.ng.bluemix.net-tcp"]
    assert rule["destinations"] == ["169.46.9.0/27", "169.55.39.112/28", "169.55.211.0/27"]
    assert rule["ports"] == ["443"]
    assert rule["reason"] == "registry for us-south, page 2017-09-29 step 3 (region column of 2018-04-23)"


def test_step_4_is_off_unless_asked_for():
    found = rules(services=["monitoring", "logging"])
    assert [(rule["ports"], rule["protocol"]) for rule in found.values()] == [
        (["443", "9095"], "tcp"),
        (["443", "9091"], "tcp"),
    ]
    assert not {"metrics.ng.bluemix.net-tcp", "ingest.logging.ng.bluemix.net-tcp"} & set(rules())


@pytest.mark.parametrize("service", ["monitoring", "logging"])
@pytest.mark.parametrize("region", ["us-east", "ap-south"])
def test_a_region_without_the_host_says_so_and_which_have_one(region, service):
    text = refused(regions=["us-south", region], services=service)
    assert f"region {region} has no {service} host; regions that have one, nearest first: " in text
    assert all(name in text for name in ("us-south", "uk-south", "eu-central"))


def test_step_5_private_ranges_and_dal01():
    found = rules(services="private", private_interface="eth1")
    assert {name: rule["destinations"] for name, rule in found.items()} == {
        "private-dal10-tcp": ["10.200.80.0/20"],
        "private-dal12-tcp": ["10.200.112.0/20"],
        "private-dal01-tcp": ["10.0.64.0/19"],
        "private-all-tcp": ["161.26.0.0/16"],
    }
    assert {(tuple(rule["ports"]), rule["interface"]) for rule in found.values()} == {(("80", "443"), "eth1")}


def test_step_6_load_balancer_and_step_7_ingress():
    found = rules(
        services="registry",
        load_balancers=[{"address": "169.46.5.6", "port": 53, "protocol": "UDP"}],
        ingress=[{"address": "169.46.5.7", "port": 443}, {"address": "169.46.5.7", "port": "80"}],
        interface="eth0",
    )
    lines = [rule_to_line(rule_from_dict(rule)) for rule in found.values() if rule["direction"] == "in"]
    assert lines == [
        "accept in udp to 169.46.5.6/32 port 53 on eth0 family ipv4 name lb-169.46.5.6-53-udp "
        "# load balancer 169.46.5.6 port 53, page 2017-09-29 step 6",
        "accept in tcp to 169.46.5.7/32 port 443 on eth0 family ipv4 name ingress-169.46.5.7-443-tcp "
        "# Ingress controller 169.46.5.7 port 443, page 2017-09-29 step 7 (tcp: page silent)",
        "accept in tcp to 169.46.5.7/32 port 80 on eth0 family ipv4 name ingress-169.46.5.7-80-tcp "
        "# Ingress controller 169.46.5.7 port 80, page 2017-09-29 step 7 (tcp: page silent)",
    ]


def test_third_situation_operator_networks():
    found = rules(operator_networks=["198.51.100.0/24"])
    rule = found["operator-us-south-dal12-tcp"]
    assert (rule["sources"], rule["destinations"], rule["ports"]) == (
        ["198.51.100.0/24"],
        ["169.47.70.10/32"],
        MASTER_PORTS,
    )
    assert "third situation" in rule["reason"]
    assert "operator-us-south-dal12-udp" not in found


# ---- on a gateway


def test_gateway_forwards_from_the_workers():
    found = rules(point="gateway", worker_private_addresses=["10.171.0.12"], interface="eth0", private_interface="eth1")
    assert {rule["direction"] for rule in found.values()} == {"forward"}
    master = found["us-south-master-dal10-tcp"]
    assert master["sources"] == ["169.46.1.2/32", "169.47.1.3/32"]
    assert (master["interface"], master["out_interface"]) == ("eth1", "eth0")
    assert found["private-dal01-tcp"]["sources"] == ["10.171.0.12/32"]
    assert "out_interface" not in found["private-dal01-tcp"]


def test_gateway_opens_locations_to_each_other_in_both_directions():
    for protocol in ("tcp", "udp"):
        rule = rules(point="gateway", services="master", interface="eth0")[f"workers-{protocol}"]
        assert rule["sources"] == rule["destinations"] == ["169.46.1.2/32", "169.47.1.3/32"]
        assert rule["ports"] == MASTER_PORTS
        assert "interface" not in rule
        assert "both directions" in rule["reason"]


def test_gateway_takes_private_workers_from_the_list():
    found = rules(point="gateway", worker_addresses=["203.0.113.11", "10.171.0.12"])
    assert found["private-dal10-tcp"]["sources"] == ["10.171.0.12/32"]


def test_b14_gateway_without_private_addresses_is_refused():
    assert "option worker_private_addresses is missing" in refused(point="gateway")


def test_gateway_lets_services_in():
    rule = rules(
        point="gateway",
        services="registry",
        load_balancers=[{"address": "169.46.5.6", "port": 80, "protocol": "tcp"}],
        interface="eth0",
        private_interface="eth1",
    )["lb-169.46.5.6-80-tcp"]
    assert (rule["direction"], rule["interface"], rule["out_interface"]) == ("forward", "eth0", "eth1")


# ---- names of regions, locations that never drop anything


@pytest.mark.parametrize("name", ["us-south", "US South", "us south", "US_SOUTH", " us-south ", "dal10", "DAL12"])
def test_names_that_people_use(name):
    assert rules(regions=name) == rules()


@pytest.mark.parametrize(
    ("name", "version", "key"),
    [
        ("eu-gb", "2017-09-29", "uk-south"),
        ("São Paulo", "2026-08-20", "sao-paulo"),
        ("sao paulo", "2026-08-20", "sao-paulo"),
        ("fra04", "2021-11-01", "eu-central"),
        ("jp-tok", "2018-04-23", "ap-north"),
    ],
)
def test_names_of_other_versions(name, version, key):
    assert load_catalogue(version).region(name).key == key


@pytest.mark.parametrize("locations", [[], ["dal10"], ["dal12"], ["dal10", "dal12"]])
def test_naming_locations_never_drops_one(locations):
    assert rules(locations=locations) == rules()


def test_a_location_of_another_region_adds_that_region():
    assert {"us-east-master-wdc06-tcp", "us-east-master-wdc07-tcp", "private-wdc06-tcp"} <= set(
        rules(locations=["wdc07"])
    )


def test_a_location_without_a_master_adds_its_private_range():
    assert rules(locations=["tok02"])["private-tok02-tcp"]["destinations"] == ["10.3.64.0/20"]
    assert "location tok02 has private ranges only; add private to services" in refused(
        locations=["tok02"], services="master"
    )


def test_several_regions_share_what_they_share():
    found = rules(regions=["us-south", "us-east"])
    assert found["registry.ng.bluemix.net-tcp"]["reason"].startswith("registry for us-south, us-east, ")
    assert [name for name in found if name.startswith("private-")] == [
        f"private-{place}-tcp" for place in ("dal10", "dal12", "wdc06", "wdc07", "dal01", "all")
    ]


def test_zones_that_are_printed_together_are_one_rule():
    found = rules(catalogue="2026-08-20", services="master")
    assert [name for name in found if "master" in name] == ["us-south-master-all-tcp", "us-south-master-all-udp"]
    grouped = rules(catalogue="2019-07-26", services="master")
    assert "us-south-master-dal10-dal12-dal13-tcp" in grouped


# ---- bad input


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param(
            {"regions": "us-sout"},
            "region or location 'us-sout' is not known; known, nearest first: us-south, ",
            id="B42-region",
        ),
        pytest.param(
            {"regions": "dal11"}, "'dal11' is not known; known, nearest first: dal1", id="B42-location-as-region"
        ),
        pytest.param(
            {"locations": ["dal99"]}, "location 'dal99' is not known; known, nearest first: dal09, ", id="B42-location"
        ),
        pytest.param(
            {"services": ["registy"]},
            "option services: service 'registy' is not known; known, nearest first: registry, ",
            id="B42-service",
        ),
        pytest.param(
            {"locatons": []}, "option 'locatons' is not known; known, nearest first: locations, ", id="B42-option"
        ),
        pytest.param(
            {"catalogue": "2017-09-30"},
            "catalogue '2017-09-30' is not known; known, nearest first: 2017-09-29, ",
            id="B42-version",
        ),
        pytest.param(
            {"point": "getaway"},
            "option point 'getaway' is not known; known, nearest first: gateway, worker",
            id="B42-point",
        ),
        pytest.param({"regions": []}, "option regions: an empty list", id="B14-regions"),
        pytest.param({"services": []}, "option services: an empty list", id="B14-services"),
        pytest.param(
            {"worker_addresses": []}, "option worker_addresses: an empty list; it never means any", id="B14-workers"
        ),
        pytest.param(
            {"worker_addresses": None},
            "option worker_addresses is missing: step 2 is for each worker",
            id="B14-no-workers",
        ),
        pytest.param(
            {"worker_addresses": ["10.0.0.0/33"]}, "option worker_addresses[0]: '10.0.0.0/33'", id="B09-worker"
        ),
        pytest.param(
            {"worker_addresses": ["192.0.2.1", "10.0.0.256"]},
            "option worker_addresses[1]: '10.0.0.256'",
            id="B10-worker",
        ),
        pytest.param({"worker_addresses": ["kube-w1"]}, "host names are not resolved", id="B12-worker"),
        pytest.param(
            {"operator_networks": ["10.0.0.5/8"]},
            "option operator_networks[0]: '10.0.0.5/8' has host bits set",
            id="B13-operator",
        ),
        pytest.param({"operator_networks": ["0.0.0.0/0"]}, "'0.0.0.0/0' is every address", id="B15-operator"),
        pytest.param({"worker_addresses": ["192.0.2.0/24"]}, "is a network; name one address", id="B15-worker-network"),
        pytest.param({"worker_addresses": ["010.0.0.1"]}, "leading zero", id="B17-worker"),
        pytest.param({"worker_addresses": ["192.0.2.\u0661"]}, "not ASCII", id="B18-worker"),
        pytest.param({"interface": "eth+;"}, "option interface: 'eth+;' is not an interface name", id="B26-interface"),
        pytest.param({"interface": "a" * 16}, "the kernel takes at most 15", id="B25-interface"),
    ],
)
def test_options_that_cannot_be_meant(options, text):
    assert text in refused(**options)


BALANCER = {"address": "169.46.5.6", "port": 80, "protocol": "tcp"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param({"port": 0}, "load_balancers[0]: port: port 0 is outside 1-65535", id="B01"),
        pytest.param({"port": 65536}, "port 65536 is outside", id="B02"),
        pytest.param({"port": -1}, "'-1' is not a port", id="B03"),
        pytest.param({"port": "443;reboot"}, "'443;reboot' is not a port", id="B04"),
        pytest.param({"port": "32767-20000"}, "is reversed; write 20000-32767", id="B05"),
        pytest.param({"port": "http "}, "'http ' is not a port", id="B07"),
        pytest.param({"protocol": "icmp"}, "protocol: 'icmp' is not one of tcp, udp", id="B08"),
        pytest.param({"port": True}, "'True' is not a port", id="B07-boolean"),
        pytest.param({"port": "80-90"}, "80-90 is a range; name the one port", id="wider-than-a-port"),
        pytest.param({"address": "169.46.5.0/24"}, "is a network; name one address", id="wider-than-an-address"),
        pytest.param({"address": "any"}, "host names are not resolved", id="B14-any"),
        pytest.param({"address": None}, "load_balancers[0]: address is missing", id="B14-missing"),
        pytest.param({"ports": [80]}, "key 'ports' is not known; known, nearest first: port, ", id="unknown-key"),
    ],
)
def test_load_balancers_are_one_address_and_one_port(change, text):
    assert text in refused(load_balancers=[{**BALANCER, **change}])


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"address": "169.46.5.7", "port": 8080}, "ingress[0]: port: 8080 is not one of 80, 443"),
        ({"address": "169.46.5.7", "port": 443, "protocol": "udp"}, "ingress[0]: key 'protocol' is not known"),
        ("169.46.5.7", "is not a dictionary with address, port"),
    ],
)
def test_ingress_is_80_or_443(item, text):
    assert text in refused(ingress=[item])


def test_versions_without_public_monitoring_say_so():
    assert "service monitoring has no addresses in this version" in refused(
        catalogue="2026-08-20", services="monitoring"
    )


# ---- families


def test_ipv6_workers_do_not_meet_ipv4_masters():
    found = rules(point="gateway", services="master", worker_addresses=["192.0.2.1", "2001:db8::1"])
    assert found["us-south-master-dal10-tcp"]["sources"] == ["192.0.2.1/32"]
    assert found["workers-tcp-ipv6"]["destinations"] == ["2001:db8::1/128"]
    text = refused(point="gateway", services="master", worker_addresses=["2001:db8::1"])
    assert "no source and destination of one address family" in text


# ---- properties


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["us-south", "us-east", "uk-south", "eu-central", "ap-south"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["master", "registry", "private"]), min_size=1, max_size=3),
    st.sampled_from(["worker", "gateway"]),
)
def test_names_are_unique_and_stable_and_rules_valid(regions, services, point):
    options = {"regions": regions, "services": services, "point": point, "worker_private_addresses": ["10.0.0.1"]}
    first, second = rules(**options), rules(**options)
    assert first == second
    assert all(rule["destinations"] for rule in first.values())
    for rule in first.values():
        assert rule_from_dict(rule).reason == rule["reason"]


def test_more_services_only_add():
    alone = {
        name: rule for service in ("master", "registry", "private") for name, rule in rules(services=service).items()
    }
    assert alone == rules()


# ---- slips of the source


def test_slips_are_told_only_to_whom_they_concern():
    def told(**options):
        request = RegionRequest.from_options({"worker_addresses": WORKERS, **options})
        catalogue = load_catalogue(request.catalogue)
        region_rules(catalogue, request)
        return defects_in_use(catalogue, request)

    assert told(regions="us-south") == []
    assert told(regions="us-south", catalogue="2019-07-26") == []
    assert len(told(regions="ap-north", catalogue="2019-07-26")) == 3
    assert any(
        "166.0.32.0/23" in line and "excluded" in line for line in told(regions="eu-central", catalogue="2026-08-20")
    )
