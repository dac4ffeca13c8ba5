# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at before a ruleset is loaded: do its interfaces exist, and would it lock out whoever loads it?"""

from __future__ import annotations

import ipaddress
import os
from typing import Dict, Iterable, List

from .errors import NodeError, TrafficError, choices
from .node_facts import Run, interfaces, ssh_peer
from .ruleset import Ruleset, interfaces_named
from .verdict import Packet, decide


def check_interfaces(ruleset: Ruleset, folder: str = "/sys/class/net") -> None:
    """Refuse a rule on an interface that the node does not have; a rule that can match nothing protects nothing."""
    try:
        present = sorted(os.listdir(folder))
    except OSError:
        return
    for name in interfaces_named((*ruleset.rules, *ruleset.defaults)):
        if name not in present:
            rule = next(rule for rule in (*ruleset.rules, *ruleset.defaults) if name in (rule.interface, rule.out_interface))
            raise TrafficError(choices(f"rule {rule.name}: interface", name, [*(item for item in present if item != "lo"), "lo"]))


def check_lockout(ruleset: Ruleset, run: Run) -> None:
    """Refuse a ruleset that denies a new SSH connection from where this one came."""
    peer = ssh_peer(dict(os.environ), os.getppid())
    if peer is None:
        return
    found = locked_out(ruleset, peer, interfaces(run))
    if found:
        raise NodeError(found)


def locked_out(ruleset: Ruleset, peer: Dict[str, object], links: Dict[str, List[str]]) -> str:
    """Why the peer could not come back, or an empty string. Pure."""
    source = ipaddress.ip_address(str(peer["source"]))
    destination = ipaddress.ip_address(str(peer["destination"]))
    for name in _arriving(links, str(destination)):
        packet = Packet("in", "tcp", source, destination, name, port=int(str(peer["port"])), source_port=int(str(peer["source_port"])))
        verdict = decide(ruleset.for_direction("in"), packet)
        if verdict.action in ("drop", "reject") and verdict.rule is not None:
            return (
                f"rule {verdict.rule.name} would {verdict.rule.action} new SSH connections from {source} on {name} port {peer['port']}, "
                f"where this task comes from. Set iks_management_networks: [{source}/{source.max_prefixlen}] "
                "(or a network that holds it), or give allow_lockout: true"
            )
    return ""


def _arriving(links: Dict[str, List[str]], address: str) -> Iterable[str]:
    """The interface that holds an address; every interface when none does."""
    owners = [name for name, networks in links.items() if any(item.split("/")[0] == address for item in networks)]
    return owners or sorted(links)
