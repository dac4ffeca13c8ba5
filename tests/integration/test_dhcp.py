# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hardened node whose address comes from DHCP keeps it: the lease is renewed, and comes back after it has expired.

What the firewall decides here is the renewal, which systemd-networkd sends by unicast through an ordinary socket. Its
broadcasts (discovery, rebinding) go through a packet socket, which no netfilter hook sees on either way; so without
the rules the address would survive, but by broadcasts alone. The control shows that: take the rules away, and not one
renewal by unicast arrives any more. Clients without packet sockets would lose their address then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.lab import dhcp
from tests.lab.lab import Lab
from tests.lab.system import wait_until

from .playbooks import HARDEN, run_playbook

NODE = "worker2"
LEASE = 6  # seconds; half of it until the first renewal


@pytest.fixture(scope="module")
def leased(lab: Lab) -> Iterator[Lab]:
    """worker2, whose only interface has a leased address, hardened with restricted egress."""
    lab.reset(NODE)
    lab.run(NODE, ["sh", "-c", "apt-get -q -y install conntrack >/dev/null"])
    lab.enable_dhcp(NODE, lease_seconds=LEASE)
    inventory = json.loads(lab.inventory_file.read_text(encoding="utf-8"))
    workers = inventory["all"]["children"]["iks_workers"]["hosts"]
    inventory["all"]["children"] = {"iks_workers": {"hosts": {NODE: workers[NODE]}}}
    variables = {
        "iks_regions": ["us-south"],
        "iks_egress": "restricted",
        "iks_management_networks": [f"10.171.{lab.lab_id}.1"],
    }
    hardened = run_playbook(lab, HARDEN, variables, inventory=inventory).succeeded()
    assert any("Close the node" in task for task in hardened.changed[NODE])
    yield lab
    dhcp.stop_server(lab, NODE)
    lab.run(NODE, ["sh", "-c", "iptables -F; ip6tables -F"])
    lab.reset(NODE)


def renewals(lab: Lab) -> int:
    return sum(1 for entry in lab.dhcp_log(NODE) if entry.get("unicast"))


def broadcasts(lab: Lab) -> int:
    return sum(1 for entry in lab.dhcp_log(NODE) if entry.get("unicast") is False)


def has_address(lab: Lab) -> bool:
    return "dynamic" in lab.run(NODE, ["ip", "-4", "address", "show", "dev", "eth0", "scope", "global"]).stdout


def test_a_lease_is_renewed_through_the_firewall(leased: Lab) -> None:
    before, asked_all = renewals(leased), broadcasts(leased)
    started = time.monotonic()
    wait_until(
        lambda: renewals(leased) >= before + 3 and time.monotonic() - started > LEASE,
        5 * LEASE,
        "three renewals arrive, and longer than the first lease lasted",
    )
    assert has_address(leased)
    assert broadcasts(leased) == asked_all, "every renewal was answered; nobody had to be asked by broadcast"


def test_without_the_rules_no_renewal_arrives(leased: Lab) -> None:
    """The control: the first test depends on the rules that a closing ruleset always has."""
    taken = {}
    for chain in ("IKS-INPUT-node", "IKS-OUTPUT-node"):
        listed = leased.run(NODE, ["iptables", "-S", chain]).stdout.splitlines()
        rules = [line for line in listed if "dhcpv4: address leases" in line]
        assert len(rules) == 1, listed
        taken[chain] = rules[0]
        leased.run(NODE, ["sh", "-c", f"iptables {rules[0].replace('-A', '-D', 1)}"])
    # Known connections are let through; real leases last for hours, by when nobody knows the former renewal any more.
    leased.run(NODE, ["conntrack", "-F"])
    before, asked_all = renewals(leased), broadcasts(leased)
    wait_until(lambda: broadcasts(leased) > asked_all, 4 * LEASE, "the server is asked by broadcast")
    assert renewals(leased) == before

    for chain, rule in taken.items():
        leased.run(NODE, ["sh", "-c", f"iptables {rule.replace(f'-A {chain}', f'-I {chain} 1', 1)}"])
    wait_until(lambda: renewals(leased) > before, 4 * LEASE, "a renewal arrives again")


def test_after_an_expired_lease_the_node_comes_back(leased: Lab) -> None:
    """The server is away for longer than the lease lasts: the address goes, and comes back when the server does.

    Without address networkd gives up for good, as its own static routes have no way any more; so it is told to try.
    """
    dhcp.stop_server(leased, NODE)
    wait_until(lambda: not has_address(leased), 4 * LEASE, "the lease expires")
    leased.run(NODE, ["networkctl", "reconfigure", "eth0"])
    leased.enable_dhcp(NODE, lease_seconds=LEASE)  # returns when the node has its address and SSH answers
    before = renewals(leased)
    wait_until(lambda: renewals(leased) > before, 4 * LEASE, "the new lease is renewed")
