# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets as `ipset save` prints them: who is in, who is not, and where it cannot be told."""

from __future__ import annotations

import ipaddress

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.ipset_save import Seen, contains, read_sets

SETS = read_sets("""create nets hash:net family inet hashsize 1024 maxelem 65536 timeout 600 bucketsize 12 initval 0x5
add nets 10.0.0.0/8 timeout 20
add nets 10.1.0.0/16 timeout 20 nomatch
add nets 10.1.1.0/24 timeout 20
create ips hash:ip family inet hashsize 1024 maxelem 65536 comment
add ips 192.0.2.5 comment "who is it"
create pairs hash:ip,port family inet hashsize 1024 maxelem 65536
add pairs 192.0.2.5,tcp:22
create links hash:net,iface family inet hashsize 1024 maxelem 65536
add links 192.0.2.0/24,eth0
create masked hash:ip family inet netmask 24
add masked 192.0.2.0
create numbers bitmap:port range 0-100
create six hash:net family inet6
add six 2001:db8::/32
create all list:set size 8
add all six
add all nets
create open list:set size 8
add open nets
add open gone
what is this
""")


@pytest.mark.parametrize(
    ("name", "directions", "source", "answer"),
    [
        ("nets", "src", "10.2.0.1", True),
        ("nets", "src", "10.1.2.1", False),
        ("nets", "src", "10.1.1.1", True),
        ("nets", "src", "11.0.0.1", False),
        ("nets", "dst", "10.2.0.1", False),
        ("ips", "src", "192.0.2.5", True),
        ("ips", "src", "192.0.2.6", False),
        ("pairs", "src,dst", "192.0.2.5", True),
        ("pairs", "src,src", "192.0.2.5", False),
        ("pairs", "src", "192.0.2.5", False),
        ("links", "src,src", "192.0.2.9", True),
        ("links", "src,dst", "192.0.2.9", False),
        ("masked", "src", "192.0.2.9", None),
        ("numbers", "dst", "192.0.2.9", None),
        ("six", "src", "10.2.0.1", False),
        ("all", "src", "10.2.0.1", True),
        ("all", "src", "192.0.2.9", False),
        ("open", "src", "10.2.0.1", True),
        ("open", "src", "192.0.2.9", None),
        ("absent", "src", "10.2.0.1", None),
    ],
)
def test_contains(name: str, directions: str, source: str, answer: bool | None) -> None:
    def see(direction: str) -> Seen:
        if direction == "src":
            return Seen(ipaddress.ip_address(source), 6, 50000, "eth0")
        return Seen(ipaddress.ip_address("203.0.113.1"), 6, 22, "")

    assert contains(SETS, name, tuple(directions.split(",")), "ipv4", see) is answer


def test_what_is_not_known_of_the_packet() -> None:
    unknown = Seen(None, 6, None, None)
    assert contains(SETS, "nets", ("src",), "ipv4", lambda way: unknown) is None
    assert contains(SETS, "pairs", ("src", "dst"), "ipv4", lambda way: unknown) is None
    other = Seen(None, 17, None, None)
    assert contains(SETS, "pairs", ("src", "dst"), "ipv4", lambda way: other) is False


def test_borders() -> None:
    assert ipaddress.ip_network("192.0.2.5") in SETS["pairs"].covers()
    assert ipaddress.ip_network("2001:db8::/32") in SETS["six"].covers()
