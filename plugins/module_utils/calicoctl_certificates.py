# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the certificates that a configuration names can work: there, private, belonging together, not expired.

The program openssl looks into them, as targets need not have the Python library cryptography.
"""

from __future__ import annotations

import calendar
import os
import re
import stat
import time
from dataclasses import dataclass, field
from typing import List, Mapping, Optional, Tuple

from .calicoctl_config import PATHS, ConfigError
from .calicoctl_run import Run

# (certificate, key, authority) as options name them.
_SETS = (("etcd_cert_file", "etcd_key_file", "etcd_ca_cert_file"), ("k8s_cert_file", "k8s_key_file", "k8s_ca_file"))
_KEYS = ("etcd_key_file", "k8s_key_file", "kubeconfig")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_END = re.compile(r"notAfter=(\w{3})\s+(\d+) (\d+):(\d+):(\d+) (\d{4}) GMT")
_SECONDS = 20.0


@dataclass(frozen=True)
class Findings:
    """What is to be told of certificates: `certificates` with path, not_after and days_left, and notes."""

    certificates: List[Mapping[str, object]] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)


def check_certificates(
    run: Run, openssl: Optional[str], values: Mapping[str, object], now: float, warn_days: int = 30
) -> Findings:
    """Check every file that settings name. Raises ConfigError naming option, path and remedy.

    `openssl` is the program's path, or None where it is not installed; `now` in seconds since 1970.
    """
    paths = {name: str(values[name]) for name in PATHS if name in values}
    notes = [note for name, path in paths.items() for note in check_file(name, path)]
    certificates: List[Mapping[str, object]] = []
    if openssl is None and any(name != "kubeconfig" for name in paths):
        notes.append(
            "openssl is not installed here: whether key, certificate and authority belong together, and when they "
            "expire, was not checked"
        )
    elif openssl is not None:
        for certificate, key, authority in _SETS:
            if certificate in paths:
                check_pair(run, openssl, paths[certificate], paths[key])
            if certificate in paths and authority in paths:
                check_signed(run, openssl, paths[certificate], paths[authority])
            for path in (paths[name] for name in (certificate, authority) if name in paths):
                ends = end_of(run, openssl, path)
                days = int((ends - now) // 86400)
                if ends < now:
                    raise ConfigError(f"{path}: expired on {day(ends)}; download the cluster's configuration again")
                if days < warn_days:
                    notes.append(f"{path} expires on {day(ends)}, in {days} days")
                certificates.append({"path": path, "not_after": day(ends), "days_left": days})
    return Findings(certificates, notes)


def check_file(name: str, path: str) -> List[str]:
    """Notes on a file's mode. Raises ConfigError when it is not there, or others can read a key or change anything."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise ConfigError(f"config: {name}: {path}: {error.strerror}; give the path of a file on this host") from None
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"config: {name}: {path} is no file; give the path of a file on this host")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o002:
        raise ConfigError(f"config: {name}: {path} can be changed by everybody (mode {mode:04o}): chmod o-w {path}")
    if name in _KEYS and mode & 0o004:
        raise ConfigError(f"config: {name}: {path} can be read by everybody (mode {mode:04o}): chmod 600 {path}")
    if name in _KEYS and mode & 0o040:
        return [f"{path} can be read by its group (mode {mode:04o})"]
    return []


def check_pair(run: Run, openssl: str, certificate: str, key: str) -> None:
    """Refuse a key that is not the certificate's. Raises ConfigError."""
    of_certificate = _ask(run, [openssl, "x509", "-in", certificate, "-noout", "-pubkey"], certificate, "certificate")
    # An empty password: a key that needs one must fail, not ask.
    of_key = _ask(
        run, [openssl, "pkey", "-in", key, "-pubout", "-passin", "pass:"], key, "private key without a password"
    )
    if of_certificate.split() != of_key.split():
        raise ConfigError(
            f"{key} is not the key of {certificate}: they are of different clusters or downloads; "
            "take both from one download"
        )


def check_signed(run: Run, openssl: str, certificate: str, authority: str) -> None:
    """Refuse a certificate that the authority did not sign. Raises ConfigError."""
    argv = [openssl, "verify", "-no_check_time", "-partial_chain", "-CAfile", authority, certificate]
    status, output, errors = run(argv, "", _SECONDS)
    if status != 0:
        raise ConfigError(
            f"{certificate} was not signed by {authority} ({_reason(output + errors)}): they are of different "
            "clusters, or etcd has an authority of its own for clients; in that case set check_certificates: false"
        )


def end_of(run: Run, openssl: str, path: str) -> float:
    """When a certificate expires, in seconds since 1970. Raises ConfigError."""
    output = _ask(run, [openssl, "x509", "-in", path, "-noout", "-enddate"], path, "certificate")
    found = _END.search(output)
    if not found or found.group(1) not in _MONTHS:
        raise ConfigError(f"{path}: openssl tells no end of the certificate ({output.strip()[:80]!r})")
    month, rest = _MONTHS.index(found.group(1)) + 1, [int(part) for part in found.groups()[1:]]
    return float(calendar.timegm((rest[4], month, rest[0], rest[1], rest[2], rest[3], 0, 0, 0)))


def day(seconds: float) -> str:
    """A moment as a date and time in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _ask(run: Run, argv: List[str], path: str, what: str) -> str:
    status, output, errors = run(argv, "", _SECONDS)
    if status != 0:
        raise ConfigError(f"{path}: is no {what} in PEM form ({_reason(errors)}); give the right file")
    return output


def _reason(said: str) -> str:
    """The part of openssl's words that tells why."""
    found: Optional[Tuple[str, ...]] = None
    for line in said.splitlines():
        match = re.search(r"error \d+ at \d+ depth lookup:\s*(.*)|:([^:]+):[^:]*:\d+:[^:]*$", line)
        if match and not found:
            found = match.groups()
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((part for part in found or () if part), lines[0] if lines else "no message")
