# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Saved generations: read back as they were written, and anything else is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils import firewall_saved
from ansible_collections.iks.hardening.plugins.module_utils.errors import NodeError, TrafficError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import with_ruleset
from ansible_collections.iks.hardening.plugins.module_utils.firewall_saved import (
    Saved,
    check_place,
    choose_generation,
    generation_body,
    generation_states,
    generations,
    newest,
    says,
    with_head,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import OwnState, is_same
from ansible_collections.iks.hardening.plugins.module_utils.intrusion import read_guard
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic import FAMILIES, IPV4, IPV6, Rule
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules
from tests.strategies import rules

PEERS = ",".join(
    [*(f"198.51.{number}.0/24" for number in range(30)), *(f"2001:db8:{number}::/48" for number in range(30))]
)
LINES = f"accept in tcp from {PEERS} port 22 name peers # x\naccept out tcp port 443 name web # it's x\n"
GUARD = read_guard({"never": ["10.0.0.0/8"]})
CLOSING = default_rules([{"direction": "in", "interface": "eth0"}])


def states(lines: str = LINES) -> dict[str, OwnState]:
    ruleset = Ruleset("node", 900, tuple(read_rules(lines)), CLOSING, GUARD)
    return {family: with_ruleset(OwnState(), ruleset, family) for family in FAMILIES}


def test_both_families_with_their_sets_read_back() -> None:
    body = generation_body(states(), "legacy")
    backend, found = generation_states(body)
    assert backend == "legacy"
    for family, state in states().items():
        assert is_same(found[family], state)
        assert found[family].sets == state.sets
        assert len(state.sets) == 2, "peers, and those never held"
    assert says(body, states(), "legacy")
    assert not says(body, states(), "nft")
    assert not says(None, states(), "legacy")
    assert not says(body, states(f"{LINES}accept out tcp port 80 name more # x"), "legacy")
    assert "create iks-held4" in body
    assert generation_body(states(), "legacy") == body, "the same rules give the same text"


def test_another_list_of_peers_is_another_generation() -> None:
    assert not says(generation_body(states(), "nft"), states(LINES.replace("198.51.7.0", "198.51.77.0")), "nft")


@given(st.lists(rules(), min_size=1, max_size=4), st.booleans())
def test_whatever_the_model_allows_reads_back(found: list[Rule], closes: bool) -> None:
    named = [Rule(**{**rule.__dict__, "name": f"r{index}"}) for index, rule in enumerate(found)]
    try:
        ruleset = Ruleset("node", 900, tuple(named), CLOSING if closes else ())
    except TrafficError:
        return  # one rule contradicts another
    wanted = {family: with_ruleset(OwnState(), ruleset, family) for family in FAMILIES}
    body = generation_body(wanted, "nft")
    assert says(body, wanted, "nft")
    _backend, read = generation_states(body)
    assert generation_body(read, "nft") == body
    for family, state in wanted.items():
        assert is_same(read.get(family, OwnState()), state)


@pytest.mark.parametrize(
    "body", ["", "=== about\nbackend nft\n", "=== about\n=== ipv4\n=== ipv6\n", "*filter\nCOMMIT\n"]
)
def test_what_is_not_a_generation(body: str) -> None:
    with pytest.raises(NodeError, match="not complete; nothing was changed"):
        generation_states(body)
    assert not says(body, {family: OwnState() for family in FAMILIES}, "nft")


DAMAGE = {
    "one letter": lambda text: text.replace("--dport 22", "--dport 23", 1),
    "cut": lambda text: text[:-10],
    "longer": lambda text: f"{text}-A INPUT -j ACCEPT\n",
    "another digest": lambda text: text.replace("sha256 ", "sha256 0", 1),
    "no head": lambda text: text.partition("\n")[2],
    "empty": lambda text: "",
    "a line end": lambda text: text.replace("COMMIT\n", "COMMIT\r\n", 1),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_found(tmp_path: Path, damage: object) -> None:
    whole = with_head(generation_body(states(), "nft"))
    (tmp_path / "000001.rules").write_text(whole)
    (tmp_path / "000002.rules").write_bytes(damage(whole).encode())  # type: ignore[operator]
    (tmp_path / "notes.txt").write_text("not ours")
    found = generations(str(tmp_path))
    assert [(item.number, item.body is not None) for item in found] == [(2, False), (1, True)]
    assert newest(str(tmp_path)) == found[0]


def test_bytes_that_are_no_text_are_damage(tmp_path: Path) -> None:
    (tmp_path / "000007.rules").write_bytes(b"\xff\xfe\x00")
    assert newest(str(tmp_path)) == Saved(7, None)
    assert newest(str(tmp_path / "missing")) is None
    assert generations(str(tmp_path / "missing")) == []


SAVED = [Saved(9, "nine"), Saved(8, None), Saved(7, "seven")]


@pytest.mark.parametrize(("wanted", "number"), [("last", 9), ("previous", 7), ("9", 9), ("7", 7)])
def test_choose_generation(wanted: str, number: int) -> None:
    assert choose_generation(SAVED, wanted).number == number


@pytest.mark.parametrize("wanted", ["8", "0", "", "latest", "000007", "７", "../../etc/passwd"])
def test_B60_what_is_no_intact_generation_is_refused(wanted: str) -> None:
    with pytest.raises(NodeError) as caught:
        choose_generation(SAVED, wanted)
    assert f"to: {wanted!r} is not a saved generation; saved and intact are 9, 7" in str(caught.value)


def test_previous_of_a_single_generation_is_refused() -> None:
    with pytest.raises(NodeError, match="saved and intact are 9; allowed"):
        choose_generation(SAVED[:1], "previous")


def test_the_newest_five_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "generations"
    monkeypatch.setattr(firewall_saved, "STATE_FOLDER", str(tmp_path))
    monkeypatch.setattr(firewall_saved, "GENERATIONS", str(folder))
    monkeypatch.setattr(firewall_saved, "STAGED", str(tmp_path / "staged.rules"))
    monkeypatch.setattr(firewall_saved, "generations", lambda: generations(str(folder)))
    folder.mkdir(mode=0o700)
    for number in range(1, 8):
        # Staged before or not, or something else staged: what is kept is what was asked for.
        if number % 3:
            (tmp_path / "staged.rules").write_text(with_head(f"{number if number % 2 else 'other'}\n"))
        assert firewall_saved.keep(f"{number}\n") == number
    assert [item.body for item in generations(str(folder))] == [f"{number}\n" for number in (7, 6, 5, 4, 3)]
    assert [item.number for item in generations(str(folder))] == [7, 6, 5, 4, 3]


@pytest.mark.skipif(os.geteuid() != 0, reason="the temporary folder of a user lies below others' folders")
def test_B61_a_place_above_which_everybody_can_write(tmp_path: Path) -> None:
    above = tmp_path / "var"
    above.mkdir()
    above.chmod(0o1777)
    with pytest.raises(NodeError) as caught:
        check_place(str(above / "lib" / "iks-hardening"))
    assert f"lies in {above}, which everybody can write (mode 1777)" in str(caught.value)
    assert "nothing was changed" in str(caught.value)


def test_ipv6_alone_and_ipv4_alone() -> None:
    """A family of which nothing of ours is there has an empty part, and is none of the generation's states."""
    whole = states()
    for family, other in ((IPV4, IPV6), (IPV6, IPV4)):
        half = {family: whole[family], other: OwnState()}
        body = generation_body(half, "nft")
        assert says(body, half, "nft")
        assert not says(body, whole, "nft")
        assert list(generation_states(body)[1]) == [family]
