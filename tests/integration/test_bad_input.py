# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Input to refuse: the task fails, names option, value and remedy, says that nothing was changed, and nothing was.

Every case is tried with the modules and, where the playbook can carry it, with the whole of harden_cluster, each in
check mode and for real. What has an id of the project's list of faults (B01 ...) carries it in its test's id. Many
cases share one run of Ansible; a node's state is compared around that run.
"""
# Tables of cases, as in the unit tests: a wrapped line is harder to compare; one case is about unusual digits.
# ruff: noqa: E501, RUF001

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.lab.lab import Lab

from .node_state import states
from .playbooks import HARDEN, Run, play, run_module, run_playbook
from .refusals import (
    Batch,
    Case,
    balancer,
    batches,
    inventory_of,
    judge_module,
    line,
    module_batches,
    overlay,
    region,
    rule,
)

# One rule is wrong; the same rules go through iks_firewall_rules of the playbook.
RULES = {
    "B01": line("accept in tcp port 0", "rule mine: ports: port 0 is outside 1-65535"),
    "B02": line("accept in tcp port 65536", "rule mine: ports: port 65536 is outside 1-65535"),
    "B02-far": line("accept in tcp port 20000-70000", "rule mine: ports: port 70000 is outside 1-65535"),
    "B03": rule("rule mine: ports: '-1' is not a port or a range first-last, both 1-65535", ports=[-1]),
    "B04": rule("rule mine: ports: '443;reboot' is not a port or a range", ports=["443;reboot"]),
    "B05": line("accept in tcp port 32767-20000", "rule mine: ports: port range 32767-20000 is reversed; write 20000-32767"),
    "B07": rule("rule mine: ports: 'http ' is not a port or a range", ports=["http "]),
    "B08": line("accept in icmp port 22", "rule mine: port 22 needs protocol tcp, udp or sctp, not icmp"),
    "B08-vrrp": rule("rule mine: port 22 needs protocol tcp, udp or sctp, not vrrp", protocol="vrrp", source_ports=[22]),
    "B08-any": rule("rule mine: port 22 needs protocol tcp, udp or sctp, not any", protocol="any", ports=[22]),
    "B09": line("accept in tcp from 10.0.0.0/33", "rule mine: sources: '10.0.0.0/33' is not an IPv4 or IPv6 network"),
    "B10": line("accept in tcp from 10.0.0.256", "rule mine: sources: '10.0.0.256' is not an IPv4 or IPv6 network"),
    "B11": rule(("rule mine: sources ::1/128 can match nothing", "ipv4 only"), sources=["::1"], families=["ipv4"]),
    "B11-mixed": rule("can match nothing", sources=["::1"], destinations=["192.0.2.1"]),
    "B12": line("accept in tcp from example.org", "rule mine: sources: 'example.org' is not", "names are not resolved"),
    "B13": line("accept in tcp from 10.0.0.5/8", "rule mine: sources: 10.0.0.5/8 has host bits set; write 10.0.0.0/8 for the"),
    "B14": rule(("rule mine: sources is an empty list", "never means any"), sources=[]),
    "B14-ports": rule("rule mine: ports is an empty list", ports=[]),
    "B16": Case(
        {"rules": "accept in tcp port 22 name mine # a test\ndrop in tcp port 22 name other # a test"},
        ("rule other: action drop contradicts rule mine, which says accept", "remove one of them"),
    ),
    "B17": line("accept in tcp from 010.0.0.1", "rule mine: sources: '010.0.0.1' is not an IPv4 or IPv6 network"),
    "B18": rule("rule mine: sources: '１0.0.0.1' is not an IPv4 or IPv6 network", sources=["１0.0.0.1"]),
    "B18-port": rule("rule mine: ports: '４４３' is not a port", ports=["４４３"]),
    "B25": line("accept in tcp on a-name-too-long-0", "rule mine: interface: 'a-name-too-long-0' has 17 characters", "at most 15"),
    "B26": rule("rule mine: interface: 'eth+;' is not an interface name", interface="eth+;"),
    "interface-not-there": line("accept in tcp on eth7", "rule mine: interface: 'eth7' is not one of", "eth0, eth1, lo; did you mean eth"),
    "option-unknown": rule("rule mine: option: 'prots' is not one of name, ", prots=[22]),
    "action-unknown": line("acept in tcp", "rule mine: action: 'acept' is not one of accept, drop, reject; did you mean accept?"),
    "direction-unknown": rule("rule mine: direction: 'inward' is not one of in, out, forward", direction="inward"),
    "name-twice": Case(
        {"rules": "accept in tcp port 22 name mine # a test\naccept in udp port 53 name mine # a test"},
        ("rule mine: the name is given twice",),
    ),
    "reason-missing": rule("rule mine: reason is missing", reason=None),
}  # fmt: skip

# About the ruleset as a whole: only the module takes it.
RULESETS = {
    "B23": Case({"name": "a-name-longer-than-it"}, ("ruleset name 'a-name-longer-than-it'", "at most 16 characters", "28")),
    "B24-builtin": Case({"name": "INPUT"}, ("ruleset name 'INPUT': only a-z",)),
    "B24-kube": Case({"name": "KUBE-SERVICES"}, ("ruleset name 'KUBE-SERVICES': only a-z",)),
    "B24-calico": Case({"name": "cali-INPUT"}, ("ruleset name 'cali-INPUT': only a-z",)),
    "priority-too-high": Case({"priority": 1000}, ("ruleset node: priority 1000 is outside 0-999",)),
    "default-accepts": Case({"defaults": [{"direction": "in", "action": "accept"}]}, ("defaults: action: 'accept' is not one of drop, reject",)),
    "default-without-direction": Case({"defaults": [{"interface": "eth0"}]}, ("defaults: direction: None is not one of in, out, forward",)),
    "default-interface-not-there": Case({"defaults": [{"direction": "in", "interface": "eth7"}]}, ("interface: 'eth7' is not one of", "eth0, eth1, lo")),
    "option-unknown-of-module": Case({"prioritty": 1}, ("prioritty", "priority"), ansible_says=True),
    "state-unknown": Case({"state": "presnt"}, ("state", "presnt", "present"), ansible_says=True),
}  # fmt: skip

REGIONS = {
    "B42": region("option regions", "'us-soth' is not known; known, nearest first: us-south", regions=["us-soth"]),
    "B14-regions": region("option regions: an empty list; it never means any", regions=[]),
    "B14-workers": region("option worker_addresses: an empty list", worker_addresses=[]),
    "B15": region("us-south", "0.0.0.0/0", overlay=overlay(masters={"dal10": ["0.0.0.0/0"]})),
    "B12-worker": region("option worker_addresses[0]", "worker1.example.org", worker_addresses=["worker1.example.org"]),
    "B13-operator": region("option operator_networks[0]", "192.0.2.1/24", "192.0.2.0/24", operator_networks=["192.0.2.1/24"], point="gateway"),
    "B01-balancer": balancer("option load_balancers[0]: port: port 0 is outside 1-65535", port=0),
    "B02-balancer": balancer("option load_balancers[0]: port: port 65536 is outside 1-65535", port=65536),
    "B05-balancer": balancer("option load_balancers[0]: port", "32767-20000 is reversed", port="32767-20000"),
    "B08-balancer": balancer("option load_balancers[0]: protocol: 'icmp' is not one of tcp, udp", protocol="icmp"),
    "B10-balancer": balancer("option load_balancers[0]: address", "10.0.0.256", address="10.0.0.256"),
    "balancer-option-unknown": balancer("option load_balancers[0]: key 'adress' is not known; known, nearest first: address", adress=1),
    "ingress-port": region("option ingress[0]: port: 8443 is not one of 80, 443", ingress=[{"address": "203.0.113.11", "port": 8443}]),
    "location-unknown": region("option locations", "'dal99' is not known; known, nearest first: dal", locations=["dal99"]),
    "service-unknown": region("option services: service 'mastre' is not known; known, nearest first: master", services=["mastre"]),
    "catalogue-unknown": region("catalogue '2017-09-28' is not known; known, nearest first: 2017-09-29", catalogue="2017-09-28"),
    "overlay-key-unknown": region("overlay: regions.us-south.mastres: unknown key; did you mean masters?", overlay=overlay(mastres={"dal10": "192.0.2.1"})),
    "overlay-file-missing": region("option overlay: there is no file nowhere.yml", overlay="nowhere.yml"),
    "interface-too-long": region("option interface: 'a-name-too-long-0' has 17 characters", interface="a-name-too-long-0"),
}  # fmt: skip
MODULE_CASES = {**RULES, **RULESETS, **REGIONS}
# In check mode one case of each kind: it is the same path until after the refusal, and a task costs a third of a second.
CHECKED_CASES = [name for name in MODULE_CASES if "-" not in name or name.endswith(("unknown", "twice", "-there"))]
MODULE_RUNS = [("real", name) for name in MODULE_CASES] + [("check", name) for name in CHECKED_CASES]


@pytest.fixture(scope="module")
def found(lab: Lab) -> list[Batch]:
    return module_batches(lab, MODULE_CASES, CHECKED_CASES)


@pytest.mark.parametrize(("mode", "name"), MODULE_RUNS, ids=[f"{name}-{mode}" for mode, name in MODULE_RUNS])
def test_module(found: list[Batch], mode: str, name: str) -> None:
    judge_module(found, MODULE_CASES, mode, name)


def test_B06_more_ports_than_one_match_holds_are_split(lab: Lab) -> None:
    """Sixteen ports are no mistake of the user's: they become two matches, none of more than fifteen."""
    ports = ",".join(str(port) for port in range(1001, 1033, 2))
    given = {"rules": f"accept in tcp port {ports} name many # a test", "state": "rendered"}
    result = run_module(lab, "worker1", "node_firewall", given)
    found = [item.split() for item in result.data["after"]["ipv4"] if "many: " in item]
    listed = [words[words.index("--dports" if "--dports" in words else "--dport") + 1].split(",") for words in found]
    assert [len(match) for match in listed] == [15, 1]
    assert [port for match in listed for port in match] == ports.split(",")


