# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates, keys and lists that would make a tunnel fail are found before a file is written."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Callable, Dict, Tuple

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import run_program
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_certificates import Facts, check_material, summary
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_model import VpnError
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_task import read_material
from ansible_collections.iks.hardening.plugins.module_utils.openvpn_text import CA, CERT, CRL, KEY, TLS_CRYPT
from tests.openvpn_pki import Cluster

from .test_openvpn_model import SERVER

OPENSSL = shutil.which("openssl") or ""
OURS, OTHER = Cluster(), Cluster("other")
PAIR = OURS.issue("master", "server")
TLS_KEY = "-----BEGIN OpenVPN tls-crypt-v2 {} key-----\nAAAA\n-----END OpenVPN tls-crypt-v2 {} key-----\n"
GOOD = {
    CA: OURS.ca,
    CERT: PAIR.cert,
    KEY: PAIR.key,
    CRL: OURS.crl(),
    TLS_CRYPT: TLS_KEY.format("server", "server"),
}
Changes = Dict[str, str]


def look(folder: Path, changes: Changes) -> Facts:
    for name, text in {**GOOD, **changes}.items():
        (folder / name).write_text(text, encoding="ascii")
    return check_material(
        run_program, OPENSSL, str(folder), {name: f"the {name}" for name in GOOD}, SERVER, time.time()
    )


def test_what_fits_is_told(tmp_path: Path) -> None:
    facts = look(tmp_path, {})
    assert facts == Facts("master", 59, 89, 29)
    assert summary(facts, 30) == ("the revocation list expires in 29 days",)


def _pair(cluster: Cluster, *words: object, **named: float) -> Changes:
    pair = cluster.issue(*words, **named)  # type: ignore[arg-type]
    return {CERT: pair.cert, KEY: pair.key}


CASES: Dict[str, Tuple[Callable[[], Changes], str]] = {
    "B53": (lambda: {KEY: OURS.issue("x", "server").key}, "the key.pem: is not the key of"),
    "B54-certificate": (lambda: _pair(OURS, "master", "server", start=-3, end=-1), "the cert.pem: expired on"),
    "B54-list": (lambda: {CRL: OURS.crl(end=-1)}, "the crl.pem: expired on"),
    "B55": (lambda: _pair(OTHER, "master", "server"), "different clusters"),
    "B55-list": (lambda: {CRL: OTHER.crl()}, "no revocation list of the authority"),
    "B57": (lambda: _pair(OURS, "a/../b", "server"), "common name 'a/../b'"),
    "F39": (lambda: _pair(OURS, "master", "server", start=1, end=9), "clock is wrong"),
    "usage": (lambda: _pair(OURS, "master", "client"), "usage does not allow a server"),
    "no-pem": (lambda: {CERT: "x"}, "is no certificate in PEM form"),
    "no-key": (lambda: {KEY: "x"}, "is no private key"),
    "other-role": (lambda: {TLS_CRYPT: TLS_KEY.format("client", "client")}, "is a client's key"),
    "static-key": (lambda: {TLS_CRYPT: "-----BEGIN OpenVPN Static key V1-----"}, "no tls-crypt-v2 key"),
}


@pytest.mark.parametrize(("changes", "said"), CASES.values(), ids=CASES)
def test_refused(changes: Callable[[], Changes], said: str, tmp_path: Path) -> None:
    with pytest.raises(VpnError) as caught:
        look(tmp_path, changes())
    assert said in str(caught.value)
    assert "BEGIN" not in str(caught.value)


def _params(folder: Path, **given: str) -> Dict[str, object]:
    (folder / "key").write_text(PAIR.key, encoding="ascii")
    (folder / "key").chmod(0o600)
    base: Dict[str, object] = {
        name: None for option in ("ca", "cert", "key", "crl", "tls_crypt") for name in (option, f"{option}_content")
    }
    base.update(ca_content=OURS.ca, cert_content=PAIR.cert, key=str(folder / "key"), tls_crypt_content="x")
    return {**base, **given}


def test_B56_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    params = _params(tmp_path)
    material, _shown = read_material(params)
    assert material[KEY].decode() == PAIR.key
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(VpnError, match=r"can be read by others \(mode 0640\)"):
        read_material(params)


def test_B58_a_key_in_the_place_of_a_path_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(VpnError) as caught:
        read_material(_params(tmp_path, key=PAIR.key))
    assert "give it as key_content" in str(caught.value)
    assert PAIR.key.splitlines()[1] not in str(caught.value)


def test_B58_openssl_never_gets_a_key_as_a_word(tmp_path: Path) -> None:
    words = []

    def run(argv, stdin, timeout):  # type: ignore[no-untyped-def]
        words.extend(argv)
        return run_program(argv, stdin, timeout)

    for name, text in GOOD.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    check_material(run, OPENSSL, str(tmp_path), dict.fromkeys(GOOD, "it"), SERVER, time.time())
    assert words
    assert not [word for word in words if PAIR.key.splitlines()[1] in word or "BEGIN" in word]
