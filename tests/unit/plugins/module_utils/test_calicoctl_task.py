# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole task on a directory: what it would do is what it does, and then there is nothing left to do."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import DatastoreError, run_program
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_task import (
    Host,
    PartlyError,
    apply_plan,
    make_plan,
    result_of,
    verify,
)
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_versions import GITHUB_STORES
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from tests.https_server import Answer, Server, serve
from tests.pki import Authority, make_authority

OLD_PATH = "/projectcalico/calicoctl/releases/download"
NEW_PATH = "/projectcalico/calico/releases/download"


def program(version: str, answer: str = "[]") -> bytes:
    return (
        f'#!/bin/sh\ncase "$1" in --version) echo "calicoctl version v{version}, build x";; '
        f"get) echo '{answer}';; esac\n"
    ).encode()


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def running(authority: Authority) -> Iterator[Server]:
    with serve(authority.issue("server")) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    running.answers.clear()
    running.asked.clear()
    return running


Task = Callable[..., Dict[str, Any]]


class Bed:
    """A directory to work on, and kubectl's answers by its words."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder, self.authority = folder, authority
        self.kubectl: Dict[str, Tuple[int, str, str]] = {}
        self.asked: List[str] = []
        self.environ: Dict[str, str] = {}
        for name in ("bin", "etc", "tmp", "certs"):
            (folder / name).mkdir()

    @property
    def path(self) -> Path:
        return self.folder / "bin" / "calicoctl"

    @property
    def config(self) -> Path:
        return self.folder / "etc" / "calicoctl.cfg"

    def run(self, argv: Sequence[str], stdin: str, timeout: float) -> Tuple[Optional[int], str, str]:
        if argv[0] != "kubectl":
            return run_program(argv, stdin, timeout)
        self.asked.append(" ".join(argv))
        return next((answer for words, answer in self.kubectl.items() if words in argv), (127, "", "not found"))

    def params(self, **given: Any) -> Dict[str, Any]:
        none = ["link", "version", "checksum", "url", "src", "mirror", "releases", "url_username", "url_password"]
        none += ["config", "api", "certs_dir", "kubeconfig", "config_map"]
        return {
            **dict.fromkeys(none),
            "state": "present",
            "path": str(self.path),
            "mode": "0755",
            "allowed_hosts": list(GITHUB_STORES),
            "validate_certs": True,
            "force": False,
            "ca_path": str(self.authority.certificate),
            "download_timeout": 5.0,
            "config_path": str(self.config),
            "check_certificates": True,
            "expiry_days": 30,
            "discover": False,
            "kubectl": "kubectl",
            "allow_exec_plugin": False,
            "timeout": 5.0,
            "allow_version_mismatch": False,
            **given,
        }

    def host(self) -> Host:
        folder = str(self.folder / "tmp")
        return Host(self.run, os.replace, folder, "Linux", "x86_64", self.environ, time.time())

    def task(self, check: bool = False, **given: Any) -> Dict[str, Any]:
        """One run; what check mode foresees is compared with what a real run then tells."""
        params = self.params(**given)
        plan = make_plan(params, self.host())
        foreseen = result_of(plan, True)
        if check:
            return foreseen
        plan, done = apply_plan(plan, self.host(), params["state"] == "absent")
        result = result_of(plan, True)
        assert result["changed"] == foreseen["changed"] == bool(done)
        if foreseen["version"] is not None:
            assert result == foreseen
        assert os.listdir(self.folder / "tmp") == []
        return result

    def twice(self, **given: Any) -> Dict[str, Any]:
        """A run that changes something, and a second one that does not."""
        first = self.task(**given)
        assert first["changed"]
        second = self.task(**given)
        assert (second["changed"], second["diff"]) == (False, [])
        assert second["before"] == second["after"] == first["after"]
        return first


@pytest.fixture
def bed(tmp_path: Path, authority: Authority) -> Bed:
    return Bed(tmp_path, authority)


def test_a_pinned_version_from_a_mirror_up_and_down(bed: Bed, server: Server) -> None:
    old, new = program("1.4.0"), program("1.5.0")
    server.answers[f"{OLD_PATH}/v1.4.0/calicoctl"] = Answer(old)
    server.answers[f"{OLD_PATH}/v1.5.0/calicoctl"] = Answer(new)
    first = bed.twice(version="1.4.0", checksum=sha256(old), mirror=server.url)
    assert (first["before"]["version"], first["after"]["version"], first["api"]) == (None, "1.4.0", "v1")
    assert len(server.asked) == 1
    bed.twice(version="v1.5.0", checksum=sha256(new), mirror=server.url)
    assert bed.twice(version="1.4.0", checksum=sha256(old), mirror=server.url)["before"]["version"] == "1.5.0"
    assert bed.path.read_bytes() == old


def test_a_release_with_published_digests(bed: Bed, server: Server) -> None:
    content, folder = program("3.25.2"), f"{NEW_PATH}/v3.25.2"
    server.answers[f"{folder}/calicoctl-linux-amd64"] = Answer(content)
    server.answers[f"{folder}/SHA256SUMS"] = Answer(f"{sha256(content)[7:]}  calicoctl-linux-amd64\n".encode())
    assert bed.twice(version="3.25.2", mirror=server.url)["after"]["checksum"] == sha256(content)
    # The second run asks nobody: the version is there.
    assert [path.rsplit("/", 1)[-1] for path, _user in server.asked] == ["SHA256SUMS", "calicoctl-linux-amd64"]
    bed.path.write_bytes(b"damaged")
    assert bed.task(version="3.25.2", mirror=server.url)["changed"]
    server.answers[f"{folder}/SHA256SUMS"] = Answer(f"{'0' * 64}  calicoctl-linux-amd64\n".encode())
    bed.path.unlink()
    with pytest.raises(HardeningError, match="has the checksum .* not sha256:0000"):
        bed.task(version="3.25.2", mirror=server.url)
    assert not bed.path.exists()


REFUSED = {
    "B43": ({"version": "1.4.0"}, "checksum: none is given, and none is published"),
    "B43-url": ({"url": "https://127.0.0.1/x"}, "checksum: none is given for https://127.0.0.1/x"),
    "B45": ({"url": "http://127.0.0.1/x", "checksum": "0" * 64}, "plain http"),
    "B45-mirror": ({"version": "1.4.0", "checksum": "0" * 64, "mirror": "http://127.0.0.1"}, "plain http"),
    "B45-sums": ({"version": "3.25.2", "mirror": "http://127.0.0.1"}, "plain http"),
    "B46": ({"version": "1.4.0", "checksum": "0" * 64, "validate_certs": False}, "set force: true"),
    "B47": ({"url": "file:///bin/sh", "checksum": "0" * 64}, "given as src"),
    "B60": ({"src": "/bin/../bin/sh"}, "src: .* has a part .."),
    "B60-config": ({"config_path": "/etc/../x"}, "config_path: .* has a part .."),
    "checksum": ({"version": "1.4.0", "checksum": "0"}, "neither sha256"),
    "version": ({"version": "1.9.0", "checksum": "0" * 64}, "there is no calicoctl 1.9.0"),
    "api": ({"version": "1.4.0", "checksum": "0" * 64, "api": "v3"}, "calicoctl 1.4.0 speaks v1, not v3"),
    "src": ({"src": "/nonexistent/calicoctl"}, "src: /nonexistent/calicoctl: no such file"),
    "config": ({"config": {}}, "its form depends on the version"),
    "auto": ({"version": "auto"}, "kubeconfig: none is given"),
    "discover": ({"discover": True}, "kubeconfig: none is given"),
    "kubeconfig": ({"kubeconfig": "/nonexistent/k.yml", "discover": True}, "/nonexistent/k.yml: no such file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_while_planning(bed: Bed, case: str) -> None:
    given, said = REFUSED[case]
    with pytest.raises(HardeningError, match=said) as caught:
        bed.task(**given)
    assert not isinstance(caught.value, PartlyError)
    assert os.listdir(bed.folder / "bin") == []


def test_B44_F30_a_changed_or_cut_download_leaves_the_old_program(bed: Bed, server: Server) -> None:
    old, new = program("1.4.0"), program("1.5.0") + b"#" * 100000
    bed.path.write_bytes(old)
    bed.path.chmod(0o755)
    for answer, said in (
        (Answer(new, sent=len(new) // 2), f"cut after {len(new) // 2} of {len(new)}"),
        (Answer(new + b"#"), "has the checksum"),
        (Answer(new[: len(new) // 2]), "has the checksum"),
        (Answer(b"gone", 410), "answered 410"),
    ):
        server.answers[f"{OLD_PATH}/v1.5.0/calicoctl"] = answer
        with pytest.raises(HardeningError, match=said) as caught:
            bed.task(version="1.5.0", checksum=sha256(new), mirror=server.url)
        assert not isinstance(caught.value, PartlyError)
        assert os.listdir(bed.folder / "bin") == ["calicoctl"]
        assert run_program([str(bed.path), "--version"], "", 5)[1].startswith("calicoctl version v1.4.0")


def test_a_file_on_the_host(bed: Bed) -> None:
    source = bed.folder / "calico-darwin-amd64"
    source.write_bytes(program("1.4.0"))
    bed.twice(src=str(source), version="1.4.0", checksum=sha256(program("1.4.0")))
    with pytest.raises(HardeningError, match="has the checksum that is wanted, and is calicoctl 1.4.0, not 1.5.0"):
        bed.task(src=str(source), version="1.5.0")
    source.write_bytes(program("1.5.0"))
    with pytest.raises(HardeningError, match="src: .*has the checksum"):
        bed.task(src=str(source), checksum=sha256(program("1.4.0")))
    assert bed.task(check=True, src=str(source))["version"] is None  # it has not run yet
    assert bed.twice(src=str(source))["version"] == "1.5.0"


def test_a_wrong_mode_is_put_right_without_a_download(bed: Bed) -> None:
    source = bed.folder / "source"
    source.write_bytes(program("1.4.0"))
    bed.task(src=str(source))
    bed.path.chmod(0o700)
    assert bed.twice(src=str(source))["after"]["mode"] == "0755"


def test_a_link_and_its_removal(bed: Bed) -> None:
    source, link = bed.folder / "source", bed.folder / "bin" / "link"
    source.write_bytes(program("1.4.0"))
    bed.twice(src=str(source), link=str(link))
    assert run_program([str(link), "--version"], "", 5)[0] == 0
    gone = bed.twice(state="absent", link=str(link))
    assert gone["after"]["version"] is None
    assert os.listdir(bed.folder / "bin") == []


def certificates(bed: Bed) -> Dict[str, str]:
    """The directory of a downloaded configuration."""
    authority = make_authority(bed.folder / "authority", "ca-dal10-mycluster")
    pair = authority.issue("admin")
    for path in (authority.certificate, pair.certificate, pair.key):
        copy = bed.folder / "certs" / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o600)
    kubeconfig = bed.folder / "certs" / "kube-config-dal10-mycluster.yml"
    kubeconfig.write_text("users:\n- user: {token: x}\n", encoding="ascii")
    kubeconfig.chmod(0o600)
    return {"kubeconfig": str(kubeconfig), "folder": str(bed.folder / "certs")}


CONFIG_MAP = json.dumps({"data": {"etcd_endpoints": "https://169.1.1.1:30001"}})


def test_the_configuration_as_the_page_finds_it(bed: Bed) -> None:
    there = certificates(bed)
    source = bed.folder / "source"
    source.write_bytes(program("1.4.0"))
    bed.kubectl["configmap"] = (0, CONFIG_MAP, "")
    bed.environ["KUBECONFIG"] = f"/nonexistent/other.yml:{there['kubeconfig']}"
    first = bed.twice(src=str(source), version="1.4.0", discover=True)
    assert bed.config.read_text(encoding="ascii").splitlines()[4:] == [
        '  datastoreType: "etcdv2"',
        '  etcdEndpoints: "https://169.1.1.1:30001"',
        f'  etcdKeyFile: "{there["folder"]}/admin-key.pem"',
        f'  etcdCertFile: "{there["folder"]}/admin.pem"',
        f'  etcdCACertFile: "{there["folder"]}/ca-dal10-mycluster.pem"',
    ]
    assert [item["path"].rsplit("/", 1)[-1] for item in first["certificates"]] == [
        "admin.pem",
        "ca-dal10-mycluster.pem",
    ]
    assert bed.asked[0] == (
        f"kubectl --kubeconfig={there['kubeconfig']} get configmap calico-config --namespace=kube-system -o json"
    )
    # What is given is not asked for.
    bed.asked.clear()
    bed.task(api="v1", discover=True, config_map=CONFIG_MAP)
    bed.task(api="v1", discover=True, config={"etcd_endpoints": "https://169.1.1.1:30001"})
    assert bed.asked == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            (1, "", 'Error from server (NotFound): configmaps "calico-config" not found'),
            "current-context.*etcd_endpoints",
        ),
        ((1, "", "The connection to the server was refused"), "cannot be read. Check kubeconfig"),
        ((0, "{}", ""), "keeps Calico's data in Kubernetes"),
        ((0, "<html>", ""), "no JSON"),
        ((127, "", "No such file or directory"), "install kubectl"),
        ((None, "", ""), "no answer from the API server within 5 seconds"),
    ],
)
def test_a_config_map_that_does_not_tell(bed: Bed, answer: Any, said: str) -> None:
    bed.kubectl["configmap"] = answer
    with pytest.raises(HardeningError, match=said):
        bed.task(api="v1", discover=True, kubeconfig=certificates(bed)["kubeconfig"])
    assert not bed.config.exists()


def test_a_configuration_that_was_downloaded_without_admin(bed: Bed) -> None:
    there = certificates(bed)
    os.unlink(f"{there['folder']}/admin-key.pem")
    with pytest.raises(HardeningError, match="no admin-key.pem: .*without --admin"):
        bed.task(api="v1", config={"etcd_endpoints": "https://a:1"}, certs_dir=there["folder"])
    with pytest.raises(HardeningError, match="certs_dir: /nonexistent: No such file"):
        bed.task(api="v1", config={"etcd_endpoints": "https://a:1"}, certs_dir="/nonexistent")
    # Without TLS there is nothing to look for.
    bed.twice(api="v1", config={"etcd_endpoints": ["http://127.0.0.1:2379"]}, certs_dir="/nonexistent")


def test_B62_an_exec_plugin_is_said_before_kubectl_runs(bed: Bed) -> None:
    there = certificates(bed)
    with open(there["kubeconfig"], "a", encoding="ascii") as kubeconfig:
        kubeconfig.write("- user:\n    exec:\n      command: /usr/local/bin/login\n")
    for given in ({"discover": True}, {"version": "auto"}):
        with pytest.raises(HardeningError, match="run /usr/local/bin/login to get credentials"):
            bed.task(api="v1", kubeconfig=there["kubeconfig"], **given)
    with pytest.raises(HardeningError, match="run /usr/local/bin/login to get credentials"):
        bed.task(api="v3", config={"kubeconfig": there["kubeconfig"]})
    assert bed.asked == []
    bed.twice(api="v3", config={"kubeconfig": there["kubeconfig"]}, allow_exec_plugin=True)


def test_secrets_are_nowhere_but_in_the_file(bed: Bed) -> None:
    config = {"etcd_endpoints": "http://10.0.0.1:2379", "etcd_username": "root", "etcd_password": "S3cret"}
    bed.config.write_text("etcdPassword: S3cret-old\n", encoding="ascii")
    bed.config.chmod(0o644)
    first = bed.twice(api="v3", config=config)
    assert "S3cret" not in json.dumps(first)
    assert "S3cret" in bed.config.read_text(encoding="ascii")
    assert bed.config.stat().st_mode & 0o777 == 0o600
    other = bed.task(api="v3", config={**config, "etcd_password": "S3cret-new"})
    assert "a hidden value differs" in json.dumps(other["diff"])
    assert "S3cret" not in json.dumps(other)


def test_the_version_that_the_cluster_runs(bed: Bed, server: Server) -> None:
    there = certificates(bed)
    content = program("1.6.3")
    server.answers[f"{OLD_PATH}/v1.6.3/calicoctl"] = Answer(content)
    missing = 'error: the server doesn\'t have a resource type "clusterinformations"'
    bed.kubectl["clusterinformations.crd.projectcalico.org"] = (1, "", missing)
    bed.kubectl["daemonsets"] = (0, json.dumps({"items": [{"image": "calico/node:v2.6.5"}]}), "")
    auto = {"version": "auto", "kubeconfig": there["kubeconfig"], "mirror": server.url}
    assert bed.twice(checksum=sha256(content), **auto)["version"] == "1.6.3"
    bed.kubectl["daemonsets"] = (0, "{}", "")
    with pytest.raises(HardeningError, match="ClusterInformation .* kube-system"):
        bed.task(checksum=sha256(content), **auto)
    bed.kubectl["daemonsets"] = (1, "", "Unauthorized")
    with pytest.raises(HardeningError, match="kubectl get daemonsets: Unauthorized"):
        bed.task(checksum=sha256(content), **auto)


def test_what_was_done_before_a_failure_is_told(bed: Bed) -> None:
    source = bed.folder / "source"
    source.write_bytes(program("1.4.0"))
    params = bed.params(src=str(source), version="1.4.0", config={"etcd_endpoints": "http://127.0.0.1:1"})
    plan = make_plan(params, bed.host())
    (bed.folder / "etc").rmdir()
    (bed.folder / "etc").write_bytes(b"in the way")
    with pytest.raises(PartlyError, match=f"File exists.* Before that: {bed.path} is calicoctl 1.4.0 now"):
        apply_plan(plan, bed.host(), False)


@pytest.mark.parametrize(
    ("answer", "nodes"), [('[{"kind": "node", "metadata": {"name": "w1"}}]', ["w1"]), ("[]", []), ("no json", None)]
)
def test_the_proof(bed: Bed, answer: str, nodes: Optional[List[str]]) -> None:
    source = bed.folder / "source"
    source.write_bytes(program("1.4.0", answer))
    params = bed.params(src=str(source), config={"etcd_endpoints": "http://127.0.0.1:1"}, version="1.4.0")
    plan, _done = apply_plan(make_plan(params, bed.host()), bed.host(), False)
    if nodes is not None:
        assert verify(plan, params, bed.host()) == nodes
    else:
        with pytest.raises(DatastoreError, match="no json"):
            verify(plan, params, bed.host())


def test_the_proof_is_bounded(bed: Bed) -> None:
    source = bed.folder / "source"
    source.write_bytes(program("3.25.2").replace(b"echo '[]'", b"sleep 30"))
    params = bed.params(src=str(source), config={"etcd_endpoints": "http://127.0.0.1:1"}, version="3.25.2", timeout=0.5)
    plan, _done = apply_plan(make_plan(params, bed.host()), bed.host(), False)
    began = time.monotonic()
    with pytest.raises(DatastoreError, match="no answer from the datastore within 0.5 seconds"):
        verify(plan, params, bed.host())
    assert time.monotonic() - began < 5
