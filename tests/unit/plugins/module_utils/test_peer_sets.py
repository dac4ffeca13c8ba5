# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of peers: named by their content, never changed in place, said as ipset says them."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.peer_sets import (
    SHORTEST,
    PeerSets,
    changed_sets,
    create_text,
    family_of,
    is_peer_set,
    read_members,
    set_members,
    set_name,
    set_text,
)
from ansible_collections.iks.hardening.plugins.module_utils.traffic import FAMILIES, IPV4, IPV6
from tests.strategies import networks


def nets(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def test_members_as_ipset_prints_them() -> None:
    assert set_members(nets("192.0.2.1/32", "10.0.0.0/8"), IPV4) == ("10.0.0.0/8", "192.0.2.1")
    assert set_members(nets("2001:db8::1/128", "2001:db8::/64"), IPV6) == ("2001:db8::/64", "2001:db8::1")
    assert set_members(nets("0.0.0.0/0"), IPV4) == ("0.0.0.0/1", "128.0.0.0/1")
    assert set_members(nets("::/0"), IPV6) == ("8000::/1", "::/1")


@given(st.data())
def test_the_name_is_that_of_the_content(data: st.DataObject) -> None:
    for version, family in ((4, IPV4), (6, IPV6)):
        one, other = (set_members(nets(*data.draw(networks(version))), family) for _round in range(2))
        name = set_name(one, family)
        assert (name == set_name(other, family)) == (one == other)
        assert set_name(set_members(nets(*one), family), family) == name
        assert len(name) <= 31, "the kernel's IPSET_MAXNAMELEN less its NUL"
        # The name under which a set is refilled.
        assert len(f"{name}-m") <= 31
        assert is_peer_set(name)
        assert family_of(name) == family
        assert read_members(create_text(name, one), name) == one


def test_a_family_has_names_of_its_own() -> None:
    members = ("10.0.0.0/8",)
    assert len({set_name(members, family) for family in FAMILIES}) == 2


def test_short_lists_stay_rules() -> None:
    sets = PeerSets(IPV4)
    many = nets(*(f"10.0.{number}.0/24" for number in range(SHORTEST)))
    assert sets.name_for(None) is None
    assert sets.name_for(many[:-1]) is None
    name = sets.name_for(many)
    assert name is not None
    assert sets.name_for(many) == name
    assert sets.name_for(tuple(reversed(many))) == name, "order does not count"
    assert list(sets.members) == [name]


def test_a_set_has_room_for_its_list() -> None:
    head = create_text("iks4-x", tuple(f"10.{a}.{b}.0/24" for a in range(100) for b in range(200))).splitlines()[0]
    assert head == "create iks4-x hash:net family inet hashsize 8192 maxelem 20000"
    assert create_text("iks6-x", ()).splitlines() == ["create iks6-x hash:net family inet6 hashsize 64 maxelem 1"]


def test_a_set_is_seen_full_or_not_at_all() -> None:
    lines = set_text("iks4-x", ("10.0.0.0/8",)).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["create", "iks4-x-m"],
        ["add", "iks4-x-m"],
        ["create", "iks4-x"],
        ["swap", "iks4-x-m"],
        ["destroy", "iks4-x-m"],
    ]


def test_what_changes() -> None:
    have = {"iks4-a": ("10.0.0.0/8",), "iks4-b": ()}
    want = {"iks4-a": ("10.0.0.0/8",), "iks4-b": ("192.0.2.0/24",), "iks4-c": ("192.0.2.1",), "iks4-d": ()}
    assert changed_sets(have, want) == ["iks4-b", "iks4-c"]
    assert read_members("add iks4-ab 192.0.2.1\nadd iks4-a 10.0.0.0/8\n", "iks4-a") == ("10.0.0.0/8",)
