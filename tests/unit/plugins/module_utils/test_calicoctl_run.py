# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How calicoctl is run, and that its answers are read as what they are, whatever the version."""

from __future__ import annotations

import json
import re
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import (
    DatastoreError,
    Outcome,
    Tool,
    check_connection,
    clean_environment,
    client_version,
    get_arguments,
    get_documents,
    input_text,
    kind_word,
    read_output,
    run_program,
    write,
    write_arguments,
)

TRANSCRIPTS = Path(__file__).resolve().parents[3] / "data" / "calicoctl"
V1 = Tool("/usr/local/bin/calicoctl", "/etc/calico/calicoctl.cfg", "v1")
V3 = Tool("/usr/local/bin/calicoctl", "/etc/calico/calicoctl.cfg", "v3")


@lru_cache(maxsize=None)
def answers() -> Dict[str, Dict[str, Any]]:
    """What the real tools printed, by version and case."""
    return {
        f"{version} {line['case']}": line
        for version in ("v1.4.0", "v3.25.2")
        for line in map(json.loads, (TRANSCRIPTS / f"{version}.jsonl").read_text(encoding="utf-8").splitlines())
    }


class Recorded:
    """A runner that gives recorded answers in turn, and remembers how it was called."""

    def __init__(self, *given_answers: Tuple[Optional[int], str, str]) -> None:
        self.answers = list(given_answers)
        self.calls: List[Tuple[List[str], str, float]] = []

    def __call__(self, argv: Sequence[str], stdin: str, timeout: float) -> Tuple[Optional[int], str, str]:
        self.calls.append((list(argv), stdin, timeout))
        return self.answers.pop(0)


def recorded(case: str) -> Recorded:
    line = answers()[case]
    return Recorded((None if line["rc"] == "TIMEOUT" else line["rc"], line["stdout"], line["stderr"]))


@pytest.mark.parametrize(
    ("tool", "kind", "names", "namespace", "words"),
    [
        (V1, "GlobalNetworkPolicy", [], None, "get policy -o json"),
        (V1, "HostEndpoint", ["a"], None, "get hostEndpoint a -o json"),
        (V1, "Node", [], None, "get node -o json"),
        # 1.x takes one name; several are found among all.
        (V1, "GlobalNetworkPolicy", ["a", "b"], None, "get policy -o json"),
        (V3, "GlobalNetworkPolicy", [], None, "get globalnetworkpolicy -o json"),
        (V3, "GlobalNetworkPolicy", ["a"], None, "get globalnetworkpolicy a -o json"),
        (V3, "NetworkPolicy", [], None, "get networkpolicy -o json --all-namespaces"),
        (V3, "NetworkPolicy", ["a"], None, "get networkpolicy -o json --all-namespaces"),
        (V3, "NetworkPolicy", ["a"], "shop", "get networkpolicy a -o json --namespace=shop"),
    ],
)
def test_a_read_names_its_configuration(
    tool: Tool, kind: str, names: List[str], namespace: Optional[str], words: str
) -> None:
    argv = get_arguments(tool, kind, names, namespace)
    assert argv == [tool.path, *words.split(), "--config=/etc/calico/calicoctl.cfg"]


def test_a_write_reads_standard_input() -> None:
    assert write_arguments(V1, "apply")[1:] == ["apply", "-f", "-", "--config=/etc/calico/calicoctl.cfg"]
    # A host endpoint of 1.x cannot be deleted by name alone, and what is gone already is no failure.
    assert write_arguments(V1, "delete")[1:5] == ["delete", "--skip-not-exists", "-f", "-"]
    loose = Tool("c", "f", "v3", allow_version_mismatch=True)
    assert write_arguments(loose, "replace")[-1] == "--allow-version-mismatch"
    with pytest.raises(DatastoreError, match="verb: 'aply' is not one of .*did you mean apply"):
        write_arguments(V1, "aply")


def test_kinds_of_1_x_are_few() -> None:
    assert kind_word("v1", "IPPool") == "ipPool"
    with pytest.raises(DatastoreError, match="'NetworkPolicy' is not one of .*did you mean GlobalNetworkPolicy"):
        kind_word("v1", "NetworkPolicy")


