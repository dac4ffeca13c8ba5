# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""reachability against a real network: what is open, refused, filtered and gone is told apart, and nothing hangs it.

Needs the nodes worker1, master and internet of the lab.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab

from .playbooks import Result, run_module

NODE = "worker1"
FAR, FAR6 = "169.46.7.238", "[2001:db8:cafe::1]"
MASTER, MASTER6 = "203.0.113.10", "[2001:db8:113::10]"

# On the far end: what other people's firewalls do.
FAR_FIREWALL = """
table inet judge {
    chain first { type filter hook prerouting priority raw;
        tcp dport 3001 drop
        udp dport 3001 drop
        icmp type echo-request ip daddr 1.1.1.1 drop
        icmpv6 type echo-request ip6 daddr 2001:db8:cafe::bad drop
    }
    chain input { type filter hook input priority filter;
        tcp dport 3002 reject with tcp reset
        tcp dport 3003 reject with icmpx admin-prohibited
        udp dport 3003 reject with icmpx port-unreachable
        tcp dport 3004 reject with icmpx no-route
        icmp type echo-request ip daddr 1.1.1.2 reject with icmpx admin-prohibited
    }
}
"""
# On the node itself.
OWN_FIREWALL = """
table inet judge {
    chain output { type filter hook output priority filter;
        tcp dport 2001 drop
        udp dport 2001 drop
        tcp dport 2002 reject
        udp dport 2002 reject
        icmp type echo-request ip daddr 1.1.1.3 drop
    }
}
"""


def reachability(lab: Lab, **arguments: Any) -> Result:
    check = arguments.pop("check", False)
    return run_module(lab, NODE, "reachability", arguments, check=check)


def results(result: Result) -> dict[str, tuple[str, str]]:
    """Endpoint -> result and detail."""
    assert "results" in result.data, result.message
    return {item["endpoint"]: (item["result"], item["detail"]) for item in result.data["results"]}


@pytest.fixture
def firewalls(lab: Lab) -> Iterator[None]:
    for node, text in (("internet", FAR_FIREWALL), (NODE, OWN_FIREWALL)):
        lab.run(node, ["nft", "-f", "-"], stdin=text)
    yield
    for node in ("internet", NODE):
        lab.run(node, ["nft", "delete", "table", "inet", "judge"])


@pytest.fixture(scope="module")
def responder(lab: Lab) -> Iterator[None]:
    """DNS, NTP and a mute peer on the master."""
    source = Path(__file__).with_name("responder.py").read_text(encoding="utf-8")
    lab.write("master", "/root/responder.py", source)
    lab.run("master", ["systemd-run", "--quiet", "--unit=responder", "python3", "/root/responder.py"])
    wait_until(lambda: ":9998" in lab.run("master", ["ss", "-Hltn"]).stdout, "the responder listens")
    yield
    lab.run("master", ["systemctl", "stop", "responder"])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds} s: {what}"
        time.sleep(0.05)


@pytest.mark.parametrize("check", [False, True])
def test_open(lab: Lab, check: bool) -> None:
    """Probes are reads: check mode does the same."""
    endpoints = [
        f"tcp/{FAR}:443,20000-32767 # us-south, master dal10",
        f"tcp/{FAR6}:443",
        f"udp/{FAR}:443",
        f"udp/{FAR6}:443",
        f"icmp/{FAR}",
        "icmpv6/[2001:db8:cafe::1]",
        {"protocol": "tcp", "address": "203.0.113.11", "ports": [10250], "expected": "open"},
    ]
    found = reachability(lab, endpoints=endpoints, check=check)
    assert not found.failed, found.message
    assert not found.changed
    assert found.data["summary"] == {"open": 9, "refused": 0, "filtered": 0, "unreachable": 0, "untried": 0}
    assert (found.data["met"], found.data["findings"], found.data["notes"]) == (True, [], [])
    assert all(0 < item["latency"] < 2000 for item in found.data["results"])
    assert found.data["results"][0]["reason"] == "us-south, master dal10"


