# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts over whole chains. That they are the kernel's is proved with packets (tests/integration); here is what packets
cannot show: who decided, by which way, and what is said when it cannot be told.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.chain_walk import WayVerdict, decide_saved
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.module_utils.ipset_save import read_sets
from ansible_collections.iks.hardening.plugins.module_utils.iptables_save import Save, parse
from ansible_collections.iks.hardening.plugins.module_utils.iptables_text import rule_specs
from ansible_collections.iks.hardening.plugins.module_utils.rule_match import Bits, Surroundings
from ansible_collections.iks.hardening.plugins.module_utils.traffic import Rule
from ansible_collections.iks.hardening.plugins.module_utils.verdict import Packet, decide
from tests.strategies import rules

SAVES = Path(__file__).resolve().parents[2] / "data" / "saves"
SETS = read_sets(
    "create cali40s:3Hcb0rDjWd4kPzFGZ hash:net family inet hashsize 1024 maxelem 1048576\n"
    "add cali40s:3Hcb0rDjWd4kPzFGZ 192.0.2.0/24\n"
    "create cali40all-hosts-net hash:net family inet\nadd cali40all-hosts-net 203.0.113.12\n"
)
LOCAL = (ipaddress.ip_interface("203.0.113.11/24"), ipaddress.ip_interface("10.0.0.11/24"))
KNOWN = Surroundings(LOCAL, SETS)


def packet(**more: Any) -> Packet:
    fields: dict[str, Any] = {
        "direction": "in",
        "protocol": "tcp",
        "source": "198.51.100.1",
        "destination": "203.0.113.11",
        "interface": "eth0",
        "port": 22,
        "source_port": 50000,
        **more,
    }
    for key in ("source", "destination"):
        fields[key] = ipaddress.ip_address(fields[key])
    return Packet(**fields)


def saved(name: str) -> Save:
    return parse((SAVES / name).read_text(encoding="utf-8"))


def filtered(*lines: str, policy: str = "ACCEPT", chains: str = "") -> Save:
    declared = "".join(f":{name} - [0:0]\n" for name in chains.split())
    return parse(f"*filter\n:INPUT {policy} [0:0]\n{declared}" + "\n".join(lines) + "\nCOMMIT\n")


def verdict(
    *lines: str, node: Surroundings = KNOWN, policy: str = "ACCEPT", chains: str = "", **more: Any
) -> WayVerdict:
    return decide_saved(filtered(*lines, policy=policy, chains=chains), packet(**more), node)


@pytest.mark.parametrize(
    ("name", "more", "action", "chain", "number"),
    [
        ("calico.nft.save", {}, "accept", "cali-failsafe-in", 1),
        ("calico.legacy.save", {"port": 443}, "accept", "cali-INPUT", 7),
        ("calico.nft.save", {"port": 8080}, "drop", "cali-fh-eth0", 8),
        ("calico.nft.save", {"port": 8080, "source": "192.0.2.7"}, "accept", "cali-INPUT", 7),
        ("calico.nft.save", {"port": 8080, "interface": "eth1"}, "accept", "INPUT", 0),
        ("calico.nft.save", {"states": ("established",), "port": 8080}, "accept", "cali-fh-eth0", 1),
        ("calico.nft.save", {"protocol": "4", "port": None, "source": "203.0.113.12"}, "accept", "cali-INPUT", 1),
        ("calico.nft.save", {"protocol": "4", "port": None}, "drop", "cali-INPUT", 2),
        ("docker-fail2ban.nft.save", {"source": "203.0.113.77"}, "reject", "f2b-sshd", 1),
        ("docker-fail2ban.nft.save", {"source": "203.0.113.78"}, "accept", "IKS-INPUT-node", 2),
        ("docker-fail2ban.nft.save", {}, "drop", "IKS-INPUT-node", 3),
        ("ufw.legacy.save", {"port": 25}, "drop", "INPUT", 0),
        ("ufw.legacy.save", {"port": 445}, "drop", "ufw-skip-to-policy-input", 1),
        ("ufw.legacy.save", {"protocol": "icmp", "port": None, "icmp_type": 8}, "accept", "ufw-before-input", 6),
        ("kube-proxy.nft.save", {"destination": "127.0.0.1"}, "drop", "KUBE-FIREWALL", 1),
        ("kube-proxy.nft.save", {"destination": "127.0.0.1", "states": ("new", "dnat")}, "accept", "INPUT", 0),
    ],
)
def test_nodes(name: str, more: dict[str, Any], action: str, chain: str, number: int) -> None:
    found = decide_saved(saved(name), packet(**more), KNOWN)
    assert found.certain
    assert found.decision is not None
    assert (found.action, found.decision.chain, found.decision.number) == (action, chain, number)
    assert found.decision.path[0] == "INPUT"
    assert found.decision.path[-1] == chain
    assert found.doubts == ()


