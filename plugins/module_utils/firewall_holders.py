# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds rules on a node, in which backend, and which backend is therefore ours. Creates no table.

Listing a legacy table creates it, so those are looked at only when the kernel says that they exist.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

from .errors import NodeError
from .firewall_shell import PROGRAMS, Backend, Run, find_program, save_text
from .iptables_text import read_tables, target_of
from .traffic import FAMILIES

BACKENDS = ("nft", "legacy")
_BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
# Chains that tell who wrote them, the telling ones first. kubelet makes its hint in the backend that it uses, empty.
_OWNERS = (
    ("KUBE-KUBELET-CANARY", "kubelet"),
    ("KUBE-IPTABLES-HINT", "kubelet"),
    ("KUBE-FIREWALL", "kubelet"),
    ("KUBE-", "kube-proxy"),
    ("cali", "Calico"),
    ("ufw", "ufw"),
    ("DOCKER", "Docker"),
    ("CNI-", "a CNI plugin"),
    ("f2b-", "fail2ban"),
    ("IKS", "iks.hardening"),
)
_HINT = ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY")
_NATIVE = {"kube-proxy": "kube-proxy", "calico": "Calico", "firewalld": "firewalld"}
_NFT_TABLE = re.compile(r"^table (\S+) (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Holders:
    """What was found, for each backend: owner -> where, in words (`chain KUBE-SERVICES of the ipv4 nat table`).

    `native` are the owners of nftables tables that iptables does not know. `hints` are the backends in which kubelet
    left its mark. `managers` are firewall managers at work: name -> what shows it.
    """

    rules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    native: Tuple[str, ...] = ()
    hints: Tuple[str, ...] = ()
    managers: Mapping[str, str] = field(default_factory=dict)
    # (backend, family) -> what its save program printed, so that nothing is read twice.
    saves: Mapping[Tuple[str, str], str] = field(default_factory=dict)


def owner_of(chain: str) -> str:
    """Who a chain belongs to, by its name."""
    return next((owner for start, owner in _OWNERS if chain.startswith(start)), "somebody")


def holders_in(chains: Mapping[str, List[str]], where: str) -> Dict[str, str]:
    """Owner -> place of the first chain of its own that holds rules, of one table. Pure."""
    found: Dict[str, str] = {}
    for chain, specs in chains.items():
        if specs:
            # A rule in a built-in chain belongs to whoever owns the chain that it leads to.
            names = [target_of(spec) for spec in specs] if chain in _BUILT_IN else [chain]
            for name in names:
                owner = owner_of(name)
                found.setdefault(owner, f"chain {chain} of the {where}")
    return found


def managers_in(chains: Iterable[str], native: Iterable[str]) -> Dict[str, str]:
    """Firewall managers that rewrite whole tables and would undo ours, or we theirs. Pure."""
    found: Dict[str, str] = {}
    for chain in chains:
        if chain.startswith(("ufw-user-input", "ufw6-user-input")):
            found.setdefault("ufw", f"chain {chain}")
        if chain in ("INPUT_ZONES", "INPUT_direct"):
            found.setdefault("firewalld", f"chain {chain}")
    if "firewalld" in native:
        found["firewalld"] = "the nftables table firewalld"
    return found


def native_owners(listing: str) -> List[str]:
    """Owners of native nftables tables in the text of `nft list tables`. Pure."""
    names = {name for _family, name in _NFT_TABLE.findall(listing)}
    return sorted({owner for start, owner in _NATIVE.items() for name in names if name.startswith(start)})


def look(run: Run, thoroughly: bool = False) -> Holders:
    """What the node holds. Reads only.

    nft's own tables are looked at when nobody holds iptables rules, or when asked for: they decide nothing else.
    """
    rules: Dict[str, Dict[str, str]] = {}
    hints: List[str] = []
    seen: List[str] = []
    saves: Dict[Tuple[str, str], str] = {}
    for backend in BACKENDS:
        held: Dict[str, str] = {}
        for family in FAMILIES:
            if find_program(f"{PROGRAMS[family]}-{backend}-save") is None:
                continue
            # A kernel may have one of the two only; whoever needs the other is told then.
            with contextlib.suppress(NodeError):
                saves[backend, family] = save_text(run, Backend(backend, ""), family)
            text = saves.get((backend, family), "")
            for table, chains in read_tables(text).items():
                seen += chains
                held = {**holders_in(chains, f"{family} {table} table"), **held}
                if backend not in hints and any(name in chains for name in _HINT):
                    hints.append(backend)
        if held:
            rules[backend] = held
    nft = find_program("nft") if thoroughly or not rules else None
    native = native_owners(run([nft, "list", "tables"], "")[1]) if nft else []
    managers = managers_in(seen, native)
    if _is_active("firewalld"):
        managers.setdefault("firewalld", "the running service")
    return Holders(rules, tuple(native), tuple(hints), managers, saves)


def _is_active(service: str, folder: str = "/run/systemd/units") -> bool:
    """Whether systemd runs a service: it keeps a link for each, as long as it is active.

    firewalld writes no pid file under systemd, and its tables are not listed where others' rules decide the backend.
    """
    return os.path.lexists(f"{folder}/invocation:{service}.service")


def choose_backend(found: Holders, default: Optional[str]) -> Backend:
    """The backend that others use already, else kubelet's hint, else `default` (None: iptables is missing). Pure.

    Raises NodeError when rules stand in both, or when a firewall manager is at work.
    """
    for name, shows in found.managers.items():
        raise NodeError(
            f"{name} is at work on this node ({shows}); it rewrites whole tables, so neither its rules nor ours could "
            f"be trusted. Stop and disable {name}, or leave the firewall to it. Nothing was changed"
        )
    # Native tables count as nft: they are what kube-proxy or Calico use there, and never a reason to refuse.
    if len(found.rules) > 1:
        held = "; ".join(f"{backend}: {_told(found.rules[backend])}" for backend in BACKENDS)
        raise NodeError(
            f"iptables rules stand in both backends: {held}. "
            "Packets pass both, so no ruleset can be trusted; move the rules of one to the other. Nothing was changed"
        )
    for backend, held in found.rules.items():
        return Backend(backend, f"holds rules of {_told(held)}")
    if default is None:
        return Backend(None, "iptables is not installed")
    if len(found.hints) == 1:
        return Backend(found.hints[0], "kubelet's KUBE-IPTABLES-HINT stands there")
    if found.native:
        return Backend("nft", f"{' and '.join(found.native)} use native nftables tables")
    return Backend(default, "the distribution's default, as no rule exists yet")


def _told(held: Mapping[str, str]) -> str:
    return ", ".join(f"{owner} ({where})" for owner, where in sorted(held.items()))


def detect_backend(run: Run) -> Tuple[Backend, Dict[str, str]]:
    """The backend in which our rules belong, and what it holds, by family. Raises NodeError (see choose_backend)."""
    found = look(run)
    # Somebody's rules decide; without any, what the distribution's command writes.
    backend = choose_backend(found, next(iter(found.rules), None) or default_backend(run))
    return backend, {family: text for (name, family), text in found.saves.items() if name == backend.name}


def default_backend(run: Run) -> Optional[str]:
    """What the distribution's iptables command writes; None when it is not installed."""
    program = find_program("iptables")
    if program is None:
        return None
    status, output, _error = run([program, "--version"], "")
    return "legacy" if status == 0 and "nf_tables" not in output else "nft"
