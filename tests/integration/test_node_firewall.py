# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""node_firewall against real kernels: own chains only, both families or none, check mode that tells what will happen.

Most tests are one play: module tasks and dumps of the node's whole packet filter between them.
"""

# Tables of cases: a wrapped line is harder to compare.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab

from .firewall_steps import DEFAULTS, RULES, RULESET, carry_out, checked, dump, dumped, firewall, foretold, shell
from .node_state import node_state, without_ours
from .playbooks import Run, run_module

# More text than a pipe holds.
BIG = {"rules": "".join(f"accept in tcp port {port} name port-{port} # one of very many\n" for port in range(1, 1001))}
# Somebody else's chains, as Calico and Docker have them, with what an unwary parser stumbles over.
FOREIGN = {
    tool: rf"""*filter
:cali-INPUT - [0:0]
:DOCKER-USER - [0:0]
:MY-OWN - [0:0]
-I INPUT 1 -m comment --comment "cali:Cz_u1IQiXIMmKD4c" -j cali-INPUT
-A INPUT -p tcp -m tcp --dport 7 -m comment --comment "it's \"mine\" - not IKS" -j MY-OWN
-I FORWARD 1 -j DOCKER-USER
-A cali-INPUT -p tcp -m comment --comment "cali:i7okJZpS8VxaJB3n" -m multiport --dports 22 -j ACCEPT
-A DOCKER-USER -s {source} -m comment --comment "-j DROP" -j RETURN
-A MY-OWN -j RETURN
COMMIT
"""
    for tool, source in (("iptables", "192.0.2.7/32"), ("ip6tables", "2001:db8::7/128"))
}


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> Iterator[Lab]:
    """Fresh nodes: worker1 beside kube-proxy, Calico and Docker (nft); the gateway with rules of the legacy backend.

    master stays as it comes, without iptables; worker2, with kube-proxy's native nft tables, gets the packages.
    """
    lab.reset()
    install = ["sh", "-c", "apt-get -q -y install iptables ipset >/dev/null"]
    for node in ("worker2", "gateway"):
        lab.run(node, install)
    for tool, text in FOREIGN.items():
        lab.run("worker1", [f"{tool}-restore", "--noflush"], stdin=text)
        lab.run("gateway", [f"{tool}-legacy-restore", "--noflush"], stdin=text)
    yield lab
    lab.reset()


BACKENDS = {
    "nft-beside-others": ("worker1", "nft"),
    "nft-beside-native-tables": ("worker2", "nft"),
    "legacy": ("gateway", "legacy"),
}


@pytest.mark.parametrize(("node", "backend"), BACKENDS.values(), ids=BACKENDS)
def test_life_of_a_ruleset(nodes: Lab, node: str, backend: str) -> None:
    run = carry_out(
        nodes,
        node,
        dump("untouched"),
        checked("check", RULESET),
        dump("checked"),
        firewall("first", RULESET),
        firewall("second", RULESET),
        checked("check again", RULESET),
        firewall("gathered", {"state": "gathered"}),
        dump("loaded"),
        checked("check absent", {"state": "absent"}),
        firewall("absent", {"state": "absent"}),
        firewall("absent again", {"state": "absent"}),
        dump("gone"),
    ).succeeded()
    untouched, loaded = dumped(run, "untouched"), dumped(run, "loaded")

    foretold(run.one("check"), run.one("first"))
    assert run.one("first").changed
    assert run.one("first").data["backend"] == backend
    assert sorted(run.one("first").data["commands"]) == ["ipv4", "ipv6"]
    assert dumped(run, "checked") == untouched
    after = run.one("first").data["after"]
    diff = [item for item in run.one("check").data["diff"] if "before" in item]
    assert [item["before"] for item in diff] == ["", ""]
    assert [item["after"].splitlines() for item in diff] == [after["ipv4"], after["ipv6"]]

    for name in ("second", "check again", "gathered"):
        assert not run.one(name).changed, run.one(name).data["commands"]
        assert run.one(name).data["before"] == run.one(name).data["after"] == after
        assert run.one(name).data["commands"] == {}

    if node != "worker2":  # which had no iptables rule: there even the base chains are new
        assert without_ours(loaded) == without_ours(untouched), "others' rules keep their text and their places"
    assert [line for line in loaded if "native" in line] == [line for line in untouched if "native" in line]
    foretold(run.one("check absent"), run.one("absent"))
    assert not run.one("absent again").changed
    assert dumped(run, "gone") == untouched


def test_a_jump_put_in_again_above_ours_is_no_change(nodes: Lab) -> None:
    """kube-proxy and Felix claim the first place now and then; ours does not fight for it."""
    again = "iptables -D INPUT -m comment --comment cali:Cz_u1IQiXIMmKD4c -j cali-INPUT"
    run = carry_out(
        nodes,
        "worker1",
        firewall("first", RULESET),
        shell(
            "others", f"systemctl restart iks-lab-kube-proxy && {again} && {again.replace('-D INPUT', '-I INPUT 1')}"
        ),
        dump("before"),
        firewall("second", RULESET),
        dump("after"),
        firewall("absent", {"state": "absent"}),
    ).succeeded()
    assert not run.one("second").changed
    assert dumped(run, "before") == dumped(run, "after")
    jumps = [
        line.split(" -j ")[1]
        for line in dumped(run, "after")
        if "iptables *filter: -A INPUT " in line and "nft iptables" in line
    ]
    assert jumps[0] == "cali-INPUT"
    assert jumps[-1] == "IKS-INPUT"


DRIFT = {
    "deleted": "iptables -D IKS-INPUT-node 5",
    "deleted-v6": "ip6tables -D IKS-INPUT-node 5",
    "changed": "iptables -R IKS-INPUT-node 5 -p tcp --dport 23 -j ACCEPT",
    "reordered": "rule=$(iptables -S IKS-INPUT-node 3 | sed 's/^-A [^ ]* //') && iptables -D IKS-INPUT-node 3 && eval iptables -A IKS-INPUT-node $rule",
    "opened-in-front": "iptables -I IKS-INPUT 1 -p tcp --dport 23 -j ACCEPT",
    "flushed": "iptables -F IKS-INPUT-node",
    "jump-gone": "iptables -D INPUT -m comment --comment iks.hardening -j IKS-INPUT",
    "jump-twice": "iptables -I INPUT 1 -j IKS-INPUT",
    "everything-gone": "iptables -F INPUT && iptables -F IKS-INPUT && iptables -F IKS-INPUT-node && iptables -X IKS-INPUT-node && iptables -X IKS-INPUT",
}  # fmt: skip


@pytest.fixture(scope="module")
def drifted(nodes: Lab) -> Run:
    """Each drift, found in check mode and mended, on the node with the packages and no rules of others in these tables."""
    steps = [firewall("first", RULESET), dump("wanted")]
    for name, damage in DRIFT.items():
        steps += [
            shell(f"{name} damage", damage),
            checked(f"{name} found", RULESET),
            firewall(f"{name} mended", RULESET),
            dump(f"{name} dump"),
        ]
    return carry_out(nodes, "worker2", *steps, firewall("absent", {"state": "absent"})).succeeded()


@pytest.mark.parametrize("name", DRIFT)
def test_drift(drifted: Run, name: str) -> None:
    found, mended = drifted.one(f"{name} found"), drifted.one(f"{name} mended")
    assert found.changed
    foretold(found, mended)
    assert found.data["after"] == drifted.one("first").data["after"]
    assert list(found.data["commands"]) == (["ipv6"] if name.endswith("v6") else ["ipv4"])
    assert dumped(drifted, f"{name} dump") == dumped(drifted, "wanted")


def test_rulesets_compose(nodes: Lab) -> None:
    """In the order of their priorities; the one that holds the default comes last whatever its priority."""
    opening = {name: {"name": name, "priority": priority, "rules": f"accept in tcp port {priority} name one # {name}"} for name, priority in (("late", 800), ("early", 100))}  # fmt: skip
    run = carry_out(
        nodes,
        "worker2",
        firewall("closing", {"name": "node", "priority": 1, **RULESET}),
        *(firewall(name, arguments) for name, arguments in opening.items()),
        dump("all"),
        firewall("early again", opening["early"]),
        firewall("early moves", {**opening["early"], "priority": 900}),
        firewall("late goes", {"name": "late", "state": "absent"}),
        *(firewall(f"{name} goes", {"name": name, "state": "absent"}) for name in ("early", "node")),
        dump("gone"),
    ).succeeded()
    chain = [
        line.split(" -j IKS-INPUT-")[1] for line in dumped(run, "all") if "nft iptables *filter: -A IKS-INPUT " in line
    ]
    assert chain == ["early", "late", "node"]
    assert not run.one("early again").changed
    order = [
        line.split(" -j IKS-INPUT-")[-1]
        for line in run.one("early moves").data["after"]["ipv4"]
        if line.startswith("-A IKS-INPUT ")
    ]
    assert order == ["late", "early", "node"]
    assert list(run.one("late goes").data["commands"]) == ["ipv4", "ipv6"]
    assert [line for line in run.one("late goes").data["after"]["ipv4"] if "-node" in line and "late" not in line]
    assert [line for line in dumped(run, "gone") if "IKS-" in line] == []


def test_rules_as_dictionaries_lines_or_text_are_the_same(nodes: Lab) -> None:
    """Rendered, on a node without iptables and without being root."""
    lines = [line for line in RULES.splitlines() if line]
    first = {
        "name": "ports",
        "direction": "in",
        "action": "accept",
        "protocol": "tcp",
        "sources": ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"],
        "ports": [22, 10250, "30000-32767"],
        "interface": "eth0",
        "reason": "SSH and others",
    }
    forms = {"text": RULES, "lines": lines, "mixed": [first, *lines[1:]]}
    steps = [
        firewall(name, {"rules": rules, "defaults": DEFAULTS, "state": "rendered"}, vars={"ansible_become": False})
        for name, rules in forms.items()
    ]
    run = carry_out(nodes, "master", *steps).succeeded()
    rendered = {name: run.one(name).data for name in forms}
    assert rendered["text"]["after"] == rendered["lines"]["after"] == rendered["mixed"]["after"]
    assert not rendered["text"]["changed"]
    assert rendered["text"]["commands"]["ipv4"].startswith("*filter\n:IKS-INPUT")
    assert rendered["text"]["commands"]["ipv6"].endswith("COMMIT\n")


def test_F19_rules_in_both_backends_are_refused(nodes: Lab) -> None:
    """The node's own rules are legacy ones; somebody adds one with the other tool."""
    run = carry_out(
        nodes,
        "gateway",
        shell("mix", "iptables-nft -w -A FORWARD -p tcp --dport 2 -j ACCEPT"),
        dump("before"),
        checked("check", RULESET, ignore_errors=True),
        firewall("real", RULESET, ignore_errors=True),
        dump("after"),
        shell("unmix", "iptables-nft -w -F FORWARD"),
        checked("empty tables are no mix", RULESET),
    ).succeeded()
    for name in ("check", "real"):
        found = run.one(name)
        assert found.failed
        assert not found.changed
        for part in (
            "in both backends",
            "nft: somebody (chain FORWARD of the ipv4 filter table)",
            "legacy: Calico (chain ",
            "Nothing was changed",
        ):
            assert part in found.message
    assert dumped(run, "before") == dumped(run, "after")
    assert run.one("empty tables are no mix").data["backend"] == "legacy"