def test_who_decided_and_by_which_way() -> None:
    decision = decide_saved(saved("calico.nft.save"), packet(), KNOWN).decision
    assert decision is not None
    assert decision.path == ("INPUT", "cali-INPUT", "cali-from-host-endpoint", "cali-fh-eth0", "cali-failsafe-in")
    assert decision.comment == "cali:wWFQM43tJU7wwnFZ"
    assert str(decision).startswith("rule 1 of filter cali-failsafe-in (-A cali-failsafe-in -p tcp ")
    policy = verdict(policy="DROP").decision
    assert str(policy) == "the policy of filter INPUT"


def test_a_set_without_members_given_leaves_it_open_and_says_so() -> None:
    found = decide_saved(saved("calico.nft.save"), packet(port=8080), Surroundings(LOCAL))
    assert (found.action, found.passes, found.decision) == ("unknown", None, None)
    assert {decision.action for decision in found.decisions} == {"accept", "drop"}
    assert (
        found.doubts[0]
        == "rule 3 of filter cali-pi-_kbZ3cIpPMjLVuSpUCM7: -m set --match-set cali40s:3Hcb0rDjWd4kPzFGZ src"
    )


def test_what_cannot_be_decided_does_not_matter_when_all_ways_end_alike() -> None:
    found = verdict("-A INPUT -m limit --limit 3/min -j DROP", "-A INPUT -j DROP")
    assert (found.action, found.passes) == ("drop", False)
    logged = verdict("-A INPUT -m limit --limit 3/min -j LOG", "-A INPUT -p tcp -j ACCEPT")
    assert (logged.action, logged.decision and logged.decision.number, logged.doubts) == ("accept", 2, ())
    refused = verdict("-A INPUT -m limit --limit 3/min -j DROP", "-A INPUT -j REJECT")
    assert (refused.action, refused.passes) == ("unknown", False)


def test_a_jump_on_a_doubtful_condition() -> None:
    lines = ("-A INPUT -m recent --update --seconds 60 -j BAN", "-A INPUT -j ACCEPT", "-A BAN -p tcp -j DROP")
    found = verdict(*lines, chains="BAN")
    assert found.passes is None
    assert [decision.action for decision in found.decisions] == ["drop", "accept"]
    assert found.doubts == ("rule 1 of filter INPUT: -m recent --update --seconds 60",)
    assert verdict(*lines, chains="BAN", protocol="udp").action == "accept"


def test_a_mark_of_a_doubtful_rule_is_not_known_but_others_are() -> None:
    lines = (
        "-A INPUT -m statistic --mode random --probability 0.5 -j MARK --set-xmark 0x1/0x1",
        "-A INPUT -m mark --mark 0x2/0x2 -j DROP",
        "-A INPUT -m mark --mark 0x1/0x1 -j DROP",
    )
    assert [decision.number for decision in verdict(*lines).decisions] == [3, 0]
    assert verdict(*lines[:2]).action == "accept"


def test_a_return_and_a_goto_on_doubtful_conditions() -> None:
    maybe = "-m limit --limit 1/sec"
    returned = verdict("-A INPUT -j A", f"-A A {maybe} -j RETURN", "-A A -j DROP", "-A INPUT -j ACCEPT", chains="A")
    assert [decision.action for decision in returned.decisions] == ["drop", "accept"]
    gone = verdict("-A INPUT -j A", f"-A A {maybe} -g B", "-A A -j DROP", "-A B -p udp -j DROP", chains="A B")
    assert [(decision.action, decision.number) for decision in gone.decisions] == [("drop", 2), ("accept", 0)]


def test_what_an_unknown_target_or_an_unreadable_rule_does_is_not_known() -> None:
    for rule in (
        "-A INPUT -j NFQUEUE --queue-num 1",
        '-A INPUT -m comment --comment "open -j ACCEPT',
        "-A INPUT -j X -j Y",
    ):
        found = verdict(rule, "-A INPUT -j ACCEPT")
        assert found.passes is None, rule
        assert found.decisions[0].action == "unknown"
    denied = verdict("-A INPUT -j NFQUEUE", policy="DROP", node=KNOWN)
    assert denied.passes is None


