# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host and its kubectl tell of a cluster: read here, understood in calico_discovery."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from .calico_discovery import (
    CONFIG_MAP,
    DiscoveryError,
    check_plugins,
    config_map_missing,
    directory_of,
    endpoints_of,
    find_certificates,
    kubeconfig_paths,
    version_of_cluster,
    wsl_path,
)
from .calicoctl_config import KUBERNETES, check_path
from .calicoctl_errors import last_line
from .calicoctl_run import Run

_CERTIFICATES = ("etcd_key_file", "etcd_cert_file", "etcd_ca_cert_file")
# kubectl's words for a kind or an object that the cluster does not have.
_NOT_THERE = re.compile(r"NotFound|not found|doesn't have a resource type|could not find the requested resource")


@dataclass(frozen=True)
class Cluster:
    """A cluster as a kubeconfig on this host reaches it; `timeout` in seconds for each question."""

    run: Run
    kubectl: str
    kubeconfig: str
    timeout: float

    def ask(self, *words: str) -> Tuple[Optional[int], str, str]:
        """kubectl's status, answer and words. Raises DiscoveryError where kubectl is not installed or never ends."""
        argv = [self.kubectl, f"--kubeconfig={self.kubeconfig}", "get", *words, "-o", "json"]
        status, output, errors = self.run(argv, "", self.timeout)
        if status in (126, 127):
            raise DiscoveryError(
                f"{self.kubectl}: {errors or 'not found'}; install kubectl, give its path as kubectl, "
                "or give version, config_map or etcd_endpoints"
            )
        if status is None:
            raise DiscoveryError(
                f"{' '.join(argv)}: no answer from the API server within {self.timeout:g} seconds. Check that the "
                "server that the kubeconfig names is open to this host"
            )
        return status, output, last_line(errors)


def find_kubeconfig(given: Optional[str], environ: Mapping[str, str], allow_exec_plugin: bool) -> str:
    """The path of the kubeconfig: as given, else as KUBECONFIG tells; of several the first one that exists.

    Raises DiscoveryError when there is none, or when it has programs run and that is not allowed.
    """
    text = given or environ.get("KUBECONFIG", "")
    paths = [wsl_path(path) for path in kubeconfig_paths(text)]
    if not paths:
        raise DiscoveryError(
            "kubeconfig: none is given, and KUBECONFIG is not set for this task; give the path of the cluster's "
            "kubeconfig on this host"
        )
    for path in paths:
        check_path("kubeconfig", path)
        if os.path.isfile(path):
            check_plugins(path, read_text(path), allow_exec_plugin)
            return path
    raise DiscoveryError(f"kubeconfig: {', '.join(paths)}: no such file on this host; download the configuration first")


def read_text(path: str) -> str:
    """A kubeconfig. Raises DiscoveryError."""
    try:
        with open(path, encoding="utf-8", errors="replace") as content:
            return content.read()
    except OSError as error:
        raise DiscoveryError(f"{path}: {error.strerror}; give a file that can be read") from None


def discover(
    cluster: Callable[[], Cluster], given: Mapping[str, Any], certs_dir: Optional[str], config_map: Optional[Any]
) -> Dict[str, Any]:
    """The configuration's options as the cluster tells them; those that are given stay. Raises DiscoveryError.

    `cluster` is called for what only the cluster or its kubeconfig can tell.
    """
    found = {name: value for name, value in given.items() if value is not None}
    if found.get("datastore_type") == KUBERNETES:
        return found if found.get("kubeconfig") else {"kubeconfig": cluster().kubeconfig, **found}
    if not found.get("etcd_endpoints"):
        found["etcd_endpoints"] = endpoints_of(config_map if config_map else read_config_map(cluster()))
    if all(found.get(name) for name in _CERTIFICATES):
        return found
    return with_certificates(found, certs_dir or directory_of(cluster().kubeconfig))


def with_certificates(given: Mapping[str, Any], directory: str) -> Dict[str, Any]:
    """Options with those certificates of a directory that are not given. Raises DiscoveryError."""
    found = dict(given)
    endpoints = found.get("etcd_endpoints")
    urls = endpoints if isinstance(endpoints, list) else str(endpoints or "").split(",")
    if all(found.get(name) for name in _CERTIFICATES) or all(str(url).strip().startswith("http://") for url in urls):
        return found
    directory = wsl_path(directory)
    check_path("certs_dir", directory)
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise DiscoveryError(
            f"certs_dir: {directory}: {error.strerror}; give the directory with admin.pem, admin-key.pem and ca-*.pem"
        ) from None
    certificates = find_certificates(directory, names)
    for name, path in zip(_CERTIFICATES, (certificates.key, certificates.certificate, certificates.authority)):
        found[name] = found.get(name) or path
    return found


def read_config_map(cluster: Cluster) -> Any:
    """The config map calico-config. Raises DiscoveryError that tells what to do when it is not there."""
    status, output, said = cluster.ask("configmap", CONFIG_MAP, "--namespace=kube-system")
    if status != 0:
        raise DiscoveryError(config_map_missing(said))
    try:
        return json.loads(output)
    except ValueError:
        raise DiscoveryError("kubectl: answered with something that is no JSON; check that it is kubectl") from None


def cluster_version(cluster: Cluster) -> str:
    """The calicoctl that belongs to the cluster. Raises DiscoveryError."""
    told: List[str] = []
    for words in (
        ("clusterinformations.crd.projectcalico.org", "default"),
        ("daemonsets", "--namespace=kube-system"),
    ):
        status, output, said = cluster.ask(*words)
        if status != 0 and not _NOT_THERE.search(said):
            raise DiscoveryError(
                f"version: auto: kubectl get {words[0]}: {said or f'status {status}'}. Check that {cluster.kubeconfig} "
                "reaches the cluster and may read this, or give version"
            )
        told.append(output if status == 0 else "")
    return version_of_cluster(*told)
