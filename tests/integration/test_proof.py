# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole cluster, hardened from the tarball and judged by packets; without rules each proof must fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.demo.play import Run, playbook
from tests.lab import Lab, Probe, run_probes
from tests.lab.topology import topology
from tests.proof.expectations import (
    EDGES_OPEN,
    LOGGING,
    MASTERS,
    MONITORING,
    OTHER_REGION,
    RANGE,
    Claim,
    claims,
    variables,
)
from tests.proof.table import prove, table, wait_for_paths

SEED = 20170929
Harden = Callable[..., Run]


@pytest.fixture(scope="module")
def harden(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Harden:
    """Runs the playbook with the proof's variables, some of them changed."""

    def run(*options: str, **changed: Any) -> Run:
        folder = tmp_path_factory.mktemp("harden")
        settings = folder / "variables.yml"
        settings.write_text(yaml.safe_dump({**variables(topology(lab.lab_id)), **changed}), encoding="utf-8")
        return playbook(lab.inventory_file, settings, folder, folder / "run.log", *options)

    return run


@pytest.fixture(scope="module")
def wanted(lab: Lab) -> list[Claim]:
    return claims(topology(lab.lab_id), SEED)


@pytest.fixture(scope="module")
def bare(lab: Lab, wanted: list[Claim]) -> dict[Claim, bool]:
    """Which claims hold on fresh nodes without any rule; taken before `hardened` is."""
    lab.reset()
    wait_for_paths(lab)
    return {proof.claim: proof.holds for proof in prove(lab, wanted)}


@pytest.fixture(scope="module")
def runs(bare: dict[Claim, bool], harden: Harden) -> list[Run]:
    return [harden(), harden()]


def test_second_run_changes_nothing(runs: list[Run]) -> None:
    first, second = runs
    assert first.clean
    assert second.clean
    assert set(first.changed) == {"master", "worker1", "worker2", "gateway"}
    assert all(first.changed.values()), first.changed
    assert not any(second.changed.values()), second.changed


def test_every_claim_holds(runs: list[Run], lab: Lab, wanted: list[Claim]) -> None:
    proofs = prove(lab, wanted)
    assert all(proof.holds for proof in proofs), "\n" + table([proof for proof in proofs if not proof.holds])


def test_without_rules_the_proofs_fail(bare: dict[Claim, bool], wanted: list[Claim]) -> None:
    """A port that was closed before is no proof; an open one says nothing of the rules but that they let it pass."""
    needing = [claim for claim in wanted if claim.needs_firewall]
    assert len(needing) > 25
    assert [claim.title for claim in needing if bare[claim]] == []
    assert [claim.title for claim in wanted if not claim.needs_firewall and not bare[claim]] == []


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_the_full_port_range_of_a_master(lab: Lab, proto: str) -> None:
    address = MASTERS["dal10"]
    found = run_probes(
        lab, "worker1", [Probe(proto, address, port, expected="open") for port in (443, *RANGE)], concurrency=800
    )
    assert [str(outcome) for outcome in found if not outcome.matched][:10] == []
    assert len(found) == 12769


@pytest.mark.usefixtures("runs")
def test_ipv6_of_an_overlay_opens_and_nothing_else_does(lab: Lab, harden: Harden) -> None:
    """The catalogue has no IPv6 address; a documentation prefix stands for one."""
    inside, outside = "2001:db8:cafe::10", "2001:db8:cafe::11"
    overlay = {"title": "proof", "regions": {"us-south": {"masters": {"dal10": [MASTERS["dal10"], inside]}}}}
    assert harden(iks_catalogue_overlay=overlay).clean
    opened = [Probe(proto, inside, port, expected="open") for proto in ("tcp", "udp") for port in EDGES_OPEN]
    closed = [
        Probe(proto, inside, port, expected="closed") for proto in ("tcp", "udp") for port in (442, 444, 19999, 32768)
    ]
    closed += [Probe("tcp", outside, 443, expected="closed")]
    for node in ("worker1", "worker2"):
        assert [str(item) for item in run_probes(lab, node, [*opened, *closed]) if not item.matched] == []


@pytest.mark.usefixtures("runs")
def test_optional_services_and_a_second_region(lab: Lab, harden: Harden) -> None:
    """Step 4 on request, and the masters of another region once it is named."""
    services = ["master", "registry", "private", "monitoring", "logging"]
    assert harden(iks_regions=["us-south", "eu-central"], iks_services=services).clean
    probes = [Probe("tcp", MONITORING, port, expected="open") for port in (443, 9095)]
    probes += [Probe("tcp", LOGGING, port, expected="open") for port in (443, 9091)]
    probes += [Probe("tcp", OTHER_REGION, port, expected="open") for port in EDGES_OPEN]
    probes += [Probe("tcp", MONITORING, 9091, expected="closed"), Probe("tcp", LOGGING, 9095, expected="closed")]
    for node in ("worker1", "worker2"):
        assert [str(item) for item in run_probes(lab, node, probes) if not item.matched] == []


@pytest.mark.usefixtures("runs")
def test_workers_of_all_locations_reach_each_other(lab: Lab) -> None:
    """Step 2: each worker's public address, on ports of the range."""
    worker2 = topology(lab.lab_id).node("worker2").address("priv")
    assert worker2
    for node, address in (("worker1", worker2), ("worker2", "203.0.113.11")):
        # 30081 leads to a process, 443 to none: refused by the other worker means that nothing on the way closed it.
        probes = [Probe("tcp", address, 30081, expected="open")]
        assert [str(item) for item in run_probes(lab, node, probes) if not item.matched] == []


@pytest.mark.usefixtures("runs")
def test_ingress_and_operators(lab: Lab, harden: Harden) -> None:
    """Step 7, and the third situation: an operator's network behind the gateway reaches the masters over TCP only."""
    worker2 = topology(lab.lab_id).node("worker2").address("priv")
    before = [
        Probe("tcp", worker2 or "", 443, expected="filtered"),
        Probe("tcp", worker2 or "", 80, expected="filtered"),
    ]
    assert [str(item) for item in run_probes(lab, "internet", before) if not item.matched] == []
    kubectl = [
        Probe("tcp", MASTERS["dal10"], 30001),
        Probe("udp", MASTERS["dal10"], 30001),
        Probe("tcp", "198.51.100.7", 443),
    ]
    expected = ["closed", "closed", "closed"]
    wanted = [replace(probe, expected=word) for probe, word in zip(kubectl, expected)]
    assert [str(item) for item in run_probes(lab, "onprem", wanted) if not item.matched] == []
    assert harden(iks_ingress=[{"address": worker2, "port": 443}], iks_operator_networks=["192.168.77.0/24"]).clean
    # Nobody listens on 443 there: refused by the node itself means that gateway and node let it pass.
    after = [Probe("tcp", worker2 or "", 443, expected="refused"), Probe("tcp", worker2 or "", 80, expected="filtered")]
    assert [str(item) for item in run_probes(lab, "internet", after) if not item.matched] == []
    wanted = [replace(probe, expected=word) for probe, word in zip(kubectl, ["open", "closed", "closed"])]
    assert [str(item) for item in run_probes(lab, "onprem", wanted) if not item.matched] == []


@pytest.mark.usefixtures("runs")
def test_private_interface_closed_on_request(lab: Lab, harden: Harden) -> None:
    """Step 5 on the node itself: the private interface closes but for the ranges, the cluster and management."""
    private = topology(lab.lab_id).node("worker1").address("priv") or ""
    # The gateway has two private networks: which one is the cluster's has to be said.
    settings = {
        "iks_private": "restricted",
        "iks_private_interface": "{{ {'gateway': 'eth1'}[inventory_hostname] | default(none) }}",
    }
    assert harden(**settings).clean
    assert not any(harden(**settings).changed.values())
    outward = [Probe("tcp", "10.200.80.1", 443, expected="open"), Probe("tcp", "10.200.80.1", 444, expected="closed")]
    outward += [Probe("tcp", topology(lab.lab_id).node("master").address("priv") or "", 22, expected="open")]
    assert [str(item) for item in run_probes(lab, "worker1", outward) if not item.matched] == []
    inward = [Probe("tcp", private, 22, expected="open"), Probe("tcp", private, 8081, expected="filtered")]
    assert [str(item) for item in run_probes(lab, "controller", inward) if not item.matched] == []


@pytest.mark.usefixtures("runs")
def test_open_egress_is_open(lab: Lab, harden: Harden) -> None:
    """allow-all-outbound is the default; what comes in stays closed."""
    assert harden(iks_egress="open").clean
    elsewhere = [
        Probe("tcp", "198.51.100.7", 443, expected="open"),
        Probe("tcp", "2001:db8:cafe::1", 443, expected="open"),
    ]
    for node in ("worker1", "worker2"):
        assert [str(item) for item in run_probes(lab, node, elsewhere) if not item.matched] == []
    assert run_probes(lab, "internet", [Probe("tcp", "203.0.113.11", 22, expected="filtered")])[0].matched


@pytest.mark.usefixtures("runs")
def test_kube_proxy_in_ipvs_mode(lab: Lab, harden: Harden) -> None:
    """IPVS does no DNAT before INPUT, so the node port range is opened where its interface is seen, and only there.

    The lab's kernel has no IPVS; what kube-proxy leaves to be seen, the interface kube-ipvs0, is made by hand.
    """
    inward = [Probe(proto, "203.0.113.11", 30999) for proto in ("tcp", "udp")]
    beside = Probe("tcp", "203.0.113.11", 8081, expected="filtered")
    lab.run("worker1", ["ip", "link", "add", "kube-ipvs0", "type", "bridge"])
    try:
        assert harden().clean
        found = run_probes(lab, "internet", [*(replace(probe, expected="open") for probe in inward), beside])
        assert [str(item) for item in found if not item.matched] == []
    finally:
        lab.run("worker1", ["ip", "link", "delete", "kube-ipvs0"])
    assert harden().clean
    found = run_probes(lab, "internet", [replace(probe, expected="filtered") for probe in inward])
    assert [str(item) for item in found if not item.matched] == []


def test_tags_run_one_capability(lab: Lab, harden: Harden) -> None:
    """A tag runs its capability alone; the playbook says which there are."""
    lab.reset("worker1", "worker2", "gateway", "master")
    assert harden("--tags", "node_firewall").clean
    saved = lab.run("worker1", ["iptables-save"]).stdout
    assert "IKS-INPUT-node" in saved
    assert "IKS-OUTPUT-region" not in saved
