# Part of the stand-ins for calicoctl and its datastores, for tests only.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What no recording shows of the stand-in: its spellings as properties, speed, how it is installed, the fixtures."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .install import VERSIONS, install, packed
from .standin import documents, golang, nets, selector

# What the real tool must be able to start in, on a busy machine, at its best of a few (measured: 45 ms).
START_SECONDS = 0.1

_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=200)
_LEAF = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXT
_VALUE = st.recursive(_LEAF, lambda inner: st.lists(inner) | st.dictionaries(_TEXT.filter(bool), inner), max_leaves=8)


@given(_VALUE)
def test_yaml_reads_back_as_it_was(value):
    assert documents.load(golang.yaml_text(value)) == value


@given(_VALUE, st.sampled_from([0, 2]))
def test_json_reads_back_as_it_was(value, indent):
    assert json.loads(golang.json_text(value, indent)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_reads_back_as_it_was(value):
    assert float(golang.number(value)) == value == float(golang.shown(value))


@pytest.mark.parametrize(
    ("value", "in_json", "in_table"),
    [
        (0.0, "0", "0"),
        (1500.0, "1500", "1500"),
        (10000000.0, "10000000", "1e+07"),
        (1e21, "1e+21", "1e+21"),
        (123456.0, "123456", "123456"),
        (1234567.0, "1234567", "1.234567e+06"),
        (-5.5, "-5.5", "-5.5"),
        (0.0001, "0.0001", "0.0001"),
        (0.00001, "0.00001", "1e-05"),
        (0.0000001, "1e-07", "1e-07"),
    ],
)
def test_number_is_spelled_as_in_go(value, in_json, in_table):
    assert (golang.number(value), golang.shown(value)) == (in_json, in_table)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:25", "22:25"),
        ("y", True),
        ("off", False),
        ("010", 8),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("~", None),
        ("1_000", 1000),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("'y'", "y"),
    ],
)
def test_plain_scalars_are_read_as_go_reads_them(text, value):
    assert documents.load(f"key: {text}\n") == {"key": value}


def test_long_scalars_are_broken_where_go_breaks_them():
    text = " || ".join(f"a == 'value{number}'" for number in range(10))
    written = golang.yaml_text({"selector": text})
    first = written.splitlines()[0]
    assert len(first) > 80
    assert first.rstrip().rfind(" ") <= 80
    assert documents.load(written) == {"selector": text}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "all()",
        "has(a.b/c)",
        "!has(a)",
        "a == 'b' && (c != \"d\" || !(e in {'f', 'g'}))",
        "a not in { }",
        "ibm.role in { 'worker_public', 'master_public' }",
    ],
)
def test_selectors_of_both_versions(text):
    assert selector.valid(text, modern=False)
    assert selector.valid(text, modern=True)


@pytest.mark.parametrize("text", ["a contains 'b'", "a starts with 'b'", "a ends with 'b'", "!a contains 'b'"])
def test_selectors_of_the_newer_version(text):
    assert (selector.valid(text, modern=False), selector.valid(text, modern=True)) == (False, True)


@pytest.mark.parametrize(
    "text", ["a = 'b'", "all(", "a == b", "a in {", "a in {'b'", "&& a == 'b'", "a == 'b' c", "(all()", "a starts 'b'"]
)
def test_texts_that_are_no_selectors(text):
    assert not selector.valid(text)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("10.1.2.3/8", "10.1.2.3/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("FD00:0:0::1/64", "fd00::1/64"),
        ("10.0.0.0/33", None),
        ("10.0.0.0/08", None),
        ("10.0.0", None),
        ("1.2.3.4.5", None),
    ],
)
def test_networks(text, spelled):
    found = nets.network(text)
    assert (found and nets.cidr(*found)) == spelled


@pytest.mark.parametrize("version", VERSIONS)
def test_executable_is_the_same_each_time(version):
    assert packed(version) == packed(version)


def test_unknown_version_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"version 2\.0\.0: the stand-in speaks 1\.4\.0 and 3\.25\.2"):
        install(tmp_path / "calicoctl", "2.0.0")


@pytest.mark.parametrize("version", VERSIONS)
def test_start_is_quick_and_json_needs_no_yaml_library(version, tmp_path):
    tool = install(tmp_path / "calicoctl", version)
    best = 60.0
    for _attempt in range(10):
        begin = time.perf_counter()
        done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True)
        best = min(best, time.perf_counter() - begin)
    assert version in done.stdout
    assert best < START_SECONDS
    # -X importtime lists every module that was loaded.
    command = ["/usr/bin/python3", "-IS", "-X", "importtime", str(tool), "apply", "-f", "-"]
    loaded = subprocess.run(command, input='{"kind": "x"}', capture_output=True, text=True, check=False).stderr
    assert "json" in loaded
    assert not {"yaml", "site", "ssl", "http.client"} & {
        line.rpartition("|")[2].strip() for line in loaded.splitlines()
    }


