# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The intrusion guard: which rules it makes, whom it never holds, and who is held."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.errors import TrafficError
from ansible_collections.iks.hardening.plugins.module_utils.intrusion import (
    Guard,
    guard_specs,
    held_text,
    read_guard,
    read_held,
)
from ansible_collections.iks.hardening.plugins.module_utils.traffic import IPV4, IPV6

NEVER = ["10.0.0.0/8", "203.0.113.11", "2001:db8::/32"]


def guard(**more: Any) -> Guard:
    found = read_guard({"never": NEVER, **more})
    assert found is not None
    return found


def test_defaults_and_nothing() -> None:
    assert read_guard(None) is None
    assert read_guard({}) is None
    found = guard()
    assert (found.hold, str(found.rate), found.rate.burst) == (600, "10/minute", 20)
    assert [str(net) for net in found.never] == ["10.0.0.0/8", "203.0.113.11/32", "2001:db8::/32"]
    assert guard(hold="60").hold == 60


REFUSED: dict[str, tuple[Any, str]] = {
    "not-a-dictionary": (["never"], "is not a dictionary of hold, rate, burst, never"),
    "unknown": ({"never": NEVER, "hodl": 5}, "guard: option: 'hodl' is not one of hold, rate, burst, never; did you mean hold?"),
    "B12": ({"never": ["example.org"]}, "names are not resolved"),
    "B14": ({"never": []}, "guard: never is empty"),
    "B17": ({"never": ["010.0.0.1"]}, "'010.0.0.1' is not"),
    "B18": ({"never": NEVER, "hold": "６０"}, "hold '６０' is outside 1-86400 seconds"),
    "superscript": ({"never": NEVER, "hold": "²"}, "hold '²' is outside"),
    "boolean": ({"never": NEVER, "hold": True}, "hold True is outside"),
    "zero": ({"never": NEVER, "hold": 0}, "hold 0 is outside"),
    "long": ({"never": NEVER, "hold": 86401}, "hold 86401 is outside"),
    "longer": ({"never": NEVER, "hold": "9" * 30}, "is outside 1-86400"),
    "rate": ({"never": NEVER, "rate": "often"}, "guard: rate 'often' is not a number and a unit"),
    "burst": ({"never": NEVER, "burst": 0}, "guard: burst 0 is outside 1-1000"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(given: Any, message: str) -> None:
    with pytest.raises(TrafficError) as caught:
        read_guard(given)
    assert message in str(caught.value)


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_the_excepted_are_neither_held_nor_dropped(family: str) -> None:
    specs = guard_specs(guard(), family, ("eth0", None))
    (never,) = specs.sets
    assert len(specs.first) == len(specs.last) == 2
    for spec in (*specs.first, *specs.last):
        assert f"-m set ! --match-set {never} src" in spec
    assert specs.first[0].startswith("-i eth0 -m set --match-set iks-held")
    assert specs.first[0].endswith("-j DROP")
    assert not specs.first[1].startswith("-i")
    assert specs.last[0].endswith("src --exist --timeout 600")
    assert f"--hashlimit-name iks-probes{4 if family == IPV4 else 6}" in specs.last[0]


def test_a_family_of_which_nothing_is_excepted_has_a_set_all_the_same() -> None:
    found = read_guard({"never": ["10.0.0.0/8"]})
    assert list(guard_specs(found, IPV6, ("eth0",)).sets.values()) == [("::1",)]
    assert guard_specs(found, IPV4, ()).sets == {}
    assert guard_specs(None, IPV4, ("eth0",)).first == ()


def test_the_set_of_the_held_keeps_its_entries() -> None:
    assert held_text(IPV6) == "create iks-held6 hash:ip family inet6 timeout 600 -exist\n"


def test_who_is_held() -> None:
    listing = (
        "create iks-held4 hash:ip family inet hashsize 1024 maxelem 65536 timeout 600\n"
        "add iks-held4 198.51.100.7 timeout 581\nadd iks-held4 192.0.2.1 timeout 3\nadd other 192.0.2.9 timeout 3\n"
        "add iks-held6 2001:db8::1 timeout 60\nadd iks-held4 192.0.2.5\n"
    )
    held = [(item["address"], item["seconds_left"]) for item in read_held(listing)]
    assert held == [("192.0.2.1", 3), ("198.51.100.7", 581), ("2001:db8::1", 60)]
    assert read_held("") == []
