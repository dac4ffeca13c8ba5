# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What calicoctl's configuration needs, found as the container service's page of 2017 tells to find it (pure).

The etcd endpoints stand in the config map calico-config of kube-system, the certificates beside the kubeconfig, and the
version is the one that the cluster runs. Paths may be Windows ones.
"""

from __future__ import annotations

import json
import ntpath
import posixpath
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Iterable, List, Mapping, Optional, Sequence, Union

from .calicoctl_versions import VersionError, calicoctl_of
from .errors import HardeningError

CONFIG_MAP = "calico-config"
ADMIN_KEY, ADMIN_CERT, CA_PATTERN = "admin-key.pem", "admin.pem", "ca-*.pem"
_DRIVE = re.compile(r"^([A-Za-z]):[\\/]")
_ENDPOINTS = re.compile(
    r"""^[ \t]+etcd_endpoints:[ \t]*(?P<quote>["']?)(?P<value>[^\s"'#]*)(?P=quote)[ \t]*$""", re.MULTILINE
)
_COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)
_EXEC = re.compile(r"""(?:^|[\s{,])["']?(exec|cmd-path)["']?[ \t]*:(?=[\s{"'])""", re.MULTILINE)
# calico/node wherever it is mirrored: armada-master/calico/node, projectcalico-org/node, calico-node.
_NODE_IMAGE = re.compile(r"(?:^|/)(?:[\w.-]*calico[\w.-]*/node|calico-node)(?:[:@]|$)")
_COMMAND = re.compile(r"""["']?command["']?[ \t]*:[ \t]*["']?([^\s"',}]+)""")


class DiscoveryError(HardeningError):
    """Something that calicoctl needs was not found where it should be."""


@dataclass(frozen=True)
class Certificates:
    """Paths of what calicoctl shows to etcd, and of the authority that signed etcd's certificate."""

    key: str
    certificate: str
    authority: str


def kubeconfig_paths(text: str) -> List[str]:
    """The paths in a value of KUBECONFIG: parted by colons, or by semicolons as on Windows."""
    if ";" in text:
        return [part.strip() for part in text.split(";") if part.strip()]
    paths: List[str] = []
    for part in text.split(":"):
        # The colon after a single letter before a slash belongs to a drive of Windows.
        if paths and re.match(r"^[A-Za-z]$", paths[-1]) and part[:1] in ("/", "\\"):
            paths[-1] += f":{part}"
        else:
            paths.append(part.strip())
    return [path for path in paths if path]


def is_windows(path: str) -> bool:
    """Whether a path is one of Windows."""
    return bool(_DRIVE.match(path)) or "\\" in path


def directory_of(path: str) -> str:
    """The directory of a file, as `dirname` tells it, in the manner of the system that the path is of."""
    module = ntpath if is_windows(path) else posixpath
    return module.dirname(path) or "."


def wsl_path(path: str) -> str:
    """A Windows path as the Windows subsystem for Linux has it: below /mnt, by the drive's letter."""
    found = _DRIVE.match(path)
    if not found:
        return path.replace("\\", "/") if is_windows(path) else path
    return f"/mnt/{found.group(1).lower()}/{path[3:]}".replace("\\", "/")


def find_certificates(directory: str, names: Iterable[str]) -> Certificates:
    """The admin pair and the one `ca-*.pem` among the names in a directory. Raises DiscoveryError."""
    there = sorted(names)
    missing = [name for name in (ADMIN_KEY, ADMIN_CERT) if name not in there]
    if missing:
        raise DiscoveryError(
            f"{directory}: no {' and no '.join(missing)}: the cluster's configuration was downloaded without --admin. "
            "Download it again with --admin (bx cs cluster-config <cluster> --admin, today: "
            "ibmcloud ks cluster config --cluster <cluster> --admin), or name the files one by one"
        )
    authorities = [name for name in there if fnmatchcase(name, CA_PATTERN)]
    if len(authorities) != 1:
        listed = f"no {CA_PATTERN}"
        if authorities:
            listed = f"{len(authorities)} files {CA_PATTERN} ({', '.join(authorities)})"
        pems = [name for name in there if name.endswith(".pem")]
        raise DiscoveryError(
            f"{directory}: {listed}, where there must be one; certificates there: {', '.join(pems) or 'none'}. "
            "Remove those of other clusters, or name the right one as etcd_ca_cert_file"
        )
    join = ntpath.join if is_windows(directory) else posixpath.join
    return Certificates(join(directory, ADMIN_KEY), join(directory, ADMIN_CERT), join(directory, authorities[0]))


def endpoints_of(config_map: Union[str, Mapping[str, Any]]) -> str:
    """The etcd endpoints that a config map calico-config names; it is a dictionary, JSON, or YAML as kubectl prints it.

    Raises DiscoveryError.
    """
    value = _endpoints(config_map)
    if not value:
        raise DiscoveryError(
            f"the config map {CONFIG_MAP} names no etcd_endpoints: this cluster keeps Calico's data in Kubernetes. "
            "Set datastore_type: kubernetes and kubeconfig, or give etcd_endpoints"
        )
    return value


