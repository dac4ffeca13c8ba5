# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Default rulesets of workers, masters and gateways, judged by verdicts on packets."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules
from ansible_collections.iks.hardening.plugins.module_utils.verdict import Packet, decide
from ansible_collections.iks.hardening.plugins.plugin_utils.cluster_addresses import node_addresses, public_addresses
from ansible_collections.iks.hardening.plugins.plugin_utils.node_profile import (
    Settings,
    Shape,
    check_peers,
    node_ruleset,
)

INFO: dict[str, Any] = {
    "interfaces": {"lo": [], "eth0": ["203.0.113.11/24", "2001:db8::11/64"], "eth1": ["10.0.0.11/24"], "cali1": []},
    "default_interfaces": ["eth0"],
    "cards": ["eth0", "eth1"],
    "kube_proxy": "iptables",
    "resolvers": ["10.0.80.11"],
    "time_servers": ["192.0.2.123"],
    "time_server_names": [],
}
SINGLE = {**INFO, "interfaces": {"lo": [], "eth0": ["10.0.0.12/24"]}, "cards": ["eth0"]}
CLUSTER = {"cluster_networks": ["10.0.0.0/24"], "management_networks": ["198.51.100.7"]}


def verdict(kind: str, settings: dict[str, Any], info: dict[str, Any] | None = None, **fields: Any) -> str:
    made = node_ruleset(kind, info or INFO, Settings.from_options(settings))
    ruleset = Ruleset("node", 900, tuple(read_rules(made["rules"])), default_rules(made["defaults"]))
    data = {
        "direction": "in",
        "protocol": "tcp",
        "source": "192.0.2.9",
        "destination": "203.0.113.11",
        "interface": "eth0",
        **fields,
    }
    data["source"], data["destination"] = (
        ipaddress.ip_address(data["source"]),
        ipaddress.ip_address(data["destination"]),
    )
    return decide(ruleset.for_direction(data["direction"]), Packet(**data)).action


WORKER = {
    "ssh-public": ({"port": 22}, "drop"),
    "ssh-private": ({"port": 22, "interface": "eth1"}, "return"),
    "ssh-management": ({"port": 22, "source": "198.51.100.7"}, "accept"),
    "kubelet": ({"port": 10250}, "accept"),
    "kubelet-udp": ({"protocol": "udp", "port": 10250}, "drop"),
    "node-port-plain": ({"port": 30999}, "drop"),
    "node-port-dnat": ({"port": 8081, "states": ("new", "dnat")}, "accept"),
    "ping": ({"protocol": "icmp", "icmp_type": 8}, "accept"),
    "ping6": (
        {"protocol": "icmpv6", "icmp_type": 128, "source": "2001:db8::1", "destination": "2001:db8::11"},
        "accept",
    ),
    "vrrp": ({"protocol": "vrrp"}, "accept"),
    "pod": ({"port": 9999, "interface": "cali1"}, "return"),
    "dhcp": ({"protocol": "udp", "port": 68, "source_port": 67}, "accept"),
    "out-open": ({"direction": "out", "port": 25, "destination": "8.8.8.8"}, "return"),
}


@pytest.mark.parametrize(("fields", "action"), WORKER.values(), ids=WORKER)
def test_worker(fields: dict[str, Any], action: str) -> None:
    assert verdict("worker", CLUSTER, **fields) == action


RESTRICTED = {
    "elsewhere": ({"destination": "8.8.8.8", "port": 443}, "drop"),
    "name-server": ({"destination": "10.0.80.11", "port": 53, "protocol": "udp"}, "accept"),
    "time-server": ({"destination": "192.0.2.123", "port": 123, "protocol": "udp"}, "accept"),
    "metadata": ({"destination": "169.254.169.254", "port": 80}, "accept"),
    "cluster": ({"destination": "10.0.0.10", "port": 4789, "protocol": "udp"}, "accept"),
    "vrrp": ({"destination": "224.0.0.18", "protocol": "vrrp"}, "accept"),
    "ipv6": ({"source": "2001:db8::11", "destination": "2001:db8::99", "port": 443}, "drop"),
    "private": ({"destination": "10.9.9.9", "port": 443, "interface": "eth1"}, "return"),
    "ssh-answers": ({"destination": "198.51.100.7", "source_port": 22, "port": 50000}, "accept"),
    "mirror": ({"destination": "192.0.2.80", "port": 80}, "accept"),
}


@pytest.mark.parametrize(("fields", "action"), RESTRICTED.values(), ids=RESTRICTED)
def test_worker_restricted_egress(fields: dict[str, Any], action: str) -> None:
    settings = {**CLUSTER, "egress": "restricted", "package_mirrors": ["192.0.2.80"]}
    assert verdict("worker", settings, **{"direction": "out", "source": "203.0.113.11", **fields}) == action


def test_single_interface_counts_the_cluster_as_private() -> None:
    assert verdict("worker", CLUSTER, SINGLE, source="10.0.0.10", port=4149) == "accept"
    assert verdict("worker", CLUSTER, SINGLE, source="10.0.1.10", port=4149) == "drop"
    with pytest.raises(HardeningError, match="set iks_cluster_networks"):
        node_ruleset("worker", SINGLE, Settings())