@pytest.mark.parametrize(("api", "timeout"), [("v2", 20.0), ("v1", 0), ("v1", -1.0), ("v3", float("nan"))])
def test_a_tool_that_cannot_be(api: str, timeout: float) -> None:
    with pytest.raises(DatastoreError):
        Tool("calicoctl", "c.cfg", api, timeout)


DOCUMENTS = [{"apiVersion": "v1", "kind": "policy", "metadata": {"name": name}} for name in ("n", "on")]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", []),
        ("null\n", []),
        ("[]\n", []),
        (json.dumps(DOCUMENTS), DOCUMENTS),
        (json.dumps(DOCUMENTS[0], indent=2), DOCUMENTS[:1]),
        (json.dumps({"kind": "policyList", "apiVersion": "v1", "items": DOCUMENTS}), DOCUMENTS),
        (json.dumps({"kind": "List", "apiVersion": "v1", "items": DOCUMENTS}), DOCUMENTS),
        (json.dumps({"kind": "NodeList", "apiVersion": "projectcalico.org/v3", "items": None}), []),
        # Go leaves out of an item what its list says.
        (
            json.dumps({"kind": "NodeList", "apiVersion": "projectcalico.org/v3", "items": [{"metadata": {}}]}),
            [{"kind": "Node", "apiVersion": "projectcalico.org/v3", "metadata": {}}],
        ),
        (json.dumps([{"kind": "policyList", "items": DOCUMENTS[:1]}, DOCUMENTS[1]]), DOCUMENTS),
    ],
)
def test_every_form_of_an_answer_is_a_flat_list(text: str, read: List[Dict[str, Any]]) -> None:
    assert read_output(text) == (read, "")


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=5), st.integers()), max_size=3)), st.text()
)
def test_what_is_fed_is_json_of_one_document_a_line(documents: List[Dict[str, Any]], tail: str) -> None:
    documents = [{key: value for key, value in document.items() if key != "kind"} for document in documents]
    documents = [{"kind": "policy", **document} for document in documents if "items" not in document]
    text = input_text(documents)
    assert len(text.splitlines()) == max(len(documents), 1) + 2
    assert text.isascii()
    # Early versions print an error after the answer, on the same stream.
    assert read_output(text + tail) == (documents, tail.strip())


def test_a_list_kind_is_not_fed() -> None:
    with pytest.raises(DatastoreError, match="policyList: calicoctl crashes on list kinds"):
        write(Recorded(), V1, "apply", [{"kind": "policyList", "items": []}])


@pytest.mark.parametrize(
    ("case", "tool", "kind", "names", "found"),
    [
        ("v1.4.0 009-get-nodes-empty-json", V1, "Node", [], []),
        ("v1.4.0 202-normalise-get-json", V1, "GlobalNetworkPolicy", ["norm"], ["norm"]),
        ("v1.4.0 202-normalise-get-json", V1, "GlobalNetworkPolicy", ["other"], []),
        ("v3.25.2 012-get-gnp-empty-json", V3, "GlobalNetworkPolicy", [], []),
        ("v3.25.2 027-get-gnp-json", V3, "GlobalNetworkPolicy", [], ["deny-kube-node-port-services"]),
        # 3.x calls it a failure.
        ("v3.25.2 028-get-gnp-missing", V3, "GlobalNetworkPolicy", ["nope"], []),
    ],
)
def test_reads_of_real_versions(case: str, tool: Tool, kind: str, names: List[str], found: List[str]) -> None:
    documents = get_documents(recorded(case), tool, kind, names)
    assert [document["metadata"]["name"] for document in documents] == found


