# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reachability check tries, from lines, dictionaries and rules; what it refuses; how results are judged."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.endpoints import (
    EXPECTATIONS,
    MOST_ENDPOINTS,
    PROTOCOLS,
    RESULTS,
    Endpoint,
    Outcome,
    Plan,
    Wanted,
    finding,
    is_met,
    plan,
    read_endpoints,
    sampled,
    why_untestable,
)
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.module_utils.probe_manner import Manner, manner_of, time_needed
from ansible_collections.iks.hardening.plugins.module_utils.traffic import PortRange, Rule
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import merge_ranges
from ansible_collections.iks.hardening.plugins.module_utils.verdict import Packet, decide
from tests.strategies import rules


def told(found: Plan) -> list[str]:
    return [f"{item.endpoint}={item.expected}" for item in found.wanted]


def of(value: Any, ports: str = "ends", expected: str = "open") -> list[str]:
    return told(plan(value, [], ports, expected))


def of_rules(text: str, ports: str = "ends") -> Plan:
    return plan(None, read_rules(text), ports, "open")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tcp/169.46.7.238:443=open", ["tcp/169.46.7.238:443=open"]),
        ("tcp/169.46.7.238:443", ["tcp/169.46.7.238:443=open"]),
        ("TCP/169.46.7.238/32:443=closed", ["tcp/169.46.7.238:443=closed"]),
        ("udp/[2001:DB8::53]:53=any", ["udp/[2001:db8::53]:53=any"]),
        ("icmp/203.0.113.11=filtered # no pings", ["icmp/203.0.113.11=filtered"]),
        ("icmpv6/[2001:db8::1]", ["icmpv6/[2001:db8::1]=open"]),
        ("tcp/192.0.2.1:20-22", ["tcp/192.0.2.1:20=open", "tcp/192.0.2.1:22=open"]),
        ("tcp/192.0.2.1:9,7,8=refused", [f"tcp/192.0.2.1:{port}=refused" for port in (7, 8, 9)]),
    ],
)
def test_lines(line: str, expected: list[str]) -> None:
    assert of(line) == expected
    assert of([line]) == expected


def test_text_has_a_line_an_endpoint_and_comments() -> None:
    assert of("# masters\n\ntcp/192.0.2.1:22 # why\n  udp/192.0.2.1:53=any\n") == [
        "tcp/192.0.2.1:22=open",
        "udp/192.0.2.1:53=any",
    ]


def test_dictionaries() -> None:
    given_ones = [
        {"protocol": "tcp", "address": "192.0.2.1", "ports": [443, "20-22"], "expected": "closed", "reason": "a  test"},
        {"protocol": "icmp", "address": "192.0.2.1"},
    ]
    found = plan(given_ones, [], "all", "filtered").wanted
    assert [str(item.endpoint) for item in found] == [
        *[f"tcp/192.0.2.1:{port}" for port in (20, 21, 22, 443)],
        "icmp/192.0.2.1",
    ]
    assert {(item.expected, item.reason, item.asked_by) for item in found} == {
        ("closed", "a test", "option endpoints[0]"),
        ("filtered", "", "option endpoints[1]"),
    }