# ---- the whole playbook

MODES = pytest.mark.parametrize("mode", ["check", "real"])


def _as_list(rules: Any) -> list[Any]:
    return rules.splitlines() if isinstance(rules, str) else rules


def _variable(option: str) -> str:
    return "iks_catalogue_overlay" if option == "overlay" else f"iks_{option}"


ARGUMENTS = {
    "egress": Case({"iks_egress": "closed"}, ("iks_egress", "closed", "open, restricted"), ansible_says=True),
    "provider": Case({"iks_provider": "ibmm"}, ("iks_provider", "ibmm", "ibm, none"), ansible_says=True),
    "not-a-list": Case({"iks_management_networks": {"a": 1}}, ("iks_management_networks", "list"), ansible_says=True),
}
PLAYBOOK_REGIONS = {
    name: replace(case, given={_variable(option): value for option, value in case.given.items()})
    for name, case in REGIONS.items()
    if not case.given.keys() & {"worker_addresses", "point", "interface"}
}
# One of each kind is enough here: the module has shown the rest.
PLAYBOOK_RULES = {
    name: replace(case, given={"iks_firewall_rules": _as_list(case.given["rules"])})
    for name, case in RULES.items()
    if "-" not in name or name in ("interface-not-there", "name-twice")
}
PROFILES = {
    "B09-management": Case({"iks_management_networks": ["10.0.0.0/33"]}, ("iks_management_networks", "'10.0.0.0/33' is not")),
    "B12-resolver": Case({"iks_resolvers": ["example.org"]}, ("iks_resolvers", "'example.org' is not", "names are not resolved")),
    "B13-cluster": Case({"iks_cluster_networks": ["10.0.0.5/8"]}, ("iks_cluster_networks", "10.0.0.5/8 has host bits set; write 10.0.0.0/8")),
    "B02-apiserver": Case({"iks_apiserver_ports": [65536]}, ("iks_apiserver_ports", "port 65536 is outside 1-65535")),
    "B34": Case({"iks_confirm_timeout": 4}, ("iks_confirm_timeout: 4 is not 0 (off) or 5 to 600 seconds",)),
    "B02-confirm": Case({"iks_confirm_port": 65536}, ("iks_confirm_port: 65536 is outside 1-65535",)),
    "B33": Case({"iks_firewall_rules": ["drop in any state established name mine # x"]}, ("rule mine: states established with action drop",)),
    "public-interface": Case({"iks_public_interface": "eth7"}, ("iks_public_interface: 'eth7' is not one of", "did you mean eth")),
}  # fmt: skip
LOOKED_AT = ("region", "ruleset")  # stages after the look at the node
# A run stops at the first task that fails, after all hosts have come to it: so one run shows many mistakes of a stage.
STAGES = {"arguments": ARGUMENTS, "region": PLAYBOOK_REGIONS, "ruleset": {**PLAYBOOK_RULES, **PROFILES}}
STAGE_CASES = [(stage, name) for stage, cases in STAGES.items() for name in cases]


