# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is given is not looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_cluster import Cluster, discover

URL = "https://169.1.1.1:30001"
NAMES = ("etcd_key_file", "etcd_cert_file", "etcd_ca_cert_file")


def nobody() -> Cluster:
    raise AssertionError("the cluster was asked")


def test_a_host_without_a_kubeconfig_needs_none_when_everything_is_given(tmp_path: Path) -> None:
    for name in ("admin.pem", "admin-key.pem", "ca-lab.pem"):
        (tmp_path / name).touch()
    found = discover(nobody, {"etcd_endpoints": URL}, str(tmp_path), None)
    assert [Path(found[name]).name for name in NAMES] == ["admin-key.pem", "admin.pem", "ca-lab.pem"]
    given = {"etcd_endpoints": URL, **{name: f"/etc/{name}" for name in NAMES}}
    assert discover(nobody, given, None, None) == given
    kubernetes = {"datastore_type": "kubernetes", "kubeconfig": "/root/.kube/config"}
    assert discover(nobody, kubernetes, None, None) == kubernetes


def test_what_is_not_given_is_asked_for() -> None:
    with pytest.raises(AssertionError, match="the cluster was asked"):
        discover(nobody, {"etcd_endpoints": URL}, None, None)