REFUSED = {
    "B01": ("tcp/192.0.2.1:0", "option endpoints[0]: ports: port 0 is outside 1-65535"),
    "B02": ("tcp/192.0.2.1:65536", "option endpoints[0]: ports: port 65536 is outside 1-65535"),
    "B02-far": ("tcp/192.0.2.1:20000-70000", "ports: port 70000 is outside 1-65535"),
    "B03": ({"protocol": "tcp", "address": "192.0.2.1", "ports": -1}, "ports: '-1' is not a port or a range"),
    "B04": ("tcp/192.0.2.1:443;reboot", "ports: '443;reboot' is not a port or a range first-last, both 1-65535"),
    "B05": ("tcp/192.0.2.1:32767-20000", "ports: port range 32767-20000 is reversed; write 20000-32767"),
    "B07": ({"protocol": "tcp", "address": "192.0.2.1", "ports": "http "}, "ports: 'http ' is not a port"),
    "B08": ("icmp/192.0.2.1:22", "port 22 needs protocol tcp or udp, not icmp"),
    "B09": ("tcp/10.0.0.0/33:1", "address: '10.0.0.0/33' is not an IPv4 or IPv6 network"),
    "B10": ("tcp/10.0.0.256:1", "address: '10.0.0.256' is not an IPv4 or IPv6 network"),
    "B11": ("icmp/[::1]", "address: ::1 is an IPv6 address; with it goes protocol icmpv6"),
    "B11-v4": ("icmpv6/192.0.2.1", "address: 192.0.2.1 is an IPv4 address; with it goes protocol icmp"),
    "B12": ("tcp/example.org:443", "address: 'example.org' is not an IPv4 or IPv6 network; names are not resolved"),
    "B13": ("tcp/10.0.0.5/8:443", "10.0.0.5/8 has host bits set; write 10.0.0.0/8 for the network or 10.0.0.5"),
    "B14": ([], "option endpoints: an empty list; it never means any"),
    "B14-text": ("# nothing\n", "option endpoints: an empty list"),
    "B14-ports": ({"protocol": "tcp", "address": "192.0.2.1", "ports": []}, "ports is an empty list"),
    "B15": ("tcp/0.0.0.0:443", "address: 0.0.0.0 is no address of a host"),
    "B17": ("tcp/010.0.0.1:1", "address: '010.0.0.1' is not an IPv4 or IPv6 network"),
    "B18": ("tcp/１0.0.0.1:1", "address: '１0.0.0.1' is not an IPv4 or IPv6 network"),
    "B18-port": ("tcp/10.0.0.1:４４３", "ports: '４４３' is not a port"),
    "network": ("tcp/10.0.0.0/8:1", "address: 10.0.0.0/8 is a network; an endpoint is one address"),
    "multicast": ("udp/224.0.0.18:1", "address: 224.0.0.18 is no address of a host"),
    "mapped": ("tcp/[::ffff:192.0.2.1]:1", "is an IPv4 address; write 192.0.2.1"),
    "no-brackets": ("tcp/2001:db8::1:443", "an IPv6 address stands in brackets"),
    "protocol": ("tpc/192.0.2.1:1", "protocol: 'tpc' is not one of tcp, udp, icmp, icmpv6; did you mean tcp?"),
    "protocol-vrrp": ("vrrp/192.0.2.1", "protocol: 'vrrp' is not one of tcp, udp, icmp, icmpv6"),
    "expected": ("tcp/192.0.2.1:1=opne", "expected: 'opne' is not one of open, closed, refused, filtered, any; did you"),
    "no-port": ("tcp/192.0.2.1", "ports is missing; tcp needs a port or a range"),
    "key": ({"protocol": "tcp", "adress": "192.0.2.1"}, "key: 'adress' is not one of protocol, address"),
    "no-address": ({"protocol": "tcp", "ports": 1}, "option endpoints[0]: address is missing"),
    "no-protocol": ({"address": "192.0.2.1"}, "option endpoints[0]: protocol is missing; it is one of tcp, udp"),
    "shape": (443, "an endpoint is a line or a dictionary, not int 443"),
    "contradiction": ("tcp/192.0.2.1:1=open\ntcp/192.0.2.1:1=filtered",
                      "option endpoints[1]: tcp/192.0.2.1:1 is expected filtered here and open by option endpoints[0]"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    value, text = REFUSED[case]
    with pytest.raises(HardeningError) as caught:
        of(value)
    assert text in str(caught.value)
    assert str(caught.value).startswith("option endpoints")


def test_nothing_to_try_is_refused() -> None:
    with pytest.raises(HardeningError, match="options endpoints and rules leave nothing to try. Give endpoints, rules"):
        plan(None, [], "ends", "open")
    with pytest.raises(HardeningError, match="nothing to try: rule ssh: direction in cannot be tried from this node"):
        of_rules("accept in tcp port 22 name ssh # x")


def test_too_much_is_refused() -> None:
    with pytest.raises(HardeningError, match=f"'all' makes more than {MOST_ENDPOINTS} endpoints; use ends"):
        of([f"tcp/192.0.2.{host}:1-65535" for host in range(1, 6)], "all")


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("any", "open", "open"),
        ("open", "any", "open"),
        ("closed", "filtered", "filtered"),
        ("refused", "closed", "refused"),
        ("open", "open", "open"),
    ],
)
def test_an_endpoint_asked_for_twice_is_tried_once(first: str, second: str, kept: str) -> None:
    assert of([f"tcp/192.0.2.1:1={first}", f"tcp/192.0.2.1:1={second}"]) == [f"tcp/192.0.2.1:1={kept}"]


def test_rules_become_endpoints() -> None:
    found = of_rules(
        """
        accept out tcp to 169.46.7.238 port 443,20000-32767 name master # us-south
        drop out udp to 192.0.2.1 port 53 name no-dns # x
        reject out tcp to 2001:db8::1 port 25 name no-mail # x
        accept out icmp to 192.0.2.1 type 8 name ping # x
        accept out tcp to 198.51.100.0/29 port 443 name registry # x
        drop out tcp to 203.0.113.0/24 port 80 name shut # x
        """
    )
    assert told(found) == [
        "tcp/169.46.7.238:443=open",
        "tcp/169.46.7.238:20000=open",
        "tcp/169.46.7.238:32767=open",
        "udp/192.0.2.1:53=filtered",
        "tcp/[2001:db8::1]:25=refused",
        "icmp/192.0.2.1=open",
        "tcp/198.51.100.1:443=any",
        "tcp/198.51.100.6:443=any",
        "tcp/203.0.113.1:80=filtered",
        "tcp/203.0.113.254:80=filtered",
    ]
    assert found.notes == ()
    assert found.wanted[0] == Wanted(found.wanted[0].endpoint, "open", "us-south", "rule master")


