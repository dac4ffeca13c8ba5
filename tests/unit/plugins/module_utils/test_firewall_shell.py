# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shell around iptables: both families or none, and the backend is found without creating anything."""

from __future__ import annotations

from typing import Callable, Dict, List, Tuple

import pytest

from ansible_collections.iks.hardening.plugins.module_utils import firewall_holders, firewall_shell
from ansible_collections.iks.hardening.plugins.module_utils.errors import NodeError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_holders import detect_backend
from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import with_ruleset
from ansible_collections.iks.hardening.plugins.module_utils.firewall_shell import Backend, apply_states, read_states
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import OwnState
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset
from ansible_collections.iks.hardening.plugins.module_utils.traffic import FAMILIES
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules

EMPTY = "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
RULESET = Ruleset("region", 500, tuple(read_rules("accept out tcp port 443 name web # a reason")))


class Node:
    """Answers like the iptables tools: keeps, for each program, what was loaded last."""

    def __init__(self, fail: Callable[[List[str]], bool] = lambda argv: False) -> None:
        self.saves: Dict[str, str] = {}
        self.calls: List[List[str]] = []
        self.fail = fail

    def __call__(self, argv: List[str], stdin: str) -> Tuple[int, str, str]:
        self.calls.append(argv)
        family = argv[0].rsplit("/", 1)[1].split("-")[0]
        if self.fail(argv):
            return 2, "", "iptables-restore: line 3 failed"
        if ("nft" in argv[0] and argv[1:] == ["list", "tables"]) or "ipset" in argv[0]:
            return 0, "", ""
        if "save" in argv[0]:
            return 0, self.saves.get(family, EMPTY), ""
        if "--test" not in argv:
            self.saves[family] = stdin if "-X" not in stdin else EMPTY
        return 0, "", ""


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall_shell, "families_in_kernel", lambda: FAMILIES)
    monkeypatch.setattr(firewall_shell, "tables_in_kernel", lambda family: ["filter"])
    for module in (firewall_shell, firewall_holders):
        monkeypatch.setattr(module, "find_program", lambda name: f"/usr/sbin/{name}")


def wanted() -> Dict[str, OwnState]:
    return {family: with_ruleset(OwnState(), RULESET, family) for family in FAMILIES}


def empty() -> Dict[str, OwnState]:
    return {family: OwnState() for family in FAMILIES}


def test_both_families_are_tested_before_the_first_is_loaded() -> None:
    node = Node()
    apply_states(node, Backend("nft", ""), empty(), wanted())
    restores = [(argv[0].rsplit("/", 1)[1], "--test" in argv) for argv in node.calls if "restore" in argv[0]]
    assert restores == [
        ("iptables-nft-restore", True),
        ("ip6tables-nft-restore", True),
        ("iptables-nft-restore", False),
        ("ip6tables-nft-restore", False),
    ]
    assert all("--noflush" in argv for argv in node.calls if "restore" in argv[0])


def test_refused_text_changes_nothing() -> None:
    node = Node(lambda argv: "--test" in argv and "ip6tables" in argv[0])
    with pytest.raises(NodeError, match="line 3 failed; nothing was changed"):
        apply_states(node, Backend("nft", ""), empty(), wanted())
    assert node.saves == {}


def test_F18_second_family_fails_and_the_first_is_undone() -> None:
    node = Node(lambda argv: "ip6tables-nft-restore" in argv[0] and "--test" not in argv)
    with pytest.raises(NodeError, match="line 3 failed; the ipv4 rules were put back$"):
        apply_states(node, Backend("nft", ""), empty(), wanted())
    assert node.saves == {"iptables": EMPTY}


def test_what_cannot_be_put_back_is_said() -> None:
    broken: List[bool] = []

    def fail(argv: List[str]) -> bool:
        if "ip6tables-nft-restore" in argv[0] and "--test" not in argv:
            broken.append(True)
        return bool(broken)

    with pytest.raises(NodeError, match="the ipv4 rules could NOT be put back"):
        apply_states(Node(fail), Backend("nft", ""), empty(), wanted())


def test_what_is_read_back_differently_is_undone() -> None:
    class Forgetful(Node):
        def __call__(self, argv: List[str], stdin: str) -> Tuple[int, str, str]:
            return super().__call__(argv, stdin.replace("443", "444") if "--test" not in argv else stdin)

    with pytest.raises(
        NodeError,
        match="differs from what was loaded, first in .*443.*; the ipv4 rules were put back; the ipv6 rules were put back",
    ):
        apply_states(Forgetful(), Backend("nft", ""), empty(), wanted())


def test_mixed_backends_are_refused_by_name() -> None:
    node = Node()
    node.saves["iptables"] = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j KUBE-FIREWALL\nCOMMIT\n"
    with pytest.raises(
        NodeError, match=r"nft: kubelet \(chain INPUT of the ipv4 filter table\); legacy: kubelet \(chain INPUT"
    ):
        detect_backend(node)


def test_legacy_tables_are_not_listed_when_the_kernel_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall_shell, "tables_in_kernel", lambda family: [])
    node = Node()
    backend, _texts = detect_backend(node)
    assert not [argv for argv in node.calls if "legacy" in argv[0]]
    assert backend.reason.startswith("the distribution's default")


def test_no_iptables_counts_as_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (firewall_shell, firewall_holders):
        monkeypatch.setattr(module, "find_program", lambda name: None)
    backend, _texts = detect_backend(Node())
    assert backend.name is None
    assert read_states(Node(), backend) == empty()
    with pytest.raises(NodeError, match="is not installed"):
        backend.command("ipv4", "save")