def test_an_early_3_x_says_on_standard_output_that_a_name_is_missing() -> None:
    said = "null\nresource does not exist: GlobalNetworkPolicy(default.nope) with error: <nil>\n"
    assert get_documents(Recorded((1, said, "")), V3, "GlobalNetworkPolicy", ["nope"]) == []


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("v1.4.0 303-tls-no-client-cert", "refused the client certificate: .*admin"),
        ("v1.4.0 304-tls-no-ca", "certificate is not accepted: .*etcdCACertFile"),
        ("v1.4.0 307-tls-key-missing-file", "/nonexistent/key.pem.*Check the paths of certificates"),
        ("v1.4.0 311-http-to-https-port", "cannot be reached: .*EOF.*Check the endpoints in /etc/calico/calicoctl.cfg"),
        ("v1.4.0 320-endpoint-refused", "cannot be reached: .*connection refused"),
        ("v1.4.0 322-endpoints-space-after-comma", "is no URL: .*without blanks"),
        ("v1.4.0 323-endpoint-no-scheme", "is no URL: .*with scheme and port"),
        ("v1.4.0 325-endpoint-no-etcd-404", "not one of an etcd with API v2: .*--enable-v2"),
        ("v1.4.0 330-cfg-unknown-key", "is not a configuration for this calicoctl: .*etcdV3Thing"),
        ("v1.4.0 331-cfg-wrong-apiversion", "is not a configuration for this calicoctl: .*calicoApiConfig"),
        ("v1.4.0 334-cfg-empty", "is not a configuration for this calicoctl"),
        ("v1.4.0 345-cfg-datastore-bad", "datastore"),
        ("v1.4.0 348-cfg-no-endpoints-key", "names no datastore: .*Give etcd_endpoints"),
        ("v1.4.0 350-auth-none-get", "does not allow it to this user: "),
        ("v1.4.0 400-blackhole-1-endpoint-get", "cannot be reached: .*i/o timeout"),
        ("v1.4.0 406-accepts-never-answers-https", "cannot be reached: .*TLS handshake timeout"),
        ("v1.4.0 220-get-kind-07-networkpolicy", "does not know the kind"),
        ("v3.25.2 201-cfg-v1-seed-style", "is not a configuration for this calicoctl: .*unknown APIVersion 'v1'"),
        ("v3.25.2 204-cfg-etcdv2", "is not a configuration for this calicoctl: .*etcdv2"),
        ("v3.25.2 205-cfg-ca-missing", "a file that /etc/calico/calicoctl.cfg names does not exist"),
        ("v3.25.2 209-cfg-missing", "configuration file /etc/calico/calicoctl.cfg cannot be read"),
        ("v3.25.2 210-no-cfg-no-env", "names no datastore"),
        ("v3.25.2 212-env-datastore-k8s-unreachable", "cannot be reached: .*connection refused"),
        ("v3.25.2 220-mismatch-get", "of another version than the cluster: .*3.24.5.*version: auto"),
        ("v3.25.2 208-refused", "no answer from the datastore within 20 seconds; calicoctl was ended"),
        ("v3.25.2 240-blackhole-get", "no answer from the datastore within 20 seconds"),
    ],
)
def test_failed_reads_of_real_versions_are_explained(case: str, said: str) -> None:
    tool = V1 if case.startswith("v1") else V3
    with pytest.raises(DatastoreError, match=f"^calicoctl get (node|nodes) .*{said}") as caught:
        get_documents(recorded(case), tool, "Node")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("case", "tool", "ok", "said"),
    [
        ("v1.4.0 047-delete-file", V1, True, "^Successfully deleted"),
        ("v1.4.0 058-apply-policyList", V1, False, "calicoctl crashed .panic: runtime error.*Use another version"),
        ("v1.4.0 100-bad-selector", V1, False, "status 1: Failed to execute command: error with field selector"),
        ("v1.4.0 231-partial-create-second-exists", V1, False, "created the first 1 out of 3 .* already exists"),
        ("v3.25.2 043-replace-missing", V3, False, "replaced the first 1 out of 1 .* does not exist"),
        ("v3.25.2 061-partial-apply-invalid-3rd", V3, False, "applied the first 2 out of 3 .* Selector = 'all[(]'"),
        ("v3.25.2 069-dry-run", V3, False, "does not know the command"),
    ],
)
def test_writes_of_real_versions(case: str, tool: Tool, ok: bool, said: str) -> None:
    outcome = write(recorded(case), tool, "apply", DOCUMENTS)
    assert (outcome.ok, outcome.timed_out) == (ok, False)
    assert re.search(said, outcome.message, re.DOTALL), outcome.message
    assert "goroutine" not in outcome.message