V1 = {"apiVersion": "v1", "kind": "policy", "metadata": {"name": "p"}, "spec": {"selector": "all()"}}
V3 = {
    "apiVersion": "projectcalico.org/v3",
    "kind": "GlobalNetworkPolicy",
    "metadata": {"name": "p"},
    "spec": {"selector": "all()"},
}


def test_fixture_v1_is_a_datastore_behind_certificates(calico_v1):
    assert calico_v1.keys() == {}
    calico_v1.run("apply", "-f", "-", stdin=json.dumps(V1))
    assert calico_v1.keys() == {"/calico/v1/policy/tier/default/policy/p": '{"selector":"all()"}'}
    assert "etcdKeyFile: " in calico_v1.config_text


def test_fixture_v3_is_a_datastore_behind_certificates(calico_v3):
    assert calico_v3.keys() == {}
    calico_v3.run("apply", "-f", "-", stdin=json.dumps(V3))
    assert list(calico_v3.keys()) == ["/calico/resources/v3/projectcalico.org/globalnetworkpolicies/default.p"]


def test_resource_that_was_read_can_be_applied_and_an_older_one_cannot(calico_v3):
    calico_v3.run("apply", "-f", "-", stdin=json.dumps(V3))
    read = calico_v3.run("get", "gnp", "p", "-o", "yaml").stdout
    calico_v3.run("apply", "-f", "-", stdin=read)
    done = calico_v3.run("apply", "-f", "-", stdin=read, check=False)
    assert (done.returncode, "update conflict: GlobalNetworkPolicy(default.p)" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("document", "key", "value"),
    [
        (
            {
                "kind": "profile",
                "metadata": {"name": "a", "labels": {"x": "y"}},
                "spec": {"egress": [{"action": "allow"}]},
            },
            "/calico/v1/policy/profile/a/rules",
            '{"outbound_rules":[{"action":"allow"}]}',
        ),
        (
            {"kind": "ipPool", "metadata": {"cidr": "10.1.0.0/16"}, "spec": {"nat-outgoing": True}},
            "/calico/v1/ipam/v4/pool/10.1.0.0-16",
            '{"cidr":"10.1.0.0/16","ipip":"","ipip_mode":"","masquerade":true,"ipam":true,"disabled":false}',
        ),
        (
            {"kind": "bgpPeer", "metadata": {"scope": "global", "peerIP": "10.0.0.9"}, "spec": {"asNumber": 64513}},
            "/calico/bgp/v1/global/peer_v4/10.0.0.9",
            '{"ip":"10.0.0.9","as_num":"64513"}',
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_other_kinds_of_v1_round_trip(calico_v1, document, key, value):
    calico_v1.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", **document}))
    keys = calico_v1.keys()
    assert keys[key] == value
    read = calico_v1.run("get", document["kind"], "-o", "yaml").stdout
    calico_v1.run("apply", "-f", "-", stdin=read)
    assert calico_v1.keys() == keys
    calico_v1.run("delete", "-f", "-", stdin=read)
    assert json.loads(calico_v1.run("get", document["kind"], "-o", "json").stdout) == []


@pytest.mark.parametrize(
    ("kind", "spec", "namespace"),
    [
        ("NetworkPolicy", {"selector": "a == 'b'", "egress": [{"action": "Deny"}]}, "one"),
        ("NetworkSet", {"nets": ["10.0.0.0/8"]}, "one"),
        ("GlobalNetworkSet", {"nets": ["10.0.0.0/8"]}, ""),
        ("HostEndpoint", {"node": "worker1", "interfaceName": "eth0"}, ""),
        ("Profile", {"ingress": [{"action": "Allow"}], "labelsToApply": {"a": "b"}}, ""),
        ("Node", {"bgp": {"ipv4Address": "10.1.1.1/26"}}, ""),
        ("IPPool", {"cidr": "172.30.0.0/16"}, ""),
        ("BGPPeer", {"peerIP": "10.0.0.9", "asNumber": 64513}, ""),
        ("BGPConfiguration", {"asNumber": 64513}, ""),
        ("FelixConfiguration", {"logSeverityScreen": "Info"}, ""),
    ],
)
def test_other_kinds_of_v3_round_trip(calico_v3, kind, spec, namespace):
    metadata = {"name": "x", **({"namespace": namespace} if namespace else {})}
    document = {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}
    where = ("-n", namespace) if namespace else ()
    calico_v3.run("apply", "-f", "-", stdin=json.dumps(document))
    read = json.loads(calico_v3.run("get", kind, "x", "-o", "json", *where).stdout)
    # What was asked for is there; besides it only what the tool fills in.
    assert {name: read["spec"][name] for name in spec if name not in ("ingress", "egress")} == {
        name: value for name, value in spec.items() if name not in ("ingress", "egress")
    }
    calico_v3.run("apply", "-f", "-", stdin=json.dumps(read))
    assert json.loads(calico_v3.run("get", kind, "x", "-o", "json", *where).stdout)["spec"] == read["spec"]
    assert "x" in calico_v3.run("get", kind, "-o", "wide", *where).stdout.split()
    calico_v3.run("delete", kind, "x", *where)
    assert calico_v3.run("get", kind, "x", "-o", "json", *where, check=False).returncode == 1
