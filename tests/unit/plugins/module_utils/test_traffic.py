# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The traffic model refuses whatever could be misunderstood, and reads back what it wrote."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.errors import TrafficError
from ansible_collections.iks.hardening.plugins.module_utils.traffic import PortRange
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import (
    read_rules,
    rule_from_line,
    rule_to_line,
)
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import rule_from_dict, rule_to_dict

GOOD: dict[str, Any] = {"name": "r", "direction": "in", "action": "accept", "protocol": "tcp", "reason": "because"}

# id -> (what is changed in a good rule, what the message must contain)
REFUSED = {
    "B01-port-0": ({"ports": [0]}, "port 0 is outside 1-65535"),
    "B02-port-65536": ({"ports": [65536]}, "port 65536 is outside 1-65535"),
    "B03-port-negative": ({"ports": [-1]}, "'-1' is not a port"),
    "B04-port-shell": ({"ports": ["443;reboot"]}, "'443;reboot' is not a port"),
    "B05-range-reversed": ({"ports": ["32767-20000"]}, "reversed; write 20000-32767"),
    "B07-port-word": ({"ports": ["http "]}, "'http ' is not a port"),
    "B08-port-with-icmp": ({"protocol": "icmp", "ports": [80]}, "port 80 needs protocol tcp, udp or sctp, not icmp"),
    "B08-port-without-protocol": ({"protocol": "any", "ports": [80]}, "needs protocol tcp, udp or sctp, not any"),
    "B09-prefix-33": ({"sources": ["10.0.0.0/33"]}, "'10.0.0.0/33' is not"),
    "B10-octet-256": ({"sources": ["10.0.0.256"]}, "'10.0.0.256' is not"),
    "B11-ipv6-in-ipv4-rule": ({"families": ["ipv4"], "sources": ["::1"]}, "sources ::1/128 can match nothing"),
    "B11-families-apart": ({"sources": ["::1"], "destinations": ["10.0.0.1"]}, "can match nothing"),
    "B12-host-name": ({"destinations": ["example.org"]}, "names are not resolved"),
    "B13-host-bits": ({"sources": ["10.0.0.5/8"]}, "write 10.0.0.0/8 for the network or 10.0.0.5 for the host"),
    "B14-empty-sources": ({"sources": []}, "an empty list never means any"),
    "B14-empty-ports": ({"ports": []}, "an empty list never means any"),
    "B17-octal": ({"sources": ["010.0.0.1"]}, "'010.0.0.1' is not"),
    "B18-unicode-digits": ({"sources": ["١٠.0.0.1"]}, "is not an IPv4 or IPv6 network"),
    "B18-unicode-port": ({"ports": ["４４３"]}, "is not a port"),
    "B19-newline": ({"reason": "a\n-A INPUT -j ACCEPT"}, "control character"),
    "B20-quote": ({"reason": 'a" -j ACCEPT'}, "iptables-restore would misread"),
    "B21-comment-too-long": ({"reason": "x" * 255}, "the kernel's comment holds 255"),
    "B22-nul": ({"reason": "a\0b"}, "control character"),
    "B25-interface-over-15": ({"interface": "abcdefghijklmnop"}, "has 16 characters"),
    "B26-interface-shell": ({"interface": "eth+;"}, "is not an interface name"),
    "B27-option-in-a-value": ({"interface": "eth0 -j ACCEPT"}, "is not an interface name"),
    "B27-option-in-a-name": ({"name": "x -j ACCEPT"}, "rule name 'x -j ACCEPT'"),
    "unknown-option": ({"port": [80]}, "did you mean ports?"),
    "unknown-direction": ({"direction": "inn"}, "did you mean in?"),
    "unknown-action": ({"action": "allow"}, "not one of accept, drop, reject"),
    "unknown-protocol": ({"protocol": "tpc"}, "did you mean tcp?"),
    "unknown-state": ({"states": ["fresh"]}, "not one of new, established"),
    "unknown-family": ({"families": ["ipv5"]}, "not one of ipv4, ipv6"),
    "no-reason": ({"reason": " "}, "reason is missing"),
    "out-interface-inwards": ({"out_interface": "eth1"}, "only for direction forward"),
    "icmp-type-with-tcp": ({"icmp_types": [8]}, "needs protocol icmp or icmpv6"),
    "icmp-type-256": ({"protocol": "icmp", "icmp_types": [256]}, "not a number from 0 to 255"),
    "boolean-port": ({"ports": [True]}, "is not a port"),
    "icmpv6-over-ipv4": ({"protocol": "icmpv6", "families": ["ipv4"]}, "icmpv6 is ipv6 only"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TrafficError) as caught:
        rule_from_dict({**GOOD, **change})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["name", "direction", "action", "reason"])
