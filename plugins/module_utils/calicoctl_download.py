# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads over HTTPS: what may be fetched from where, and whether it arrived whole.

Nothing fetched is trusted before its checksum was compared.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import IO, Any, Optional, Tuple
from urllib.parse import urlsplit

from .errors import HardeningError

_CHUNK = 1 << 16
# No calicoctl is nearly as large; a server that never ends must not fill the disk.
LIMIT = 512 << 20
_ARCHIVES = (
    (0, b"\x1f\x8b", "gzip"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ", "xz"),
    (257, b"ustar", "tar"),
)


class DownloadError(HardeningError):
    """Something could not be fetched, or is not what was asked for."""


@dataclass(frozen=True)
class Manner:
    """How to fetch: hosts that a redirect may lead to, certificates, a user, seconds to wait for the next bytes."""

    allowed_hosts: Tuple[str, ...] = ()
    validate_certs: bool = True
    ca_path: Optional[str] = None
    username: Optional[str] = None
    password: Optional[str] = None
    timeout: float = 30.0


def check_url(url: str, force: bool = False, validate_certs: bool = True) -> None:
    """Refuse what is not fetched over HTTPS from a server that proves itself. Raises DownloadError."""
    shown = shown_url(url)
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise DownloadError(f"url: {shown!r} is no URL ({error})") from None
    if parts.scheme == "http":
        raise DownloadError(f"url: {shown} is plain http, which anybody on the way can change; use https, or src")
    if parts.scheme != "https" or not host:
        raise DownloadError(f"url: {shown!r} is no https URL; a file that is on this host already is given as src")
    if parts.username or parts.password:
        raise DownloadError(f"url: {shown} holds a user's name; give url_username and url_password")
    if ".." in parts.path.split("/"):
        raise DownloadError(f"url: {shown} has a part ..; give it without")
    if not validate_certs and not force:
        raise DownloadError(
            "validate_certs: false lets anybody be the server; leave it out, or set force: true as well"
        )


def shown_url(url: str) -> str:
    """A URL as it may be told: signed queries and users' names are left out."""
    bare = url.split("?")[0].split("#")[0]
    head, found, tail = bare.rpartition("@")
    return f"{head.rpartition('//')[0]}//{tail}" if found else bare


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to the same host, or to one that is allowed, and only over HTTPS."""

    def __init__(self, host: str, allowed: Tuple[str, ...]) -> None:
        self.allowed = (host, *allowed)

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        parts = urlsplit(newurl)
        if parts.scheme != "https" or parts.netloc.rpartition("@")[2] not in self.allowed:
            raise DownloadError(
                f"{shown_url(req.full_url)}: was answered with a redirect to {shown_url(newurl)}, which is not allowed "
                f"(allowed hosts: {', '.join(self.allowed)}). Give that URL yourself, or add its host to allowed_hosts"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, manner: Manner, target: IO[bytes], limit: int = LIMIT) -> int:
    """Fetch a URL into an open file; the number of bytes. Raises DownloadError, also when less than announced came."""
    shown = shown_url(url)
    try:
        with _open(url, manner) as answer:
            return _copy(answer, target, shown, limit)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{shown}: answered {error.code} {error.reason}; check version and url") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"{shown}: the server's certificate is not accepted ({reason.verify_message}); "
                "give the authority that signed it as ca_path"
            ) from None
        raise DownloadError(
            f"{shown}: could not be fetched ({str(reason) or type(reason).__name__}); "
            "check that it is open to this host, or give mirror or src"
        ) from None


def _open(url: str, manner: Manner) -> Any:
    context = ssl.create_default_context(cafile=manner.ca_path)
    if not manner.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), _Redirects(urlsplit(url).netloc, manner.allowed_hosts)
    )
    request = urllib.request.Request(url, headers={"User-Agent": "iks.hardening"})
    if manner.username is not None:
        user = base64.b64encode(f"{manner.username}:{manner.password or ''}".encode()).decode()
        # Not sent on to where a redirect leads.
        request.add_unredirected_header("Authorization", f"Basic {user}")
    return opener.open(request, timeout=manner.timeout)


def _copy(answer: Any, target: IO[bytes], shown: str, limit: int) -> int:
    announced = answer.headers.get("Content-Length")
    size = 0
    while True:
        chunk = answer.read(_CHUNK)
        if not chunk:
            break
        size += len(chunk)
        if size > limit:
            raise DownloadError(f"{shown}: is larger than {limit} bytes; that is no calicoctl")
        target.write(chunk)
    if announced is not None and announced.isdigit() and int(announced) != size:
        raise DownloadError(f"{shown}: was cut after {size} of {announced} bytes; run again")
    return size


def digest_of(path: str, kind: str = "sha256") -> Optional[str]:
    """The checksum of a file as `kind:hex`, or None when there is none."""
    digest = hashlib.new(kind)
    try:
        with open(path, "rb") as content:
            for chunk in iter(lambda: content.read(_CHUNK), b""):
                digest.update(chunk)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return f"{kind}:{digest.hexdigest()}"


def check_content(path: str, source: str, checksum: Optional[str]) -> None:
    """Refuse a file that is not the one that was pinned, or that is an archive. Raises DownloadError."""
    if checksum is not None:
        found = digest_of(path, checksum.split(":")[0]) or "no file"
        if not hmac.compare_digest(found, checksum):
            raise DownloadError(
                f"{shown_url(source)}: has the checksum {found}, not {checksum}: "
                "it was changed on the way, or the checksum is of another file"
            )
    with open(path, "rb") as content:
        head = content.read(300)
    for offset, magic, kind in _ARCHIVES:
        if head[offset : offset + len(magic)] == magic:
            raise DownloadError(
                f"{shown_url(source)}: is an archive ({kind}), and archives are not unpacked; "
                "give the program itself, with its own checksum"
            )
    if not head:
        raise DownloadError(f"{shown_url(source)}: is empty")
