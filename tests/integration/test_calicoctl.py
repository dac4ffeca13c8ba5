# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module calicoctl through Ansible: a mirror on loopback, an etcd behind TLS, the page's steps, what goes wrong.

No lab: the host under test is this one, and everything is written below a directory of the test.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.calico.fixtures import Calico, calico_v1, calico_v1_datastore, calico_v3, calico_v3_datastore
from tests.calico.install import packed
from tests.https_server import Answer, Server, serve
from tests.pki import Authority, make_authority

from .playbooks import Result, play, run_playbook, task

__all__ = ["calico_v1", "calico_v1_datastore", "calico_v3", "calico_v3_datastore"]

INVENTORY = {"all": {"hosts": {"here": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}}}
OLD = "/projectcalico/calicoctl/releases/download/v1.4.0/calicoctl"
NEW = "/projectcalico/calico/releases/download/v3.25.2"
# What a real calicoctl would find there, and must not.
STRAY = {"CALICO_ETCD_ENDPOINTS": "http://127.0.0.1:1", "CALICO_DATASTORE_TYPE": "kubernetes", "ETCD_PASSWORD": "x"}
NODES = {
    "v1": {
        "apiVersion": "v1",
        "kind": "node",
        "metadata": {"name": "w1"},
        "spec": {"bgp": {"ipv4Address": "10.1.1.1/26"}},
    },
    "v3": {
        "apiVersion": "projectcalico.org/v3",
        "kind": "Node",
        "metadata": {"name": "w1"},
        "spec": {"bgp": {"ipv4Address": "10.1.1.1/26"}},
    },
}


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Host:
    """A directory in which the module works, a kubectl that tells what a test wants, and the mirror."""

    folder: Path
    mirror: Server
    ca: Path
    env: dict[str, str] = field(default_factory=lambda: dict(STRAY))

    @property
    def path(self) -> Path:
        return self.folder / "bin" / "calicoctl"

    def module(self, check: bool = False, diff: bool = False, **given: Any) -> Result:
        arguments = {
            "path": str(self.path),
            "config_path": str(self.folder / "etc" / "calicoctl.cfg"),
            "mirror": self.mirror.url,
            "ca_path": str(self.ca),
            "kubectl": str(self.folder / "kubectl"),
            **given,
        }
        arguments = {name: value for name, value in arguments.items() if value is not None}
        tasks = [task("it", "calicoctl", arguments, environment=self.env, ignore_errors=True)]
        run = run_playbook(None, [play("here", tasks)], inventory=INVENTORY, check=check, diff=diff)
        result = run.one("it")
        assert "Traceback" not in json.dumps(result.data), result.data
        return result

    def settled(self, **given: Any) -> Result:
        """Check mode, the real run, and a second one: foreseen, done, nothing left to do."""
        foreseen = self.module(check=True, diff=True, **given)
        assert foreseen.changed, foreseen
        assert not self.path.exists()
        real = self.module(diff=True, **given)
        assert real.changed, real
        for name in ("before", "after", "version", "api", "certificates", "diff"):
            assert foreseen.data[name] == real.data[name], name
        asked = len(self.mirror.asked)
        again = self.module(diff=True, **given)
        assert not again.failed, again
        assert not again.changed, again
        assert again.data["before"] == again.data["after"] == real.data["after"]
        assert len(self.mirror.asked) == asked
        return again


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("pki"), "mirror")


@pytest.fixture(scope="module")
def mirror(authority: Authority) -> Iterator[Server]:
    with serve(authority.issue("server")) as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, mirror: Server, authority: Authority) -> Host:
    old, new = packed("1.4.0", 0.05), packed("3.25.2", 0.05)
    mirror.answers.clear()
    mirror.answers[OLD] = Answer(old)
    mirror.answers[f"{NEW}/calicoctl-linux-amd64"] = Answer(new)
    mirror.answers[f"{NEW}/SHA256SUMS"] = Answer(f"{sha256(new)[7:]}  calicoctl-linux-amd64\n".encode())
    mirror.asked.clear()
    return Host(tmp_path, mirror, authority.certificate)


def pinned(**given: Any) -> dict[str, Any]:
    return {"version": "1.4.0", "checksum": sha256(packed("1.4.0", 0.05)), **given}


def downloaded(host: Host, calico: Calico) -> str:
    """The cluster's configuration as the container service's command downloads it; the kubeconfig's path."""
    folder = host.folder / "mycluster-admin"
    folder.mkdir()
    assert calico.admin is not None
    assert calico.authority is not None
    for name, source in (
        ("admin.pem", calico.admin.cert),
        ("admin-key.pem", calico.admin.key),
        ("ca-dal10-mycluster.pem", calico.authority.ca),
    ):
        (folder / name).write_bytes(source.read_bytes())
        (folder / name).chmod(0o600)
    kubeconfig = folder / "kube-config-dal10-mycluster.yml"
    kubeconfig.write_text("apiVersion: v1\nkind: Config\n", encoding="ascii")
    kubeconfig.chmod(0o600)
    return str(kubeconfig)