def test_closed_in_every_way(lab: Lab, firewalls: None) -> None:
    """The expectation is open throughout, so every endpoint is a finding, told in the message too."""
    found = reachability(
        lab,
        timeout=0.7,
        endpoints=[
            *[f"tcp/{address}:{ports}" for address in (FAR, FAR6) for ports in ("3001", "3002", "3003", "3004")],
            *[f"udp/{address}:{ports}" for address in (FAR, FAR6) for ports in ("3001", "3003")],
            *[f"{protocol}/{address}:{port}" for protocol in ("tcp", "udp") for address in (FAR, FAR6)
              for port in (2001, 2002)],
            *[f"icmp/1.1.1.{host}" for host in (1, 2, 3)],
            "icmpv6/[2001:db8:cafe::bad]",
            "tcp/203.0.113.11:9999",
            "tcp/203.0.113.77:443",
        ],
    )  # fmt: skip
    silent = ("filtered", "no answer within 0.7 s")
    here = ("filtered", "by this node's own firewall")
    wanted = {
        **dict.fromkeys([f"tcp/{FAR}:3001", f"tcp/{FAR6}:3001", f"udp/{FAR}:3001", f"udp/{FAR6}:3001"], silent),
        **dict.fromkeys([f"tcp/{FAR}:3002", f"tcp/{FAR6}:3002", "tcp/203.0.113.11:9999"], ("refused", "")),
        f"tcp/{FAR}:3003": ("refused", f"administratively prohibited, said by {FAR}"),
        f"tcp/{FAR6}:3003": ("refused", "administratively prohibited, said by 2001:db8:113::1"),
        f"udp/{FAR}:3003": ("refused", f"port unreachable, said by {FAR}"),
        f"udp/{FAR6}:3003": ("refused", "port unreachable, said by 2001:db8:113::1"),
        f"tcp/{FAR}:3004": ("unreachable", f"network unreachable, said by {FAR}"),
        f"tcp/{FAR6}:3004": ("unreachable", "no route, said by 2001:db8:113::1"),
        # A TCP packet that the node's own filter drops is sent again by the kernel, which tells nobody.
        **dict.fromkeys([f"tcp/{FAR}:2001", f"tcp/{FAR6}:2001"], silent),
        **dict.fromkeys([f"udp/{FAR}:2001", f"udp/{FAR6}:2001", "icmp/1.1.1.3"], here),
        **dict.fromkeys([f"tcp/{FAR}:2002", f"udp/{FAR}:2002"], ("refused", "port unreachable, said by 203.0.113.11")),
        **dict.fromkeys(
            [f"tcp/{FAR6}:2002", f"udp/{FAR6}:2002"], ("refused", "port unreachable, said by 2001:db8:113::11")
        ),
        **dict.fromkeys(["icmp/1.1.1.1", "icmpv6/[2001:db8:cafe::bad]"], silent),
        "icmp/1.1.1.2": ("refused", "administratively prohibited, said by 1.1.1.2"),
        "tcp/203.0.113.77:443": silent,
    }
    assert results(found) == wanted
    assert found.failed
    assert not found.changed
    first, *lines = found.message.splitlines()
    assert first == f"{len(wanted)} of {len(wanted)} endpoints are not as expected. Nothing was changed"
    assert lines[0] == f"tcp/{FAR}:3001: filtered (no answer within 0.7 s), expected open"
    assert (len(lines), lines[-1]) == (21, f"and {len(wanted) - 20} more, see findings")
    assert len(found.data["findings"]) == len(wanted)


def test_expectations_that_hold_and_fail_false(lab: Lab, firewalls: None) -> None:
    lines = f"tcp/{FAR}:3001=closed\ntcp/{FAR}:3002=closed\nudp/{FAR}:3001=filtered\ntcp/{FAR}:3002=refused\n"
    assert not reachability(lab, timeout=0.5, endpoints=lines).failed
    found = reachability(
        lab, timeout=0.5, endpoints=f"{lines}tcp/{FAR}:443=closed # shut", fail=False, report="findings"
    )
    assert (found.failed, found.data["met"]) == (False, False)
    assert [item["endpoint"] for item in found.data["results"]] == [f"tcp/{FAR}:443"]
    assert found.data["findings"][0].startswith(f"tcp/{FAR}:443: open after ")
    assert found.data["findings"][0].endswith("ms, expected closed # shut")