def test_a_write_that_never_ends_is_told_as_such() -> None:
    outcome = write(Recorded((None, "", "")), V3, "apply", DOCUMENTS)
    assert outcome == Outcome(None, outcome.message, True)
    assert "within 20 seconds" in outcome.message
    assert not outcome.ok


@pytest.mark.parametrize(
    ("given_answers", "version"),
    [
        ([(0, "calicoctl version v1.4.0, build 03574e5d\n", "")], "1.4.0"),
        ([(0, "v3.25.2\n", ""), (0, "Client Version:    v3.25.2\nGit commit:        abc\n", "")], "3.25.2"),
        ([(1, "", "Usage:\n"), (0, "Client Version:    v3.33.0-rc1\n", "")], "3.33.0-rc1"),
    ],
)
def test_the_version_is_told_without_a_datastore(given_answers: List[Any], version: str) -> None:
    run = Recorded(*given_answers)
    assert client_version(run, "/x/calicoctl") == version
    assert [argv[1:] for argv, _stdin, _timeout in run.calls] in (
        [["--version"]],
        [["--version"], ["version", "--client"]],
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((127, "", "No such file or directory"), "/x/calicoctl: No such file.*install it, or give its path"),
        ((126, "", "Exec format error"), "another architecture"),
        ((0, "", ""), "does not say which calicoctl it is"),
        ((None, "", ""), "does not say which calicoctl it is"),
        ((0, "Usage: something else 1.2.3", ""), "does not say which calicoctl it is"),
    ],
)
def test_what_is_no_calicoctl(answer: Any, said: str) -> None:
    with pytest.raises(DatastoreError, match=said):
        client_version(Recorded(answer, answer), "/x/calicoctl")


def test_no_nodes_are_proof_only_with_a_second_answer() -> None:
    empty, node = (0, "[]", ""), (0, json.dumps([{"kind": "node", "metadata": {"name": "w1"}}]), "")
    assert check_connection(Recorded(node), V1) == ["w1"]
    run = Recorded(empty, empty)
    assert check_connection(run, V1) == []
    assert [argv[2] for argv, _stdin, _timeout in run.calls] == ["node", "policy"]
    with pytest.raises(DatastoreError, match="cannot be reached"):
        check_connection(Recorded(empty, (1, "dial tcp 127.0.0.1:1: connect: connection refused", "")), V1)


def test_nothing_strange_reaches_calicoctl() -> None:
    strange = dict.fromkeys(("CALICO_ETCD_ENDPOINTS", "ETCD_ENDPOINTS", "DATASTORE_TYPE", "KUBECONFIG", "LC_ALL"), "x")
    kept = {"PATH": "/bin", "HOME": "/root", "LANG": "C"}
    assert clean_environment({**kept, **strange}) == kept


def test_a_real_program_runs_in_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALICO_ETCD_ENDPOINTS", "http://elsewhere:2379")
    script = "import os, sys; print(sys.stdin.read()); print(os.environ.get('CALICO_ETCD_ENDPOINTS')); sys.exit(3)"
    assert run_program([sys.executable, "-c", script], "ü", 20) == (3, "ü\nNone\n", "")
    assert run_program(["/nonexistent/calicoctl"], "", 20)[0] == 127


def test_a_program_that_is_no_program(tmp_path: Path) -> None:
    broken = tmp_path / "calicoctl"
    broken.write_bytes(b"\x7fELF half a download")
    assert run_program([str(broken)], "", 20)[0] == 126  # not executable
    broken.chmod(0o755)
    status, _output, error = run_program([str(broken)], "", 20)
    assert (status, "format" in error) == (126, True)


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "child"
    script = f"echo started; (sleep 1.5; touch {mark}) & sleep 30"
    began = time.monotonic()
    status, output, _error = run_program(["/bin/sh", "-c", script], "", 0.4)
    assert (status, output) == (None, "started\n")
    assert time.monotonic() - began < 5
    time.sleep(1.5)
    assert not mark.exists()