def kubectl(host: Host, answers: Mapping[str, Any]) -> None:
    """A kubectl that answers `get <word>`, or says that it is not there."""
    for word, answer in answers.items():
        (host.folder / f"{word}.json").write_text(json.dumps(answer), encoding="ascii")
    script = host.folder / "kubectl"
    script.write_text(
        f'#!/bin/sh\ncat "{host.folder}/$3.json" 2>/dev/null && exit 0\n'
        'echo "Error from server (NotFound): $3 \\"$4\\" not found" >&2\nexit 1\n',
        encoding="ascii",
    )
    script.chmod(0o755)


def endpoints(calico: Calico) -> str:
    assert calico.etcd is not None
    return calico.etcd.url


def test_the_steps_of_the_page(host: Host, calico_v1: Calico) -> None:
    calico_v1.run("apply", "-f", "-", stdin=json.dumps(NODES["v1"]))
    kubectl(host, {"configmap": {"data": {"etcd_endpoints": endpoints(calico_v1)}}})
    host.env["KUBECONFIG"] = downloaded(host, calico_v1)
    done = host.settled(**pinned(discover=True, verify=True))
    assert (done.data["version"], done.data["api"], done.data["nodes"]) == ("1.4.0", "v1", ["w1"])
    assert [Path(item["path"]).name for item in done.data["certificates"]] == ["admin.pem", "ca-dal10-mycluster.pem"]
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o755
    text = (host.folder / "etc" / "calicoctl.cfg").read_text(encoding="ascii")
    assert "mycluster-admin/ca-dal10-mycluster.pem" in text


def test_the_role_has_the_defaults_of_the_page(host: Host, calico_v1: Calico) -> None:
    calico_v1.run("apply", "-f", "-", stdin=json.dumps(NODES["v1"]))
    kubectl(host, {"configmap": {"data": {"etcd_endpoints": endpoints(calico_v1)}}})
    variables = {
        "iks_calicoctl_checksum": pinned()["checksum"],
        "iks_calicoctl_mirror": host.mirror.url,
        "iks_calicoctl_ca_path": str(host.ca),
        "iks_calicoctl_path": str(host.path),
        "iks_calicoctl_config_path": str(host.folder / "etc" / "calicoctl.cfg"),
        "iks_calicoctl_kubeconfig": downloaded(host, calico_v1),
        "iks_calicoctl_kubectl": str(host.folder / "kubectl"),
    }
    plays = [{"name": "The role", "hosts": "here", "gather_facts": False, "roles": ["iks.hardening.calicoctl"]}]
    first, again = (run_playbook(None, plays, variables, inventory=INVENTORY).succeeded() for _turn in range(2))
    assert list(first.changed) == ["here"]
    assert again.changed == {}
    assert again.results[-1].data["nodes"] == ["w1"]


def test_a_release_of_today_follows_the_cluster(host: Host, calico_v3: Calico) -> None:
    calico_v3.run("apply", "-f", "-", stdin=json.dumps(NODES["v3"]))
    information = {"kind": "ClusterInformation", "spec": {"calicoVersion": "v3.25.2"}}
    kubectl(host, {"clusterinformations.crd.projectcalico.org": information, "daemonsets": {"items": []}})
    kubeconfig = downloaded(host, calico_v3)
    config = {"etcd_endpoints": [endpoints(calico_v3)]}
    certs = str(Path(kubeconfig).parent)
    done = host.settled(version="auto", kubeconfig=kubeconfig, config=config, certs_dir=certs, verify=True)
    assert (done.data["version"], done.data["api"], done.data["nodes"]) == ("3.25.2", "v3", ["w1"])


def test_versions_side_by_side_up_and_down(host: Host) -> None:
    link = host.folder / "bin" / "calicoctl"
    for version, given in (("1.4.0", pinned()), ("3.25.2", {"version": "3.25.2"}), ("1.4.0", pinned())):
        path = host.folder / "bin" / f"calicoctl-{version}"
        result = host.module(path=str(path), link=str(link), **given)
        assert not result.failed, result
        assert os.readlink(link) == str(path)
    # Back again was a link only.
    assert [path for path, _user in host.mirror.asked].count(OLD) == 1
    gone = host.module(path=str(host.folder / "bin" / "calicoctl-1.4.0"), link=str(link), state="absent")
    assert gone.changed
    assert os.listdir(host.folder / "bin") == ["calicoctl-3.25.2"]