def test_no_route(lab: Lab) -> None:
    """On the node itself there is no way to it; nothing is sent."""
    lab.run(NODE, ["ip", "route", "add", "unreachable", "192.0.2.0/24"])
    lab.run(NODE, ["ip", "-6", "route", "add", "unreachable", "2001:db8:dead::/48"])
    try:
        endpoints = [
            f"{protocol}/{address}"
            for protocol, address in [
                ("tcp", "192.0.2.1:1"), ("udp", "192.0.2.1:1"), ("icmp", "192.0.2.1"), ("tcp", "[2001:db8:dead::1]:1"),
                ("udp", "[2001:db8:dead::1]:1"), ("icmpv6", "[2001:db8:dead::1]"),
            ]
        ]  # fmt: skip
        found = reachability(lab, endpoints=endpoints, expected="closed", fail=False)
    finally:
        lab.run(NODE, ["ip", "route", "del", "unreachable", "192.0.2.0/24"])
        lab.run(NODE, ["ip", "-6", "route", "del", "unreachable", "2001:db8:dead::/48"])
    assert set(results(found).values()) == {("unreachable", "EHOSTUNREACH")}
    assert not found.data["met"], "a missing route proves nothing about a firewall"
    assert found.data["seconds"] < 1


def test_services_that_answer_only_to_their_own_protocol(lab: Lab, responder: None) -> None:
    wanted = {
        f"udp/{address}:{port}": ("open", f"answers {name}")
        for address in (MASTER, MASTER6)
        for port, name in ((53, "DNS"), (123, "NTP"))
    }
    assert results(reachability(lab, endpoints=list(wanted))) == wanted
    echo = reachability(lab, endpoints=f"udp/{FAR}:53\nudp/{FAR}:123")
    assert [detail for _result, detail in results(echo).values()] == ["answers, but not DNS", "answers, but not NTP"]


def test_a_peer_that_accepts_and_never_answers(lab: Lab, responder: None) -> None:
    found = reachability(lab, timeout=0.5, endpoints=[f"{protocol}/{MASTER}:9998=any" for protocol in ("tcp", "udp")])
    assert results(found) == {
        f"tcp/{MASTER}:9998": ("open", ""),
        f"udp/{MASTER}:9998": ("filtered", "no answer within 0.5 s"),
    }
    assert found.data["seconds"] < 3


def test_thousands_at_a_time(lab: Lab) -> None:
    """A few seconds on two busy cores; the result names each."""
    endpoints = [
        f"tcp/{FAR}:20000-22499",
        f"udp/{FAR}:20000-21249",
        f"tcp/{FAR6}:20000-20624",
        f"udp/{FAR6}:20000-20624",
    ]
    found = reachability(lab, ports="all", endpoints=endpoints, concurrency=2000)
    assert not found.failed, found.message
    assert found.data["summary"]["open"] == len(found.data["results"]) == 5000
    assert found.data["seconds"] < 15


def test_few_open_files(lab: Lab) -> None:
    """A node that allows 100 files to a process: fewer at a time, none untried, and it is said."""
    script = 'exec prlimit --nofile=100:100 /usr/bin/python3 "$@"\n'
    lab.write(NODE, "/usr/local/bin/few-files", f"#!/bin/sh\n{script}", mode=0o755)
    arguments = {"endpoints": f"tcp/{FAR}:20000-20499", "ports": "all", "report": "findings"}
    found = run_module(
        lab, NODE, "reachability", arguments, vars={"ansible_python_interpreter": "/usr/local/bin/few-files"}
    )
    assert not found.failed, found.message
    assert found.data["summary"]["open"] == 500
    assert found.data["notes"] == [
        "concurrency: 36 instead of 500, as the node allows no more open files (RLIMIT_NOFILE)"
    ]


def cut_link(lab: Lab, state: str) -> None:
    link = lab.topology.node("internet").host_interface(lab.topology.node("internet").nics[0])
    subprocess.run(["ip", "-n", Path(lab.netns).name, "link", "set", link, state], check=True)


def cut_route(lab: Lab, state: str) -> None:
    if state == "down":
        lab.run(NODE, ["ip", "route", "del", "default"])
    else:
        lab.run(NODE, ["ip", "route", "add", "default", "via", "203.0.113.1", "dev", "eth0"])


