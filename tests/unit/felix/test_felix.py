# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests' programmer: its selectors say what the collection's say, its text has the form that restores take."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.calico_selector import parse
from tests.felix.programmer import HOOKS, program
from tests.felix.selectors import test_of as selects

LABELS = st.dictionaries(st.sampled_from(["a", "b", "in", "a/b.c"]), st.sampled_from(["", "x", "xy", "y'"]), max_size=3)
NAMES = st.sampled_from(["a", "b", "a/b.c"])
VALUES = st.sampled_from(["'x'", '"xy"', "''", '"y\'"'])
SIMPLE = st.one_of(
    st.tuples(NAMES, st.sampled_from([" == ", "==", " != ", " contains ", " starts with ", " ends with "]), VALUES).map(
        "".join
    ),
    st.tuples(NAMES, st.sampled_from([" in ", " not in "]), st.lists(VALUES, min_size=1, max_size=3)).map(
        lambda parts: f"{parts[0]}{parts[1]}{{{', '.join(parts[2])}}}"
    ),
    NAMES.map(lambda name: f"has({name})"),
    st.just("all()"),
)
SELECTORS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" && ", " || ", "&&"]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"!({text})"),
    ),
    max_leaves=6,
)


@given(SELECTORS, LABELS)
def test_both_readers_of_selectors_agree(text: str, labels: dict[str, str]) -> None:
    assert selects(text)(labels) == parse(text).matches(labels)


DOCUMENTS: list[dict[str, Any]] = [
    {"kind": "HostEndpoint", "metadata": {"name": "h", "labels": {"a": "b"}},
     "spec": {"node": "n", "interfaceName": "eth0", "expectedIPs": ["192.0.2.1"]}},
    {"kind": "GlobalNetworkSet", "metadata": {"name": "s", "labels": {"who": "office"}}, "spec": {"nets": ["0.0.0.0/0"]}},
    {"kind": "GlobalNetworkPolicy", "metadata": {"name": "p"},
     "spec": {"selector": "a == 'b'", "ingress": [
         {"action": "Allow", "protocol": "TCP", "source": {"selector": "who == 'office'"}, "destination": {"ports": [80]}}]}},
]  # fmt: skip


def test_our_chains_alone_are_declared() -> None:
    felix = program(DOCUMENTS, "n", {"eth0": ["192.0.2.1/24"]})
    for version in (4, 6):
        text = felix.text(version)
        declared = [line[1:].split()[0] for line in text.splitlines() if line.startswith(":")]
        assert declared
        assert all(name.startswith("cali-") and len(name) <= 28 for name in declared)
        assert text.count("COMMIT\n") == len(HOOKS)
        assert {line.split()[1] for line in text.splitlines() if line.startswith("-A")} <= set(declared)
        jumps = {word for line in text.splitlines() for word in line.split() if word.startswith("cali-")}
        assert jumps <= set(declared)


def test_sets_are_swapped_and_hold_no_length_of_zero() -> None:
    felix = program(DOCUMENTS, "n", {"eth0": []})
    lines = felix.sets_text().splitlines()
    name = next(iter(felix.sets[4]))
    assert len(name) <= 31
    assert [line.split()[0] for line in lines[:7]] == ["create", "create", "flush", "add", "add", "swap", "destroy"]
    assert [line.split()[2] for line in lines if line.startswith("add")] == ["0.0.0.0/1", "128.0.0.0/1"]


@pytest.mark.parametrize("node", ["n", "other"])
def test_endpoints_of_other_nodes_are_not_programmed(node: str) -> None:
    felix = program(DOCUMENTS, node, {"eth0": ["192.0.2.1/24"]})
    assert ("cali-fh-eth0" in felix.tables[4]["filter"]) == (node == "n")
