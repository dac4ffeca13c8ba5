# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selectors are read as libcalico-go reads them, match as it matches, and say where they are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.calico_selector import (
    All,
    Compare,
    Has,
    Junction,
    Member,
    Not,
    SelectorError,
    parse,
    render,
)

# Each: selector, labels, whether it matches.
CASES = [
    ("a == 'b'", {"a": "b"}, True),
    ('a == "b"', {"a": "c"}, False),
    ("a == 'b'", {}, False),
    ("a=='b'", {"a": "b"}, True),
    ("a != 'b'", {}, True),
    ("a != 'b'", {"a": "b"}, False),
    ("a in {'b', 'c'}", {"a": "c"}, True),
    ("a in {'b', 'c'}", {}, False),
    ("a in{'b',}", {"a": "b"}, True),
    ("a in {}", {"a": "b"}, False),
    ("a not in {'b'}", {}, True),
    ("a not in {'b'}", {"a": "b"}, False),
    ("a notin {'b'}", {"a": "c"}, True),
    ("a not in {}", {"a": "b"}, True),
    ("""a in {"'", '"'}""", {"a": '"'}, True),
    ("has(a)", {"a": ""}, True),
    ("has( a )", {"b": ""}, False),
    ("!has(a)", {}, True),
    ("! !has(a)", {}, False),
    ("!!! has(a)", {}, True),
    ("all()", {}, True),
    ("all( )", {"a": "b"}, True),
    ("", {}, True),
    (" \t", {"a": "b"}, True),
    ("!all()", {}, False),
    # ! binds to the next operation, && closer than ||.
    ("!a == 'b'", {"a": "b"}, False),
    ("!a == 'b' || all()", {"a": "b"}, True),
    ("has(a) || has(b) && has(c)", {"a": "1"}, True),
    ("(has(a) || has(b)) && has(c)", {"a": "1"}, False),
    ("!(has(a) || has(b))", {"b": ""}, False),
    ("ibm.role in { 'worker_public', 'master_public' }", {"ibm.role": "worker_public"}, True),
    ("projectcalico.org/namespace == 'kube-system'", {"projectcalico.org/namespace": "kube-system"}, True),
    ("a-b_c/d.e == 'x'", {"a-b_c/d.e": "x"}, True),
    ("all == 'x'", {"all": "x"}, True),
]
CASES_V3 = [
    ("a contains 'b'", {"a": "abc"}, True),
    ("a contains 'b'", {}, False),
    ("a starts with 'b'", {"a": "bc"}, True),
    ("a startswith 'b'", {"a": "cb"}, False),
    ("a ends with 'b'", {"a": "cb"}, True),
    ("a endswith 'b'", {}, False),
    ("global()", {}, True),
    ("in-zone == 'x'", {"in-zone": "x"}, True),
    ("notin-x == 'x'", {"notin-x": "x"}, True),
]
# Each: text, offset of the mistake, word of the explanation.
WRONG = [
    ("a = 'b'", 2, "did you mean =="),
    ("a == b", 5, "quotes"),
    ("b", 1, "an operator is expected"),
    ("a b", 2, "an operator is expected"),
    ("'b' == a", 0, "left of an operator"),
    ("a == 'b", 5, "never closed"),
    ("a == 'b' & has(c)", 9, "did you mean &&"),
    ("a == 'b' | has(c)", 9, "did you mean ||"),
    ("a == 'b' &&", 11, "comparison"),
    ("ibm.role in {", 13, "}"),
    ("ibm.role in 'x'", 12, "a set"),
    ("ibm.role in {'x' 'y'}", 17, "comma"),
    ("all(", 0, "its )"),
    ("has(", 0, "its )"),
    ("has('a')", 0, "its )"),
    ("(has(a)", 7, ") is expected"),
    ("has(a))", 6, "&&, ||"),
    ("()", 1, "comparison"),
    ("!", 1, "comparison"),
    ("%", 0, "no meaning"),
    ("has(a)\n", 6, "line break"),
    ("a == 'b' has(c)", 9, "&&, ||"),
    ("a !== 'b'", 4, "did you mean =="),
]


@pytest.mark.parametrize(("text", "labels", "expected"), CASES, ids=[f"{case[0]} {case[1]}" for case in CASES])
@pytest.mark.parametrize("api", ["v1", "v3"])
def test_matches(text: str, labels: dict[str, str], expected: bool, api: str) -> None:
    selector = parse(text, api)
    assert selector.matches(labels) is expected
    assert selector.text == text


@pytest.mark.parametrize(("text", "labels", "expected"), CASES_V3, ids=[f"{case[0]} {case[1]}" for case in CASES_V3])
def test_what_came_with_v3(text: str, labels: dict[str, str], expected: bool) -> None:
    assert parse(text).matches(labels) is expected
    with pytest.raises(SelectorError):
        parse(text, "v1")


def test_v1_says_which_operators_it_has() -> None:
    with pytest.raises(SelectorError, match="1.x has no operator 'starts with'"):
        parse("a starts with 'b'", "v1")


@pytest.mark.parametrize(("text", "position", "words"), WRONG, ids=[case[0] for case in WRONG])
@pytest.mark.parametrize("api", ["v1", "v3"])
def test_B41_a_bad_selector_is_refused_with_its_place(text: str, position: int, words: str, api: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text, api)
    if text.startswith(("all(", "has(")) and api == "v1":
        # The tokenizer of 2.x takes the word for a label and stumbles over what follows.
        return
    assert caught.value.position == position
    assert words in str(caught.value)
    assert repr(text) in str(caught.value)


def test_depth_is_bounded() -> None:
    assert parse("(" * 90 + "all()" + ")" * 90).matches({})
    with pytest.raises(SelectorError, match="parentheses"):
        parse("(" * 5000 + "all()" + ")" * 5000)
    assert parse("!" * 5000 + "all()").matches({})


LABELS = st.sampled_from(["a", "b", "x/y.z-1", "ibm.role"])
VALUES = st.text(alphabet="ab' ", max_size=3) | st.text(alphabet='ab" ', max_size=3)
LEAVES = st.one_of(
    st.just(All()),
    st.builds(Has, LABELS),
    st.builds(Compare, LABELS, st.sampled_from(["==", "!=", "contains", "startswith", "endswith"]), VALUES),
    st.builds(Member, LABELS, st.frozensets(VALUES, max_size=3), st.booleans()),
)
TREES = st.recursive(
    LEAVES,
    lambda trees: st.one_of(
        st.builds(Not, trees),
        st.builds(Junction, st.sampled_from(["&&", "||"]), st.lists(trees, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@given(TREES, st.dictionaries(LABELS, VALUES, max_size=3))
def test_what_is_rendered_reads_back_with_the_same_meaning(tree: object, labels: dict[str, str]) -> None:
    text = render(tree)
    assert parse(text).matches(labels) == tree.matches(labels)  # type: ignore[attr-defined]
    assert render(parse(render(parse(text).root)).root) == render(parse(text).root)


PIECES = [
    "a",
    "has(",
    "all()",
    "in",
    "not in",
    "{",
    "}",
    "'x'",
    '"',
    "'",
    "==",
    "!=",
    "!",
    "&&",
    "||",
    "(",
    ")",
    ",",
    " ",
]


@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join), st.sampled_from(["v1", "v3"]))
def test_whatever_text_gives_a_selector_or_a_selector_error(text: str, api: str) -> None:
    places = []
    try:
        parse(text, api).matches({"a": "x"})
    except SelectorError as error:
        places.append(error.position)
    assert all(0 <= place <= len(text) for place in places)
