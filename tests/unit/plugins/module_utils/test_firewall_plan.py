# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rulesets become chains of our own, compose by priority, and leave no trace when they go."""

from __future__ import annotations

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.errors import TrafficError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import (
    first_difference,
    restore_text,
    with_ruleset,
    without_ruleset,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import OwnState, is_same, read_state
from ansible_collections.iks.hardening.plugins.module_utils.iptables_text import (
    canonical,
    in_our_words,
    is_catch_all,
    read_table,
    rule_specs,
    same,
    tokens,
)
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import rule_from_dict

OPEN = "accept out tcp to 192.0.2.1 port 443 name web # a reason"


def ruleset(name: str, priority: int, lines: str = OPEN, closes: bool = False) -> Ruleset:
    defaults = default_rules([{"direction": "out", "interface": "eth0"}]) if closes else ()
    return Ruleset(name, priority, tuple(read_rules(lines)), defaults)


def saved(state: OwnState, foreign: str = "") -> str:
    """What iptables-save would print of a state."""
    text = ""
    for name, table in state.tables():
        chains = "".join(f":{chain} - [0:0]\n" for chain in table.chains)
        option = "" if name == "filter" else f"-t {name} "
        lines = [line[len(option) :] for line in state.lines() if line.startswith(f"{option}-A")]
        built_in = "".join(f":{hook} ACCEPT [0:0]\n" for hook in ("INPUT", "OUTPUT", "POSTROUTING"))
        own = "\n".join([*lines, ""])
        text += f"*{name}\n{built_in}{chains}{foreign if name == 'filter' else ''}{own}COMMIT\n"
    return text


def test_first_ruleset() -> None:
    want = with_ruleset(OwnState(), ruleset("region", 500), "ipv4")
    assert restore_text(OwnState(), want).splitlines() == [
        "*filter",
        ":IKS-OUTPUT-region - [0:0]",
        ":IKS-OUTPUT - [0:0]",
        '-A IKS-OUTPUT-region -d 192.0.2.1/32 -p tcp -m tcp --dport 443 -m comment --comment "web: a reason" -j ACCEPT',
        '-A IKS-OUTPUT -m comment --comment "iks.hardening ruleset region, priority 500" -j IKS-OUTPUT-region',
        '-A OUTPUT -m comment --comment "iks.hardening" -j IKS-OUTPUT',
        "COMMIT",
    ]


def test_second_run_changes_nothing() -> None:
    want = with_ruleset(OwnState(), ruleset("region", 500, closes=True), "ipv4")
    have = read_state(saved(want))
    assert restore_text(have, with_ruleset(have, ruleset("region", 500, closes=True), "ipv4")) == ""


def test_rulesets_compose_by_priority_and_the_closing_one_is_last() -> None:
    state = OwnState()
    for name, priority, closes in (("node", 100, True), ("vpn", 700, False), ("region", 500, False)):
        state = with_ruleset(state, ruleset(name, priority, closes=closes), "ipv4")
    assert [line.rsplit(" ", 1)[1] for line in state.filter.chains["IKS-OUTPUT"]] == [
        "IKS-OUTPUT-region",
        "IKS-OUTPUT-vpn",
        "IKS-OUTPUT-node",
    ]
    assert state.rulesets() == ["node", "region", "vpn"]


def test_one_ruleset_leaves_the_others_alone() -> None:
    both = with_ruleset(
        with_ruleset(OwnState(), ruleset("node", 900, closes=True), "ipv4"), ruleset("region", 500), "ipv4"
    )
    text = restore_text(
        both, with_ruleset(both, ruleset("region", 500, "accept out udp to 192.0.2.9 name x # y"), "ipv4")
    )
    assert ":IKS-OUTPUT-region" in text
    assert "IKS-OUTPUT-node" not in text


def test_absent_leaves_no_trace() -> None:
    both = with_ruleset(
        with_ruleset(OwnState(), ruleset("node", 900, closes=True), "ipv4"), ruleset("region", 500), "ipv4"
    )
    one = without_ruleset(both, "node")
    assert set(one.filter.chains) == {"IKS-OUTPUT", "IKS-OUTPUT-region"}
    none = without_ruleset(one, "region")
    assert (dict(none.filter.chains), dict(none.filter.jumps)) == ({}, {})
    text = restore_text(one, none)
    assert text.index("-D OUTPUT") < text.index("-X IKS-OUTPUT")
    assert restore_text(OwnState(), without_ruleset(OwnState(), "node")) == ""


def test_drift_is_found() -> None:
    want = with_ruleset(
        OwnState(), ruleset("region", 500, OPEN + "\naccept out tcp to 192.0.2.2 port 80 name b # c"), "ipv4"
    )
    lines = saved(want).splitlines()
    removed = "\n".join(line for line in lines if "192.0.2.2" not in line)
    assert not is_same(read_state(removed), want)
    rules = [number for number, line in enumerate(lines) if line.startswith("-A IKS-OUTPUT-region")]
    lines[rules[0]], lines[rules[1]] = lines[rules[1]], lines[rules[0]]
    assert not is_same(read_state("\n".join(lines)), want)


def test_jump_stands_after_kubernetes_and_before_a_foreign_denial() -> None:
    denial = "-A OUTPUT -j REJECT --reject-with icmp-port-unreachable\n"
    save = f"*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j cali-OUTPUT\n-A OUTPUT -j KUBE-FIREWALL\n{denial}COMMIT\n"
    have = read_state(save)
    assert "-I OUTPUT 3 -m comment" in restore_text(have, with_ruleset(have, ruleset("region", 500), "ipv4"))
    have = read_state(save.replace(denial, ""))
    assert "-A OUTPUT -m comment" in restore_text(have, with_ruleset(have, ruleset("region", 500), "ipv4"))


def test_a_jump_put_above_ours_is_no_change() -> None:
    want = with_ruleset(OwnState(), ruleset("region", 500), "ipv4")
    assert is_same(read_state(saved(want, foreign="-A OUTPUT -j cali-OUTPUT\n")), want)


def test_doubled_jump_is_mended() -> None:
    want = with_ruleset(OwnState(), ruleset("region", 500), "ipv4")
    have = read_state(
        saved(want).replace("COMMIT", '-A OUTPUT -m comment --comment "iks.hardening" -j IKS-OUTPUT\nCOMMIT', 1)
    )
    text = restore_text(have, want)
    assert text.count("-A OUTPUT -m comment") == 1
    assert text.count("-D OUTPUT") == 2


def test_foreign_chains_are_never_written() -> None:
    foreign = ":KUBE-FIREWALL - [0:0]\n:cali-INPUT - [0:0]\n:DOCKER-USER - [0:0]\n-A OUTPUT -j KUBE-FIREWALL\n"
    have = read_state(saved(OwnState(), foreign))
    text = restore_text(have, with_ruleset(have, ruleset("node", 900, closes=True), "ipv4"))
    touched = {line.split()[1] for line in text.splitlines() if line.startswith("-")} | {
        line[1:].split()[0] for line in text.splitlines() if line.startswith(":")
    }
    assert {name for name in touched if not name.startswith("IKS-")} == {"OUTPUT", "POSTROUTING"}


def test_closing_ruleset_keeps_the_node_alive() -> None:
    rules = Ruleset("node", 900, (), default_rules([{"direction": "in"}])).for_direction("in")
    names = [rule.name for rule in rules]
    assert names[0] == "always-in-loopback"
    assert {"always-in-known", "always-in-dhcpv4", "always-in-dhcpv6", "always-in-icmpv6-neighbours"} <= set(names)
    assert names[-1] == "default-in"


REFUSED_RULESETS = {
    "B16-allowed-and-denied": (
        "node",
        1,
        "accept in tcp port 80 name a # x\ndrop in tcp port 80 name b # y",
        "contradicts rule a",
    ),
    "B23-chain-name-over-28": ("a" * 17, 1, OPEN, "at most 16 characters"),
    "B24-foreign-chain-name": ("KUBE-INPUT", 1, OPEN, "only a-z"),
    "B24-built-in-chain": ("INPUT", 1, OPEN, "only a-z"),
    "priority": ("node", 1000, OPEN, "outside 0-999"),
    "duplicate-rule-names": ("node", 1, f"{OPEN}\n{OPEN}", "given twice"),
}


@pytest.mark.parametrize(("name", "priority", "lines", "message"), REFUSED_RULESETS.values(), ids=REFUSED_RULESETS)
def test_refused_rulesets(name: str, priority: int, lines: str, message: str) -> None:
    with pytest.raises(TrafficError, match=message):
        ruleset(name, priority, lines)


@pytest.mark.parametrize(
    ("default", "message"),
    [
        ({"direction": "inn"}, "did you mean in"),
        ({"direction": "in", "action": "accept"}, "not one of drop, reject"),
        ({"direction": "in", "iface": "eth0"}, "did you mean interface"),
        ("drop", "is not a dictionary"),
    ],
)
def test_refused_defaults(default: object, message: str) -> None:
    with pytest.raises(TrafficError, match=message):
        default_rules([default])  # type: ignore[list-item]


def test_B06_more_than_15_ports_are_split() -> None:
    rule = rule_from_dict(
        {
            "name": "p",
            "direction": "in",
            "action": "accept",
            "protocol": "tcp",
            "reason": "r",
            "ports": list(range(1, 60, 2)),
        }
    )
    specs = list(rule_specs(rule, "ipv4"))
    assert len(specs) == 2
    counts = [len(tokens(spec)[tokens(spec).index("--dports") + 1].split(",")) for spec in specs]
    assert counts == [15, 15]


def test_a_range_takes_two_places_of_multiport() -> None:
    ports = [f"{first}-{first + 1}" for first in range(10, 100, 10)]
    rule = rule_from_dict(
        {"name": "p", "direction": "in", "action": "accept", "protocol": "tcp", "reason": "r", "ports": ports}
    )
    assert ["--dport " in spec and "multiport" not in spec for spec in rule_specs(rule, "ipv4")] == [False, False]
    assert all(
        len(tokens(spec)[tokens(spec).index("--dports") + 1].split(",")) <= 7 for spec in rule_specs(rule, "ipv4")
    )


def test_every_source_meets_every_destination() -> None:
    rule = rule_from_dict(
        {
            "name": "p",
            "direction": "in",
            "action": "accept",
            "reason": "r",
            "sources": ["10.0.0.1", "10.0.0.2", "fd00::1"],
            "destinations": ["10.1.0.1", "10.1.0.2", "fd00::2"],
        }
    )
    assert len(list(rule_specs(rule, "ipv4"))) == 4
    assert len(list(rule_specs(rule, "ipv6"))) == 1


EQUAL = [
    ("-p 112 -j ACCEPT", "-p vrrp -j ACCEPT"),
    ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"),
    ("-p icmp -m icmp --icmp-type 3/any -j ACCEPT", "-p icmp -m icmp --icmp-type 3 -j ACCEPT"),
    ("-p 1 -j ACCEPT", "-p icmp -j ACCEPT"),
    ("-d ::1:c000/117 -j ACCEPT", "-d ::0.1.192.0/117 -j ACCEPT"),
    ('-m comment --comment "x" -j ACCEPT', "-m comment --comment x -j ACCEPT"),
]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_dialects_are_levelled(left: str, right: str) -> None:
    assert same([left], [right])
    assert not same([left], [left.replace("ACCEPT", "DROP")])
    assert canonical(left) == canonical(right)


@pytest.mark.parametrize(
    ("printed", "ours"),
    [
        ("-i eth0 -p vrrp -j ACCEPT", "-i eth0 -p 112 -j ACCEPT"),
        ("-p icmpv6 -j ACCEPT", "-p ipv6-icmp -j ACCEPT"),
        ("-p tcp -m tcp --dport 1 -j ACCEPT", "-p tcp -m tcp --dport 1 -j ACCEPT"),
        ('-m comment --comment "x-p vrrp" -j ACCEPT', '-m comment --comment "x-p vrrp" -j ACCEPT'),
        ("-p no-such-protocol -j ACCEPT", "-p no-such-protocol -j ACCEPT"),
    ],
)
def test_results_of_two_runs_read_alike(printed: str, ours: str) -> None:
    """`after` of the first run and `before` of the second differed where the tools print a name from /etc/protocols."""
    assert in_our_words(printed) == ours
    assert read_state(f"*filter\n:IKS-INPUT - [0:0]\n-A IKS-INPUT {printed}\nCOMMIT\n").filter.chains["IKS-INPUT"] == (
        ours,
    )


def test_apostrophe_is_printed_as_the_tools_print_it() -> None:
    rule = rule_from_dict({"name": "p", "direction": "in", "action": "accept", "reason": "the node's own"})
    (spec,) = rule_specs(rule, "ipv4")
    assert spec == '-m comment --comment "p: the node\\\'s own" -j ACCEPT'
    assert tokens(spec)[3] == "p: the node's own"


def test_tokens_read_quotes_as_the_tools_do() -> None:
    assert tokens('-m comment --comment "a - \\"b\\" c" -j X') == ["-m", "comment", "--comment", 'a - "b" c', "-j", "X"]
    assert tokens('--comment "" -j X') == ["--comment", "", "-j", "X"]


def test_read_table_reads_one_table_only() -> None:
    text = "# made\n*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j X\nCOMMIT\n*filter\n:OUTPUT ACCEPT [1:2]\n:IKS-A - [0:0]\n-A OUTPUT\nCOMMIT\n"
    assert read_table(text, "filter") == {"OUTPUT": [""], "IKS-A": []}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("-j DROP", True),
        ('-m comment --comment "end" -j REJECT --reject-with icmp-port-unreachable', True),
        ("-i eth0 -j DROP", False),
        ("-p tcp -j DROP", False),
        ("-j ACCEPT", False),
        ("-m conntrack --ctstate INVALID -j DROP", False),
    ],
)
def test_catch_all(spec: str, expected: bool) -> None:
    assert is_catch_all(spec) is expected


def test_the_first_difference_is_told_wherever_it_is() -> None:
    rules = [f"accept out tcp to 192.0.2.{number} port 443 name web-{number} # x" for number in (1, 2, 3)]
    one, other, less = (
        with_ruleset(OwnState(), ruleset("region", 500, "\n".join(lines)), "ipv4")
        for lines in (rules, [rules[0], rules[2], rules[1]], rules[:2])
    )
    assert first_difference(one, one) == ""
    assert "192.0.2.3/32" in first_difference(one, other), "another order is a difference too"
    assert "192.0.2.3/32" in first_difference(less, one)
    assert "192.0.2.3/32" in first_difference(one, less)
