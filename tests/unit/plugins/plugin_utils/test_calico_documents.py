# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of Calico resources are read as calicoctl reads them, without YAML's traps."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.calico_model import CalicoError, read_resource
from ansible_collections.iks.hardening.plugins.plugin_utils import calico_documents
from ansible_collections.iks.hardening.plugins.plugin_utils.calico_documents import read_documents

POLICY = {"apiVersion": "v1", "kind": "policy", "metadata": {"name": "a"}, "spec": {"selector": "all()"}}
ONE = "apiVersion: v1\nkind: policy\nmetadata: {name: a}\nspec: {selector: all()}\n"


@pytest.fixture(params=calico_documents.LOADERS, ids=lambda loader: loader.__name__)
def either_loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With libyaml and without: nothing may depend on how PyYAML was built."""
    monkeypatch.setattr(calico_documents, "LOADERS", [request.param])


FORMS = {
    "one": (ONE, 1),
    "multi": (f"---\n{ONE}---\n{ONE}", 2),
    "trailing separator": (f"{ONE}---\n", 1),
    "end mark": (f"---\n{ONE}...\n", 1),
    "list": ("- {apiVersion: v1, kind: policy, metadata: {name: a}, spec: {selector: all()}}\n", 1),
    "json": (json.dumps(POLICY), 1),
    "json array": (json.dumps([POLICY, POLICY]), 2),
    "json with tabs": (json.dumps([POLICY], indent="\t"), 1),
    "List": (json.dumps({"apiVersion": "v1", "kind": "List", "items": [POLICY, POLICY]}), 2),
    "policyList": (json.dumps({"apiVersion": "v1", "kind": "policyList", "items": [{**POLICY}]}), 1),
    "bare items": ("kind: policyList\napiVersion: v1\nitems:\n- metadata: {name: a}\n  spec: {selector: all()}\n", 1),
    "byte order mark": (f"\ufeff{ONE}", 1),
    "empty": ("", 0),
    "comments": ("# nothing\n---\n# here\n", 0),
    "tab before a comment": (ONE.replace("kind: policy", "kind: policy\t# one"), 1),
    "tab after a colon": (ONE.replace("kind: policy", "kind:\tpolicy"), 1),
    "carriage returns": (ONE.replace("\n", "\r\n"), 1),
}


@pytest.mark.usefixtures("either_loader")
@pytest.mark.parametrize(("text", "number"), FORMS.values(), ids=FORMS.keys())
def test_forms_of_files(text: str, number: int) -> None:
    assert read_documents(text, "f.yml") == [POLICY] * number


VALUES = {
    "22:25": "22:25",
    "30000:32767": "30000:32767",
    "1:20:30": "1:20:30",
    "n": "n",
    "Y": "Y",
    "on": "on",
    "yes": "yes",
    "true": True,
    "False": False,
    "'true'": "true",
    "80": 80,
    "-1": -1,
    "0": 0,
    "010": 8,
    "0x10": 16,
    "1.5": 1.5,
    "1e3": 1000.0,
    "1.": 1.0,
    "2017-09-29": "2017-09-29",
    "10.0.0.1": "10.0.0.1",
    "~": None,
    "": None,
    "null": None,
    "'443'": "443",
    "=": "=",
}


@pytest.mark.usefixtures("either_loader")
@pytest.mark.parametrize(("text", "value"), VALUES.items(), ids=VALUES.keys())
def test_values(text: str, value: object) -> None:
    assert read_documents(f"a: {text}\n", "f.yml") == [{"a": value}]


@pytest.mark.usefixtures("either_loader")
def test_names_stay_text() -> None:
    assert read_documents("{1: a, true: b, on: c, 2017-01-01: d}", "f.yml") == [
        {"1": "a", "true": "b", "on": "c", "2017-01-01": "d"}
    ]


@pytest.mark.usefixtures("either_loader")
def test_aliases_and_merges_are_written_out() -> None:
    text = "a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}\n"
    assert read_documents(text, "f.yml") == [{"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 2}, "c": {"p": 1, "q": 3}}]


REFUSED = {
    "tab": ("spec:\n\tselector: all()\n", "f.yml: line 2: YAML is indented with spaces"),
    "duplicate": ("a: 1\nb: 2\na: 3\n", "f.yml: line 3, column 1: a is there twice, first in line 1"),
    "syntax": ("a: [1\nb: 2\n", "f.yml: line 2"),
    "tag": ("a: !ruby/object 1\n", "resources hold plain values only"),
    "python tag": ("a: !!python/object/apply:os.system ['true']\n", "resources hold plain values only"),
    "text": ("just words\n", "a resource is a mapping"),
    "list of words": ("- a\n", "f.yml: item 1: a resource is a mapping"),
    "hole in a list": ("-\n- {a: 1}\n", "item 1 of the list is empty"),
    "items": ("kind: List\nitems: 3\n", "items of List is a list of resources"),
    "template": ("a: {{ b }}\n", "rendered first"),
    "jinja": ("{% if x %}\na: 1\n", "rendered first"),
    "bad alias": ("a: *nowhere\n", "undefined alias"),
    "deep": ("[" * 5000 + "]" * 5000, "f.yml: "),
    "control": ("a: \x00\n", "f.yml: not YAML"),
    "bomb": (
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "\n".join(f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi")),
        "aliases stand for more than",
    ),
}


@pytest.mark.usefixtures("either_loader")
@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(CalicoError) as caught:
        read_documents(text, "f.yml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("f.yml:")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("either_loader")
def test_words_that_yaml_takes_for_true_are_what_their_field_holds() -> None:
    text = (
        "apiVersion: v1\nkind: hostEndpoint\nmetadata: {name: y, node: n}\nspec: {interfaceName: on}\n---\n"
        "apiVersion: v1\nkind: policy\nmetadata: {name: 123}\nspec: {preDNAT: yes, doNotTrack: off, ingress: "
        "[{action: allow, protocol: tcp, destination: {ports: [22:25]}}]}\n"
    )
    endpoint, policy = (read_resource(document, "v1", "f.yml") for document in read_documents(text, "f.yml"))
    assert (endpoint.identity.name, endpoint.identity.node, endpoint.spec) == ("y", "n", {"interfaceName": "on"})
    assert policy.identity.name == "123"
    assert (policy.spec["preDNAT"], policy.spec["doNotTrack"]) == (True, False)
    assert policy.spec["ingress"][0]["destination"]["ports"] == ["22:25"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    )
)
def test_json_reads_as_json_does(value: object) -> None:
    document = {"kind": "policy", "value": value}
    assert read_documents(json.dumps(document), "f.json") == [document]


@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=60) | st.text(alphabet="a:-{}[]'\"&*!|>\n\t #", max_size=30)
)
def test_whatever_text_gives_documents_or_a_calico_error(text: str) -> None:
    refused = []
    try:
        found = read_documents(text, "f.yml")
    except CalicoError as error:
        refused.append(str(error))
        found = []
    assert all(isinstance(document, dict) for document in found)
    assert all(words.startswith("f.yml:") for words in refused)
