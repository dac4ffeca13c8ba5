#!/usr/bin/python
# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what the network does, tried from the node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: reachability
short_description: Try from a node every endpoint that a rule set is about
version_added: 0.2.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Connects, asks and pings from the node, many endpoints at a time, and says of each whether it is V(open),
    V(refused), V(filtered) or V(unreachable), how long it took, and whether that is what was expected.
  - TCP is open when the connection is established. It is closed again at once, by a reset; nothing is sent.
  - "UDP is open only when an answer comes: to a DNS query on port 53 (the name servers of the root), to an NTP request
    on port 123, to a short plain datagram on any other. Silence is V(filtered), also when a service is there that does
    not answer strangers."
  - V(icmp) and V(icmpv6) send an echo request.
  - V(refused) is a reset, or an ICMP error that says that the port is closed or that a firewall prohibits it.
    V(unreachable) is an ICMP error or a route table that says that there is no way; it proves nothing about a
    firewall, so it meets no expectation but V(any). The detail names who sent the error.
  - V(untried) means that the time for all was over before an answer was due, or that the node had no socket or port
    left to send anything.
  - The run ends in bounded time whatever happens on the network meanwhile.
  - Changes nothing, so it does the same in check mode.
options:
  endpoints:
    description:
      - What to try, as a list of lines, a list of dictionaries, or one text with a line an endpoint.
      - "A line reads C(PROTOCOL/ADDRESS:PORTS=EXPECTED # REASON), for instance C(tcp/169.46.7.238:443,20000-32767=open)
        or C(icmpv6/[2001:db8::1]). An IPv6 address stands in brackets. Expectation and reason may be left out."
      - "A dictionary has the keys C(protocol) (V(tcp), V(udp), V(icmp), V(icmpv6)), C(address), C(ports), C(expected)
        and C(reason)."
      - Names are not resolved and networks are refused, as an endpoint is one address.
    type: raw
  rules:
    description:
      - Traffic rules, in the forms that O(iks.hardening.node_firewall#module:rules) takes. What rules of direction
        V(out) accept is expected to be open, what they drop filtered, what they reject refused; the first rule that
        matches decides.
      - A rule's interface is not forced, packets go where the routes lead; use O(interface) for that.
      - Of a network the first and the last host are tried. What is accepted there is told and not judged, as nobody
        needs to answer on an address that no rule names.
      - Rules that cannot be tried from the node (direction V(in) or V(forward), any destination, any port, protocols
        without answers) are named in RV(notes).
    type: raw
  ports:
    description: Of a port range try the V(ends) or V(all).
    type: str
    choices: [ends, all]
    default: ends
  expected:
    description:
      - What is expected of endpoints that say nothing. V(closed) is refused or filtered; V(any) is told and not judged.
    type: str
    choices: [open, closed, refused, filtered, any]
    default: open
  fail:
    description: Fail the task when an endpoint is not as expected. Otherwise RV(met) tells.
    type: bool
    default: true
  report:
    description: Put V(all) endpoints into RV(results), or only the V(findings).
    type: str
    choices: [all, findings]
    default: all
  timeout:
    description: Seconds to wait for an answer, 0.1 to 60.
    type: float
    default: 2
  retries:
    description: How many times silence is asked again, 0 to 10, unless silence is what is expected.
    type: int
    default: 1
  concurrency:
    description: How many endpoints are tried at a time, 1 to 10000; fewer where the node allows fewer open files.
    type: int
    default: 500
  time_limit:
    description:
      - Seconds for all endpoints together, 1 to 86400. What is left then is V(untried).
      - When not given, what the endpoints need if none of them answers, and a margin.
    type: int
  source:
    description: Address of the node to send from.
    type: str
  interface:
    description: Interface to send by, whatever the routes say.
    type: str
extends_documentation_fragment:
  - iks.hardening.attributes.reading
notes:
  - Works for any user. V(icmp) and V(icmpv6), and O(interface) on kernels before 5.7, may need root.
  - On older kernels (5.4 among them) an ICMP error for a TCP connection comes without its type, so a firewall that
    rejects TCP as administratively prohibited looks V(unreachable).
  - A TCP packet that the node's own firewall drops is V(filtered) without further detail, as the kernel tries again.
seealso:
  - module: iks.hardening.node_firewall
"""

EXAMPLES = r"""
- name: The master answers, the ports beside it do not
  iks.hardening.reachability:
    endpoints: |
      tcp/169.46.7.238:443,20000-32767=open # us-south, master dal10
      tcp/169.46.7.238:444,19999,32768=closed
      udp/10.0.80.11:53=open # name server

- name: Everything that a region requires, from the rules themselves
  iks.hardening.reachability:
    rules: "{{ query('iks.hardening.region_rules', 'us-south', services=['master', 'registry'],
              worker_addresses=hostvars | iks.hardening.public_addresses(groups['iks_workers'])) }}"
    fail: false
  register: network

- name: What is not as it should be
  ansible.builtin.debug:
    var: network.findings
