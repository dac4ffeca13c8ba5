# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's own tools: what they print when something is missing, and how they count."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import module_docs, pip_conf, run_stages

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("ansible", "expected"),
    [
        ("Use C(iptables -S) and V(any\\), or so).", "Use `iptables -S` and `any), or so`."),
        ("See M(iks.hardening.node_firewall), O(state=absent).", "See `iks.hardening.node_firewall`, `state=absent`."),
        ("P(iks.hardening.region_rules#lookup)", "`iks.hardening.region_rules` (lookup)"),
        (
            "L(the page,https://example.org/a) and U(https://example.org/b)",
            "[the page](https://example.org/a) and <https://example.org/b>",
        ),
        ("B(not) NFTABLES(x)", "*not* NFTABLES(x)"),
    ],
)
def test_documentation_markup(ansible: str, expected: str) -> None:
    assert module_docs.markdown(ansible) == expected


def test_options_come_required_first_and_nested() -> None:
    options = {
        "b": {"type": "list", "elements": "dict", "suboptions": {"port": {"type": "int", "required": True}}},
        "a": {"description": "one | two", "required": True, "choices": ["x"], "default": "x"},
    }
    assert list(module_docs.option_rows(options)) == [
        "| `a` | str | **required** | one \\| two One of `x`. Default: `x`. |",
        "| `b` | list of dict |  |  |",
        "| `b.port` | int | **required** |  |",
    ]


def test_pip_configuration_of_the_environment_wins() -> None:
    listing = ":env:.index-url='https://b.example/simple'\nglobal.index-url='https://a.example'\ninstall.retries='2'\n"
    conf = pip_conf.effective(listing)
    assert conf["global"]["index-url"] == "https://b.example/simple"
    assert conf["install"]["retries"] == "2"


def test_summary_counts_tests_and_names_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "tests.jsonl"
    entries = [
        {"passed": 3, "failed": 0, "skipped": 1, "gaps": {"no Python 3.8 here": 1}},
        {"passed": 4, "failed": 1, "skipped": 0, "gaps": {}},
    ]
    record.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    monkeypatch.setattr(run_stages, "RECORD", record)
    outcomes = [run_stages.Outcome("lint", True, 4.0), run_stages.Outcome("units", False, 65.0)]
    text = run_stages.summary(outcomes, ["lint", "units", "molecule"], 69.0)
    assert "  molecule     not run" in text
    assert "named gap (1 not run): no Python 3.8 here" in text
    assert text.endswith("1 of 3 stages ok in 1 min 09 s; tests: 7 passed, 1 failed, 1 skipped in 1 named gaps")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A tree with the bootstrap script and a package that no release has."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "bootstrap.sh", tmp_path / "tools")
    (tmp_path / "tools" / "packages.txt").write_text("# comment\nno-such-package-iks # why\n", encoding="utf-8")
    return tmp_path


def _bootstrap(clone: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name not in ("CI", "YES", "VM")} | more
    command = [str(clone / "tools" / "bootstrap.sh")]
    return subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False
    )


def test_nobody_can_be_asked_for_packages(clone: Path) -> None:
    answer = _bootstrap(clone)
    assert answer.returncode == 2
    assert "packages: no-such-package-iks are missing and nobody can be asked; set YES=1" in answer.stderr


def test_unknown_tier_of_packages(clone: Path) -> None:
    (clone / "tools" / "packages.txt").write_text("bash bsae\n", encoding="utf-8")
    answer = _bootstrap(clone)
    assert answer.returncode == 2
    assert "tier bsae is unknown; known: base, ubuntu, vm" in answer.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="virtual machines of the lab are x86_64")
@pytest.mark.parametrize(("more", "wanted"), [({}, False), ({"VM": "1"}, True)])
def test_packages_of_the_virtual_machine_tier(clone: Path, more: dict[str, str], wanted: bool) -> None:
    (clone / "tests" / "lab").mkdir(parents=True)
    (clone / "tests" / "lab" / "packages.txt").write_text("no-such-package-vm vm\n", encoding="utf-8")
    assert ("no-such-package-vm" in _bootstrap(clone, **more).stderr) is wanted


def test_who_installs_the_packages_of_the_virtual_machine_tier() -> None:
    """`make test` and `make integration` boot a virtual machine; `make demo` stays light."""
    for target, wanted in (("test", True), ("integration", True), ("demo", False), ("units", False)):
        data = subprocess.run(
            ["make", "-C", str(ROOT), "--print-data-base", "--dry-run", target],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            encoding="utf-8",
            check=False,
        ).stdout
        assert (f"\n{target}: VM := 1\n" in data or f"# {target}: VM := 1" in data) is wanted, target


def test_a_skip_that_nobody_named_fails_the_run(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tests)
    (tests / "test_gap.py").write_text(
        "import pytest\ndef test_named(): pytest.skip('x')\ndef test_surprise(): pytest.skip('y')\n", encoding="utf-8"
    )
    named = "*::test_named | no nft here\n"

    def run(expected: str) -> subprocess.CompletedProcess[str]:
        (tests / "expected_skips.txt").write_text(expected, encoding="utf-8")
        command = ["python", "-m", "pytest", "-p", "no:cacheprovider", str(tests)]
        environ = {name: value for name, value in os.environ.items() if name != "IKS_TEST_RECORD"}
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, encoding="utf-8", check=False)

    surprised = run(named)
    assert surprised.returncode == 1
    assert "   1 not run: no nft here" in surprised.stdout
    assert "test_gap.py::test_surprise: Skipped: y" in surprised.stdout
    assert run(named + "*::test_surprise | nor this\n").returncode == 0
