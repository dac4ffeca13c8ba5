# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random rules of the model, about the packets of random_rules.py, and the text that loads them."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable
from dataclasses import replace

from ansible_collections.iks.hardening.plugins.module_utils.iptables_text import rule_specs
from ansible_collections.iks.hardening.plugins.module_utils.traffic import WITH_PORTS, Rule
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import rule_from_dict

from .random_rules import EMPTY, REDIRECTED, Case


def random_rules(rng: random.Random, direction: str, cases: list[Case], count: int) -> list[Rule]:
    """Rules of the model about the packets of `cases`."""
    found = []
    for number in range(count):
        packet = rng.choice(cases).packet
        # A refusal that leaves by OUTPUT would be judged by the rules under test.
        actions = ("accept", "accept", "drop", "reject") if direction == "in" else ("accept", "drop")
        data: dict[str, object] = {
            "name": f"r{number}", "direction": direction, "action": rng.choice(actions), "reason": "a test's",
            "protocol": rng.choice((packet.protocol, packet.protocol, "any")),
        }  # fmt: skip
        for field, address in (("sources", packet.source), ("destinations", packet.destination)):
            if rng.random() < 0.5:
                data[field] = [_around(rng, address), _around(rng, rng.choice(cases).packet.source)]
        if data["protocol"] in WITH_PORTS:
            for field, port in (("ports", packet.port), ("source_ports", packet.source_port)):
                if rng.random() < 0.5:
                    data[field] = [str(port), *(f"{low}-{low + 3}" for low in rng.sample(range(1, 65530, 9), 20))]
        if data["protocol"] in ("icmp", "icmpv6") and rng.random() < 0.6:
            data["icmp_types"] = [packet.icmp_type, rng.randrange(255)]
        if rng.random() < 0.3:
            data["interface"] = rng.choice(("eth0", "eth1", "eth+", "cali+"))
        if direction == "forward" and rng.random() < 0.3:
            data["out_interface"] = rng.choice(("eth0", "eth1", "eth+"))
        if rng.random() < 0.3:
            data["states"] = rng.sample(("new", "established", "related", "invalid", "dnat"), 2)
        found.append(rule_from_dict(data))
    # The same traffic allowed and denied is refused by the ruleset.
    same = {str(replace(rule, name="r", action="drop")): rule for rule in found}
    return list(same.values())


def _around(rng: random.Random, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    lengths = (9, 25, 32) if address.version == 4 else (17, 49, 121, 128)
    return str(ipaddress.ip_network(f"{address}/{rng.choice(lengths)}", strict=False))


def model_save(rules: Iterable[Rule], family: str, hook: str) -> str:
    """Every table for iptables-restore: the rules in a chain of their own, and the one redirection."""
    specs = [f"-A IKS-TEST {spec}" for rule in rules for spec in rule_specs(rule, family)]
    nat = f"*nat\n-A PREROUTING -p udp -m udp --dport {REDIRECTED[0]} -j REDIRECT --to-ports {REDIRECTED[1]}\nCOMMIT\n"
    ours = "\n".join([":IKS-TEST - [0:0]", f"-A {hook} -j IKS-TEST", *specs, "COMMIT\n"])
    return nat + EMPTY.removesuffix("COMMIT\n") + ours