def test_single_interface_needs_every_node_covered() -> None:
    settings = Settings.from_options(CLUSTER)
    check_peers(True, settings, ["10.0.0.10"])
    with pytest.raises(HardeningError, match=r"iks_cluster_networks does not hold 10.0.1.9.*add 10.0.1.9/32"):
        check_peers(True, settings, ["10.0.0.10", "10.0.1.9"])
    check_peers(False, settings, ["10.0.1.9"])


def test_ipvs_opens_the_node_port_range_only_there() -> None:
    ipvs = {**INFO, "kube_proxy": "ipvs"}
    assert verdict("worker", CLUSTER, ipvs, port=30999) == "accept"
    assert verdict("worker", CLUSTER, ipvs, port=29999) == "drop"


def test_master_and_operators() -> None:
    assert verdict("master", CLUSTER, port=6443) == "accept"
    assert verdict("worker", CLUSTER, port=6443) == "drop"
    assert verdict("master", CLUSTER, port=2379) == "drop"
    operators = {**CLUSTER, "operator_networks": ["192.0.2.0/24"]}
    assert verdict("master", operators, port=2379) == "accept"
    assert verdict("master", operators, port=6443, source="198.18.0.1") == "drop"


def test_gateway_forwards_nothing_inwards() -> None:
    inward = {"direction": "forward", "out_interface": "eth1", "destination": "10.0.0.12", "port": 22}
    assert verdict("gateway", CLUSTER, **inward) == "drop"
    outward = {
        "direction": "forward",
        "interface": "eth1",
        "out_interface": "eth0",
        "source": "10.0.0.12",
        "destination": "192.0.2.1",
        "port": 443,
    }
    assert verdict("gateway", CLUSTER, **outward) == "return"
    assert verdict("gateway", {**CLUSTER, "egress": "restricted"}, **outward) == "drop"
    assert verdict("gateway", CLUSTER, port=10250) == "drop"


def test_private_interface_open_unless_step_5_is_asked_for() -> None:
    outward = {"direction": "out", "interface": "eth1", "source": "10.0.0.11", "destination": "10.200.0.1", "port": 443}
    assert verdict("worker", CLUSTER, **outward) == "return"
    closed = {**CLUSTER, "private": "restricted"}
    assert verdict("worker", closed, **outward) == "drop"
    assert verdict("worker", closed, **{**outward, "destination": "10.0.0.10"}) == "accept"
    three = {
        **INFO,
        "cards": ["eth0", "eth1", "eth2"],
        "interfaces": {**INFO["interfaces"], "eth2": ["192.168.1.1/24"]},
    }
    with pytest.raises(HardeningError, match="set iks_private_interface"):
        node_ruleset("worker", three, Settings.from_options(closed))


def test_provider_management_systems() -> None:
    settings = {**CLUSTER, "provider_management": [("192.0.2.0/24", "frontend"), ("198.18.0.0/15", "frontend")]}
    assert verdict("worker", settings, port=22) == "accept"
    assert verdict("worker", settings, port=22, source="198.51.100.9") == "drop"


REFUSED = {
    "unknown-kind": ("router", {}, "not one of worker, master, gateway"),
    "unknown-egress": ("worker", {"egress": "closed"}, "iks_egress: 'closed' is not one of open, restricted"),
    "unknown-interface": ("worker", {"public_interface": "eth9"}, "iks_public_interface: 'eth9' is not one of"),
    "unknown-setting": ("worker", {"egres": "open"}, "did you mean egress"),
    "B13-host-bits": (
        "worker",
        {"management_networks": ["10.0.0.5/8"]},
        "iks_management_networks: 10.0.0.5/8 has host bits",
    ),
    "B02-apiserver": ("master", {"apiserver_ports": [65536]}, "iks_apiserver_ports: port 65536 is outside 1-65535"),
    "B05-node-ports": ("worker", {"node_ports": "32767-30000"}, "iks_node_ports: port range 32767-30000 is reversed"),
    "bad-resolver": ("worker", {"resolvers": ["dns.example"]}, "names are not resolved"),
}


