# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All files of an endpoint change together or not at all, whatever ends the work."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.openvpn_model import VpnError
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_store import Store

OLD = {"openvpn.conf": b"old\n", "key.pem": b"old key\n", "clients/w1": b"\n"}
NEW = {"openvpn.conf": b"new\n", "key.pem": b"new key\n"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path), "it")
    assert made.put(OLD) is None
    return made


def test_modes_and_content(store: Store) -> None:
    assert store.read() == OLD
    assert os.stat(f"{store.link}/key.pem").st_mode & 0o777 == 0o600
    assert os.stat(f"{store.link}/clients/w1").st_mode & 0o777 == 0o644
    former = store.put(NEW)
    assert store.read() == NEW
    store.lead(former)
    assert store.read() == OLD
    store.tidy()
    assert os.listdir(store.folder) == [former]


def test_a_key_that_became_readable_is_drift(store: Store) -> None:
    os.chmod(f"{store.link}/key.pem", 0o640)
    assert "key.pem" not in store.read()
    store.put(OLD)
    assert store.read() == OLD


class PowerLossError(BaseException):
    """Nothing after it runs, as with a power loss."""


def test_F40_power_loss_at_any_step_leaves_old_or_new_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for step in range(60):
        store = Store(str(tmp_path / str(step)), "it")
        os.mkdir(store.root)
        store.put(OLD)
        left = [step]

        def counted(real: Any, left: list[int]) -> Any:
            def call(*words: Any, **named: Any) -> Any:
                if left[0] == 0:
                    raise PowerLossError
                left[0] -= 1
                return real(*words, **named)

            return call

        with monkeypatch.context() as patch:
            for name in ("rename", "symlink", "fsync", "mkdir", "fchmod"):
                patch.setattr(os, name, counted(getattr(os, name), left))
            try:
                store.put(NEW)
                ended = False
            except PowerLossError:
                ended = True
        assert store.read() in (OLD, NEW)
        seen.add(store.read() == NEW)
        store.tidy()
        assert store.read() in (OLD, NEW)
        if not ended:
            break
    else:
        pytest.fail("the work never came to its end")
    assert seen == {True, False}


def test_F46_a_full_disk_leaves_the_former_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(VpnError, match="No space left on device; make room.*former files are in force"):
            store.put(NEW)
    assert store.read() == OLD
    assert len(os.listdir(store.folder)) == 1


def test_what_is_not_ours_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    with pytest.raises(VpnError, match="is no link"):
        Store(str(tmp_path), "it").put(NEW)
