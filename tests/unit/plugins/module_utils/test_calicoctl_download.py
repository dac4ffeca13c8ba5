# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads that are refused, cut, changed or led elsewhere, from a server over HTTPS on loopback."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Iterator, Optional

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_download import (
    DownloadError,
    Manner,
    check_content,
    check_url,
    digest_of,
    fetch,
    shown_url,
)
from tests.https_server import Answer, Server, serve
from tests.pki import Authority, make_authority

PROGRAM = b"\x7fELF" + b"a program" * 20000


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    with serve(authority.issue("server")) as running:
        yield running


@pytest.fixture
def manner(authority: Authority) -> Manner:
    return Manner(ca_path=str(authority.certificate), timeout=5)


def got(url: str, manner: Manner, **options: Any) -> bytes:
    target = io.BytesIO()
    size = fetch(url, manner, target, **options)
    assert size == len(target.getvalue())
    return target.getvalue()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.com/calicoctl", "is plain http"),  # B45
        ("file:///etc/shadow", "no https URL; a file that is on this host already is given as src"),  # B47
        ("ftp://example.com/x", "no https URL"),
        ("/usr/bin/calicoctl", "no https URL"),
        ("https:///x", "no https URL"),
        ("https://[::1/x", "is no URL"),
        ("https://root:S3cret@example.com/x", "holds a user's name"),
        ("https://example.com/a/../x", "has a part .."),
    ],
)
def test_B45_B47_what_is_not_fetched(url: str, said: str) -> None:
    with pytest.raises(DownloadError, match=said) as caught:
        check_url(url)
    assert "S3cret" not in str(caught.value)


def test_B46_certificates_are_validated_unless_forced() -> None:
    with pytest.raises(DownloadError, match="validate_certs: false lets anybody be the server.*force: true"):
        check_url("https://example.com/x", validate_certs=False)
    check_url("https://example.com/x", force=True, validate_certs=False)
    with pytest.raises(DownloadError, match="plain http"):
        check_url("http://example.com/x", force=True, validate_certs=False)


def test_signed_queries_are_not_told() -> None:
    assert shown_url("https://u:p@h.example.com/a?sig=S3cret#x") == "https://h.example.com/a"


def test_a_program_is_fetched(server: Server, manner: Manner) -> None:
    server.answers["/whole"] = Answer(PROGRAM)
    assert got(f"{server.url}/whole", manner) == PROGRAM


def test_F30_a_download_cut_at_half(server: Server, manner: Manner) -> None:
    server.answers["/cut"] = Answer(PROGRAM, sent=len(PROGRAM) // 2)
    with pytest.raises(DownloadError, match=f"cut after {len(PROGRAM) // 2} of {len(PROGRAM)} bytes"):
        got(f"{server.url}/cut", manner)


def test_a_server_that_never_ends(server: Server, manner: Manner) -> None:
    server.answers["/large"] = Answer(PROGRAM)
    with pytest.raises(DownloadError, match="larger than 100000 bytes"):
        got(f"{server.url}/large", manner, limit=100000)


def test_what_is_not_there(server: Server, manner: Manner) -> None:
    with pytest.raises(DownloadError, match="/missing: answered 404 .*check version and url"):
        got(f"{server.url}/missing", manner)


def test_a_server_that_nobody_vouches_for(server: Server) -> None:
    server.answers["/whole"] = Answer(PROGRAM)
    with pytest.raises(DownloadError, match="certificate is not accepted.*as ca_path"):
        got(f"{server.url}/whole", Manner(timeout=5))
    assert got(f"{server.url}/whole", Manner(timeout=5, validate_certs=False)) == PROGRAM


def test_a_server_that_is_not_there(server: Server, manner: Manner) -> None:
    with pytest.raises(DownloadError, match="could not be fetched .*give mirror or src"):
        got("https://127.0.0.1:1/x", manner)


@pytest.mark.parametrize(("allowed", "said"), [((), "redirect to https://127.0.0.2:.*not allowed"), (("there",), None)])
def test_B47_a_redirect_to_another_host(
    server: Server, authority: Authority, manner: Manner, allowed: Any, said: Optional[str]
) -> None:
    with serve(authority.issue("other", addresses="IP:127.0.0.2"), "127.0.0.2") as other:
        other.answers["/program?sig=S3cret"] = Answer(PROGRAM)
        server.answers["/away"] = Answer(status=302, headers={"Location": f"{other.url}/program?sig=S3cret"})
        hosts = (other.url.partition("//")[2],) if allowed else ()
        asking = Manner(hosts, ca_path=manner.ca_path, username="ci", password="S3cret", timeout=5)
        if said is None:
            assert got(f"{server.url}/away", asking) == PROGRAM
            # Who we are is nobody else's business.
            assert other.asked == [("/program?sig=S3cret", None)]
            assert server.asked[-1][1] is not None
        else:
            with pytest.raises(DownloadError, match=said) as caught:
                got(f"{server.url}/away", asking)
            assert "S3cret" not in str(caught.value)
            assert other.asked == []


def test_B47_a_redirect_to_plain_http(server: Server, manner: Manner) -> None:
    with serve(None) as plain:
        plain.answers["/x"] = Answer(PROGRAM)
        server.answers["/down"] = Answer(status=301, headers={"Location": f"{plain.url}/x"})
        manner = Manner((plain.url.partition("//")[2],), ca_path=manner.ca_path, timeout=5)
        with pytest.raises(DownloadError, match="redirect to http://.*not allowed"):
            got(f"{server.url}/down", manner)
        assert plain.asked == []


def test_a_redirect_on_the_same_host(server: Server, manner: Manner) -> None:
    server.answers["/whole"] = Answer(PROGRAM)
    server.answers["/here"] = Answer(status=302, headers={"Location": "/whole"})
    assert got(f"{server.url}/here", manner) == PROGRAM


def test_B44_a_wrong_checksum(tmp_path: Path) -> None:
    program = tmp_path / "calicoctl"
    program.write_bytes(PROGRAM)
    digits = hashlib.sha256(PROGRAM).hexdigest()
    check_content(str(program), "https://x/y", f"sha256:{digits}")
    check_content(str(program), "https://x/y", f"sha512:{hashlib.sha512(PROGRAM).hexdigest()}")
    with pytest.raises(DownloadError, match=f"checksum sha256:{digits}, not sha256:0000"):
        check_content(str(program), "https://x/y?sig=1", f"sha256:{'0' * 64}")


def archive(kind: str) -> bytes:
    """An archive whose member leads out of the directory in which it is unpacked."""
    content = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(content, "w") as packed:
            packed.writestr("../../etc/cron.d/x", PROGRAM)
        return content.getvalue()
    with tarfile.open(fileobj=content, mode="w") as packed:
        member = tarfile.TarInfo("../../etc/cron.d/x")
        member.size = len(PROGRAM)
        packed.addfile(member, io.BytesIO(PROGRAM))
    return gzip.compress(content.getvalue()) if kind == "gzip" else content.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar", "gzip"])
def test_B48_archives_are_refused_not_unpacked(tmp_path: Path, kind: str) -> None:
    packed = tmp_path / "calicoctl"
    packed.write_bytes(archive(kind))
    with pytest.raises(DownloadError, match=f"is an archive .{kind}., and archives are not unpacked"):
        check_content(str(packed), "https://x/y.tgz", digest_of(str(packed)))


def test_nothing_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(DownloadError, match="is empty"):
        check_content(str(tmp_path / "x"), "/src", None)
    assert digest_of(str(tmp_path / "missing")) is None
