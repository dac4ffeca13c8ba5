# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found as the page tells to find it, and what is said when it is not there."""

from __future__ import annotations

import json
from typing import Any, List, Optional

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_discovery import (
    Certificates,
    DiscoveryError,
    check_plugins,
    config_map_missing,
    directory_of,
    endpoints_of,
    exec_plugins,
    find_certificates,
    kubeconfig_paths,
    node_images,
    version_of_cluster,
    wsl_path,
)


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("/home/a/kube.yml", ["/home/a/kube.yml"]),
        ("/home/a/kube.yml:/home/b/kube.yml", ["/home/a/kube.yml", "/home/b/kube.yml"]),
        ("C:/Users/a/kube.yml", ["C:/Users/a/kube.yml"]),
        ("C:\\Users\\a\\kube.yml;D:\\b\\kube.yml", ["C:\\Users\\a\\kube.yml", "D:\\b\\kube.yml"]),
        ("C:\\a\\kube.yml:D:/b/kube.yml:/c/kube.yml", ["C:\\a\\kube.yml", "D:/b/kube.yml", "/c/kube.yml"]),
        ("::/a/kube.yml:", ["/a/kube.yml"]),
        ("", []),
    ],
)
def test_values_of_kubeconfig(text: str, paths: List[str]) -> None:
    assert kubeconfig_paths(text) == paths


@pytest.mark.parametrize(
    ("path", "directory", "in_wsl"),
    [
        ("/home/a/mycluster-admin/kube.yml", "/home/a/mycluster-admin", "/home/a/mycluster-admin/kube.yml"),
        ("C:/Users/a/x-admin/kube.yml", "C:/Users/a/x-admin", "/mnt/c/Users/a/x-admin/kube.yml"),
        ("D:\\Users\\a\\kube.yml", "D:\\Users\\a", "/mnt/d/Users/a/kube.yml"),
        ("x-admin\\kube.yml", "x-admin", "x-admin/kube.yml"),
        ("kube.yml", ".", "kube.yml"),
    ],
)
def test_directories(path: str, directory: str, in_wsl: str) -> None:
    assert directory_of(path) == directory
    assert wsl_path(path) == in_wsl


def test_the_certificates_beside_a_kubeconfig() -> None:
    names = ["kube-config-dal10-x.yml", "ca-dal10-x.pem", "admin.pem", "admin-key.pem"]
    assert find_certificates("/c", names) == Certificates("/c/admin-key.pem", "/c/admin.pem", "/c/ca-dal10-x.pem")
    assert find_certificates("C:\\c", names).authority == "C:\\c\\ca-dal10-x.pem"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["ca-a.pem"], "/c: no admin-key.pem and no admin.pem: .*downloaded without --admin"),
        (["ca-a.pem", "admin.pem"], "/c: no admin-key.pem: .*without --admin"),
        ([], "without --admin"),
        (
            ["admin.pem", "admin-key.pem", "ca.pem"],
            r"/c: no ca-\*.pem.*certificates there: admin-key.pem, admin.pem, ca.pem",
        ),
        (
            ["admin.pem", "admin-key.pem", "ca-b.pem", "ca-a.pem"],
            r"/c: 2 files ca-\*.pem \(ca-a.pem, ca-b.pem\), where there must be one",
        ),
    ],
)
def test_a_directory_that_lacks_something(names: List[str], said: str) -> None:
    with pytest.raises(DiscoveryError, match=said):
        find_certificates("/c", names)


YAML = """apiVersion: v1
data:
  cni_network_config: |-
    {
        "name": "k8s-pod-network",
        "etcd_endpoints": "__ETCD_ENDPOINTS__"
    }
  etcd_ca: /calico-secrets/etcd-ca
  etcd_endpoints: https://169.1.1.1:30001
kind: ConfigMap
"""


@pytest.mark.parametrize(
    "config_map",
    [
        YAML,
        YAML.replace("https://169.1.1.1:30001", '"https://169.1.1.1:30001"'),
        json.dumps({"data": {"etcd_endpoints": "https://169.1.1.1:30001"}}),
        {"data": {"etcd_endpoints": " https://169.1.1.1:30001\n"}},
    ],
)
def test_endpoints(config_map: Any) -> None:
    assert endpoints_of(config_map) == "https://169.1.1.1:30001"


@pytest.mark.parametrize(
    "config_map",
    ["", "[]", "null", "{}", {"data": None}, {"data": {"typha_service_name": "none"}}, YAML.replace("  etcd_e", "  x")],
)
def test_a_cluster_without_an_etcd_of_calico(config_map: Any) -> None:
    with pytest.raises(DiscoveryError, match="names no etcd_endpoints.*datastore_type: kubernetes"):
        endpoints_of(config_map)


