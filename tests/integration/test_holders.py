# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a node's packet filter: managers are refused, others are lived with, and looking creates nothing.

Each node is one play: what others do to it, and after that what the modules say in check mode and for real.
"""
# Tables of cases: a wrapped line is harder to compare.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import Lab

from .firewall_steps import RULESET, carry_out, checked, dump, dumped, firewall, shell
from .playbooks import Result, Run, task

NODE, MANAGED = "gateway", "master"
ABSENT = {"state": "absent", "confirm_timeout": 0}
WANTED = {**RULESET, "confirm_timeout": 0}
# firewalld reads names of protocols, which a minimal system has not.
PROTOCOLS = r"printf 'tcp 6 TCP\nudp 17 UDP\nesp 50 ESP\nah 51 AH\nicmp 1 ICMP\nipv6-icmp 58 IPv6-ICMP\ngre 47 GRE\nvrrp 112 VRRP\n' >/etc/protocols"
# Whatever a look could create: legacy tables of this network namespace, and nft's.
TABLES = "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names; nft list ruleset"
KUBE = (
    "*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -d 192.0.2.9/32 -j RETURN\nCOMMIT\n"
)
FELIX = "*filter\n:cali-INPUT - [0:0]\n-A INPUT -j cali-INPUT\n-A cali-INPUT -p tcp --dport 22 -j RETURN\nCOMMIT\n"
HINT = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"


def given(tool: str, text: str) -> str:
    """A shell command that loads an iptables-restore text beside what is there."""
    return f"printf '{text}' | {tool}-restore --noflush".replace("\n", "\\n")


def emptied(*tools: str) -> str:
    return "; ".join(
        f"{tool} -t {table} -F; {tool} -t {table} -X" for tool in tools for table in ("filter", "nat", "mangle")
    )


def info(name: str) -> dict[str, Any]:
    return task(f"{name} info", "firewall_info")


def refused(name: str) -> list[dict[str, Any]]:
    """The modules on a node that they have to leave alone."""
    return [
        dump(f"{name} before"),
        info(name),
        checked(f"{name} check", WANTED, ignore_errors=True),
        firewall(f"{name} real", WANTED, ignore_errors=True),
        dump(f"{name} after"),
    ]


def accepted(name: str) -> list[dict[str, Any]]:
    """The modules on a node that they share with others."""
    return [
        info(name),
        checked(f"{name} check", WANTED),
        firewall(f"{name} real", WANTED),
        firewall(f"{name} again", WANTED),
        firewall(f"{name} absent", ABSENT),
    ]


def fresh(lab: Lab, node: str, packages: str) -> None:
    lab.reset(node)
    lab.run(node, ["sh", "-c", f"apt-get -q update && apt-get -q -y install {packages} >/dev/null"])


@pytest.fixture(scope="module")
def others(lab: Lab) -> Iterator[Run]:
    fresh(lab, NODE, "iptables ipset ufw")
    default = "update-alternatives --set iptables /usr/sbin/iptables-"
    steps = [
        # On a node without any rule. The alternative is what a witness has to outdo.
        shell("empty before", TABLES),
        info("empty"),
        checked("empty check", WANTED),
        shell("empty after", TABLES),
        shell("hint nft", f"{default}legacy; {given('iptables-nft', HINT)}"),
        info("hint nft"),
        checked("hint nft check", WANTED),
        shell("hint nft looked at", "cat /proc/net/ip_tables_names"),
        shell("hint legacy", f"{emptied('iptables-nft')}; nft flush ruleset; {default}nft; {given('iptables-legacy', HINT)}"),
        *accepted("hint legacy"),
        shell("mix", f"{emptied('iptables-legacy')}; {given('iptables-legacy', KUBE)}; {given('iptables-nft', FELIX)}"),
        *refused("mix"),
        shell("mix of families", f"{emptied('iptables-nft')}; {given('ip6tables-nft', FELIX)}"),
        *refused("mix of families"),
        shell("native", f"{emptied('iptables-legacy', 'ip6tables-nft')}; nft flush ruleset; nft add table ip kube-proxy; nft add table inet calico"),
        *accepted("native"),
        shell("ipvs", "nft flush ruleset; ip link add kube-ipvs0 type bridge; ip address add 172.21.0.1/32 dev kube-ipvs0"),
        *accepted("ipvs"),
        shell("ufw", "ip link delete kube-ipvs0; nft flush ruleset; ufw status"),
        *accepted("ufw inactive"),
        shell("ufw on", "ufw allow 22/tcp && ufw --force enable"),
        *refused("ufw"),
        shell("ufw off", "ufw disable"),
        *accepted("ufw off"),
    ]  # fmt: skip
    yield carry_out(lab, NODE, *steps)
    lab.reset(NODE)


def judge_refused(run: Run, name: str, *says: str) -> Result:
    """Both modes say the same, nothing was changed, and firewall_info tells it as a finding."""
    for mode in ("check", "real"):
        found = run.one(f"{name} {mode}")
        assert found.failed
        assert not found.changed
        for text in (*says, "Nothing was changed"):
            assert text in found.message
    assert dumped(run, f"{name} before") == dumped(run, f"{name} after")
    told = run.one(f"{name} info")
    assert told.data["backend"] is None
    # What shows a manager may be another thing, as firewall_info looks at everything.
    finding, message = told.data["backend_finding"], run.one(f"{name} check").message
    assert finding.partition(" (")[0] == message.partition(" (")[0]
    return told


def judge_accepted(run: Run, name: str, backend: str, finding: str) -> Result:
    told = run.one(f"{name} info")
    assert told.data["backend"] == backend
    assert finding in told.data["backend_finding"]
    for step, changed in (("check", True), ("real", True), ("again", False), ("absent", True)):
        found = run.one(f"{name} {step}")
        assert (found.failed, found.changed) == (False, changed), found.message
        assert found.data["backend"] == backend
    return told


def test_looking_creates_nothing(others: Run) -> None:
    assert others.one("empty check").changed
    assert others.one("empty after").data["stdout"] == others.one("empty before").data["stdout"] == ""
    told = others.one("empty info").data
    assert told["holders"] == {"native": []}
    assert told["backend_finding"] == "the distribution's default, as no rule exists yet"
    assert others.one("hint nft looked at").data["stdout"] == "", "legacy tables are not looked at"


def test_kubelets_hint_is_a_witness(others: Run) -> None:
    """It stands in the backend that is not the distribution's default, and holds no rule."""
    told = others.one("hint nft info").data
    assert (told["backend"], told["holders"]) == ("nft", {"native": []})
    assert "KUBE-IPTABLES-HINT" in told["backend_finding"]
    assert others.one("hint nft check").data["backend"] == "nft"
    judge_accepted(others, "hint legacy", "legacy", "KUBE-IPTABLES-HINT")