@pytest.mark.parametrize(("cut", "seen"), [(cut_link, "filtered"), (cut_route, "unreachable")])
def test_a_target_that_vanishes_during_the_run(lab: Lab, cut: Callable[[Lab, str], None], seen: str) -> None:
    """Half of it is tried when the way to it is cut: the run ends in time and says which half was open."""
    arguments = {
        "endpoints": [f"tcp/{FAR}:20000-32767", f"udp/{FAR}:20000-32767"],
        "ports": "all", "fail": False, "timeout": 0.5, "retries": 0, "concurrency": 200, "time_limit": 5,
    }  # fmt: skip
    counter = "table inet seen {\n chain out { type filter hook output priority 0;\n tcp dport 20100 counter\n }\n}\n"
    lab.run(NODE, ["nft", "-f", "-"], stdin=counter)
    try:
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(reachability, lab, **arguments)
            wait_until(
                lambda: "packets 0 " not in lab.run(NODE, ["nft", "list", "table", "inet", "seen"]).stdout, "begun"
            )
            cut(lab, "down")
            began = time.monotonic()
            found = run.result()
            took = time.monotonic() - began
    finally:
        lab.run(NODE, ["nft", "delete", "table", "inet", "seen"])
        cut(lab, "up")
    assert not found.failed, found.message
    summary = found.data["summary"]
    assert sum(summary.values()) == 2 * 12768
    assert summary["open"] > 100
    assert summary[seen] > 100
    assert found.data["seconds"] < 7
    assert took < 25, "the result of 25,536 endpoints has to be handed over too"
    again = reachability(lab, endpoints=f"tcp/{FAR}:20000")
    assert not again.failed, again.message


def test_a_regions_rules(lab: Lab) -> None:
    """What the region requires is open in the lab; what comes in is said not to be testable from the node."""
    lookup = "query('iks.hardening.region_rules', 'us-south', worker_addresses=['198.51.100.11'], interface='eth0')"
    incoming = "accept in tcp port 10250 on eth0 name kubelet # kubectl logs"
    arguments = {"rules": f"{{{{ {lookup} + ['{incoming}'] }}}}"}
    found = run_module(lab, NODE, "reachability", arguments)
    assert not found.failed, found.message
    assert any(note.startswith("rule kubelet: direction in cannot be tried") for note in found.data["notes"])
    assert found.data["summary"]["open"] > 20
    assert {item["asked_by"].split()[0] for item in found.data["results"]} == {"rule"}


def test_source_and_interface(lab: Lab) -> None:
    """By the interface that does not lead there nothing comes back."""
    lab.run(NODE, ["ip", "address", "add", "203.0.113.99/32", "dev", "eth0"])
    try:
        four = f"tcp/{FAR}:443\nudp/{FAR}:443\nicmp/{FAR}"
        assert not reachability(lab, endpoints=four, source="203.0.113.99", interface="eth0").failed
        six = f"tcp/{FAR6}:443\nudp/{FAR6}:443\nicmpv6/[2001:db8:cafe::1]"
        assert not reachability(lab, endpoints=six, source="2001:db8:113::11", interface="eth0").failed
    finally:
        lab.run(NODE, ["ip", "address", "del", "203.0.113.99/32", "dev", "eth0"])
    wrong = reachability(lab, endpoints=f"tcp/{FAR}:443", interface="eth1", timeout=0.5, fail=False)
    assert wrong.data["summary"]["open"] == 0


def as_user(lab: Lab, endpoints: str) -> Result:
    return run_module(lab, NODE, "reachability", {"endpoints": endpoints}, vars={"ansible_become": False})


def test_an_ordinary_user_may_try_ports(lab: Lab) -> None:
    found = as_user(lab, f"tcp/{FAR}:443\nudp/{FAR}:443")
    assert not found.failed, found.message


def test_pings_where_the_node_lets_no_user_ping(lab: Lab, firewalls: None) -> None:
    """Raw sockets then, which hear every echo of the node; and a user is told what to do."""
    pings = f"icmp/{FAR}\nicmp/{MASTER}\nicmpv6/[2001:db8:cafe::1]\nicmp/203.0.113.11\nicmp/127.0.0.1\nicmpv6/[::1]"
    closed = "icmp/1.1.1.1=filtered\nicmp/1.1.1.2=refused\nicmp/1.1.1.3=filtered\nicmpv6/[2001:db8:cafe::bad]=filtered"
    setting = "net.ipv4.ping_group_range"
    former = lab.run(NODE, ["sysctl", "-n", setting]).stdout.strip()
    lab.run(NODE, ["sysctl", "-q", "-w", f"{setting}=1 0"])
    try:
        found = reachability(lab, endpoints=f"{pings}\n{closed}", timeout=0.7)
        user = as_user(lab, pings)
    finally:
        lab.run(NODE, ["sysctl", "-q", "-w", f"{setting}={former}"])
    assert not found.failed, found.message
    assert found.data["summary"] == {"open": 6, "refused": 1, "filtered": 3, "unreachable": 0, "untried": 0}
    assert user.failed
    assert user.message == "protocol icmp needs root: run the task with become: true. Nothing was changed"