@pytest.fixture
def broken_ipv6(nodes: Lab) -> Iterator[str]:
    """A node whose ip6tables-restore fails; with the file /run/test-passes only when it comes to the real thing.

    With /run/test-reads it reads its input before it fails, as the real one does; without, the module writes into the void.
    """
    path, real = "/usr/sbin/ip6tables-nft-restore", "/usr/sbin/xtables-nft-multi ip6tables-nft-restore"
    script = f'#!/bin/sh\ncase "$*" in *--test*) test -e /run/test-passes && exec {real} "$@";; esac\ntest -e /run/test-reads && cat >/dev/null\necho "no memory left" >&2\nexit 4\n'
    nodes.run("worker2", ["mv", path, f"{path}.real"])
    nodes.write("worker2", path, script, mode=0o755)
    yield "worker2"
    nodes.run("worker2", ["mv", f"{path}.real", path])
    nodes.run("worker2", ["rm", "-f", "/run/test-passes", "/run/test-reads"])
    run_module(nodes, "worker2", "node_firewall", {"state": "absent"})


def test_F18_one_family_fails_the_other_is_put_back(nodes: Lab, broken_ipv6: str) -> None:
    """Before a ruleset was there, and over a former ruleset."""
    former = {"rules": "accept out tcp port 80 family ipv4 name web # only IPv4, so that IPv6 is not asked"}
    run = carry_out(
        nodes,
        broken_ipv6,
        dump("before"),
        firewall("untested", RULESET, ignore_errors=True),
        shell("pass", "touch /run/test-passes"),
        firewall("from nothing, unread", BIG, ignore_errors=True),
        shell("read", "touch /run/test-reads"),
        firewall("from nothing", RULESET, ignore_errors=True),
        dump("after"),
        firewall("former", former),
        dump("with former"),
        firewall("over former", RULESET, ignore_errors=True),
        dump("former again"),
    ).succeeded()
    undone = ("from nothing, unread", "from nothing", "over former")
    for name in ("untested", *undone):
        assert run.one(name).failed
        assert not run.one(name).changed
        assert "ip6tables-nft-restore -w 10 --noflush" in run.one(name).message
    assert "were put back" in run.one("untested").message
    for name in undone:
        assert "no memory left" in run.one(name).message
        assert "the ipv4 rules were put back" in run.one(name).message
        assert "othing was changed" not in run.one(name).message
    assert dumped(run, "after") == dumped(run, "before")
    assert dumped(run, "former again") == dumped(run, "with former")