def _endpoints(config_map: Union[str, Mapping[str, Any]]) -> str:
    document: Any = config_map
    if isinstance(config_map, str):
        try:
            document = json.loads(config_map)
        except ValueError:
            found = _ENDPOINTS.search(config_map)
            return found.group("value") if found else ""
    data = document.get("data") if isinstance(document, Mapping) else None
    value = data.get("etcd_endpoints") if isinstance(data, Mapping) else None
    return str(value).strip() if value else ""


def config_map_missing(said: str) -> str:
    """The text for a `kubectl get cm -n kube-system calico-config` that failed with these words."""
    if re.search(r"(?i)not\s?found", said) and CONFIG_MAP in said:
        return (
            f"kubectl: {said}: the cluster has no config map {CONFIG_MAP} in kube-system. Look whether kubectl speaks "
            "to the right cluster (kubectl config current-context) and its master is of a version with Calico; update "
            "the master if it is older. If Calico was set up in another way, give etcd_endpoints, or "
            "datastore_type: kubernetes"
        )
    return (
        f"kubectl: {said or 'no message'}: the config map {CONFIG_MAP} cannot be read. "
        "Check kubeconfig, or give etcd_endpoints"
    )


def exec_plugins(kubeconfig: str) -> List[str]:
    """The programs that a kubeconfig has a client run to get credentials; empty when there are none.

    Read line by line, as targets need not have a YAML parser: what looks like one is told as one.
    """
    text = _COMMENT.sub("", kubeconfig)
    found: List[str] = []
    for match in _EXEC.finditer(text):
        after = text[match.end() :]
        if match.group(1) == "cmd-path":
            found.append((after.split() or ["unknown"])[0].strip("\"'},"))
            continue
        if re.match(r"\s*(?:null|~)\s*(?:[,}\n]|$)", after):
            continue
        command = _COMMAND.search(after)
        found.append(command.group(1) if command else "unknown")
    return found


def check_plugins(path: str, kubeconfig: str, allowed: bool) -> None:
    """Refuse a kubeconfig that has programs run, unless that is allowed. Raises DiscoveryError that names them."""
    plugins = exec_plugins(kubeconfig)
    if plugins and not allowed:
        raise DiscoveryError(
            f"{path}: has kubectl and calicoctl run {', '.join(plugins)} to get credentials. "
            "Set allow_exec_plugin: true if that is wanted, or use a kubeconfig with a certificate or token"
        )


def version_of_cluster(cluster_information: str, daemon_sets: str) -> str:
    """The calicoctl that belongs to the cluster, of what kubectl prints as JSON of both places (empty: not there).

    First ClusterInformation's calicoVersion (v3), then the image calico/node in kube-system. Raises DiscoveryError that
    names both places when neither tells.
    """
    told = _calico_version(_json(cluster_information))
    if not told:
        images = node_images(_json(daemon_sets))
        tags = sorted({tag for tag in (_tag(image) for image in images) if tag})
        if len(tags) > 1:
            raise DiscoveryError(
                f"version: auto: the images of calico/node in kube-system differ ({', '.join(tags)}): "
                "the cluster is being updated. Run again later, or give version"
            )
        told = tags[0] if tags else ""
    try:
        if told:
            return calicoctl_of(told)
    except VersionError as error:
        raise DiscoveryError(f"version: auto: {error}") from None
    raise DiscoveryError(
        "version: auto: neither the ClusterInformation named default has a calicoVersion, nor has a daemon set in "
        "kube-system an image calico/node with a version for its tag. Give version, for instance 1.4.0"
    )


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _calico_version(document: Any) -> str:
    items: Sequence[Any] = document.get("items", [document]) if isinstance(document, Mapping) else []
    for item in items if isinstance(items, list) else []:
        spec = item.get("spec") if isinstance(item, Mapping) else None
        version = spec.get("calicoVersion") if isinstance(spec, Mapping) else None
        if version:
            return str(version)
    return ""


def node_images(document: Any) -> List[str]:
    """The images calico/node (also of a registry of one's own) among the containers of daemon sets or pods."""
    images: List[str] = []
    if isinstance(document, Mapping):
        image = document.get("image")
        if isinstance(image, str) and _NODE_IMAGE.search(image):
            images.append(image)
        for key, value in document.items():
            if key != "annotations":
                images += node_images(value)
    elif isinstance(document, list):
        for item in document:
            images += node_images(item)
    return images


def _tag(image: str) -> Optional[str]:
    tag = image.split("@")[0].rsplit("/", 1)[-1].partition(":")[2]
    return tag if re.match(r"^v?\d+\.\d+\.\d+", tag) else None
