# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iptables-save read without loss: every text comes back as it was, every rule is taken apart or refused by name."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.iptables_save import (
    Counters,
    Save,
    SavedRule,
    SaveError,
    View,
    parse,
    render,
    view_of,
)
from ansible_collections.iks.hardening.plugins.module_utils.iptables_text import read_table, rule_specs, tokens
from ansible_collections.iks.hardening.plugins.module_utils.traffic import Rule
from tests.strategies import rules

DATA = Path(__file__).resolve().parents[2] / "data"
SAVES = sorted([*DATA.glob("saves/*.save"), *DATA.glob("ubuntu/*.save")])
# What people and programs put into quotes, and what the tools put around it.
TEXT = st.text(alphabet="aZ 0\"\\'-!:*[]#%\n\tß", max_size=20)


def saved_rules(save: Save) -> list[SavedRule]:
    return [rule for table in save.tables.values() for chain in table.chains.values() for rule in chain.rules]


def printed(text: str) -> str:
    """A text as xtables_save_string prints it."""
    safe = "_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    if text and all(char in safe for char in text):
        return text
    return '"' + "".join(f"\\{char}" if char in "\"\\'" else char for char in text) + '"'


def written(view: View) -> list[str]:
    """The words of a view, in the order in which the tools print them."""
    words: list[str] = []
    for match in view.matches:
        words += ["-m", match.module] if match.module else []
        for option in match.options:
            words += ["!"] * option.negated + [option.name, *option.values]
    words += ["-g" if view.goto else "-j", view.target] if view.target else []
    return words + [word for option in view.target_options for word in (option.name, *option.values)]