def test_node_without_iptables(nodes: Lab) -> None:
    """In check mode it counts as empty and the diff is planned from that; a real run says what is missing."""
    run = carry_out(
        nodes,
        "master",
        dump("before"),
        checked("check", RULESET),
        firewall("real", RULESET, ignore_errors=True),
        firewall("absent", {"state": "absent"}),
        dump("after"),
    ).succeeded()
    check = run.one("check")
    assert check.changed
    assert check.data["before"] == {"ipv4": [], "ipv6": []}
    assert any("IKS-INPUT-node" in line for line in check.data["after"]["ipv4"])
    assert check.data["diff"][0]["before"] == ""
    assert "iptables is not installed; the node counts as empty" in check.data["notes"]
    assert "ipset is not installed; without it every address of a long list is a rule of its own" in check.data["notes"]
    listed = [line for line in check.data["after"]["ipv4"] if "ports: SSH" in line and "-t mangle" not in line]
    assert [line.split(" -s ")[1].split()[0] for line in listed] == ["10.0.0.0/8", "192.0.2.0/24"]
    assert run.one("real").failed
    assert "iptables is not installed; install the iptables package, or use the role" in run.one("real").message
    assert "Nothing was changed" in run.one("real").message
    assert not run.one("absent").changed
    assert dumped(run, "before") == dumped(run, "after")


def test_the_state_in_words_reads_every_backend(nodes: Lab) -> None:
    """The tests' own dump is no blind witness: it sees the foreign rules of each backend."""
    assert any("legacy iptables *filter: -A INPUT" in line for line in node_state(nodes, "gateway"))
    assert any("nft ip6tables *filter: -A cali-INPUT" in line for line in node_state(nodes, "worker1"))
    assert any("native ip/kube-proxy" in line for line in node_state(nodes, "worker2"))
