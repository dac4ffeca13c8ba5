# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of others that decide against the ruleset are found, named, and told once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.firewall_guard import foreign_decisions, locked_out
from ansible_collections.iks.hardening.plugins.module_utils.ipset_save import read_sets
from ansible_collections.iks.hardening.plugins.module_utils.iptables_save import Save, parse
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules

SAVES = Path(__file__).resolve().parents[2] / "data" / "saves"
LINKS = {"lo": ["127.0.0.1/8", "::1/128"], "eth0": ["203.0.113.11/24", "2001:db8::11/64"], "eth1": ["10.0.0.11/24"]}
RULESET = Ruleset(
    "node",
    900,
    tuple(
        read_rules("""
        accept in tcp from 203.0.113.0/24,2001:db8::/64 port 22 on eth0 name ssh # administrators
        accept in tcp port 80,443 on eth0 name web # everybody
        accept out tcp port 443 on eth0 name out # mirrors
        """)
    ),
    default_rules([{"direction": "in", "interface": "eth0"}, {"direction": "out", "interface": "eth0"}]),
)


def saved(name: str) -> dict[str, Save]:
    return {"ipv4": parse((SAVES / name).read_text(encoding="utf-8"))}


def filtered(*lines: str, tables: str = "") -> dict[str, Save]:
    hooks = ":INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    return {"ipv4": parse(f"{tables}*filter\n{hooks}:X - [0:0]\n" + "\n".join(lines) + "\nCOMMIT\n")}


def notes(saves: dict[str, Save], ruleset: Ruleset = RULESET, sets: str = "") -> list[str]:
    return foreign_decisions(saves, [ruleset], LINKS, read_sets(sets))


def test_felix_accepts_what_the_ruleset_denies() -> None:
    found = notes(saved("calico.nft.save"))
    ssh = [note for note in found if "--dports 22 " in note]
    assert len(ssh) == 1
    assert ssh[0].startswith("ipv4 in: rule 1 of filter cali-failsafe-in (-A cali-failsafe-in -p tcp ")
    assert ssh[0].endswith(
        "accepts tcp port 22 from 198.51.100.1 to 203.0.113.11 on eth0, before rule default-in-eth0 can drop it"
    )
    out = [note for note in found if note.startswith("ipv4 out:")]
    assert any("cali-failsafe-out" in note and "before rule default-out-eth0 can drop it" in note for note in out)
    assert any("rule 5 of filter cali-OUTPUT" in note for note in out), "policies accept everything outwards"


def test_a_doubt_is_said_as_a_doubt() -> None:
    hosts = "rule 1 of filter cali-INPUT"
    doubtful = [note for note in notes(saved("calico.nft.save")) if hosts in note]
    assert "may be what accepts" in doubtful[0]
    assert doubtful[0].endswith("it depends on rule 1 of filter cali-INPUT: -m set --match-set cali40all-hosts-net src")
    given = "create cali40all-hosts-net hash:net\ncreate cali40s:3Hcb0rDjWd4kPzFGZ hash:net\n"
    assert not [note for note in notes(saved("calico.nft.save"), sets=given) if hosts in note or "may be" in note]


def test_fail2ban_denies_what_the_ruleset_accepts() -> None:
    found = [note for note in notes(saved("docker-fail2ban.nft.save")) if note.startswith("ipv4 in")]
    assert len(found) == 2
    assert "rule 1 of filter f2b-sshd (-A f2b-sshd -s 203.0.113.77/32 -j REJECT" in found[0]
    assert found[0].endswith(
        "rejects tcp port 22 from 203.0.113.77 to 203.0.113.11 on eth0, though rule ssh would accept it"
    )
    assert "drops tcp port 80 from 198.51.100.7 to 203.0.113.11 on eth0, though rule web would accept it" in found[1]


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("-A INPUT -j IKS-INPUT", "-A IKS-INPUT -j DROP", "-A INPUT -j ACCEPT"),
        ("-A INPUT -j DROP",),  # our jump will stand before it
        ("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A INPUT -i lo -j ACCEPT"),
        ("-A INPUT -m limit --limit 3/min -j LOG", "-A INPUT -p tcp -j X", "-A X -j RETURN"),
        ("-A INPUT -i eth1 -j ACCEPT", "-A INPUT -i cali+ -j DROP"),
        (
            "-A INPUT -i eth0 -p tcp -m tcp --dport 443 -j ACCEPT",
            "-A INPUT -s 9.9.9.9/32 -p tcp -m tcp --dport 25 -j DROP",
        ),
    ],
)
def test_others_who_agree_are_not_mentioned(lines: tuple[str, ...]) -> None:
    assert notes(filtered(*lines)) == []