def test_the_first_rule_that_matches_decides() -> None:
    found = of_rules(
        """
        accept out tcp to 192.0.2.1 port 443 name open # x
        drop out tcp to 192.0.2.0/24 port 440-450 name shut # x
        drop out tcp to 192.0.2.1 port 443-444 name late # x
        accept out tcp to 192.0.2.1 port 445 name never # x
        """
    )
    assert set(told(found)) == {
        "tcp/192.0.2.1:443=open", "tcp/192.0.2.1:440=filtered", "tcp/192.0.2.1:450=filtered",
        "tcp/192.0.2.254:440=filtered", "tcp/192.0.2.254:450=filtered",
        "tcp/192.0.2.1:444=filtered", "tcp/192.0.2.1:445=filtered",
    }  # fmt: skip


def test_what_cannot_be_tried_is_said() -> None:
    found = of_rules(
        """
        accept in tcp port 22 name ssh # x
        accept in udp port 53 name dns # x
        accept forward tcp to 192.0.2.1 port 1 name through # x
        accept out vrrp to 192.0.2.1 name vrrp # x
        accept out tcp port 443 name everywhere # x
        accept out udp to 224.0.0.18 port 443 name multicast # x
        accept out tcp to 192.0.2.1 name every-port # x
        accept out tcp to 192.0.2.1 port 9 source-port 22 name answers # x
        accept out tcp to 192.0.2.1 port 9 state established name old # x
        accept out icmp to 192.0.2.1 type 3 name errors # x
        accept out tcp to 192.0.2.1 port 443 name yes # x
        """
    )
    assert told(found) == ["tcp/192.0.2.1:443=open"]
    assert found.notes == (
        "rules ssh, dns: direction in cannot be tried from this node; try it from the other side",
        "rule through: direction forward cannot be tried from this node; try it from the other side",
        "rule vrrp: protocol vrrp cannot be tried; tcp, udp, icmp and icmpv6 can",
        "rule everywhere: any destination names no address to try",
        "rule multicast: a multicast destination has no host to answer",
        "rule every-port: any port names no port to try",
        "rule answers: source port 22 is for answers, not for new connections",
        "rule old: state established is not for new connections",
        "rule errors: only echo requests can be tried",
    )


def test_a_note_names_a_few_rules() -> None:
    many = "".join(f"accept in tcp port {port} name r{port} # x\n" for port in range(1, 21))
    (note,) = of_rules(f"{many}accept out tcp to 192.0.2.1 port 1 name yes # x").notes
    assert note.startswith("rules r1, r2, r3, r4, r5, r6, r7, r8 and 12 more: direction in")


@pytest.mark.parametrize(
    ("expected", "met_by"),
    [
        ("open", {"open"}),
        ("refused", {"refused"}),
        ("filtered", {"filtered"}),
        ("closed", {"refused", "filtered"}),
        ("any", set(RESULTS)),
    ],
)
def test_expectations(expected: str, met_by: set[str]) -> None:
    assert {result for result in RESULTS if is_met(expected, result)} == met_by


def test_a_finding_is_a_line() -> None:
    wanted = Wanted(Endpoint("tcp", ipaddress.ip_address("192.0.2.1"), 443), "open", "the master", "rule master")
    refused = Outcome("refused", 1.5, "port unreachable, said by 192.0.2.9")
    assert finding(wanted, refused) == (
        "tcp/192.0.2.1:443: refused after 1.5 ms (port unreachable, said by 192.0.2.9), expected open # the master"
    )


_ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(
    lambda item: (
        not (item.is_multicast or item.is_unspecified or getattr(item, "ipv4_mapped", None))
        and str(item) != "255.255.255.255"
    )
)


@st.composite
def endpoints(draw: Any) -> Endpoint:
    address = draw(_ADDRESSES)
    protocol = draw(st.sampled_from(["tcp", "udp", "icmp" if address.version == 4 else "icmpv6"]))
    return Endpoint(protocol, address, draw(st.integers(1, 65535)) if protocol in ("tcp", "udp") else 0)


