# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses are read strictly: what could be read in two ways is refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError
from ansible_collections.iks.hardening.plugins.plugin_utils import addresses

REFUSED = [
    pytest.param("10.0.0.0/33", "out of range", id="B09-prefix-33"),
    pytest.param("10.0.0.256", "out of range", id="B10-octet-256"),
    pytest.param("registry.ng.bluemix.net", "host names are not resolved", id="B12-host-name"),
    pytest.param("10.0.0.5/8", "host bits set; write 10.0.0.0/8", id="B13-host-bits"),
    pytest.param("0.0.0.0/0", "every address", id="B15-everything"),
    pytest.param("::/0", "every address", id="B15-everything-ipv6"),
    pytest.param("010.0.0.1", "leading zero", id="B17-octal"),
    pytest.param("10.0.0.0/08", "leading zero", id="B17-octal-prefix"),
    pytest.param("\u0661\u0660.0.0.1", "not ASCII", id="B18-arabic-digits"),
    pytest.param("\uff11\uff10.0.0.1", "not ASCII", id="B18-fullwidth-digits"),
    pytest.param("10.0.0.0/255.0.0.0", "not an IPv4 or IPv6", id="netmask"),
    pytest.param("10.1", "not an IPv4 or IPv6", id="short-form"),
    pytest.param("10.0.0.1-10.0.0.9", "not an IPv4 or IPv6", id="range"),
    pytest.param(" 10.0.0.1", "not an IPv4 or IPv6", id="blank"),
    pytest.param("10.0.0.1\n", "not an IPv4 or IPv6", id="newline"),
    pytest.param("159.8.197.0./24", "not an IPv4 or IPv6", id="stray-dot-of-the-2018-list"),
    pytest.param("fe80::1%eth0", "not an IPv4 or IPv6", id="zone"),
    pytest.param("1:2", "out of range", id="half-ipv6"),
    pytest.param("", "not an IPv4 or IPv6", id="empty"),
    pytest.param(167772161, "write it as text", id="number"),
    pytest.param(None, "write it as text", id="none"),
    pytest.param(True, "write it as text", id="boolean"),
]


@pytest.mark.parametrize("read", [addresses.network, addresses.host, addresses.endpoint])
@pytest.mark.parametrize(("value", "why"), REFUSED)
def test_refused_everywhere(read, value, why):
    with pytest.raises(addresses.AddressError, match=why) as caught:
        read(value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        pytest.param("0.0.0.0", "unspecified", id="B15-unspecified"),
        pytest.param("0.0.0.0/1", "wider than /16", id="B15-half-of-everything"),
        pytest.param("2000::/3", "wider than /32", id="B15-wide-ipv6"),
        pytest.param("127.0.0.1", "loopback", id="loopback"),
        pytest.param("::1", "loopback", id="B11-loopback-ipv6"),
        pytest.param("224.0.0.18", "multicast", id="multicast"),
        pytest.param("255.255.255.255", "broadcast", id="broadcast"),
    ],
)
def test_not_a_peer(value, why):
    with pytest.raises(addresses.AddressError, match=why):
        addresses.endpoint(value)


def test_a_host_is_one_address():
    assert addresses.host("169.46.7.238/32") == "169.46.7.238"
    with pytest.raises(addresses.AddressError, match="is a network"):
        addresses.host("169.46.9.0/27")


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6), st.integers(min_value=1, max_value=128))
def test_agrees_with_the_standard_library(address, length):
    text = f"{address}/{min(length, address.max_prefixlen)}"
    try:
        wanted = str(ipaddress.ip_network(text))
    except ValueError:
        with pytest.raises(addresses.AddressError, match="host bits"):
            addresses.network(text)
    else:
        assert ipaddress.ip_network(addresses.network(text)) == ipaddress.ip_network(wanted)


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_with_its_value(text):
    try:
        found = addresses.network(text)
    except addresses.AddressError as error:
        message = str(error)
    else:
        message = repr(text)
        assert ipaddress.ip_network(found) == ipaddress.ip_network(text)
    assert repr(text) in message


def _blocks(draw_from):
    return st.builds(
        lambda number, bits: f"10.{number % 4}.{(number // 4) % 256 & ~((1 << bits) - 1)}.0/{24 - bits}", *draw_from
    )


@given(st.lists(_blocks((st.integers(0, 1023), st.integers(0, 3))), min_size=1, max_size=12))
def test_merging_keeps_every_address_and_adds_none(networks):
    def held(nets):
        return {block for net in nets for block in ipaddress.ip_network(net).subnets(new_prefix=24)}

    merged = addresses.merge(networks)
    assert held(merged) == held(networks)
    assert len(merged) <= len(set(networks))


@pytest.mark.parametrize(
    ("net", "private"),
    [("10.171.0.12/32", True), ("100.100.0.0/20", True), ("169.46.7.238/32", False), ("fd00::1/128", True)],
)
def test_private_use(net, private):
    assert addresses.is_private(net) is private


def test_missing_netaddr_is_named(monkeypatch):
    monkeypatch.setattr(addresses, "netaddr", None)
    with pytest.raises(HardeningError, match="package netaddr is missing on the controller; install it"):
        addresses.network("10.0.0.1")