def test_after_we_accept_another_table_may_deny() -> None:
    late = "*mangle\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth0 -p tcp -m tcp --dport 443 -j DROP\nCOMMIT\n"
    found = notes(filtered(tables=late))
    assert len(found) == 1
    assert "rule 1 of mangle POSTROUTING" in found[0]
    assert "though rule out would accept it" in found[0]


def test_an_early_denial_of_ours_closes_what_others_accept() -> None:
    """What must stay closed whatever Felix accepts is dropped in mangle INPUT; then nothing is left to tell."""
    early = "*mangle\n:INPUT ACCEPT [0:0]\n:IKS-INPUT - [0:0]\n-A INPUT -j IKS-INPUT\n-A IKS-INPUT -j DROP\nCOMMIT\n"
    accept = "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"
    assert len(notes(filtered(accept))) == 1
    assert notes(filtered(accept, tables=early)) == []
    only_8080 = early.replace("-A IKS-INPUT -j DROP", "-A IKS-INPUT -p tcp -m tcp --dport 8080 -j DROP")
    assert len(notes(filtered(accept, tables=only_8080))) == 1, "chains of ours in other tables count as they stand"
    for tables in ("", only_8080):
        will_be = foreign_decisions(filtered(accept, tables=tables), [RULESET], LINKS, early=[("mangle", "INPUT")])
        assert will_be == [], "as planned"


def test_a_policy_of_others_decides_behind_a_ruleset_that_only_opens() -> None:
    opens = Ruleset("region", 500, tuple(read_rules("accept in tcp port 80 on eth0 name web # x")))
    assert notes({"ipv4": parse("*filter\n:INPUT DROP [0:0]\nCOMMIT\n")}, opens) == []
    assert len(notes(filtered("-A INPUT -p tcp -j DROP"), opens)) == 1


def test_ipv6_is_looked_at_too() -> None:
    save = parse("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 2001:db8::7/128 -j DROP\nCOMMIT\n")
    (note,) = foreign_decisions({"ipv6": save}, [RULESET], LINKS)
    assert note.startswith("ipv6 in: rule 1 of filter INPUT")
    assert "tcp port 22 from 2001:db8::7" in note


def test_a_program_may_decide() -> None:
    (note,) = notes(filtered("-A INPUT -p tcp -m tcp --dport 80 -j NFQUEUE --queue-num 1"))
    assert "may be what decides about tcp port 80" in note
    assert note.endswith("it depends on rule 1 of filter INPUT: what NFQUEUE does is not known")


def bans(count: int) -> list[str]:
    return [f"-A X -s 198.51.{number // 250}.{number % 250 + 1}/32 -j DROP" for number in range(count)]


def test_many_bans_are_told_shortly() -> None:
    found = notes(filtered("-A INPUT -p tcp -j X", *bans(40)))
    assert len(found) == 21
    assert found[-1] == "5 more rules of others decide against the ruleset"


def test_thousands_of_bans_take_a_moment_and_the_limit_is_told() -> None:
    begin = time.process_time()
    found = notes(filtered("-A INPUT -p tcp -j X", *bans(3000)))
    assert time.process_time() - begin < 10
    assert "rule 1 of filter X" in found[0]
    assert "kinds of packets were tried" in found[-1]


def test_a_ban_on_the_peer_is_a_lockout() -> None:
    peer = {"source": "203.0.113.77", "source_port": 50000, "destination": "203.0.113.11", "port": 22}
    answers = tuple(read_rules("accept out tcp source-port 22 to 203.0.113.0/24 name answers # older sessions"))
    ruleset = Ruleset("node", 900, (*RULESET.rules, *answers), RULESET.defaults)
    links = {name: list(networks) for name, networks in LINKS.items()}
    assert locked_out(ruleset, peer, links) == ""
    told = locked_out(ruleset, peer, links, saved("docker-fail2ban.nft.save"))
    assert "rule 1 of filter f2b-sshd" in told
    assert "would reject new SSH connections from 203.0.113.77 on eth0 port 22" in told
    assert told.endswith("Remove that rule, or give allow_lockout: true")
    assert locked_out(ruleset, {**peer, "source": "203.0.113.78"}, links, saved("docker-fail2ban.nft.save")) == ""