@pytest.mark.parametrize(("kind", "settings", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(kind: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HardeningError, match=message):
        node_ruleset(kind, INFO, Settings.from_options({**CLUSTER, **settings}))


def test_no_default_route_names_the_variable() -> None:
    with pytest.raises(HardeningError, match="set iks_public_interface"):
        Shape.of({**INFO, "default_interfaces": []}, Settings())


def test_names_without_address_are_noted() -> None:
    info = {**INFO, "time_servers": [], "time_server_names": ["ntp.ubuntu.com"]}
    assert node_ruleset("worker", info, Settings.from_options({**CLUSTER, "egress": "restricted"}))["notes"] == [
        "time servers ntp.ubuntu.com have no known address and stay closed; set iks_time_servers"
    ]


def test_addresses_of_the_cluster() -> None:
    hostvars = {
        "a": {"iks_node": INFO},
        "b": {"iks_addresses": ["10.0.0.9"], "iks_public_address": "192.0.2.9"},
        "c": {},
    }
    assert node_addresses(hostvars, ["a", "b"]) == ["203.0.113.11", "2001:db8::11", "10.0.0.11", "10.0.0.9"]
    assert public_addresses(hostvars, ["a", "b"]) == ["203.0.113.11", "2001:db8::11", "192.0.2.9"]
    with pytest.raises(HardeningError, match="c: its addresses are not known in this run .* set iks_public_address"):
        public_addresses(hostvars, ["a", "c"])
    wrong = {"a": {"iks_node": INFO, "iks_public_interface": "eth7"}}
    with pytest.raises(HardeningError, match="a: iks_public_interface: 'eth7' is not one of .*eth0, eth1"):
        public_addresses(wrong, ["a"])


PEER = {"source": "192.0.2.9", "source_port": 50000, "destination": "203.0.113.11", "port": 22}
WHOLE = {
    "line": ({"extra_rules": ["accept in tcp port 70000 name x # y"]}, {}, "ports: port 70000 is outside 1-65535"),
    "twice": ({"extra_rules": ["accept in tcp port 1 name kubelet # y"]}, {}, "rule kubelet: the name is given twice"),
    "interface": ({"extra_rules": ["accept in tcp on eth7 name x # y"]}, {}, "rule x: interface: 'eth7' is not one of"),
    "lockout": ({}, {"ssh_peer": PEER}, "rule default-in-eth0 would drop new SSH connections from 192.0.2.9"),
}


@pytest.mark.parametrize(("settings", "found", "message"), WHOLE.values(), ids=WHOLE)
def test_what_the_node_would_refuse_is_refused_before(
    settings: dict[str, Any], found: dict[str, Any], message: str
) -> None:
    """These were found only on the node, after packages and the region's rules had been put there."""
    with pytest.raises(HardeningError, match=message):
        node_ruleset("worker", {**INFO, **found}, Settings.from_options({**CLUSTER, **settings}))


def test_allow_lockout_lifts_the_refusal() -> None:
    assert node_ruleset(
        "worker", {**INFO, "ssh_peer": PEER}, Settings.from_options({**CLUSTER, "allow_lockout": True})
    )["rules"]


def test_floods_of_the_api_server_are_dropped_before_it_is_opened() -> None:
    found = node_ruleset("master", INFO, Settings(cluster_networks=("10.0.0.0/24",)))
    names = [rule.name for rule in read_rules(found["rules"])]
    places = [
        names.index(name) for name in ("apiserver-cluster", "apiserver-connections", "apiserver-rate", "apiserver")
    ]
    assert places == sorted(places)
    limits = {rule.name: rule for rule in read_rules(found["rules"])}
    assert (limits["apiserver-connections"].action, limits["apiserver-connections"].connections) == ("drop", 500)
    assert (limits["apiserver-rate"].action, str(limits["apiserver-rate"].rate)) == ("drop", "100/second")
    off = node_ruleset("master", INFO, Settings(apiserver_connections=0, apiserver_rate=""))
    assert not [line for line in off["rules"] if "connections" in line or " rate " in line]
    assert not [line for line in node_ruleset("worker", INFO, Settings())["rules"] if " rate " in line]


def test_denied_packets_are_logged_unless_that_is_turned_off() -> None:
    assert node_ruleset("worker", INFO, Settings())["defaults"][0]["log"] == "iks-drop-in:"
    assert "log" not in node_ruleset("worker", INFO, Settings(log_denied=False))["defaults"][0]


def test_the_intrusion_guard_excepts_whoever_has_a_name() -> None:
    assert node_ruleset("worker", INFO, Settings())["guard"] == {}
    settings = Settings(
        intrusion_guard=True,
        intrusion_hold=90,
        cluster_networks=("10.0.0.0/24",),
        management_networks=("198.51.100.0/24",),
        operator_networks=("192.0.2.0/25",),
        provider_management=(("203.0.113.128/25", "the provider"),),
        catalogue_networks=("169.46.7.238",),
    )
    guard = node_ruleset(
        "worker",
        {**INFO, "ssh_peer": {"source": "198.18.0.1", "source_port": 9, "destination": "10.0.0.11", "port": 22}},
        settings,
    )["guard"]
    assert guard["hold"] == 90
    wanted = {
        "10.0.0.0/24",
        "198.51.100.0/24",
        "192.0.2.0/25",
        "203.0.113.128/25",
        "169.46.7.238",
        "10.0.80.11",
        "198.18.0.1",
    }
    assert wanted <= set(guard["never"])


def test_numbers_that_a_template_gave_as_text_count_as_numbers() -> None:
    found = Settings.from_options({"apiserver_connections": "0", "intrusion_hold": "90", "intrusion_guard": True})
    assert (found.apiserver_connections, found.intrusion_hold) == (0, 90)
