# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that cannot work are found before calicoctl is asked to use them."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Dict

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_certificates import (
    Findings,
    check_certificates,
    check_file,
)
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_config import ConfigError
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import run_program
from tests.pki import Authority, Pair, make_authority

OPENSSL = shutil.which("openssl")
NOW = time.time()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def admin(authority: Authority) -> Pair:
    return authority.issue("admin", days=90)


def settings(authority: Authority, pair: Pair) -> Dict[str, object]:
    return {
        "etcd_key_file": str(pair.key),
        "etcd_cert_file": str(pair.certificate),
        "etcd_ca_cert_file": str(authority.certificate),
    }


def check(values: Dict[str, object], now: float = NOW) -> Findings:
    return check_certificates(run_program, OPENSSL, values, now)


def test_certificates_that_work(authority: Authority, admin: Pair) -> None:
    found = check(settings(authority, admin))
    assert found.notes == []
    assert [item["path"] for item in found.certificates] == [str(admin.certificate), str(authority.certificate)]
    assert [item["days_left"] in (89, 90, 364, 365) for item in found.certificates] == [True, True]


def test_what_expires_soon_is_noted_and_what_has_expired_is_refused(authority: Authority, admin: Pair) -> None:
    values = settings(authority, admin)
    assert "expires on" in check(values, NOW + 70 * 86400).notes[0]
    with pytest.raises(ConfigError, match="admin.pem: expired on .*download"):
        check(values, NOW + 100 * 86400)


def test_a_key_of_another_certificate(authority: Authority, admin: Pair) -> None:
    other = authority.issue("other")
    with pytest.raises(ConfigError, match="other-key.pem is not the key of .*admin.pem"):
        check({**settings(authority, admin), "etcd_key_file": str(other.key)})


def test_an_authority_of_another_cluster(tmp_path: Path, admin: Pair) -> None:
    stranger = make_authority(tmp_path, "ca-stranger")
    with pytest.raises(ConfigError, match="admin.pem was not signed by .*ca-stranger.pem .*check_certificates: false"):
        check(settings(stranger, admin))


def test_what_is_no_certificate(tmp_path: Path, authority: Authority, admin: Pair) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("hello\n", encoding="ascii")
    rubbish.chmod(0o600)
    with pytest.raises(ConfigError, match="rubbish.pem: is no certificate in PEM form"):
        check({**settings(authority, admin), "etcd_cert_file": str(rubbish)})
    with pytest.raises(ConfigError, match="rubbish.pem: is no private key without a password"):
        check({**settings(authority, admin), "etcd_key_file": str(rubbish)})


def test_a_key_with_a_password_fails_and_does_not_ask(tmp_path: Path, authority: Authority, admin: Pair) -> None:
    locked = tmp_path / "locked.pem"
    argv = ["openssl", "pkey", "-in", str(admin.key), "-aes128", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(argv, check=True, capture_output=True)
    locked.chmod(0o600)
    with pytest.raises(ConfigError, match="locked.pem: is no private key without a password"):
        check({**settings(authority, admin), "etcd_key_file": str(locked)})


def test_without_openssl_it_is_said_what_was_not_checked(authority: Authority, admin: Pair) -> None:
    found = check_certificates(run_program, None, settings(authority, admin), NOW)
    assert found.certificates == []
    assert "openssl is not installed" in found.notes[0]
    assert check_certificates(run_program, None, {}, NOW) == Findings()


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("etcd_key_file", 0o600, None),
        ("etcd_key_file", 0o644, "can be read by everybody .mode 0644.: chmod 600"),
        ("kubeconfig", 0o604, "can be read by everybody"),
        ("etcd_cert_file", 0o644, None),
        ("etcd_cert_file", 0o646, "can be changed by everybody .mode 0646.: chmod o-w"),
    ],
)
def test_modes(tmp_path: Path, name: str, mode: int, said: str) -> None:
    path = tmp_path / "file"
    path.write_text("x", encoding="ascii")
    path.chmod(mode)
    if said is None:
        assert check_file(name, str(path)) == []
    else:
        with pytest.raises(ConfigError, match=f"config: {name}: .*{said}"):
            check_file(name, str(path))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; give the path of a file"):
        check_file("etcd_ca_cert_file", str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigError, match="is no file"):
        check_file("etcd_ca_cert_file", str(tmp_path))
    shared = tmp_path / "shared"
    shared.write_text("x", encoding="ascii")
    shared.chmod(0o640)
    assert "can be read by its group" in check_file("etcd_key_file", str(shared))[0]
