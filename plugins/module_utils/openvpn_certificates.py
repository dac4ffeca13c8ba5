# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an endpoint's certificates can work, before a file is written: asked of openssl, as targets lack more."""

from __future__ import annotations

import calendar
import os
import re
import time
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from .calicoctl_run import Run
from .openvpn_model import Endpoint, VpnError, check_common_name
from .openvpn_text import CA, CERT, CRL, KEY, TLS_CRYPT

_DATE = re.compile(r"(notBefore|notAfter|lastUpdate|nextUpdate)=(\w{3})\s+(\d+) (\d+):(\d+):(\d+) (\d{4}) GMT")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_COMMON_NAME = re.compile(r"^\s*commonName\s*=\s?(.*)$", re.MULTILINE)
_SECONDS = 20.0
_SKEW = "; or this node's clock is wrong: compare `date -u`"


@dataclass(frozen=True)
class Facts:
    """Common name of the endpoint's certificate, and days left of what expires (None: there is none)."""

    common_name: str
    certificate_days: int
    ca_days: int
    crl_days: Optional[int]


def check_material(
    run: Run, openssl: str, folder: str, shown: Mapping[str, str], endpoint: Endpoint, now: float
) -> Facts:
    """Look into the files of `folder` (named as an endpoint's are). `shown`: a user's name of each. Raises VpnError."""
    look = _Look(run, openssl, folder, shown)
    check_tls_crypt(look.text(TLS_CRYPT), endpoint.role, shown[TLS_CRYPT])
    text = look.ask(CERT, "x509", "-noout", "-pubkey", "-subject", "-nameopt", "multiline,-esc_msb,utf8", "-dates")
    names = _COMMON_NAME.findall(text)
    if not names:
        raise VpnError(f"{shown[CERT]}: the certificate has no common name; the other end knows an endpoint by it")
    check_common_name(shown[CERT], names[-1].strip())
    public = look.ask(KEY, "pkey", "-pubout", "-passin", "pass:", what="private key without a password")
    if _pem(text) != _pem(public):
        raise VpnError(
            f"{shown[KEY]}: is not the key of the certificate {shown[CERT]}; give the pair that belongs together"
        )
    ends = look.check_dates(CERT, text, now)
    authority = look.check_dates(CA, look.ask(CA, "x509", "-noout", "-dates"), now)
    usage = "sslserver" if endpoint.role == "server" else "sslclient"
    look.verify("-purpose", usage, role=endpoint.role)
    crl = None
    if endpoint.has_crl:
        look.check_crl_signature()
        crl = look.check_dates(CRL, look.ask(CRL, "crl", "-noout", "-lastupdate", "-nextupdate"), now)
    return Facts(
        names[-1].strip(),
        *(int((end - now) // 86400) for end in (ends, authority)),
        None if crl is None else int((crl - now) // 86400),
    )


def check_tls_crypt(text: str, role: str, shown: str) -> None:
    """Refuse a tls-crypt-v2 key of the other role, or another kind of key. Raises VpnError."""
    if f"-----BEGIN OpenVPN tls-crypt-v2 {role} key-----" in text:
        return
    other = "client" if role == "server" else "server"
    found = f"a {other}'s key" if f"tls-crypt-v2 {other} key" in text else "no tls-crypt-v2 key"
    raise VpnError(f"{shown}: is {found}; a {role} needs the one of `openvpn --genkey tls-crypt-v2-{role}`")


def days_left(run: Run, openssl: str, path: str, crl: bool, now: float) -> Optional[int]:
    """Days until a certificate or revocation list in force expires; None when that cannot be told."""
    kind = ["crl", "-nextupdate"] if crl else ["x509", "-enddate"]
    status, output, _errors = run([openssl, kind[0], "-in", path, "-noout", kind[1]], "", _SECONDS)
    dates = read_dates(output) if status == 0 else {}
    return int((max(dates.values()) - now) // 86400) if dates else None


def read_dates(text: str) -> Dict[str, float]:
    """Dates that openssl prints, in seconds since 1970."""
    found: Dict[str, float] = {}
    for name, month, *rest in _DATE.findall(text):
        if month in _MONTHS:
            day, hour, minute, second, year = (int(part) for part in rest)
            found[name] = float(calendar.timegm((year, _MONTHS.index(month) + 1, day, hour, minute, second, 0, 0, 0)))
    return found


def _pem(text: str) -> List[str]:
    match = re.search(r"-----BEGIN PUBLIC KEY-----(.*?)-----END", text, re.DOTALL)
    return match.group(1).split() if match else []


class _Look:
    def __init__(self, run: Run, openssl: str, folder: str, shown: Mapping[str, str]) -> None:
        self.run, self.openssl, self.folder, self.shown = run, openssl, folder, shown

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def text(self, name: str) -> str:
        with open(self.path(name), encoding="utf-8", errors="replace") as handle:
            return handle.read()

    def ask(self, name: str, command: str, *words: str, what: str = "certificate") -> str:
        status, output, _errors = self.run([self.openssl, command, "-in", self.path(name), *words], "", _SECONDS)
        if status != 0:
            kind = "revocation list" if name == CRL else what
            # openssl's own words may repeat what it read.
            raise VpnError(f"{self.shown[name]}: is no {kind} in PEM form; give the right file")
        return output

    def check_dates(self, name: str, text: str, now: float) -> float:
        dates = read_dates(text)
        starts = dates.get("notBefore", dates.get("lastUpdate", 0.0))
        ends = dates.get("notAfter", dates.get("nextUpdate"))
        if ends is None:
            raise VpnError(f"{self.shown[name]}: openssl tells no date at which it expires; issue it anew")
        if starts > now:
            raise VpnError(f"{self.shown[name]}: is valid from {_moment(starts)} on, here it is {_moment(now)}{_SKEW}")
        if ends <= now:
            raise VpnError(f"{self.shown[name]}: expired on {_moment(ends)}; renew it{_SKEW}")
        return ends

    def verify(self, *words: str, role: str) -> None:
        argv = [
            self.openssl,
            "verify",
            "-no_check_time",
            *words,
            "-CAfile",
            self.path(CA),
            "-untrusted",
            self.path(CERT),
        ]
        status, output, errors = self.run([*argv, self.path(CERT)], "", _SECONDS)
        if status == 0:
            return
        said = output + errors
        if re.search("unsuitable|unsupported certificate purpose", said):
            raise VpnError(
                f"{self.shown[CERT]}: the certificate's usage does not allow a {role}; issue one for a {role}"
            )
        raise VpnError(
            f"{self.shown[CERT]}: was not issued by the authority {self.shown[CA]}: they are of different clusters, or "
            "an intermediate certificate is missing; give certificate and authority of one cluster"
        )

    def check_crl_signature(self) -> None:
        argv: Sequence[str] = [self.openssl, "crl", "-in", self.path(CRL), "-noout", "-CAfile", self.path(CA)]
        status, output, errors = self.run(argv, "", _SECONDS)
        if status != 0 or "verify OK" not in output + errors:
            raise VpnError(
                f"{self.shown[CRL]}: is no revocation list of the authority {self.shown[CA]}; everybody would be "
                "locked out. Give the one of the same cluster"
            )


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def summary(facts: Facts, warn_days: int) -> Tuple[str, ...]:
    """Notes on what expires within so many days."""
    items = (("certificate", facts.certificate_days), ("authority", facts.ca_days), ("revocation list", facts.crl_days))
    return tuple(f"the {what} expires in {days} days" for what, days in items if days is not None and days < warn_days)