def test_F19_kube_proxy_and_felix_in_different_backends_are_both_named(others: Run) -> None:
    says = (
        "nft: Calico (chain INPUT of the ipv4 filter table)",
        "legacy: kube-proxy (chain PREROUTING of the ipv4 nat table)",
    )
    told = judge_refused(others, "mix", "iptables rules stand in both backends", *says)
    assert told.data["holders"] == {
        "nft": {"Calico": "chain INPUT of the ipv4 filter table"},
        "legacy": {"kube-proxy": "chain PREROUTING of the ipv4 nat table"},
        "native": [],
    }
    judge_refused(others, "mix of families", "nft: Calico (chain INPUT of the ipv6 filter table)", says[1])


def test_native_tables_and_ipvs_are_lived_with(others: Run) -> None:
    told = judge_accepted(others, "native", "nft", "Calico and kube-proxy use native nftables tables")
    assert told.data["holders"] == {"native": ["Calico", "kube-proxy"]}
    assert told.data["kube_proxy"] == "nftables"
    assert judge_accepted(others, "ipvs", "nft", "default").data["kube_proxy"] == "ipvs"


def test_ufw_is_refused_while_it_is_at_work(others: Run) -> None:
    judge_accepted(others, "ufw inactive", "nft", "")
    told = judge_refused(others, "ufw", "ufw is at work on this node (chain ufw-user-input)", "Stop and disable ufw")
    assert "ufw" in told.data["holders"]["nft"]
    # Its empty chains and the jumps to them stay until the next boot.
    judge_accepted(others, "ufw off", "nft", "holds rules of ufw")


@pytest.fixture(scope="module")
def firewalld(lab: Lab) -> Iterator[Run]:
    fresh(lab, MANAGED, "iptables ipset firewalld")
    begin = "systemctl restart firewalld && firewall-cmd --state"
    steps = [
        shell("start", f"{PROTOCOLS}; {begin}"),
        *refused("alone"),
        shell("kube-proxy", given("iptables-nft", KUBE)),
        *refused("beside kube-proxy"),
        shell("iptables", f"{emptied('iptables-nft')}; sed -i 's/^FirewallBackend=.*/FirewallBackend=iptables/' /etc/firewalld/firewalld.conf; {begin}"),
        *refused("over iptables"),
        shell("stop", "systemctl disable --now firewalld; nft flush ruleset"),
        *accepted("stopped"),
    ]  # fmt: skip
    yield carry_out(lab, MANAGED, *steps)
    lab.reset(MANAGED)


def test_firewalld_is_refused_while_it_is_at_work(firewalld: Run) -> None:
    judge_refused(firewalld, "alone", "firewalld is at work on this node (", "Stop and disable firewalld")
    # Rules of others decide the backend, but do not hide a manager.
    judge_refused(firewalld, "beside kube-proxy", "firewalld is at work on this node (")
    judge_refused(firewalld, "over iptables", "firewalld is at work on this node (chain INPUT_")
    judge_accepted(firewalld, "stopped", "nft", "default")