def test_a_config_map_that_is_not_there() -> None:
    said = config_map_missing('Error from server (NotFound): configmaps "calico-config" not found')
    assert "current-context" in said
    assert "give etcd_endpoints" in said
    assert "update" in said
    assert "cannot be read. Check kubeconfig" in config_map_missing("Unable to connect to the server")


EXEC = """users:
- name: a
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: aws-iam-authenticator
"""


@pytest.mark.parametrize(
    ("kubeconfig", "programs"),
    [
        (EXEC, ["aws-iam-authenticator"]),
        (EXEC.replace("aws-iam-authenticator", '"/opt/a b"'), ["/opt/a"]),
        (json.dumps({"users": [{"user": {"exec": {"command": "evil"}}}]}), ["evil"]),
        ("users: [{name: a, user: {exec: {args: [x], command: evil}}}]", ["evil"]),
        ("users:\n- user: {auth-provider: {config: {cmd-path: /usr/bin/gcloud}}}", ["/usr/bin/gcloud"]),
        ("    exec:\n      args: [x]\n", ["unknown"]),
        ("    'exec':\n      command: evil\n", ["evil"]),
        ("    exec: null\n", []),
        ("    # exec:\n", []),
        ("    executable: x\n    client-certificate: exec.pem\n    name: exec\n", []),
        ("", []),
    ],
)
def test_programs_that_a_kubeconfig_has_run(kubeconfig: str, programs: List[str]) -> None:
    assert exec_plugins(kubeconfig) == programs


def test_B62_a_kubeconfig_with_an_exec_plugin_is_said_and_refused() -> None:
    with pytest.raises(DiscoveryError, match="/k.yml: has kubectl and calicoctl run aws-iam.*allow_exec_plugin: true"):
        check_plugins("/k.yml", EXEC, allowed=False)
    check_plugins("/k.yml", EXEC, allowed=True)
    check_plugins("/k.yml", "", allowed=False)


def information(version: Optional[str]) -> str:
    return json.dumps({"kind": "ClusterInformation", "spec": {"calicoVersion": version, "clusterGUID": "x"}})


def daemons(*images: str) -> str:
    items = [{"spec": {"template": {"spec": {"containers": [{"image": image}]}}}} for image in images]
    return json.dumps({"kind": "List", "items": items})


@pytest.mark.parametrize(
    ("told", "running", "version"),
    [
        (information("v3.25.2"), "", "3.25.2"),
        (json.dumps({"items": [json.loads(information("v3.25.2"))]}), "", "3.25.2"),
        (information("v3.25.2"), daemons("calico/node:v2.6.5"), "3.25.2"),
        (information(""), daemons("quay.io/calico/node:v3.1.3"), "3.1.3"),
        ("", daemons("registry.ng.bluemix.net/armada-master/calico/node:v2.6.5", "x/kube-proxy:v1.9.2"), "1.6.3"),
        ("", daemons("gcr.io/projectcalico-org/node:v2.6.7", "quay.io/calico/cni:v1.11.2"), "1.6.3"),
        ("", daemons("registry.example.com:5000/calico/node:v2.4.1"), "1.4.0"),
        ("", daemons("calico/node:v1.1.3"), "1.1.3"),
        ("", daemons("calico/node:v3.25.2@sha256:abc"), "3.25.2"),
    ],
)
def test_the_version_that_the_cluster_runs(told: str, running: str, version: str) -> None:
    assert version_of_cluster(told, running) == version


@pytest.mark.parametrize(
    ("told", "running", "said"),
    [
        ("", "", "neither the ClusterInformation named default .* nor has a daemon set in kube-system"),
        ("{", "[]", "Give version, for instance 1.4.0"),
        (information(None), daemons("calico/node:latest", "calico/node@sha256:abc"), "neither"),
        ("", daemons("calico/node:v2.6.5", "calico/node:v2.6.7"), "differ .v2.6.5, v2.6.7"),
        (information("master-1234"), "", "no version of Calico"),
        (information("v2.0.1"), "", "its calicoctl is not known"),
    ],
)
def test_a_version_that_nobody_tells_is_no_guess(told: str, running: str, said: str) -> None:
    with pytest.raises(DiscoveryError, match=f"version: auto: .*{said}"):
        version_of_cluster(told, running)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("calico/node:v3.1.1", True),
        ("docker.io/calico/node", True),
        ("registry/calico-node:1", True),
        ("calico/cni:v3.1.1", False),
        ("calico/node-driver-registrar:v3.25.0", False),
        ("kindest/node:v1.30.0", False),
        ("mycalico-node:v1", False),
    ],
)
def test_images(image: str, found: bool) -> None:
    assert node_images({"containers": [{"image": image}]}) == ([image] if found else [])
