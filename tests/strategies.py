# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random traffic rules for property-based tests: everything the model allows, nothing it refuses."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.rates import PER, UNITS, most_at_once
from ansible_collections.iks.hardening.plugins.module_utils.traffic import ACTIONS, LOG_CHARS, Rule
from ansible_collections.iks.hardening.plugins.module_utils.traffic_reading import rule_from_dict

_TEXT = st.text(alphabet="abc XYZ-_.,:;#'()%$&*+/<>=?@[]^{}|~0189äß", min_size=1, max_size=60).filter(str.strip)
_PORTS = st.lists(
    st.one_of(
        st.integers(1, 65535).map(str),
        st.tuples(st.integers(1, 30000), st.integers(1, 30000)).map(lambda two: f"{two[0]}-{sum(two)}"),
    ),
    min_size=1,
    max_size=25,
)
_INTERFACES = st.sampled_from(["eth0", "eth1", "lo", "cali+", "bond0.12"])
_STATES = st.lists(
    st.sampled_from(["new", "established", "related", "invalid", "dnat"]), min_size=1, max_size=3, unique=True
)


def networks(version: int) -> st.SearchStrategy[list[str]]:
    """One to three networks of one family, without host bits."""
    bits = 32 if version == 4 else 128
    kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    one = st.tuples(st.integers(0, 2**bits - 1), st.integers(1, bits)).map(lambda two: str(kind(two, strict=False)))
    return st.lists(one, min_size=1, max_size=3, unique=True)


@st.composite
def limits_and_logs(draw: Any, protocol: str) -> dict[str, Any]:
    """What counts packets or tells of them."""
    data: dict[str, Any] = {}
    if draw(st.booleans()):
        count, unit = draw(st.integers(1, 1000)), draw(st.sampled_from(UNITS))
        data["rate"] = f"{count}/{unit}"
        data["burst"] = draw(st.integers(1, most_at_once(count, unit)))
        data["per"] = draw(st.sampled_from(PER))
    if protocol == "tcp" and draw(st.booleans()):
        data["connections"] = draw(st.integers(1, 65535))
    if draw(st.booleans()):
        data["log"] = draw(st.sampled_from(["iks-drop-in:", "x", "a" * LOG_CHARS]))
    return data


@st.composite
def rules(draw: Any, name: str = "rule", limits: bool = True) -> Rule:
    """One rule of any direction, protocol and family; without limits and logs if what is asked is one packet's fate."""
    protocol = draw(st.sampled_from(["any", "tcp", "udp", "sctp", "icmp", "icmpv6", "vrrp", "esp", "ah", "47"]))
    direction = draw(st.sampled_from(["in", "out", "forward"]))
    version = {"icmp": 4, "icmpv6": 6}.get(protocol) or draw(st.sampled_from([4, 6]))
    data: dict[str, Any] = {
        "name": name,
        "direction": direction,
        "action": draw(st.sampled_from(ACTIONS)),
        "protocol": protocol,
        "reason": draw(_TEXT).strip(),
    }
    for field in ("sources", "destinations"):
        if draw(st.booleans()):
            data[field] = draw(networks(version))
    if protocol in ("tcp", "udp", "sctp"):
        for field in ("ports", "source_ports"):
            if draw(st.booleans()):
                data[field] = draw(_PORTS)
    if protocol in ("icmp", "icmpv6") and draw(st.booleans()):
        data["icmp_types"] = draw(st.lists(st.integers(0, 254), min_size=1, max_size=3, unique=True))
    if draw(st.booleans()):
        data["interface"] = draw(_INTERFACES)
    if direction == "forward" and draw(st.booleans()):
        data["out_interface"] = draw(_INTERFACES)
    if draw(st.booleans()):
        data["states"] = draw(_STATES)
    if limits:
        data.update(draw(limits_and_logs(protocol)))
    return rule_from_dict(data)
