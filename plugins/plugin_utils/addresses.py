# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strict addresses and networks on the controller; netaddr does the arithmetic.

What a person might read in two ways (octal, host bits, netmasks, host names, other scripts' digits) is refused.
"""

from __future__ import annotations

import re
from typing import Iterable

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError

try:
    import netaddr
except ImportError:  # named by `_netaddr` as soon as an address has to be read
    netaddr = None

_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?", re.ASCII)
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:/[0-9]{1,3})?", re.ASCII)
_OCTAL = re.compile(r"(?:^|[./])0[0-9]", re.ASCII)
# The widest network that can be one provider's block of masters; anything wider is a slip (0.0.0.0/0 above all).
WIDEST = {4: 16, 6: 32}
PRIVATE_USE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")


class AddressError(HardeningError):
    """A text that is not the address or network that it should be; the message has no place, the caller adds it."""


def _netaddr():  # type: ignore[no-untyped-def]
    if netaddr is None:
        raise HardeningError(
            "the Python package netaddr is missing on the controller; install it for the Python that runs Ansible: "
            "python3 -m pip install netaddr"
        )
    return netaddr


def network(value: object) -> str:
    """The canonical form of a network or of one address (`/32`, `/128`). Raises AddressError."""
    lib = _netaddr()
    if not isinstance(value, str):
        raise AddressError(
            f"{value!r} is not an address; write it as text, for example 169.46.7.238 or 168.1.45.160/27"
        )
    if not value.isascii():
        raise AddressError(f"{value!r} has characters that are not ASCII; write the digits 0-9")
    if not (_IPV4.fullmatch(value) or _IPV6.fullmatch(value)):
        raise AddressError(f"{value!r} is not an IPv4 or IPv6 address or network; host names are not resolved")
    if ":" not in value and _OCTAL.search(value):
        raise AddressError(
            f"{value!r} has a leading zero, which some programs read as octal; write the plain decimal number"
        )
    try:
        net = lib.IPNetwork(value)
    except (lib.AddrFormatError, ValueError):
        raise AddressError(f"{value!r} is not an IPv4 or IPv6 address or network: a part is out of range") from None
    if net.prefixlen == 0:
        raise AddressError(f"{value!r} is every address; name the networks that are meant")
    if net.ip != net.network:
        raise AddressError(f"{value!r} has host bits set; write {net.cidr} for the network or {net.ip} for the host")
    return str(net)


def host(value: object) -> str:
    """One usable unicast address, without a prefix length. Raises AddressError."""
    lib = _netaddr()
    net = lib.IPNetwork(network(value))
    if net.size != 1:
        raise AddressError(f"{value!r} is a network; name one address")
    _unicast(value, net)
    return str(net.ip)


def endpoint(value: object) -> str:
    """A peer on the far side: a unicast address, or a network no wider than WIDEST. Raises AddressError."""
    net = _netaddr().IPNetwork(network(value))
    if net.prefixlen < WIDEST[net.version]:
        raise AddressError(f"{value!r} is wider than /{WIDEST[net.version]}; name the addresses that are meant")
    _unicast(value, net)
    return str(net)


def _unicast(value: object, net) -> None:  # type: ignore[no-untyped-def]
    unusable = {
        "unspecified": int(net.ip) == 0,
        "a loopback address": net.ip.is_loopback(),
        "a multicast address": net.ip.is_multicast(),
    }
    for what, found in unusable.items():
        if found:
            raise AddressError(f"{value!r} is {what}, never a peer across the network")
    if str(net.ip) == "255.255.255.255":
        raise AddressError(f"{value!r} is the broadcast address, never a peer across the network")


def merge(networks: Iterable[str]) -> list[str]:
    """The same addresses in as few networks as possible, sorted. Only within one rule, where no reason is lost."""
    return [str(net) for net in _netaddr().cidr_merge(list(networks))]


def version(net: str) -> int:
    """4 or 6."""
    return 6 if ":" in net else 4


def inside(net: str, blocks: Iterable[str]) -> bool:
    """Whether a network lies in one of the blocks as a whole."""
    lib = _netaddr()
    return any(lib.IPNetwork(net) in lib.IPNetwork(block) for block in blocks)


def is_private(net: str) -> bool:
    """Whether a network is for private use (RFC 1918, RFC 6598, RFC 4193)."""
    return inside(net, PRIVATE_USE)