def test_the_gate_of_a_trial() -> None:
    text = (
        "*filter\n:INPUT ACCEPT [0:0]\n:IKS-INPUT - [0:0]\n:IKS~INPUT - [0:0]\n-A INPUT -j IKS-INPUT\n"
        "-A IKS-INPUT -m set --match-set iks-gate src -g IKS~INPUT\n-A IKS-INPUT -j DROP\n-A IKS~INPUT -p tcp -j ACCEPT\nCOMMIT\n"
    )
    sets = "create iks-gate4 hash:net timeout 600\ncreate iks-gate6 hash:net family inet6 timeout 600\n"
    sets += "create iks-gate list:set size 8\nadd iks-gate iks-gate4\nadd iks-gate iks-gate6\n"
    opened = f"{sets}add iks-gate4 0.0.0.0/1 timeout 9\nadd iks-gate4 128.0.0.0/1 timeout 9\n"
    for listing, passes in ((opened, True), (sets, False), ("", None)):
        assert decide_saved(parse(text), packet(), Surroundings(LOCAL, read_sets(listing))).passes is passes


def test_early_denials_in_other_tables() -> None:
    text = (
        "*mangle\n:INPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:IKS-INPUT - [0:0]\n:IKS-POSTROUTING - [0:0]\n"
        "-A INPUT -j IKS-INPUT\n-A POSTROUTING -m addrtype --src-type LOCAL -j IKS-POSTROUTING\n"
        "-A IKS-INPUT -s 10.0.0.0/8 -j RETURN\n-A IKS-INPUT -p tcp -m tcp --dport 22 -j DROP\n"
        "-A IKS-POSTROUTING -o eth0 -p tcp -j DROP\nCOMMIT\n"
        "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n"
    )
    save = parse(text)
    denied = decide_saved(save, packet(), KNOWN)
    assert denied.action == "drop"
    assert str(denied.decision).startswith("rule 2 of mangle IKS-INPUT")
    assert [hook.table for hook in denied.hooks] == ["mangle"]
    assert decide_saved(save, packet(source="10.1.1.1"), KNOWN).action == "accept"
    out = {"direction": "out", "destination": "198.51.100.1"}
    assert decide_saved(save, packet(**out, source="203.0.113.11"), KNOWN).action == "drop"
    assert decide_saved(save, packet(**out, source="172.30.0.2"), KNOWN).action == "accept"
    assert decide_saved(save, packet(**out, source="203.0.113.11"), Surroundings()).passes is None
    only = decide_saved(save, packet(), KNOWN, [("filter", "INPUT")])
    assert (only.action, len(only.hooks)) == ("accept", 1)


def test_before_translation_the_destination_is_not_known() -> None:
    text = "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 30080 -j DROP\nCOMMIT\n"
    assert decide_saved(parse(text), packet(port=80), KNOWN).passes is True
    assert decide_saved(parse(text), packet(port=80, states=("new", "dnat")), KNOWN).passes is None


def test_a_loop_is_refused_by_name() -> None:
    with pytest.raises(HardeningError, match="-A B -j A: chain A leads back to itself"):
        verdict("-A INPUT -j A", "-A A -j B", "-A B -j A", chains="A B")