def test_missing(key: str) -> None:
    with pytest.raises(TrafficError, match=f"{key} is missing"):
        rule_from_dict({name: value for name, value in GOOD.items() if name != key})


ACCEPTED = {
    "plain": {},
    "any-is-written": {"sources": "any"},
    "both-families": {"sources": ["10.0.0.0/8", "fd00::/8"]},
    "number-of-a-protocol": {"protocol": 112},
    "unnamed-protocol": {"protocol": "47"},
    "ports": {"ports": [443, "20000-32767"], "source_ports": "1024-65535"},
    "icmp": {"protocol": "icmp", "icmp_types": [8, 0]},
    "forward": {"direction": "forward", "interface": "eth1", "out_interface": "eth0"},
    "wildcard": {"interface": "cali+"},
    "states": {"states": ["dnat"]},
    "hash-in-reason": {"reason": "issue #7"},
}


@pytest.mark.parametrize("change", ACCEPTED.values(), ids=ACCEPTED)
def test_reads_back(change: dict[str, Any]) -> None:
    rule = rule_from_dict({**GOOD, **change})
    assert rule_from_dict(rule_to_dict(rule)) == rule
    assert rule_from_line(rule_to_line(rule)) == rule
    assert hash(rule) == hash(rule_from_line(rule_to_line(rule)))


def test_canonical() -> None:
    left = rule_from_dict({**GOOD, "sources": ["10.0.0.2", "10.0.0.1/32"], "ports": [81, "80", "82-90", 85]})
    right = rule_from_dict({**GOOD, "sources": ["10.0.0.1", "10.0.0.2"], "ports": ["80-90"]})
    assert left == right
    assert left.ports == (PortRange(80, 90),)


def test_families_follow_addresses() -> None:
    assert rule_from_dict({**GOOD, "sources": ["10.0.0.0/8"]}).families == ("ipv4",)
    assert rule_from_dict({**GOOD, "protocol": "icmpv6"}).families == ("ipv6",)
    assert rule_from_dict(GOOD).families == ("ipv4", "ipv6")


LINES_REFUSED = {
    "no-reason": ("accept in tcp name a", "the reason is missing"),
    "no-name": ("accept in tcp # r", "name is missing"),
    "odd-words": ("accept in tcp port # r", "pairs of word and value"),
    "unknown-word": ("accept in tcp prot 80 name a # r", "did you mean port?"),
    "twice": ("accept in tcp port 80 port 81 name a # r", "port is given twice"),
}


@pytest.mark.parametrize(("line", "message"), LINES_REFUSED.values(), ids=LINES_REFUSED)
def test_lines_refused(line: str, message: str) -> None:
    with pytest.raises(TrafficError) as caught:
        rule_from_line(line)
    assert message in str(caught.value)


def test_read_rules_takes_every_form() -> None:
    line = "accept in tcp name a # r"
    assert [rule.name for rule in read_rules(f"# heading\n\n{line}\n")] == ["a"]
    assert [rule.name for rule in read_rules([line, {**GOOD, "name": "b"}])] == ["a", "b"]
    assert read_rules(None) == []
    with pytest.raises(TrafficError, match="rule a: the name is given twice"):
        read_rules([line, line])
    with pytest.raises(TrafficError, match="a rule is a dictionary or a line"):
        read_rules([7])


@pytest.mark.parametrize(("rate", "burst"), [("1/day", 1), ("3/day", 3), ("1/hour", 24), ("1/minute", 1000)])
def test_a_burst_is_at_most_a_days_worth(rate: str, burst: int) -> None:
    data = {"name": "p", "direction": "in", "action": "drop", "reason": "r", "rate": rate}
    assert rule_from_dict({**data, "burst": burst}).rate.burst == burst
    assert rule_from_dict(data).rate.burst == min(5, burst)
    with pytest.raises(TrafficError, match="rule p: burst .* (is outside 1-1000|a day's worth, )"):
        rule_from_dict({**data, "burst": burst + 1})
