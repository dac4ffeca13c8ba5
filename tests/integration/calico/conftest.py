# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calico's modules against a real etcd or an API server on loopback, with a stand-in for calicoctl, or the real one."""

from __future__ import annotations

import pytest

from tests.calico.fixtures import (
    Calico,
    calico_kube,
    calico_kube_tool,
    calico_v1,
    calico_v1_datastore,
    calico_v3,
    calico_v3_datastore,
)
from tests.integration.calico.cluster import Cluster

__all__ = [
    "calico_kube",
    "calico_kube_tool",
    "calico_v1",
    "calico_v1_datastore",
    "calico_v3",
    "calico_v3_datastore",
]


@pytest.fixture(params=["v1", "v3", "kube"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A datastore that knows two nodes and nothing else: each API with etcd, and v3 with the Kubernetes API."""
    calico: Calico = request.getfixturevalue(f"calico_{request.param}")
    made = Cluster(calico)
    if calico.kube is None:
        made.add_nodes("worker1", "worker2")
    return made