@pytest.mark.parametrize("version", ["1.4.0", "3.25.2"])
def test_a_datastore_that_is_not_there_fails_in_bounded_time(host: Host, version: str) -> None:
    given = pinned() if version == "1.4.0" else {"version": version}
    began = time.monotonic()
    result = host.module(config={"etcd_endpoints": "http://127.0.0.1:1"}, verify=True, timeout=2, **given)
    assert time.monotonic() - began < 30
    assert result.failed
    # It was installed all the same, and that is told.
    assert result.changed
    assert f"is calicoctl {version} now" in result.message
    assert (
        "cannot be reached" if version == "1.4.0" else "no answer from the datastore within 2 seconds"
    ) in result.message
    assert "Nothing was changed" not in result.message


SPOILT = {
    "F30": (Answer(packed("1.4.0", 0.05), sent=1000), "was cut after 1000 of "),
    "B44": (Answer(packed("1.4.0", 0.05) + b"#"), "has the checksum sha256:"),
    "B47": (
        Answer(status=302, headers={"Location": "https://localhost:1/calicoctl"}),
        "redirect to https://localhost:1/",
    ),
    "gone": (Answer(b"", 410), "answered 410"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_download_that_goes_wrong_leaves_the_old_program(host: Host, case: str) -> None:
    assert host.module(version="3.25.2").changed
    before = host.path.read_bytes()
    host.mirror.answers[OLD], said = SPOILT[case]
    result = host.module(**pinned())
    assert result.failed
    assert not result.changed
    assert said in result.message
    assert result.message.count("Nothing was changed") == 1
    assert host.path.read_bytes() == before
    assert os.listdir(host.path.parent) == ["calicoctl"]
    assert host.module(version="3.25.2").data["version"] == "3.25.2"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "B43": ({"version": "1.4.0"}, "checksum: none is given, and none is published for"),
    "B45": ({"url": "http://127.0.0.1/calicoctl", "checksum": "0" * 64, "mirror": None}, "is plain http"),
    "B46": (pinned(validate_certs=False), "validate_certs: false lets anybody be the server"),
    "B47-file": ({"url": "file:///bin/sh", "checksum": "0" * 64, "mirror": None}, "is no https URL"),
    "B60": (pinned(path="/opt/../bin/calicoctl"), "path: '/opt/../bin/calicoctl' has a part .."),
    "B61": (pinned(path="/tmp/calicoctl"), "path: everybody can write to /tmp"),
    "version": ({"version": "1.4"}, "version: '1.4' is no version of calicoctl"),
    "mode": (pinned(mode="0777"), "mode: 0777 lets others change the program"),
    "endpoints": (pinned(config={"etcd_endpoints": "127.0.0.1:2379"}), "'127.0.0.1:2379' is no URL with scheme"),
    "kubectl": (
        {"discover": True, "kubeconfig": "/nonexistent/k.yml", "api": "v1"},
        "/nonexistent/k.yml: no such file",
    ),
}


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
def test_refused(host: Host, check: bool) -> None:
    for case, (given, said) in REFUSED.items():
        result = host.module(check=check, **given)
        assert result.failed, case
        assert not result.changed, case
        assert said in result.message, (case, result.message)
        assert result.message.count("Nothing was changed") == 1, case
    assert list(host.folder.iterdir()) == []


def test_B62_a_kubeconfig_with_an_exec_plugin(host: Host, calico_v1: Calico) -> None:
    kubeconfig = downloaded(host, calico_v1)
    ran = host.folder / "ran"
    Path(kubeconfig).write_text(f"users:\n- user:\n    exec:\n      command: {ran}\n", encoding="ascii")
    kubectl(host, {})
    result = host.module(**pinned(discover=True, kubeconfig=kubeconfig))
    assert result.failed
    assert f"run {ran} to get credentials" in result.message


def test_a_configuration_downloaded_without_admin(host: Host, calico_v1: Calico) -> None:
    kubeconfig = downloaded(host, calico_v1)
    (Path(kubeconfig).parent / "admin-key.pem").unlink()
    kubectl(host, {"configmap": {"data": {"etcd_endpoints": endpoints(calico_v1)}}})
    result = host.module(**pinned(discover=True, kubeconfig=kubeconfig))
    assert "was downloaded without --admin" in result.message
    assert not host.path.exists()


def test_a_config_map_that_is_missing(host: Host, calico_v1: Calico) -> None:
    kubectl(host, {})
    result = host.module(**pinned(discover=True, kubeconfig=downloaded(host, calico_v1)))
    assert "the cluster has no config map calico-config in kube-system" in result.message
    assert not host.path.exists()


def test_no_secret_leaves_the_host(host: Host) -> None:
    config = {"etcd_endpoints": "http://127.0.0.1:1", "etcd_username": "root", "etcd_password": "S3cret-word"}
    first = host.module(config=config, diff=True, **pinned())
    assert first.changed
    assert "S3cret-word" not in json.dumps(first.data)
    assert stat.S_IMODE((host.folder / "etc" / "calicoctl.cfg").stat().st_mode) == 0o600
    other = host.module(config={**config, "etcd_password": "S3cret-other"}, diff=True, **pinned())
    assert other.changed
    assert "S3cret" not in json.dumps(other.data)
