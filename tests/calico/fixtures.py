# Part of the stand-ins for calicoctl and its datastores, for tests only.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for tests that drive calicoctl: a datastore that runs, a tool, and the configuration that joins them.

`-p tests.calico.fixtures`, or import what is needed into a conftest.py: calico_v1 and calico_v3 with their
`..._datastore`, and calico_kube.
CALICOCTL_BIN names real tools (1.4.0, 3.25.2; separated by colons), which are then driven instead of the stand-ins.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional

import pytest

from . import kube_api
from .certificates import Authority, Pair
from .etcd import Etcd, running
from .install import tool
from .kube_api import KubeApi

# How long "for ever" is for a stand-in in these tests: 30 s of the real tool's waiting are 1.5 s.
PATIENCE = 0.05


@dataclass(frozen=True)
class Calico:
    """`api` is v1 or v3; `tool` the executable; `config` the configuration file, `config_text` what is in it.

    `etcd` or `kube` is the datastore behind it, and `empty()` makes it hold nothing of Calico's; `authority` issued the
    certificates and `admin` is the pair in the configuration (or in the kubeconfig that it names).
    """

    api: str
    version: str
    tool: Path
    config: Path
    etcd: Optional[Etcd] = None
    kube: Optional[KubeApi] = None
    authority: Optional[Authority] = None
    admin: Optional[Pair] = None
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": os.environ["PATH"]})

    @property
    def config_text(self) -> str:
        return self.config.read_text(encoding="utf-8")

    def run(self, *words: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess:
        """The tool with these words and the configuration; `check` fails the test for a status other than 0."""
        command = [str(self.tool), *words, f"--config={self.config}"]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=dict(self.environment), timeout=120, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def keys(self) -> Dict[str, Optional[str]]:
        """What etcd holds, by its own API (KubeApi has `custom`)."""
        assert self.etcd is not None
        return self.etcd.keys_v2() if self.api == "v1" else dict(self.etcd.keys_v3())

    def empty(self) -> None:
        assert self.etcd is not None, "every test has a Kubernetes API of its own"
        if self.api == "v1":
            self.etcd.replace_v2({})
        else:
            self.etcd.replace_v3({})


def config_v1(url: str, ca: object = "", cert: object = "", key: object = "") -> str:
    """A configuration file of calicoctl 1.x, as the page prints it."""
    lines = ["apiVersion: v1", "kind: calicoApiConfig", "metadata:", "spec:", "  datastoreType: etcdv2"]
    return _config(lines, url, ca, cert, key)


def config_v3(url: str, ca: object = "", cert: object = "", key: object = "") -> str:
    """A configuration file of calicoctl 3.x for etcd."""
    lines = [
        "apiVersion: projectcalico.org/v3",
        "kind: CalicoAPIConfig",
        "metadata:",
        "spec:",
        "  datastoreType: etcdv3",
    ]
    return _config(lines, url, ca, cert, key)


def _config(lines: list, url: str, ca: object, cert: object, key: object) -> str:
    lines = [*lines, f"  etcdEndpoints: {url}"]
    for name, value in (("etcdKeyFile", key), ("etcdCertFile", cert), ("etcdCACertFile", ca)):
        if value:
            lines.append(f"  {name}: {value}")
    return "\n".join(lines) + "\n"


def datastore(api: str, version: str, folder: Path) -> Iterator[Calico]:
    """An etcd of API v1 or v3 with a tool of this version, until the generator is closed."""
    authority = Authority(folder / "certs")
    admin = authority.issue("admin", organisation="ibm-admins")
    render = config_v1 if api == "v1" else config_v3
    with running(folder / "etcd", authority=authority) as etcd:
        config = folder / "calicoctl.cfg"
        config.write_text(render(etcd.url, authority.ca, admin.cert, admin.key), encoding="utf-8")
        yield Calico(api, version, tool(folder, version, PATIENCE), config, etcd, None, authority, admin)


@pytest.fixture(scope="session")
def calico_v1_datastore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calico]:
    """One etcd for the whole run; tests ask for `calico_v1`, which empties it."""
    yield from datastore("v1", "1.4.0", tmp_path_factory.mktemp("calico-v1"))


@pytest.fixture(scope="session")
def calico_v3_datastore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calico]:
    yield from datastore("v3", "3.25.2", tmp_path_factory.mktemp("calico-v3"))


@pytest.fixture
def calico_v1(calico_v1_datastore: Calico) -> Calico:
    """calicoctl 1.4.0 with an empty etcd v2 behind TLS with client certificates."""
    calico_v1_datastore.empty()
    return calico_v1_datastore


@pytest.fixture
def calico_v3(calico_v3_datastore: Calico) -> Calico:
    """calicoctl 3.25.2 with an empty etcd v3 behind TLS with client certificates."""
    calico_v3_datastore.empty()
    return calico_v3_datastore


def config_kube(kubeconfig: Path) -> str:
    """A configuration file of calicoctl 3.x for the Kubernetes datastore; JSON, which needs no PyYAML to be read."""
    spec = {"datastoreType": "kubernetes", "kubeconfig": str(kubeconfig)}
    document = {"apiVersion": "projectcalico.org/v3", "kind": "CalicoAPIConfig", "metadata": {}, "spec": spec}
    return json.dumps(document)


@pytest.fixture(scope="session")
def calico_kube_tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tool(tmp_path_factory.mktemp("calico-kube-tool"), "3.25.2", PATIENCE)


@pytest.fixture
def calico_kube(tmp_path: Path, calico_kube_tool: Path) -> Iterator[Calico]:
    """calicoctl 3.25.2 with an API server of its own; `.kube` is the server, with nodes worker1 and worker2."""
    with kube_api.running(tmp_path / "kube") as kube:
        kube.set_cluster_version("v3.25.2")
        kube.add_node("worker1", "10.1.1.1")
        kube.add_node("worker2", "10.1.1.2")
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(kube.kubeconfig(), encoding="utf-8")
        config = tmp_path / "calicoctl.cfg"
        config.write_text(config_kube(kubeconfig), encoding="utf-8")
        yield Calico("v3", "3.25.2", calico_kube_tool, config, None, kube, kube.authority, kube.admin)
