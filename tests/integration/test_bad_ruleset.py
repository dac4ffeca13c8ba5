# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Input to refuse, continued: rule text, limits, the guard, the confirmation, families, and what could lock somebody out.

As in test_bad_input.py: each case for real on one node and in check mode on another, many in one run of Ansible.
"""
# Tables of cases, as in the unit tests: a wrapped line is harder to compare; one case is about unusual digits.
# ruff: noqa: E501, RUF001

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.lab import Lab

from .firewall_steps import carry_out, dump, dumped, shell
from .node_state import node_state
from .playbooks import run_module, task
from .refusals import REAL, Batch, Case, judge_module, line, module_batches, overlay, region, rule

OPTION = "is not an interface name (letters, digits"
CLOSES = [{"direction": "in", "interface": "eth0"}]
NEVER = ["10.0.0.0/8", "203.0.113.0/24", "2001:db8::/32"]


def ruleset(*says: str, **given: Any) -> Case:
    return Case(given, says)


def guard(*says: str, **given: Any) -> Case:
    return Case({"defaults": CLOSES, "guard": {"never": NEVER, **given}}, says)


def rollback(*says: str, **given: Any) -> Case:
    return Case(given, says, "firewall_rollback")


TEXT = {
    "B19": rule(r"rule mine: reason 'a\n-A INPUT -j ACCEPT' has a control character", reason="a\n-A INPUT -j ACCEPT"),
    "B19-return": rule("has a control character", reason="a\r-A INPUT -j ACCEPT"),
    "B20": rule(("rule mine: reason", 'has a ", which iptables-restore would misread; leave it out'), reason='a" -j ACCEPT'),
    "B20-backslash": rule(("has a \\, which iptables-restore would misread",), reason="a\\"),
    "B21": rule(("rule mine: name and reason together are 261 bytes", "the kernel's comment holds 255"), reason="x" * 255),
    "B21-bytes": rule("the kernel's comment holds 255", reason="é" * 128),
    "B22": rule(r"rule mine: reason 'a\x00b' has a control character", reason="a\0b"),
    "B22-name": rule(r"rule name 'mi\x00ne'", name="mi\0ne"),
    "B22-log": rule("is not a prefix of 1 to 28 characters", log="a\0b"),
    "B23-log": rule(("rule mine: log", "is not a prefix of 1 to 28 characters", "the kernel's log holds no more"), log="x" * 29),
    "B25-default": ruleset("defaults: interface: 'a-name-too-long-0' has 17 characters", defaults=[{"direction": "in", "interface": "a-name-too-long-0"}]),
    "B26-default": ruleset(f"defaults: interface: 'eth+;' {OPTION}", defaults=[{"direction": "in", "interface": "eth+;"}]),
    "B27": rule(f"rule mine: interface: 'eth0 -j ACCEPT' {OPTION}", interface="eth0 -j ACCEPT"),
    "B27-name": rule("rule name 'mine -j ACCEPT': only a-z, 0-9", name="mine -j ACCEPT"),
    "B27-source": rule("rule mine: sources: '10.0.0.0/8 -j ACCEPT' is not", sources=["10.0.0.0/8 -j ACCEPT"]),
    "B27-port": rule("rule mine: ports: '22 -j ACCEPT' is not a port", ports=["22 -j ACCEPT"]),
    "B27-protocol": rule("rule mine: protocol: 'tcp -j accept' is not one of any, icmp, tcp", protocol="tcp -j ACCEPT"),
    "B27-log": rule("rule mine: log 'x -j ACCEPT' is not a prefix", log="x -j ACCEPT"),
    "B27-default-log": ruleset("log 'x -j ACCEPT' is not a prefix", defaults=[{"direction": "in", "log": "x -j ACCEPT"}]),
    "B27-ruleset": ruleset("ruleset name 'x -j ACCEPT'", name="x -j ACCEPT"),
    # No option takes a file of rules; its text as `rules` is what comes nearest.
    "B28": ruleset("rule line '*filter': iptables' own language is not taken", rules="*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\n"),
    "B28-rule": ruleset("rule line '-A INPUT -p tcp --dport 22 -j ACCEPT': iptables' own language", "write ACTION DIRECTION PROTOCOL", rules="-A INPUT -p tcp --dport 22 -j ACCEPT"),
    "B29": ruleset("rule line '*filter': iptables' own language is not taken", rules="*filter\n-A INPUT -j ACCEPT\nCOMMIT\n*nat\n-A NONSENSE -j NOTHING\nCOMMIT\n"),
    "B29-second": ruleset("rule line 'COMMIT': iptables' own language", rules="accept in tcp port 22 name mine # a test\nCOMMIT\n"),
    "B30": line("accept in tcp prot 22", "rule line 'accept in tcp prot 22 name mine # a test': word: 'prot' is not one of from, to, port", "did you mean port?"),
    "B30-match": line("accept in tcp -m nonsense", "word: '-m' is not one of from, to, port"),
}  # fmt: skip

LIMITS = {
    "rate-zero": rule("rule mine: rate '0/second' is not a number and a unit, like 50/second", rate="0/second"),
    "rate-unit": line("accept in tcp rate 5/fortnight", "rule mine: rate '5/fortnight' is not a number and a unit, like 50/second (second, minute, hour, day)"),
    "rate-above": rule("rule mine: rate 1001 is outside 1-1000", rate="1001/s"),
    "rate-unicode": rule("rule mine: rate '５/second' is not", rate="５/second"),
    "burst-zero": rule("rule mine: burst 0 is outside 1-1000", rate="5/s", burst=0),
    "burst-word": rule("rule mine: burst 'many' is not a number", rate="5/s", burst="many"),
    "burst-alone": rule("rule mine: burst 5 needs a rate", burst=5),
    "per-unknown": rule(("rule mine: per: 'sorce' is not one of source, all", "did you mean source?"), rate="5/s", per="sorce"),
    "connections-zero": rule("rule mine: connections 0 is outside 1-65535", connections=0),
    "connections-above": rule("rule mine: connections 65536 is outside 1-65535", connections="65536"),
    "connections-udp": line("accept in udp connections 5", "rule mine: connections 5 needs protocol tcp, not udp"),
    "log-empty": rule("rule mine: log '' is not a prefix of 1 to 28", log=""),
    "guard-unknown": guard("guard: option: 'nevr' is not one of hold, rate, burst, never; did you mean never?", nevr=[]),
    "guard-unguarded": ruleset("guard: never is empty; name at least the networks of the cluster", defaults=CLOSES, guard={"hold": 60}),
    "B12-guard": guard("guard: never: 'example.org' is not an IPv4 or IPv6 network; names are not resolved", never=["example.org"]),
    "B13-guard": guard("guard: never: 10.0.0.5/8 has host bits set; write 10.0.0.0/8", never=["10.0.0.5/8"]),
    "B14-guard": guard("guard: never is empty", never=[]),
    "B18-guard": guard("guard: hold '６００' is outside 1-86400 seconds", hold="６００"),
    "guard-hold-superscript": guard("guard: hold '²' is outside 1-86400 seconds", hold="²"),
    "guard-hold-zero": guard("guard: hold 0 is outside 1-86400", hold=0),
    "guard-hold-above": guard("guard: hold 86401 is outside 1-86400", hold=86401),
    "guard-rate": guard("guard: rate '5 a day' is not a number and a unit", rate="5 a day"),
    "guard-burst": guard("guard: burst 1001 is outside 1-1000", burst=1001),
    "guard-nothing-closed": ruleset("ruleset node: guard needs a default verdict for direction in", guard={"never": NEVER}),
    "B09-management": ruleset("management_networks: '10.0.0.0/33' is not", management_networks=["10.0.0.0/33"], defaults=CLOSES),
    "B12-management": ruleset("management_networks: 'example.org' is not", management_networks=["example.org"], defaults=CLOSES),
    "B13-management": ruleset("management_networks: 10.0.0.5/8 has host bits set", management_networks=["10.0.0.5/8"], defaults=CLOSES),
}  # fmt: skip

CONFIRMATION = {
    **{f"B34-{seconds}": ruleset(f"confirm_timeout: {seconds} is not 0 (off) or 5 to 600 seconds", confirm_timeout=seconds) for seconds in (1, 2, 3, 4, 601, -1)},
    "B34-region": region("confirm_timeout: 4 is not 0 (off)", confirm_timeout=4, state="absent"),
    "B34-rollback": rollback("confirm_timeout: 4 is not 0 (off)", confirm_timeout=4),
    "B35": ruleset("confirm_connect_timeout: 10 is not 1 to 9 seconds", "(confirm_timeout: 10) can confirm nothing", confirm_timeout=10, confirm_connect_timeout=10),
    "B35-default": ruleset("confirm_connect_timeout: 60 is not 1 to 29 seconds", confirm_connect_timeout=60),
    "B35-zero": ruleset("confirm_connect_timeout: 0 is not 1 to 29 seconds", confirm_connect_timeout=0),
    "B35-region": region("confirm_connect_timeout: 30 is not 1 to 29", confirm_connect_timeout=30, state="absent"),
    "B35-rollback": rollback("confirm_connect_timeout: 30 is not 1 to 29", confirm_connect_timeout=30),
    "B01-confirm": ruleset("confirm_port: 0 is outside 1-65535", confirm_port=0),
    "B02-confirm": ruleset("confirm_port: 65536 is outside 1-65535", confirm_port=65536),
    "B04-confirm": ruleset("confirm_address: '192.0.2.1;reboot' is neither an address nor a host name", confirm_address="192.0.2.1;reboot"),
    "confirm-from": ruleset("confirm_from: inventory host: 'worker11' is not one of", "did you mean worker1?", confirm_from="worker11"),
}  # fmt: skip

WHOLE = {
    "B32": ruleset("families: [ipv4] would leave ipv6 open, and eth0 has the ipv6 address 2001:db8:113::", "leave families out", families=["ipv4"], defaults=CLOSES),
    "B32-opens": ruleset("families: [ipv4] would leave ipv6 open", families=["ipv4"], rules="accept in tcp port 22 name mine # a test"),
    "B32-six": ruleset("families: [ipv6] would leave ipv4 open, and eth0 has the ipv4 address", families=["ipv6"], defaults=CLOSES),
    "B11-families": ruleset("rule mine: is ipv6 only, which families: [ipv4] leaves out", families=["ipv4"], rules="accept in icmpv6 name mine # a test"),
    "B14-families": ruleset("families is an empty list; an empty list never means any", families=[]),
    # A default verdict cannot be told to leave established connections out, and a rule that does so is refused.
    "B33": ruleset("defaults: option: 'established' is not one of direction, action, interface, out_interface, log", defaults=[{"direction": "in", "established": False}]),
    "B33-rule": ruleset("rule mine: drop in any with no peer and no port is a default verdict that does not even let established connections pass",
                        "defaults: [{direction: in, interface: eth0}]", rules="accept in tcp port 22 name ssh # a\ndrop in any on eth0 name mine # a test"),
    "B33-tcp": line("reject out tcp", "rule mine: reject out tcp with no peer and no port"),
    "B33-states": Case({"rules": "drop in any state established name mine # a test", "defaults": CLOSES}, ("rule mine: states established with action drop cuts connections",)),
    "B59": ruleset("""ruleset name "{{ lookup('pipe','id') }}": only a-z""", name="{% raw %}{{ lookup('pipe','id') }}{% endraw %}"),
    "B60": ruleset("ruleset name '../../etc/passwd': only a-z", name="../../etc/passwd"),
    "B60-interface": rule(f"rule mine: interface: '../../eth0' {OPTION}", interface="../../eth0"),
    "B60-rollback": rollback("to: '../../../etc/passwd' is not a saved generation", "allowed are last, previous", to="../../../etc/passwd"),
    "B60-overlay": region("option overlay: '../overlay.yml' climbs with '..'", "put overlay.yml beside the playbook", overlay="../overlay.yml"),
    "B15-rules": region("0.0.0.0/0", overlay=overlay(masters={"dal10": ["0.0.0.0/0"], "dal12": ["192.0.2.1"]})),
}  # fmt: skip

CASES = {**TEXT, **LIMITS, **CONFIRMATION, **WHOLE}
RUNS = [(mode, name) for mode in ("real", "check") for name in CASES]


@pytest.fixture(scope="module")
def found(lab: Lab) -> list[Batch]:
    return module_batches(lab, CASES, CASES)


@pytest.mark.parametrize(("mode", "name"), RUNS, ids=[f"{name}-{mode}" for mode, name in RUNS])
def test_refused(found: list[Batch], mode: str, name: str) -> None:
    judge_module(found, CASES, mode, name)


# What is done to a folder of ours, how it is undone, and what is said of it.
FOLDERS = {
    "B61-state": ("rm -rf /tmp/trap; mkdir /tmp/trap; ln -s /tmp/trap /var/lib/iks-hardening", "rm /var/lib/iks-hardening", "/var/lib/iks-hardening: not a directory that root owns"),
    "B61-generations": ("mkdir -m 700 /var/lib/iks-hardening; ln -s /tmp/trap /var/lib/iks-hardening/generations", "rm -r /var/lib/iks-hardening", "/var/lib/iks-hardening/generations: not a directory that root owns"),
    "B61-script": ("ln -s /tmp/trap /etc/iks-hardening", "rm /etc/iks-hardening", "/etc/iks-hardening: not a directory that root owns"),
    "B61-run": ("ln -s /tmp/trap /run/iks-hardening", "rm /run/iks-hardening", "/run/iks-hardening: not a directory that root owns"),
    "B61-lock": ("ln -s /tmp/trap/lock /run/iks-firewall.lock", "rm /run/iks-firewall.lock", "/run/iks-firewall.lock: "),
    "B61-above": ("chmod 1777 /var/lib", "chmod 755 /var/lib", "/var/lib/iks-hardening: lies in /var/lib, which everybody can write (mode 1777)"),
    "B61-writable": ("mkdir /etc/iks-hardening; chmod 777 /etc/iks-hardening", "rmdir /etc/iks-hardening", "/etc/iks-hardening: not a directory that root owns and nobody else can write (owner 0, mode 0777)"),
    "F25-owner": ("mkdir -m 700 /var/lib/iks-hardening; chown 1000 /var/lib/iks-hardening", "rmdir /var/lib/iks-hardening", "(owner 1000, mode 0700)"),
}  # fmt: skip
KEEPS_SSH = {"rules": "accept in tcp port 22 name ssh # the way in", "defaults": CLOSES}
TRIED = {
    "real": ("node_firewall", {**KEEPS_SSH, "confirm_timeout": 0}, {}),
    "check": ("node_firewall", KEEPS_SSH, {"check_mode": True}),
    "removed": ("firewall_rollback", {"to": "removed"}, {}),
}


@pytest.fixture(scope="module")
def planted(lab: Lab) -> Any:
    """Every trap is laid, met by each module and taken away, in one play on a node with iptables."""
    lab.run(REAL, ["sh", "-c", "rm -rf /run/iks-hardening /run/iks-firewall.lock"])
    steps = [dump("before")]
    for name, (plant, remove, _says) in FOLDERS.items():
        steps += [shell(f"{name} lay", plant)]
        steps += [
            task(f"{name} {mode}", module, given, ignore_errors=True, **keywords)
            for mode, (module, given, keywords) in TRIED.items()
        ]
        steps += [shell(f"{name} away", f"ls -A /tmp/trap; {remove}; rm -f /run/iks-firewall.lock")]
    return carry_out(lab, REAL, *steps, dump("after")).succeeded()


@pytest.mark.parametrize("mode", TRIED)
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_somebody_else_prepared(planted: Any, name: str, mode: str) -> None:
    result = planted.one(f"{name} {mode}")
    Case({}, (FOLDERS[name][2],)).judge(result)
    assert planted.one(f"{name} away").data["stdout"] == "", "nothing went through the link"
    assert dumped(planted, "after") == dumped(planted, "before")


def test_the_guard_without_sets(lab: Lab) -> None:
    """The node has iptables and no ipset, which the role would install and the module does not."""
    before = node_state(lab, REAL)
    given = {**KEEPS_SSH, "guard": {"never": NEVER}}
    for check in (True, False):
        Case({}, ("guard: the intrusion guard needs ipset on the node",)).judge(
            run_module(lab, REAL, "node_firewall", given, check=check, ignore_errors=True)
        )
    assert node_state(lab, REAL) == before
