# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds rules, which backend follows from that, and which manager is at work."""

from __future__ import annotations

from typing import Dict, Mapping, Optional

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.errors import NodeError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_holders import (
    Holders,
    choose_backend,
    holders_in,
    managers_in,
    native_owners,
    owner_of,
)

OWNERS = {
    "KUBE-SERVICES": "kube-proxy",
    "KUBE-KUBELET-CANARY": "kubelet",
    "KUBE-IPTABLES-HINT": "kubelet",
    "KUBE-FIREWALL": "kubelet",
    "cali-INPUT": "Calico",
    "califw-eth0": "Calico",
    "ufw6-user-input": "ufw",
    "ufw-before-input": "ufw",
    "DOCKER-USER": "Docker",
    "CNI-ADMIN": "a CNI plugin",
    "f2b-sshd": "fail2ban",
    "IKS-INPUT": "iks.hardening",
    "IKS~INPUT": "iks.hardening",
    "MY-OWN": "somebody",
    "": "somebody",
}


@pytest.mark.parametrize(("chain", "owner"), OWNERS.items())
def test_owner_of(chain: str, owner: str) -> None:
    assert owner_of(chain) == owner


def test_a_rule_of_a_built_in_chain_belongs_to_whom_it_leads_to() -> None:
    chains = {
        "INPUT": ["-j KUBE-FIREWALL", "-m comment --comment x -j cali-INPUT", "-p tcp --dport 2 -j ACCEPT"],
        "KUBE-FIREWALL": ["-j DROP"],
        "cali-INPUT": [],
        "DOCKER": [],
    }
    assert holders_in(chains, "ipv4 filter table") == {
        "kubelet": "chain INPUT of the ipv4 filter table",
        "Calico": "chain INPUT of the ipv4 filter table",
        "somebody": "chain INPUT of the ipv4 filter table",
    }
    assert holders_in({"INPUT": [], "KUBE-IPTABLES-HINT": []}, "x") == {}, "chains without rules hold nothing"


def test_managers_are_known_by_chains_that_hold_users_rules_or_by_their_table() -> None:
    assert managers_in(["INPUT", "ufw-before-input", "ufw-user-input"], []) == {"ufw": "chain ufw-user-input"}
    assert managers_in(["ufw6-user-input"], []) == {"ufw": "chain ufw6-user-input"}
    assert managers_in(["INPUT_ZONES"], []) == {"firewalld": "chain INPUT_ZONES"}
    assert managers_in([], ["Calico", "firewalld"]) == {"firewalld": "the nftables table firewalld"}
    assert managers_in(["INPUT", "KUBE-SERVICES", "ufwish"], ["kube-proxy"]) == {}


def test_native_tables() -> None:
    listing = "table ip filter\ntable ip6 nat\ntable ip kube-proxy\ntable ip6 kube-proxy\ntable inet calico\n"
    assert native_owners(listing) == ["Calico", "kube-proxy"]
    assert native_owners("table inet firewalld\n") == ["firewalld"]
    assert native_owners("table inet my-kube-proxy\n") == []
    assert native_owners("") == []


KUBE, CALICO = (
    {"kube-proxy": "chain KUBE-SERVICES of the ipv4 nat table"},
    {"Calico": "chain cali-INPUT of the ipv4 filter table"},
)
CHOICES: Dict[str, tuple[Holders, Optional[str], Optional[str], str]] = {
    "nobody": (Holders(), "legacy", "legacy", "the distribution's default, as no rule exists yet"),
    "nobody, no iptables": (Holders(), None, None, "iptables is not installed"),
    "rules": (Holders({"legacy": KUBE}, ("Calico",), ("nft",)), "nft", "legacy", "holds rules of kube-proxy (chain KUBE"),
    "hint nft": (Holders(hints=("nft",)), "legacy", "nft", "kubelet's KUBE-IPTABLES-HINT stands there"),
    "hint legacy": (Holders(hints=("legacy",)), "nft", "legacy", "kubelet's KUBE-IPTABLES-HINT stands there"),
    "hint before native": (Holders(native=("kube-proxy",), hints=("legacy",)), "nft", "legacy", "KUBE-IPTABLES-HINT"),
    "hints in both": (Holders(hints=("nft", "legacy")), "nft", "nft", "the distribution's default"),
    "native": (Holders(native=("Calico", "kube-proxy")), "legacy", "nft", "Calico and kube-proxy use native nftables tables"),
}  # fmt: skip


@pytest.mark.parametrize(("found", "default", "name", "reason"), CHOICES.values(), ids=CHOICES)
def test_choose_backend(found: Holders, default: Optional[str], name: Optional[str], reason: str) -> None:
    backend = choose_backend(found, default)
    assert backend.name == name
    assert reason in backend.reason


REFUSED: Dict[str, tuple[Holders, tuple[str, ...]]] = {
    "F19": (
        Holders({"nft": CALICO, "legacy": KUBE}),
        ("nft: Calico (chain cali-INPUT of the ipv4 filter table)", "legacy: kube-proxy (chain KUBE-SERVICES of the ipv4 nat"),
    ),
    "ufw": (Holders({"nft": {"ufw": "x"}}, managers={"ufw": "chain ufw-user-input"}), ("ufw is at work", "(chain ufw-user-input)", "disable ufw")),
    "firewalld": (Holders(managers={"firewalld": "the running service"}), ("firewalld is at work", "(the running service)")),
}  # fmt: skip


@pytest.mark.parametrize(("found", "says"), REFUSED.values(), ids=REFUSED)
def test_refused(found: Holders, says: tuple[str, ...]) -> None:
    with pytest.raises(NodeError) as caught:
        choose_backend(found, "nft")
    for text in (*says, "Nothing was changed"):
        assert text in str(caught.value)


def test_every_owner_of_a_mix_is_named() -> None:
    both: Mapping[str, Mapping[str, str]] = {
        "nft": {**CALICO, "Docker": "chain DOCKER of the ipv4 nat table"},
        "legacy": KUBE,
    }
    with pytest.raises(NodeError, match="nft: Calico .*, Docker .*; legacy: kube-proxy"):
        choose_backend(Holders(both), "nft")