def faulty_cluster(lab: Lab, stage: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Each host has one mistake. Where the region does not matter they are masters, which have no region's rules.

    For the later stages worker1 was looked at once for all: the role preflight does not look at a node again.
    """
    looked = {"iks_node": dict(node)} if stage in LOOKED_AT else {}
    cases = {name: {**looked, **case.given} for name, case in STAGES[stage].items()}
    if stage != "ruleset":
        return inventory_of(lab, cases)
    found = inventory_of(lab, cases, "iks_masters")
    found["all"]["children"]["iks_workers"] = inventory_of(lab, {"worker1": looked})["all"]["children"]["iks_workers"]
    return found


def both_modes(lab: Lab, inventory: Mapping[str, Any], **variables: Any) -> dict[str, Batch]:
    """harden_cluster in check mode and for real."""

    def run(check: bool) -> Run:
        return run_playbook(lab, HARDEN, variables, inventory=inventory, check=check)

    return batches(lab, {"check": lambda: run(True), "real": lambda: run(False)})


@pytest.fixture(scope="module")
def stages(lab: Lab) -> Callable[[str, str], Batch]:
    """The batch of a stage and a mode; run when first asked for."""
    done: dict[str, dict[str, Batch]] = {}
    node = run_module(lab, "worker1", "firewall_info").data

    def find(stage: str, mode: str) -> Batch:
        if stage not in done:
            done[stage] = both_modes(lab, faulty_cluster(lab, stage, node))
        return done[stage][mode]

    return find


@MODES
@pytest.mark.parametrize(("stage", "name"), STAGE_CASES, ids=[f"{stage}-{name}" for stage, name in STAGE_CASES])
def test_playbook(stages: Callable[[str, str], Batch], stage: str, name: str, mode: str) -> None:
    found = stages(stage, mode)
    failures = [item for item in found.run.failures if item.host == name]
    assert len(failures) == 1, found.run.output
    STAGES[stage][name].judge(failures[0])
    assert found.run.status != 0
    found.nothing_changed()


def judge_single(found: Mapping[str, Batch], host: str, *says: str) -> None:
    """One host fails, in both modes, and says so."""
    for item in found.values():
        assert [failure.host for failure in item.run.failures] == [host], item.run.output
        Case({}, says).judge(item.run.failures[0])
        assert item.run.status != 0
        item.nothing_changed()


def test_no_worker(lab: Lab) -> None:
    inventory = inventory_of(lab, {"master": {}}, "iks_masters")
    judge_single(both_modes(lab, inventory), "localhost", "The group iks_workers is empty", "Put the workers into it")


def worker2(lab: Lab) -> dict[str, Any]:
    """worker2 has one interface, which is the public one too."""
    return {"ansible_host": lab.topology.node("worker2").ssh_address}


def test_ssh_peer_not_covered(lab: Lab) -> None:
    """Nothing says that SSH may come from where it does come."""
    controller = f"10.171.{lab.lab_id}.1"
    judge_single(
        both_modes(lab, inventory_of(lab, {"worker2": worker2(lab)})),
        "worker2",
        f"new SSH connections from {controller} on eth0 port 22",
        f"Set iks_management_networks: [{controller}/32]",
    )


def test_single_interface_node_not_covered(lab: Lab) -> None:
    """The other node's addresses are not in iks_cluster_networks."""
    inventory = inventory_of(lab, {"worker1": {}, "worker2": worker2(lab)})
    variables = {
        "iks_cluster_networks": ["192.0.2.0/24"],
        "iks_management_networks": [f"10.171.{lab.lab_id}.1"],
    }
    judge_single(
        both_modes(lab, inventory, **variables),
        "worker2",
        "iks_cluster_networks does not hold 203.0.113.11, the address of another node; add 203.0.113.11/32",
    )


def test_not_root(lab: Lab) -> None:
    inventory = inventory_of(lab, {"worker1": {}})
    judge_single(
        both_modes(lab, inventory, ansible_become=False), "worker1", "needs root: run the task with become: true"
    )


def test_not_root_module(lab: Lab) -> None:
    before = states(lab, ["worker1"])
    given = {"rules": "accept in tcp port 22 name ssh # a test"}
    result = run_module(lab, "worker1", "node_firewall", given, vars={"ansible_become": False}, ignore_errors=True)
    Case(given, ("the node's firewall needs root: run the task with become: true",)).judge(result)
    assert states(lab, ["worker1"]) == before


OTHER_SYSTEM = 'PRETTY_NAME="Devuan GNU/Linux 6"\nID=devuan\nID_LIKE=debian\nVERSION_ID="6"\n'


@pytest.fixture
def other_system(lab: Lab) -> Iterator[str]:
    """A node that says it runs a system of which the collection knows nothing."""
    former = lab.read("worker1", "/etc/os-release")
    lab.write("worker1", "/etc/os-release", OTHER_SYSTEM)
    yield "worker1"
    lab.write("worker1", "/etc/os-release", former)


def test_unsupported_platform(lab: Lab, other_system: str) -> None:
    found = both_modes(lab, inventory_of(lab, {other_system: {}}))
    judge_single(found, other_system, "devuan 6", "debian 11, 12, 13", "Set iks_allow_untested_platform to true")
    lifted = [play(other_system, [], roles=["iks.hardening.preflight"])]
    run_playbook(lab, lifted, {"iks_allow_untested_platform": True}).succeeded()
