# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that are measured, in the words of each peer."""

from __future__ import annotations

import sys

from tests.demo.play import COLLECTIONS

if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))

# Late: from the installed collection, as the plays have it.
from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import (
    restore_text,
    with_ruleset,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import OwnState
from ansible_collections.iks.hardening.plugins.module_utils.peer_sets import create_text
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset
from ansible_collections.iks.hardening.plugins.module_utils.traffic import IPV4
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules

NAME = "bench"
NFT_TABLE = "bench"


def rule_lines(count: int) -> str:
    """So many rules, each with a source and a port of its own."""
    return "\n".join(
        f"accept in tcp from {_address(number)} port {_port(number)} name bench-{number} # benchmark rule {number}"
        for number in range(count)
    )


def prefix_line(count: int) -> str:
    """One rule with so many sources, which become one ipset: networks and hosts in turns."""
    return f"accept in tcp from {','.join(prefixes(count))} port 443 name bench # benchmark prefixes"


def prefixes(count: int) -> list[str]:
    """So many networks of which none holds another."""
    return [
        f"10.{number >> 12}.{number >> 4 & 255}.{number << 4 & 255}/{28 if number % 2 else 32}"
        for number in range(count)
    ]


def planned(lines: str) -> OwnState:
    """What node_firewall wants on an empty node, of IPv4. Pure: the whole of reading and planning."""
    return with_ruleset(OwnState(), Ruleset(NAME, 900, tuple(read_rules(lines))), IPV4)


def load_text(state: OwnState) -> str:
    """The iptables-restore input that node_firewall gives on an empty node."""
    return restore_text(OwnState(), state)


def removal_text(state: OwnState) -> str:
    """The input that takes it away again."""
    return restore_text(state, OwnState())


def ipset_text(state: OwnState) -> tuple[str, str]:
    """Name of the one set of a state, and the ipset restore input that makes it."""
    ((name, members),) = state.sets.items()
    return name, create_text(name, members)


def nft_rules(count: int) -> str:
    """The same rules in nft's own language, in a table of their own."""
    rules = "\n".join(
        f'    ip saddr {_address(number)} tcp dport {_port(number)} accept comment "bench-{number}: benchmark rule"'
        for number in range(count)
    )
    return f"table inet {NFT_TABLE} {{\n  chain input {{\n    type filter hook input priority 0;\n{rules}\n  }}\n}}\n"


def nft_set(count: int) -> str:
    """The same prefixes in nft's own language."""
    members = ",\n".join(prefixes(count))
    kind = "type ipv4_addr; flags interval;"
    rule = "type filter hook input priority 0; ip saddr @peers tcp dport 443 accept;"
    content = f"  set peers {{ {kind} elements = {{ {members} }} }}\n  chain input {{ {rule} }}\n"
    return f"table inet {NFT_TABLE} {{\n{content}}}\n"


def _address(number: int) -> str:
    return f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}"


def _port(number: int) -> int:
    return 1024 + number % 60000