@given(endpoints(), st.sampled_from(EXPECTATIONS))
def test_an_endpoint_reads_back(endpoint: Endpoint, expected: str) -> None:
    (found,) = read_endpoints(f"{endpoint}={expected} # why", "ends", "open")
    assert (found.endpoint, found.expected, found.reason) == (endpoint, expected, "why")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = list(read_endpoints(text, "ends", "open"))
    except HardeningError:
        return
    assert all(item.endpoint.protocol in PROTOCOLS for item in found)


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, 90)), min_size=1, max_size=5))
def test_ends_are_of_all(pairs: list[tuple[int, int]]) -> None:
    ranges = merge_ranges(PortRange(first, first + more) for first, more in pairs)
    every, ends = sampled(ranges, "all"), sampled(ranges, "ends")
    assert set(ends) <= set(every)
    assert all(any(port in item for item in ranges) for port in every)
    assert {item.first for item in ranges} | {item.last for item in ranges} == set(ends)
    assert sorted(set(every)) == every


@given(st.lists(rules(), min_size=1, max_size=6))
def test_every_rule_is_tried_or_named(given_rules: list[Rule]) -> None:
    named = [Rule(**{**vars(rule), "name": f"r{place}"}) for place, rule in enumerate(given_rules)]
    if all(why_untestable(rule) for rule in named):
        with pytest.raises(HardeningError, match="leave nothing to try"):
            plan(None, named, "ends", "open")
        return
    found = plan(None, named, "ends", "open")
    keys = [item.endpoint for item in found.wanted]
    assert len(keys) == len(set(keys))
    notes = " ".join(found.notes)
    for rule in named:
        assert bool(why_untestable(rule)) == (f"{rule.name}:" in notes or f"{rule.name}," in notes)


@given(
    st.lists(
        st.tuples(st.sampled_from(["accept", "drop"]), st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=8
    )
)
def test_expectations_agree_with_the_verdict(shapes: list[tuple[str, int, int]]) -> None:
    text = "".join(
        f"{action} out tcp to 192.0.2.1 port {first}-{first + more} name r{place} # x\n"
        for place, (action, first, more) in enumerate(shapes)
    )
    ruleset = read_rules(text)
    here = ipaddress.ip_address("192.0.2.9")
    for item in plan(None, ruleset, "all", "open").wanted:
        packet = Packet("out", "tcp", here, item.endpoint.address, "eth0", item.endpoint.port)
        assert item.expected == {"accept": "open", "drop": "filtered"}[decide(ruleset, packet).action]


PARAMETERS: dict[str, Any] = {
    "timeout": 2.0, "retries": 1, "concurrency": 500, "time_limit": None, "source": None, "interface": None,
}  # fmt: skip


def manner(**given_ones: Any) -> Manner:
    wanted = plan("tcp/192.0.2.1:1-1000", [], "all", "open").wanted
    return manner_of({**PARAMETERS, **given_ones}, wanted)


def test_manner() -> None:
    assert manner() == Manner(2.0, 1, 500, time_needed(1000, 2.0, 1, 500))
    assert manner(time_limit=9, source="192.0.2.9", interface="eth0") == Manner(2.0, 1, 500, 9, "192.0.2.9", "eth0")


@pytest.mark.parametrize(
    ("given_ones", "text"),
    [
        ({"timeout": 0.0}, "option timeout: 0 is outside 0.1-60 seconds"),
        ({"timeout": float("nan")}, "option timeout: nan is outside 0.1-60 seconds"),
        ({"retries": -1}, "option retries: -1 is outside 0-10"),
        ({"concurrency": 0}, "option concurrency: 0 is outside 1-10000"),
        ({"time_limit": 0}, "option time_limit: 0 is outside 1-86400 seconds"),
        ({"source": "example.org"}, "option source: 'example.org' is not an IPv4 or IPv6 network; names are not"),
        ({"source": "192.0.2.0/24"}, "option source: 192.0.2.0/24 is a network; write one address"),
        ({"source": "::1"}, "option source: ::1 is an IPv6 address, and option endpoints[0] asks for tcp/192.0.2.1:1;"),
        ({"interface": "eth0;"}, "option interface: 'eth0;' is not an interface name"),
        ({"interface": "eth+"}, "option interface: 'eth+' matches several"),
        ({"interface": "a-name-too-long-0"}, "option interface: 'a-name-too-long-0' has 17 characters"),
    ],
)
def test_manner_refused(given_ones: dict[str, Any], text: str) -> None:
    with pytest.raises(HardeningError) as caught:
        manner(**given_ones)
    assert text in str(caught.value)


@given(st.integers(1, 10**5), st.floats(0.1, 60), st.integers(0, 10), st.integers(1, 10**4))
def test_the_time_limit_leaves_room_for_every_round(
    number: int, timeout: float, retries: int, concurrency: int
) -> None:
    rounds = -(-number // concurrency)
    assert time_needed(number, timeout, retries, concurrency) > rounds * timeout * (1 + retries)
