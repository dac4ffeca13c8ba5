# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is loaded at boot: one shell script that needs nothing of the collection, and its emergency ruleset."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.iks.hardening.plugins.module_utils import firewall_boot
from ansible_collections.iks.hardening.plugins.module_utils.firewall_boot import (
    Emergency,
    boot_report,
    emergency_parts,
    has_parts,
    is_roots_own,
    missing_files,
    parts_of,
    script_text,
    wanted_files,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_plan import with_ruleset
from ansible_collections.iks.hardening.plugins.module_utils.firewall_saved import generation_body, with_head
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import OwnState, read_state
from ansible_collections.iks.hardening.plugins.module_utils.ruleset import Ruleset, default_rules
from ansible_collections.iks.hardening.plugins.module_utils.traffic import FAMILIES
from ansible_collections.iks.hardening.plugins.module_utils.traffic_lines import read_rules

NETWORKS = (ipaddress.ip_network("10.171.0.1/32"), ipaddress.ip_network("2001:db8::/64"))
EMERGENCIES = {
    "one interface": Emergency(("eth0",), NETWORKS),
    "every interface": Emergency((None,), NETWORKS),
    "two interfaces, no management": Emergency(("eth0", "eth1"), ()),
}
TEXTS = {
    "no emergency": script_text({}),
    **{
        f"{name}, {backend}": script_text(emergency_parts(wanted, backend))
        for name, wanted in EMERGENCIES.items()
        for backend in ("nft", "legacy")
    },
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_script_is_one_for_the_shell(text: str, tmp_path: Path) -> None:
    script = tmp_path / "boot.sh"
    script.write_text(text)
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.parametrize("text", [TEXTS["no emergency"], TEXTS["one interface, nft"]])
def test_the_script_passes_shellcheck(text: str, tmp_path: Path) -> None:
    checker = shutil.which("shellcheck")
    assert checker, "the linters need it, too"
    script = tmp_path / "boot.sh"
    script.write_text(text)
    # Names of generations are digits, so that a listing by `ls` is safe; what cannot be reached is data.
    done = subprocess.run(
        [checker, "--shell=sh", "--exclude=SC2012,SC2045,SC2317", str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""


@pytest.mark.parametrize("wanted", EMERGENCIES.values(), ids=EMERGENCIES)
def test_the_emergency_ruleset_stands_in_the_script(wanted: Emergency) -> None:
    parts = emergency_parts(wanted, "legacy")
    assert parts_of(script_text(parts)) == parts
    assert parts["about"] == "backend legacy\n"
    for family, ssh in (("ipv4", "-s 10.171.0.1/32"), ("ipv6", "-s 2001:db8::/64")):
        state = read_state(parts[family])
        assert state.rulesets() == ["emergency"]
        assert "--match-set" not in parts[family], "sets may be what is missing"
        (specs,) = [specs for name, specs in state.filter.chains.items() if name == "IKS-INPUT-emergency"]
        opened = [spec for spec in specs if "--dport 22" in spec]
        assert [ssh in spec for spec in opened] == ([True] if wanted.management else [])
        assert specs[-1].endswith("-j DROP")
        assert not any(name.startswith("IKS-OUTPUT") for name in state.filter.chains)


def test_an_emergency_ruleset_that_was_edited_is_none() -> None:
    text = TEXTS["one interface, nft"]
    for edited in (text.replace("-j DROP", "-j ACCEPT"), text.replace("10.171.0.1/32", "0.0.0.0/0"), f"{text}exit 0\n"):
        assert parts_of(edited) == {}
        assert has_parts(edited)
    head = text.replace("umask 077", "umask 022")
    assert parts_of(head) == parts_of(text), "another head is written anew with the same ruleset"
    assert not has_parts(TEXTS["no emergency"])


def test_a_script_of_somebody_elses_has_no_parts() -> None:
    assert parts_of("") == {}
    assert parts_of("#!/bin/sh\nexit 0\n") == {}


REPORTS = {
    "loaded 12\ndamaged\n": {"loaded": 12, "damaged": []},
    "loaded emergency\ndamaged 000012 000011\n": {"loaded": "emergency", "damaged": [12, 11]},
    "loaded nothing\ndamaged\n": {"loaded": "nothing", "damaged": []},
    "": {"loaded": None, "damaged": []},
}


@pytest.mark.parametrize(("text", "report"), REPORTS.items())
def test_the_report_of_a_boot(text: str, report: dict[str, object]) -> None:
    assert boot_report(text) == report


@pytest.mark.skipif(os.geteuid() != 0, reason="ownership needs root")
def test_B61_a_script_that_others_could_change_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, elsewhere = tmp_path / "boot.sh", tmp_path / "elsewhere"
    monkeypatch.setattr(firewall_boot, "WANTED", str(tmp_path / "wanted"))
    (tmp_path / "wanted").symlink_to("unit")
    script.write_text("text")
    script.chmod(0o600)
    assert missing_files({str(script): "text"}) == []
    assert missing_files({str(script): "other"}) == [str(script)]
    for spoil in (lambda: script.chmod(0o666), lambda: os.chown(script, 1000, 0)):
        spoil()
        assert missing_files({str(script): "text"}) == [str(script)]
        os.chown(script, 0, 0)
        script.chmod(0o600)
    script.rename(elsewhere)
    script.symlink_to(elsewhere)
    assert missing_files({str(script): "text"}) == [str(script)]
    assert not is_roots_own(str(tmp_path / "missing"))


def test_unit_and_script_are_what_boot_needs() -> None:
    assert list(wanted_files({})) == [firewall_boot.SCRIPT, firewall_boot.UNIT_FILE]
    assert f"ExecStart=/bin/sh {firewall_boot.SCRIPT}\n" in firewall_boot.UNIT_TEXT


# ---- the script itself, with programs that keep what they were given

_PROGRAM = """#!/bin/sh
case "$0" in
  *-restore) cat >>"$STORE/${0##*/}" ;;
  *-save) cat "$STORE/$(basename "$0" -save)-restore" 2>/dev/null; true ;;
  *) cat >>"$STORE/${0##*/}" ;;
esac
"""


class Boot:
    """The script in a folder of its own."""

    def __init__(self, folder: Path, parts: dict[str, str]) -> None:
        self.folder, self.store, programs = folder, folder / "store", folder / "bin"
        self.saved = folder / "generations"
        for made in (self.store, programs, self.saved):
            made.mkdir()
        for name in (
            "iptables-nft-save",
            "iptables-nft-restore",
            "ip6tables-nft-save",
            "ip6tables-nft-restore",
            "ipset",
        ):
            (programs / name).write_text(_PROGRAM)
            (programs / name).chmod(0o755)
        self.script = folder / "boot.sh"
        text = script_text(parts).replace(firewall_boot.GENERATIONS, str(self.saved))
        text = text.replace("PATH=/usr/sbin", f"PATH={programs}:/usr/sbin").replace(
            firewall_boot.REPORT, f"{folder}/report/boot"
        )
        self.script.write_text(text)

    def save(self, number: int, port: int, damaged: bool = False) -> None:
        ruleset = Ruleset(
            "node",
            900,
            tuple(read_rules(f"accept in tcp port {port} name x # y")),
            default_rules([{"direction": "in"}]),
        )
        body = generation_body({family: with_ruleset(OwnState(), ruleset, family) for family in FAMILIES}, "nft")
        (self.saved / f"{number:06d}.rules").write_text(with_head(body) + ("#" if damaged else ""))

    def run(self) -> tuple[int, dict[str, object], str]:
        done = subprocess.run(
            ["sh", str(self.script)], env={"STORE": str(self.store)}, capture_output=True, text=True, check=False
        )
        report = boot_report((self.folder / "report" / "boot").read_text())
        loaded = self.store / "iptables-nft-restore"
        return done.returncode, report, loaded.read_text() if loaded.exists() else ""


def test_the_newest_intact_generation_is_loaded(tmp_path: Path) -> None:
    boot = Boot(tmp_path, {})
    boot.save(8, 8)
    boot.save(9, 9)
    boot.save(10, 10, damaged=True)
    status, report, loaded = boot.run()
    assert (status, report) == (0, {"loaded": 9, "damaged": [10]})
    assert "--dport 9 " in loaded
    assert "--dport 10 " not in loaded
    assert "-A INPUT" in (boot.store / "ip6tables-nft-restore").read_text()


def test_none_is_intact(tmp_path: Path) -> None:
    boot = Boot(tmp_path, emergency_parts(EMERGENCIES["one interface"], "nft"))
    boot.save(3, 3, damaged=True)
    status, report, loaded = boot.run()
    assert (status, report) == (0, {"loaded": "emergency", "damaged": [3]})
    assert "IKS-INPUT-emergency" in loaded


def test_none_is_there_and_no_emergency_ruleset_is_known(tmp_path: Path) -> None:
    status, report, loaded = Boot(tmp_path, {}).run()
    assert (status, report, loaded) == (1, {"loaded": "nothing", "damaged": []}, "")