"""

RETURN = r"""
met:
  description: Whether every endpoint is as expected.
  returned: always
  type: bool
findings:
  description: A line for each endpoint that is not as expected.
  returned: always
  type: list
  elements: str
  sample: ["tcp/169.46.7.238:443: filtered (no answer within 2 s), expected open # us-south, master dal10"]
summary:
  description: How many endpoints are V(open), V(refused), V(filtered), V(unreachable) and V(untried).
  returned: always
  type: dict
  sample: {open: 118, refused: 0, filtered: 2, unreachable: 0, untried: 0}
results:
  description: The endpoints, in the order given; only the findings with O(report=findings).
  returned: always
  type: list
  elements: dict
  contains:
    endpoint:
      description: The endpoint as a line.
      type: str
    result:
      description: V(open), V(refused), V(filtered), V(unreachable) or V(untried).
      type: str
    expected:
      description: What was expected.
      type: str
    met:
      description: Whether it is as expected.
      type: bool
    latency:
      description: Milliseconds until the answer, or null without one.
      type: float
    detail:
      description: What else is known, for instance who refused.
      type: str
    reason:
      description: Why the endpoint is in the set.
      type: str
    asked_by:
      description: The item of O(endpoints) or the rule it comes from.
      type: str
seconds:
  description: How long it took.
  returned: always
  type: float
notes:
  description: What could not be tried from this node, and why; limits that applied.
  returned: always
  type: list
  elements: str
"""

import time
from dataclasses import asdict
from typing import Any, Dict, List, Mapping, Sequence

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils.endpoints import (
    EXPECTATIONS,
    PORTS,
    RESULTS,
    Outcome,
    Wanted,
    finding,
    is_met,
    plan,
)
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError, unchanged
from ansible_collections.iks.hardening.plugins.module_utils.probe_manner import manner_of
from ansible_collections.iks.hardening.plugins.module_utils.probing import on_this_node, try_all
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules

# So many findings are told in the message of a failed task; all of them are in the result.
FINDINGS_TOLD = 20
ARGUMENTS = {
    "endpoints": {"type": "raw"},
    "rules": {"type": "raw"},
    "ports": {"type": "str", "choices": list(PORTS), "default": "ends"},
    "expected": {"type": "str", "choices": list(EXPECTATIONS), "default": "open"},
    "fail": {"type": "bool", "default": True},
    "report": {"type": "str", "choices": ["all", "findings"], "default": "all"},
    "timeout": {"type": "float", "default": 2},
    "retries": {"type": "int", "default": 1},
    "concurrency": {"type": "int", "default": 500},
    "time_limit": {"type": "int"},
    "source": {"type": "str"},
    "interface": {"type": "str"},
}


def main() -> None:
    """Parameters to plan, try, exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module.params)
    except HardeningError as error:
        module.fail_json(msg=unchanged(error))
    if module.params["fail"] and not result["met"]:
        module.fail_json(msg=complaint(result["findings"], sum(result["summary"].values())), **result)
    module.exit_json(**result)


def run(params: Mapping[str, Any]) -> Dict[str, Any]:
    """The task's result."""
    planned = plan(params["endpoints"], read_rules(params["rules"]), params["ports"], params["expected"])
    manner, limited = on_this_node(planned.wanted, manner_of(params, planned.wanted))
    began = time.monotonic()
    outcomes = try_all(planned.wanted, manner)
    seconds = round(time.monotonic() - began, 2)
    return {
        "changed": False,
        **judged(planned.wanted, outcomes, params["report"] == "all"),
        "seconds": seconds,
        "notes": [*planned.notes, *limited],
    }


def judged(wanted: Sequence[Wanted], outcomes: Sequence[Outcome], every: bool) -> Dict[str, Any]:
    """Outcomes against expectations; `every` endpoint is told, or only those that are not as expected."""
    told = [(item, outcome, is_met(item.expected, outcome.result)) for item, outcome in zip(wanted, outcomes)]
    return {
        "met": all(met for _item, _outcome, met in told),
        "findings": [finding(item, outcome) for item, outcome, met in told if not met],
        "summary": {result: sum(outcome.result == result for outcome in outcomes) for result in RESULTS},
        "results": [as_result(item, outcome, met) for item, outcome, met in told if every or not met],
    }


def as_result(wanted: Wanted, outcome: Outcome, met: bool) -> Dict[str, Any]:
    """One endpoint of the result."""
    return {
        "endpoint": str(wanted.endpoint),
        "expected": wanted.expected,
        "met": met,
        "reason": wanted.reason,
        "asked_by": wanted.asked_by,
        **asdict(outcome),
    }


def complaint(findings: List[str], number: int) -> str:
    """The message of a failed task."""
    more = len(findings) - FINDINGS_TOLD
    lines = [*findings[:FINDINGS_TOLD], *([f"and {more} more, see findings"] if more > 0 else [])]
    verb = "is" if len(findings) == 1 else "are"
    return "\n".join([f"{len(findings)} of {number} endpoints {verb} not as expected. Nothing was changed", *lines])


if __name__ == "__main__":
    main()
