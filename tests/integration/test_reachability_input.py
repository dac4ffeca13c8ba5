# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reachability refuses, for real and in check mode: the message names option and value, and nothing is changed."""
# The table of cases is easier to compare in long lines; one is about unusual digits.
# ruff: noqa: E501, RUF001

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.lab import Lab

from .node_state import states
from .playbooks import play, run_playbook, task

NODE = "worker1"

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "B01": ({"endpoints": "tcp/192.0.2.1:0"}, "option endpoints[0]: ports: port 0 is outside 1-65535"),
    "B02": ({"endpoints": "tcp/192.0.2.1:65536"}, "option endpoints[0]: ports: port 65536 is outside 1-65535"),
    "B03": ({"endpoints": [{"protocol": "tcp", "address": "192.0.2.1", "ports": -1}]}, "ports: '-1' is not a port"),
    "B04": ({"endpoints": "tcp/192.0.2.1:443;reboot"}, "ports: '443;reboot' is not a port or a range"),
    "B05": ({"endpoints": "tcp/192.0.2.1:32767-20000"}, "port range 32767-20000 is reversed; write 20000-32767"),
    "B07": ({"endpoints": [{"protocol": "tcp", "address": "192.0.2.1", "ports": "http "}]}, "'http ' is not a port"),
    "B08": ({"endpoints": "icmp/192.0.2.1:22"}, "port 22 needs protocol tcp or udp, not icmp"),
    "B09": ({"endpoints": "tcp/10.0.0.0/33:1"}, "'10.0.0.0/33' is not an IPv4 or IPv6 network"),
    "B10": ({"endpoints": "tcp/10.0.0.256:1"}, "'10.0.0.256' is not an IPv4 or IPv6 network"),
    "B11": ({"endpoints": "icmp/[::1]"}, "::1 is an IPv6 address; with it goes protocol icmpv6"),
    "B12-F27": ({"endpoints": "tcp/example.org:443"}, "'example.org' is not an IPv4 or IPv6 network; names are not resolved"),
    "B12-source": ({"endpoints": "tcp/192.0.2.1:1", "source": "localhost"}, "option source: 'localhost' is not"),
    "B13": ({"endpoints": "tcp/10.0.0.5/8:443"}, "10.0.0.5/8 has host bits set; write 10.0.0.0/8 for the network"),
    "B14": ({"endpoints": []}, "option endpoints: an empty list; it never means any"),
    "B14-nothing": ({}, "options endpoints and rules leave nothing to try. Give endpoints, rules, or both"),
    "B14-rules": ({"rules": [{"name": "mine", "direction": "out", "action": "accept", "reason": "x", "destinations": []}]},
                  "rule mine: destinations is an empty list"),
    "B16": ({"endpoints": "tcp/192.0.2.1:1=open\ntcp/192.0.2.1:1=closed"}, "expected closed here and open by option endpoints[0]"),
    "B17": ({"endpoints": "tcp/010.0.0.1:1"}, "'010.0.0.1' is not an IPv4 or IPv6 network"),
    "B18": ({"endpoints": "tcp/１0.0.0.1:1"}, "'１0.0.0.1' is not an IPv4 or IPv6 network"),
    "B18-port": ({"endpoints": "tcp/10.0.0.1:４４３"}, "ports: '４４３' is not a port"),
    "B25": ({"endpoints": "tcp/192.0.2.1:1", "interface": "a-name-too-long-0"}, "option interface: 'a-name-too-long-0' has 17"),
    "B26": ({"endpoints": "tcp/192.0.2.1:1", "interface": "eth+;"}, "option interface: 'eth+;' is not an interface name"),
    "expected": ({"endpoints": "tcp/192.0.2.1:1=opne"}, "expected: 'opne' is not one of open, closed, refused, filtered, any; did you mean open?"),
    "protocol": ({"endpoints": "tpc/192.0.2.1:1"}, "protocol: 'tpc' is not one of tcp, udp, icmp, icmpv6; did you mean tcp?"),
    "interface-not-there": ({"endpoints": "tcp/192.0.2.1:1", "interface": "eth7"}, "option interface: 'eth7' is not one of "),
    "source-not-here": ({"endpoints": "tcp/192.0.2.1:1", "source": "192.0.2.9"}, "option source: 192.0.2.9 is no address of this node"),
    "timeout": ({"endpoints": "tcp/192.0.2.1:1", "timeout": 0}, "option timeout: 0 is outside 0.1-60 seconds"),
    "concurrency": ({"endpoints": "tcp/192.0.2.1:1", "concurrency": 0}, "option concurrency: 0 is outside 1-10000"),
    "only-incoming": ({"rules": "accept in tcp port 22 name ssh # x"}, "nothing to try: rule ssh: direction in cannot be tried"),
}  # fmt: skip


@pytest.fixture(scope="module")
def mistakes(lab: Lab) -> dict[bool, Any]:
    """Every mistake, for real and in check mode."""
    tasks = [task(name, "reachability", given, ignore_errors=True) for name, (given, _text) in CASES.items()]
    before = states(lab, [NODE])
    found = {check: run_playbook(lab, [play(NODE, tasks)], check=check) for check in (False, True)}
    assert states(lab, [NODE]) == before
    return found


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
@pytest.mark.parametrize("name", CASES)
def test_refused(mistakes: dict[bool, Any], name: str, check: bool) -> None:
    result = mistakes[check].one(name)
    assert result.failed
    assert not result.changed
    assert CASES[name][1] in result.message
    assert result.message.count("Nothing was changed") == 1
    assert "Traceback" not in json.dumps(result.data)