@pytest.mark.parametrize(
    ("match", "more", "answer"),
    [
        ("-p tcp -m tcp --dport 20:22", {}, True),
        ("-p tcp -m tcp ! --dport :21", {}, True),
        ("-p tcp -m multiport --ports 80,50000", {}, True),
        ("-p tcp -m tcp --dport 22", {"port": None}, None),
        ("-p 6", {}, True),
        ("-p no-such-protocol", {}, None),
        ("-s 198.51.0.1/255.255.0.255", {}, True),
        ("-i eth+", {}, True),
        ("! -i eth0", {}, False),
        ("-o eth0", {}, False),
        ("-f", {}, False),
        ("-m addrtype --dst-type LOCAL", {}, True),
        ("-m addrtype --dst-type LOCAL --limit-iface-in", {}, None),
        ("-m addrtype --dst-type BROADCAST", {"destination": "203.0.113.255"}, True),
        ("-m addrtype --dst-type BROADCAST", {"destination": "203.0.113.0"}, None),
        ("-m addrtype --src-type BLACKHOLE", {}, None),
        ("-m addrtype --src-type MULTICAST,UNICAST", {}, True),
        ("-m conntrack --ctstate NEW", {"states": ()}, None),
        ("-m conntrack --ctstate NEW --ctdir ORIGINAL", {}, None),
        ("-m conntrack --ctstate RELATED --ctdir ORIGINAL", {}, False),
        ("-m connmark --mark 0x1/0x1", {"states": ("established",)}, None),
        ("-m connmark ! --mark 0x1/0x1", {"states": ("invalid",)}, False),
        ("-m mark --mark nonsense", {}, None),
        ("-p tcp -m tcp --tcp-flags FIN,SYN SYN", {}, True),
        ("-p tcp -m tcp --tcp-flags FIN,SYN SYN", {"states": ("established",)}, None),
        ("-p tcp -m tcp --syn", {"tcp_flags": ("SYN", "ACK")}, False),
        ("-p icmp -m icmp --icmp-type 8/0", {"protocol": "icmp", "icmp_type": 8}, None),
        ("-p icmp -m icmp --icmp-type any", {"protocol": "icmp", "icmp_type": 8}, True),
        ("-m iprange --src-range 198.51.100.0-198.51.100.1", {}, True),
        ("-m socket", {}, None),
        ("-m owner --uid-owner 0", {}, None),
        ("-m comment --comment x", {}, True),
    ],
)
def test_matches(match: str, more: dict[str, Any], answer: bool | None) -> None:
    """One dropping rule: certainly yes, certainly no, or not known."""
    dropped = verdict(f"-A INPUT {match} -j DROP", **more).passes
    assert (None if dropped is None else not dropped) == answer


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_what_is_known_of_a_mark_is_true(first: int, second: int, value: int, mask: int) -> None:
    """Whatever the unknown bits are: an answer given of both possibilities holds for each."""
    either = Bits(first).merged(Bits(second))
    for real in (Bits(first), Bits(second)):
        assert either.equals(value & mask, mask) in (None, real.equals(value & mask, mask))
        changed, known = real.changed(value, mask), either.changed(value, mask)
        assert (changed.value ^ known.value) & known.known == 0
        copied, known = real.copied(Bits(value), mask, first), either.copied(Bits(value), mask, first)
        assert (copied.value ^ known.value) & known.known == 0


@given(rules(limits=False), st.data())
def test_a_rendered_rule_says_what_the_model_says(rule: Rule, data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(rule.families))
    sources, destinations = rule.addresses(family)
    outside = {"ipv4": "9.9.9.9", "ipv6": "2620:fe::9"}[family]
    protocol = "tcp" if rule.protocol == "any" else rule.protocol
    if (protocol, family) == ("ah", "ipv6"):
        return
    ports = protocol in ("tcp", "udp", "sctp")
    asked = packet(
        direction=rule.direction,
        protocol=protocol,
        source=str(data.draw(st.sampled_from([net[0] for net in sources or ()] + [ipaddress.ip_address(outside)]))),
        destination=str(
            data.draw(st.sampled_from([net[-1] for net in destinations or ()] + [ipaddress.ip_address(outside)]))
        ),
        interface=data.draw(st.sampled_from(["eth0", "eth1", "lo", "cali1", "bond0.12"])),
        out_interface=data.draw(st.sampled_from(["eth0", "cali1"])) if rule.direction == "forward" else None,
        port=data.draw(st.sampled_from([1, *(item.last for item in rule.ports or ())])) if ports else None,
        source_port=data.draw(st.sampled_from([1, *(item.first for item in rule.source_ports or ())]))
        if ports
        else None,
        icmp_type=data.draw(st.sampled_from([8, *(rule.icmp_types or ())])) if "icmp" in protocol else None,
        icmp_code=0,
        states=(data.draw(st.sampled_from(["new", "established", "related", "invalid"])),),
    )
    hook = {"in": "INPUT", "out": "OUTPUT", "forward": "FORWARD"}[rule.direction]
    lines = "".join(f"-A {hook} {spec}\n" for spec in rule_specs(rule, family))
    save = parse(f"*filter\n:{hook} ACCEPT [0:0]\n{lines}COMMIT\n")
    expected = decide([rule], asked)
    found = decide_saved(save, asked, KNOWN).decision
    assert found is not None
    assert found.action == expected.action.replace("return", "accept")
    assert bool(found.number) == (expected.rule is not None)
