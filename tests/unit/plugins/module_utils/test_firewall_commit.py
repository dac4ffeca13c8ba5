# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beginning and confirming a trial: what a node without the means refuses, and where undo files may lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.iks.hardening.plugins.module_utils import firewall_commit, firewall_saved
from ansible_collections.iks.hardening.plugins.module_utils.confirmation import check_timeout
from ansible_collections.iks.hardening.plugins.module_utils.errors import NodeError
from ansible_collections.iks.hardening.plugins.module_utils.firewall_commit import (
    Means,
    begin,
)
from ansible_collections.iks.hardening.plugins.module_utils.firewall_saved import prepare_folder
from ansible_collections.iks.hardening.plugins.module_utils.firewall_shell import Backend
from ansible_collections.iks.hardening.plugins.module_utils.firewall_state import OwnState


@pytest.mark.parametrize("seconds", [-1, 1, 4, 601])
def test_B34_timeouts_that_leave_no_time_are_refused(seconds: int) -> None:
    with pytest.raises(NodeError, match=f"confirm_timeout: {seconds} is not 0 .off. or 5 to 600 seconds"):
        check_timeout(seconds)
    assert [check_timeout(good) for good in (0, 5, 600)] == [0, 5, 600]


def test_F37_neither_sets_nor_systemd_is_refused() -> None:
    state = {"ipv4": OwnState()}
    with pytest.raises(NodeError, match="the node has neither; install ipset, or give confirm_timeout: 0"):
        begin(lambda argv, stdin: (0, "", ""), Backend("nft", ""), Means(None, False), state, state, state, 10)


@pytest.mark.skipif(os.geteuid() != 0, reason="ownership needs root")
def test_F25_a_folder_that_others_prepared_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    prepare_folder(str(folder))
    assert folder.stat().st_mode & 0o777 == 0o700
    prepare_folder(str(folder))
    folder.chmod(0o777)
    with pytest.raises(NodeError, match="nobody else can write .*mode 0777.*nothing was changed"):
        prepare_folder(str(folder))
    link = tmp_path / "link"
    link.symlink_to("/tmp")
    with pytest.raises(NodeError, match="not a directory that root owns"):
        prepare_folder(str(link))
    os.chown(folder, 12345, 0)
    folder.chmod(0o700)
    with pytest.raises(NodeError, match="owner 12345"):
        prepare_folder(str(folder))


def test_F20_a_file_that_cannot_be_written_stops_the_trial(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="cannot be written: .*; nothing was changed"):
        firewall_saved.write_file(str(tmp_path / "missing" / "undo"), "text")


def test_F23_one_task_at_a_time(tmp_path: Path) -> None:
    lock = str(tmp_path / "lock")
    busy = pytest.raises(NodeError, match="another task has been changing the node's firewall for 0 s")
    with firewall_commit.exclusive(lock), busy, firewall_commit.exclusive(lock, patience=0.0):
        pytest.fail("two tasks hold the lock")
    with firewall_commit.exclusive(lock, patience=0.0):
        pass
