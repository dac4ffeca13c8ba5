# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a program in place: whole, proved, in one step, or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_download import DownloadError, digest_of
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_install import (
    InstallError,
    Program,
    Wanted,
    check_link,
    check_mode,
    check_place,
    copy_from,
    install,
    look,
    remove,
    set_link,
)
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import DatastoreError, run_program
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError


def program(path: Path, version: str, mode: int = 0o755) -> Path:
    """A program that tells this version."""
    path.write_text(f"#!/bin/sh\necho calicoctl version v{version}, build x\n", encoding="ascii")
    path.chmod(mode)
    return path


def put(source: Path, wanted: Wanted) -> str:
    return install(run_program, wanted, copy_from(str(source)), str(source), os.replace)


def test_a_program_is_put_in_place(tmp_path: Path) -> None:
    source, path = program(tmp_path / "source", "1.4.0", 0o600), tmp_path / "bin" / "calicoctl"
    wanted = Wanted(str(path), "0755", digest_of(str(source)), "1.4.0")
    assert look(run_program, str(path)) == Program()
    assert put(source, wanted) == "1.4.0"
    have = look(run_program, str(path))
    assert have == Program(digest_of(str(source)), "1.4.0", "0755", None, os.geteuid())
    assert wanted.is_met(have)
    assert os.listdir(path.parent) == ["calicoctl"]


@pytest.mark.parametrize(
    ("content", "checksum", "version", "error", "said"),
    [
        ("#!/bin/sh\necho calicoctl version v1.5.0\n", None, "1.4.0", InstallError, "is calicoctl 1.5.0, not 1.4.0"),
        ("#!/bin/sh\necho hello\n", None, None, DatastoreError, "does not say which calicoctl it is"),
        ("\x7fELF", None, None, DatastoreError, "another architecture"),
        ("#!/bin/sh\ntouch ran\n", "sha256:" + "0" * 64, None, DownloadError, "has the checksum"),
        ("", None, None, DownloadError, "is empty"),
        (None, None, None, InstallError, "src: .*No such file"),
    ],
)
def test_what_is_wrong_leaves_the_former_program(
    tmp_path: Path, content: Optional[str], checksum: Optional[str], version: Optional[str], error: type, said: str
) -> None:
    path = program(tmp_path / "calicoctl", "1.3.0")
    before = path.read_bytes()
    source = tmp_path / "source"
    if content is not None:
        source.write_text(content.replace("touch ran", f"touch {tmp_path}/ran"), encoding="latin-1")
    with pytest.raises(error, match=said):
        put(source, Wanted(str(path), "0755", checksum, version))
    assert path.read_bytes() == before
    # What was not compared has not run, and nothing half is left.
    assert set(os.listdir(tmp_path)) <= {"calicoctl", "source"}


def test_a_checksum_decides_before_a_version() -> None:
    have = Program("sha256:a", "1.4.0", "0755")
    assert Wanted("/x", "0755", "sha256:a", "1.5.0").is_met(have)
    assert not Wanted("/x", "0755", "sha256:b", "1.4.0").is_met(have)
    assert Wanted("/x", "0755", None, "1.4.0").is_met(have)
    assert not Wanted("/x", "0755", None, "1.4.0").is_met(Program())


def test_a_program_that_others_can_change_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "calicoctl"
    path.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho calicoctl version v1.4.0\n", encoding="ascii")
    path.chmod(0o777)
    assert look(run_program, str(path)).version is None
    path.chmod(0o644)
    assert look(run_program, str(path)).version is None
    assert not (tmp_path / "ran").exists()


def test_versions_side_by_side_and_a_link(tmp_path: Path) -> None:
    old, new = program(tmp_path / "calicoctl-1.4.0", "1.4.0"), program(tmp_path / "calicoctl-3.25.2", "3.25.2")
    link = tmp_path / "bin" / "calicoctl"
    for path in (old, new, old):
        check_link(str(link))
        set_link(str(link), str(path))
        assert os.readlink(link) == str(path)
        assert look(run_program, str(path), link=str(link)).link_to == str(path)
    assert os.listdir(link.parent) == ["calicoctl"]
    remove(Wanted(str(new), "0755", link=str(link)))
    assert link.is_symlink()  # it leads to the other one
    remove(Wanted(str(old), "0755", link=str(link)))
    assert not link.is_symlink()
    assert not old.exists()
    remove(Wanted(str(old), "0755", link=str(link)))


def test_a_file_is_not_replaced_by_a_link(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="is a file, not a link"):
        check_link(str(program(tmp_path / "calicoctl", "1.4.0")))


@pytest.mark.parametrize("path", ["/usr/local/../bin/calicoctl", "/../x", "usr/bin/calicoctl", "/usr/bin/x\ny"])
def test_B60_a_path_that_leads_elsewhere(path: str) -> None:
    with pytest.raises(InstallError, match="path: "):
        check_place("path", path)


def test_B61_a_link_in_a_directory_that_everybody_can_write_to(tmp_path: Path) -> None:
    shared, target = tmp_path / "shared", tmp_path / "target"
    shared.mkdir()
    target.mkdir()
    shared.chmod(0o1777)
    (shared / "way").symlink_to(target)
    with pytest.raises(InstallError, match="shared/way is a link in .*shared, which everybody can write to"):
        check_place("path", str(shared / "way" / "calicoctl"))
    (shared / "calicoctl").symlink_to("/etc/passwd")
    with pytest.raises(InstallError, match="shared/calicoctl is a link"):
        check_place("path", str(shared / "calicoctl"))
    with pytest.raises(InstallError, match="everybody can write to .*shared, and put another file there"):
        check_place("path", str(shared / "new" / "calicoctl"))
    (tmp_path / "way").symlink_to(target)
    check_place("path", str(tmp_path / "way" / "calicoctl"))


def test_a_directory_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="is a directory"):
        check_place("path", str(tmp_path))


@pytest.mark.parametrize(
    ("mode", "read"), [("0755", "0755"), ("700", "0700"), ("0777", None), ("0644", None), ("x", None)]
)
def test_modes(mode: str, read: Optional[str]) -> None:
    if read:
        assert check_mode(mode) == read
    else:
        with pytest.raises(HardeningError, match="mode: "):
            check_mode(mode)