@pytest.mark.parametrize("path", SAVES, ids=lambda path: path.name)
def test_what_nodes_print_comes_back_and_every_rule_is_taken_apart(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    save = parse(text)
    assert render(save) == text
    assert save.unknown == ()
    assert sum("-A " in line for line in save.lines) == len(saved_rules(save))
    for rule in saved_rules(save):
        assert written(rule.view) == tokens(rule.spec)
    without_counters = "\n".join(line[line.index("-A ") :] if "] -A " in line else line for line in save.lines)
    for name, table in save.tables.items():
        as_read = {chain.name: [rule.spec for rule in chain.rules] for chain in table.chains.values()}
        assert read_table(without_counters, name) == as_read


def test_structure() -> None:
    save = parse((DATA / "saves" / "kube-proxy.nft.save").read_text(encoding="utf-8"))
    assert list(save.tables) == ["mangle", "filter", "nat"]
    firewall = save.chain("filter", "KUBE-FIREWALL")
    assert firewall is not None
    assert (firewall.policy, firewall.rules[0].counters) == ("", Counters(0, 0))
    view = firewall.rules[0].view
    assert (view.target, view.goto) == ("DROP", False)
    assert [str(match) for match in view.matches] == [
        "! -s 127.0.0.0/8 -d 127.0.0.0/8",
        "-m comment --comment block incoming localnet connections",
        "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT",
    ]
    hook = save.chain("filter", "INPUT")
    assert hook is not None
    assert hook.policy == "ACCEPT"


def test_goto_two_comments_and_target_options() -> None:
    view = view_of(
        '-i cali+ -m comment --comment "cali:8TZG" -m comment --comment "say \\"hi\\" -j x" -g cali-wl-to-host'
    )
    assert (view.target, view.goto) == ("cali-wl-to-host", True)
    assert view.comments == ("cali:8TZG", 'say "hi" -j x')
    marked = view_of("-j MARK --set-xmark 0x0/0xf0000")
    assert (marked.matches, marked.target) == ((), "MARK")
    assert marked.target_option("--set-xmark") is not None
    assert marked.target_options[0].values == ("0x0/0xf0000",)


def test_what_the_tools_print_without_quotes() -> None:
    """A comment that is an option's name: xtables_save_string sees nothing in it to quote."""
    assert view_of("-m comment --comment -j -j ACCEPT").comment == "-j"
    assert view_of("-m comment --comment --dport -j ACCEPT").target == "ACCEPT"


def test_as_typed_by_hand() -> None:
    """Long names, and an option of the protocol without its -m."""
    view = view_of("--protocol tcp ! --source-port 22 --match comment --comment x --jump DROP --foo a b")
    assert [str(match) for match in view.matches] == ["-p tcp", "-m tcp ! --sport 22", "-m comment --comment x"]
    assert str(view.target_options[0]) == "--foo a b"


def test_a_set_match_keeps_both_words() -> None:
    match = view_of("-m set ! --match-set cali40s:x src,dst -j DROP").matches[0]
    assert (match.options[0].values, match.options[0].negated) == (("cali40s:x", "src,dst"), True)


def test_warnings_and_foreign_lines_are_kept() -> None:
    text = (
        "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n"
        "# Table `mine' is incompatible, use 'nft' tool.\n*filter\n:INPUT ACCEPT [1:2]\nwhat is this\n"
        "[3:4] -A INPUT -j LATER\nCOMMIT\n-A LOST -j DROP\n*filter\n-A INPUT -j DROP\nCOMMIT"
    )
    save = parse(text)
    assert render(save) == text
    assert save.warnings[0].startswith("Warning: iptables-legacy")
    assert len(save.warnings) == 2
    assert save.unknown == ("what is this", "-A LOST -j DROP")
    hook = save.chain("filter", "INPUT")
    assert hook is not None
    assert [rule.text for rule in hook.rules] == ["-A INPUT -j LATER", "-A INPUT -j DROP"]
    assert hook.rules[0].counters == Counters(3, 4)


def test_a_newline_in_a_quote_is_part_of_the_rule_and_an_open_quote_hides_nothing() -> None:
    text = '*filter\n-A INPUT -m comment --comment "two\n-A INPUT -j FAKE" -j DROP\n-A INPUT -j ACCEPT\nCOMMIT\n'
    save = parse(text)
    assert [rule.view.target for rule in saved_rules(save)] == ["DROP", "ACCEPT"]
    broken = parse('*filter\n-A INPUT -m comment --comment "open -j DROP\n-A INPUT -j ACCEPT\nCOMMIT\n')
    assert [rule.spec for rule in saved_rules(broken)][1:] == ["-j ACCEPT"]
    with pytest.raises(SaveError, match="a quote is not closed"):
        str(saved_rules(broken)[0].view)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ('-m comment --comment "x', "a quote is not closed"),
        ("-j", "-j has no value"),
        ("-j A -j B", "two targets"),
        ("stray -j A", "'stray' is not an option"),
        ("-s 10.0.0.0/8 !", "nothing stands behind the last '!'"),
        ("! -j A", "is not one match or target"),
        ("-p -j A", "-p has no value"),
    ],
)
def test_what_no_tool_prints_is_refused_by_name(spec: str, why: str) -> None:
    with pytest.raises(SaveError, match="rule .*" + why):
        view_of(spec)


@given(st.text(alphabet='-A INPUT"\\!:*[]0#mjCOMIT\n\r\t sdß,/', max_size=200))
def test_any_text_comes_back_and_any_rule_is_a_view_or_an_error_of_ours(text: str) -> None:
    save = parse(f"*filter\n{text}")
    assert render(save) == f"*filter\n{text}"
    for rule in saved_rules(save):
        with contextlib.suppress(SaveError):
            assert isinstance(rule.view, View)


@given(TEXT, TEXT)
def test_quoted_texts_read_back(comment: str, prefix: str) -> None:
    spec = f"-m comment --comment {printed(comment)} -j LOG --log-prefix {printed(prefix)} --log-level 7"
    view = view_of(spec)
    assert (view.comment, view.target) == (comment, "LOG")
    assert [option.values for option in view.target_options] == [(prefix,), ("7",)]
    assert tokens(spec)[3] == comment


@given(rules())
def test_what_we_render_is_taken_apart(rule: Rule) -> None:
    for family in rule.families:
        for spec in rule_specs(rule, family):
            text = f"*filter\n-A X {spec}\n"
            (saved,) = saved_rules(parse(text))
            assert saved.spec == spec
            assert saved.view.comment == rule.comment
            assert read_table(text, "filter") == {"X": [spec]}
