# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates made for a test with the program openssl: an authority, and pairs that it signed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """An authority in a folder of its own; `name` is also the name of its files."""

    folder: Path
    name: str

    @property
    def certificate(self) -> Path:
        return self.folder / f"{self.name}.pem"

    @property
    def key(self) -> Path:
        return self.folder / f"{self.name}-key.pem"

    def issue(self, name: str, days: int = 365, addresses: str = "IP:127.0.0.1") -> Pair:
        """A pair for a server or client, valid for so many days; 0 and less: expired."""
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}-key.pem")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        _new_key(pair.key)
        extensions.write_text(f"subjectAltName={addresses}\n", encoding="ascii")
        _openssl("req", "-new", "-key", str(pair.key), "-subj", f"/CN={name}", "-out", str(request))
        signed = ["-CA", str(self.certificate), "-CAkey", str(self.key), "-CAcreateserial", "-extfile", str(extensions)]
        _openssl("x509", "-req", "-in", str(request), *signed, "-days", str(days), "-out", str(pair.certificate))
        return pair


def make_authority(folder: Path, name: str = "ca-dal10-mycluster", days: int = 365) -> Authority:
    """A new authority."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority(folder, name)
    _new_key(authority.key)
    subject = ["-subj", f"/CN={name}", "-days", str(days)]
    _openssl("req", "-x509", "-new", "-key", str(authority.key), *subject, "-out", str(authority.certificate))
    return authority


def _new_key(path: Path) -> None:
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(path))
    path.chmod(0o600)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
