# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and revocation lists of a throw-away cluster for OpenVPN, with dates of the test's choice."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM
USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key as PEM text."""

    cert: str
    key: str
    serial: int


class Cluster:
    """The authority of one cluster."""

    def __init__(self, name: str = "mycluster") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"OpenVPN of {name}")])
        builder = self._builder(self.name, self.key.public_key(), -1, 90)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(x509.BasicConstraints(True, None), True).add_extension(usage, True)
        self.ca = builder.sign(self.key, hashes.SHA256()).public_bytes(PEM).decode()

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, start: float, end: float
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() + datetime.timedelta(days=start))
            .not_valid_after(_now() + datetime.timedelta(days=end))
        )

    def issue(self, name: str, role: str, start: float = -1, end: float = 60) -> Pair:
        """A pair for one end, valid from `start` to `end` days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        builder = self._builder(subject, key.public_key(), start, end)
        builder = builder.add_extension(usage, True).add_extension(x509.ExtendedKeyUsage([USAGES[role]]), False)
        made = builder.sign(self.key, hashes.SHA256())
        secret = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Pair(made.public_bytes(PEM).decode(), secret.decode(), made.serial_number)

    def crl(self, *revoked: Pair, end: float = 30) -> str:
        """A revocation list that is valid for so many days."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        start = min(_now(), _now() + datetime.timedelta(days=end)) - datetime.timedelta(days=1)
        builder = builder.last_update(start).next_update(_now() + datetime.timedelta(days=end))
        for pair in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(pair.serial).revocation_date(_now()).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM).decode()
