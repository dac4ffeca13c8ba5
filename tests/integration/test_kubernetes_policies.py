# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes' network policies by the role, with the real kubernetes.core, against a stand-in for the API server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import carried
from tests.calico import kube_api
from tests.calico.kube_schema import RESOURCES

from .playbooks import Run, collections_path, play, run_playbook

DENY = {"namespace": "shop", "default_deny": ["ingress", "egress"], "allow_dns": True}
WEB = {
    "namespace": "shop",
    "name": "web",
    "pods": {"app": "web", "tier": "front"},
    "peers": [
        {"namespace": "edge", "pods": {"app": "router"}},
        {"networks": ["10.0.0.0/8"], "except": ["10.9.0.0/16"]},
    ],
    "ports": [8080, "9000-9010"],
}
NETWORK_POLICIES = RESOURCES["networking.k8s.io", "networkpolicies"]
TASK = "iks.hardening.calico_policies : Kubernetes' network policies"


@pytest.fixture(name="kube")
def _kube(tmp_path: Path) -> Iterator[kube_api.KubeApi]:
    with kube_api.running(tmp_path / "kube") as kube:
        for name in ("shop", "edge"):
            kube.put("namespaces", {"metadata": {"name": name}})
        yield kube


def apply(kube: kube_api.KubeApi, folder: Path, *policies: dict[str, Any], check: bool = False) -> Run:
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(kube.kubeconfig(), encoding="utf-8")
    task = {
        "name": "The role's file of tasks",
        "ansible.builtin.include_role": {"name": "iks.hardening.calico_policies", "tasks_from": "kubernetes"},
    }
    both = f"{collections_path()}:{carried.collections()}"
    hosts = {"controller": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}
    return run_playbook(
        None,  # type: ignore[arg-type]  # no node of the lab takes part
        [play("controller", [task])],
        {"iks_network_policies": list(policies), "iks_kubeconfig": str(kubeconfig)},
        check=check,
        inventory={"all": {"hosts": hosts}},
        env={"ANSIBLE_COLLECTIONS_PATH": both},
    )


def held(kube: kube_api.KubeApi) -> dict[str, Any]:
    return {item["metadata"]["name"]: item["spec"] for item in kube.objects.list(NETWORK_POLICIES)}


def test_network_policies_twice_and_changed(kube: kube_api.KubeApi, tmp_path: Path) -> None:
    assert apply(kube, tmp_path, DENY, WEB, check=True).succeeded().one(TASK).changed
    assert held(kube) == {}

    assert apply(kube, tmp_path, DENY, WEB).succeeded().one(TASK).changed
    assert set(held(kube)) == {"default-deny", "allow-dns", "web"}
    assert held(kube)["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert held(kube)["web"]["ingress"][0]["ports"][1] == {"protocol": "TCP", "port": 9000, "endPort": 9010}

    again = apply(kube, tmp_path, DENY, WEB).succeeded()
    assert again.changed == {}

    # A label that is gone has to go, or the policy would hold for fewer pods than it says.
    assert apply(kube, tmp_path, DENY, {**WEB, "pods": {"app": "web"}}).succeeded().one(TASK).changed
    assert held(kube)["web"]["podSelector"] == {"matchLabels": {"app": "web"}}


def test_a_mistake_is_told_before_anything_is_applied(kube: kube_api.KubeApi, tmp_path: Path) -> None:
    refused = apply(kube, tmp_path, DENY, {**WEB, "ports": []})
    assert refused.status != 0
    assert "iks_network_policies[1]: ports: an empty list" in refused.output
    assert held(kube) == {}
