# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which calicoctl versions exist, where they are, and which one belongs to which Calico (pure).

Sources: the release notes and Makefiles of projectcalico/calicoctl and projectcalico/calico, and the component tables
(`_data/versions.yml`) of Calico's documentation. It holds no digests: below 3.21 none were published, and none was
verified here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .errors import HardeningError, choices

Number = Tuple[int, int, int]

GITHUB = "https://github.com"
# A release's files on GitHub are answered with a redirect to one of these.
GITHUB_STORES = ("objects.githubusercontent.com", "release-assets.githubusercontent.com")
SUMS = "SHA256SUMS"

_SYSTEMS = {"Linux": "linux", "Darwin": "darwin"}
_MACHINES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
}
_MANY = ("linux-amd64", "linux-arm64", "linux-ppc64le", "linux-s390x", "darwin-amd64")
_VERSION = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)$")
_IMAGE_TAG = re.compile(r"^v?(\d+\.\d+\.\d+)(?:[-_.].*)?$")
_CHECKSUM = re.compile(r"^(?:(sha256|sha512):)?([0-9a-fA-F]+)$")
_LENGTHS = {"sha256": 64, "sha512": 128}


class VersionError(HardeningError):
    """A version, platform or checksum that cannot be used."""


@dataclass(frozen=True)
class Range:
    """Releases from one version to another (inclusive): where, for which platforms, whether with digests."""

    first: Number
    last: Number
    repository: str
    platforms: Tuple[str, ...]
    # Whether the program for Linux on amd64 is called calicoctl alone.
    plain: bool
    sums: bool = False


KNOWN = (
    Range((1, 0, 0), (1, 6, 99), "projectcalico/calicoctl", ("linux-amd64", "darwin-amd64"), True),
    # Calico 3.0.0 to 3.0.9 had a calicoctl 2.0.
    Range((2, 0, 0), (2, 0, 7), "projectcalico/calicoctl", ("linux-amd64", "darwin-amd64"), True),
    # 3.1.7 has no calicoctl-linux-amd64.
    Range((3, 0, 10), (3, 1, 99), "projectcalico/calicoctl", _MANY, True),
    Range((3, 2, 0), (3, 20, 99), "projectcalico/calicoctl", _MANY, False),
    Range((3, 21, 0), (3, 999, 999), "projectcalico/calico", (*_MANY, "darwin-arm64"), False, True),
)

# (first, last, calicoctl) of the Calicos whose calicoctl had another number. Up to Calico 2.3 the image calico/node had
# calicoctl's number, so that no cluster of those tells its Calico; the tables do not go back to Calico 2.0.
_OWN_NUMBERS: Tuple[Tuple[Number, Number, str], ...] = (
    ((2, 1, 0), (2, 1, 2), "1.1.0"),
    ((2, 1, 3), (2, 1, 3), "1.1.1"),
    ((2, 1, 4), (2, 1, 99), "1.1.3"),
    ((2, 2, 0), (2, 2, 0), "1.2.0"),
    ((2, 2, 1), (2, 2, 99), "1.2.1"),
    ((2, 3, 0), (2, 3, 99), "1.3.0"),
    ((2, 4, 0), (2, 4, 99), "1.4.0"),
    ((2, 5, 0), (2, 5, 99), "1.5.0"),
    ((2, 6, 0), (2, 6, 2), "1.6.1"),
    ((2, 6, 3), (2, 6, 3), "1.6.2"),
    ((2, 6, 4), (2, 6, 8), "1.6.3"),
    ((2, 6, 9), (2, 6, 11), "1.6.4"),
    ((2, 6, 12), (2, 6, 99), "1.6.5"),
    ((3, 0, 0), (3, 0, 2), "2.0.0"),
    ((3, 0, 3), (3, 0, 3), "2.0.1"),
    ((3, 0, 4), (3, 0, 4), "2.0.2"),
    ((3, 0, 5), (3, 0, 5), "2.0.3"),
    ((3, 0, 6), (3, 0, 6), "2.0.4"),
    ((3, 0, 7), (3, 0, 7), "2.0.5"),
    ((3, 0, 8), (3, 0, 8), "2.0.6"),
    ((3, 0, 9), (3, 0, 9), "2.0.7"),
)


@dataclass(frozen=True)
class Download:
    """Where a calicoctl is: its URL, the URL of the release's digests (or None), its file name, a checksum if known."""

    url: str
    asset: str
    sums_url: Optional[str] = None
    checksum: Optional[str] = None


def read_version(text: object) -> str:
    """A version as three numbers, for instance 1.4.0 of v1.4.0. Raises VersionError."""
    found = _VERSION.match(str(text).strip())
    if not found:
        raise VersionError(f"version: {text!r} is no version of calicoctl; give three numbers (1.4.0) or auto")
    return ".".join(str(int(part)) for part in found.groups())


def number(version: str) -> Number:
    """A version that can be compared."""
    major, minor, patch = (int(part) for part in read_version(version).split("."))
    return major, minor, patch


def api_of(version: str) -> str:
    """The resource API that a calicoctl speaks: v1 or v3 (calicoctl 2.0, of Calico 3.0, speaks v3)."""
    return "v1" if int(version.lstrip("v").split(".")[0]) < 2 else "v3"


def platform_of(system: str, machine: str) -> str:
    """The platform as downloads name it, of what `platform.system()` and `.machine()` tell. Raises VersionError."""
    if system not in _SYSTEMS or machine not in _MACHINES:
        raise VersionError(
            f"this host is {system} on {machine}, for which no calicoctl is known: "
            f"give url or src with one that runs here (known: {', '.join(_MANY)}, darwin-arm64)"
        )
    return f"{_SYSTEMS[system]}-{_MACHINES[machine]}"


def range_of(version: str) -> Range:
    """The releases that a version is of. Raises VersionError for one that there is not."""
    wanted = number(version)
    for known in KNOWN:
        if known.first <= wanted <= known.last:
            return known
    theirs = _own_number(wanted)
    hint = f"; Calico {version} has calicoctl {theirs}" if theirs else ""
    raise VersionError(
        f"version: there is no calicoctl {version} (known: 1.0 to 1.6, 2.0.0 to 2.0.7, 3.0.10 and later){hint}. "
        "For another one give url and checksum, or an entry in releases"
    )


def find_download(
    version: str, platform: str, mirror: Optional[str] = None, releases: Optional[Mapping[str, Any]] = None
) -> Download:
    """Where the calicoctl of a version for a platform is; a user's table `releases` comes first. Raises VersionError.

    `mirror` is the URL that stands for https://github.com, with the same paths below it. `releases` maps versions to
    platforms (`linux-amd64`) to `url` and `checksum`.
    """
    own = read_releases(releases or {}).get(version, {}).get(platform)
    if own:
        return own
    known = range_of(version)
    if platform not in known.platforms:
        raise VersionError(
            f"{choices(f'calicoctl {version}: platform', platform, known.platforms)}. "
            "Give url and checksum of one that runs here, or an entry in releases"
        )
    asset = "calicoctl" if known.plain and platform == "linux-amd64" else f"calicoctl-{platform}"
    folder = f"{(mirror or GITHUB).rstrip('/')}/{known.repository}/releases/download/v{version}"
    return Download(f"{folder}/{asset}", asset, f"{folder}/{SUMS}" if known.sums else None)


def read_releases(releases: Mapping[str, Any]) -> Dict[str, Dict[str, Download]]:
    """A user's own table of versions, platforms, URLs and checksums. Raises VersionError that names the entry."""
    read: Dict[str, Dict[str, Download]] = {}
    for version, platforms in releases.items():
        subject = f"releases: {version}"
        if not isinstance(platforms, Mapping):
            raise VersionError(f"{subject}: {platforms!r} is no dictionary of platforms, for instance linux-amd64")
        for platform, entry in platforms.items():
            if not isinstance(entry, Mapping):
                raise VersionError(f"{subject}: {platform}: {entry!r} is no dictionary of url and checksum")
            unknown = [key for key in entry if key not in ("url", "checksum")]
            if unknown:
                raise VersionError(choices(f"{subject}: {platform}", unknown[0], ("url", "checksum")))
            if not entry.get("url") or not entry.get("checksum"):
                raise VersionError(f"{subject}: {platform}: url and checksum are both needed")
            url = str(entry["url"])
            download = Download(url, url.rsplit("/", 1)[-1], None, read_checksum(entry["checksum"]))
            read.setdefault(read_version(version), {})[str(platform)] = download
    return read


def read_checksum(text: object) -> str:
    """A checksum as `sha256:<hex>` or `sha512:<hex>`; bare hexadecimal digits count by their number. VersionError."""
    found = _CHECKSUM.match(str(text).strip())
    digits = found.group(2).lower() if found else ""
    kinds = [kind for kind, length in _LENGTHS.items() if length == len(digits)]
    if not found or not kinds or (found.group(1) and found.group(1) not in kinds):
        raise VersionError(f"checksum: {text!r} is neither sha256: with 64 nor sha512: with 128 hexadecimal digits")
    return f"{kinds[0]}:{digits}"


def find_sum(text: str, asset: str, source: str) -> str:
    """The checksum of a file in a release's SHA256SUMS. Raises VersionError that lists what is there."""
    sums: Dict[str, str] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and re.match(r"^[0-9a-fA-F]{64}$", words[0]):
            name = words[1].lstrip("*")
            sums[name[2:] if name.startswith("./") else name] = words[0].lower()
    if asset not in sums:
        there: List[str] = sorted(name for name in sums if name.startswith("calicoctl"))
        raise VersionError(
            f"{source}: names no {asset} (of calicoctl: {', '.join(there) or 'nothing'}); give checksum yourself"
        )
    return f"sha256:{sums[asset]}"


def calicoctl_of(calico: str) -> str:
    """The calicoctl that belongs to a Calico, or to the tag of an image calico/node. Raises VersionError.

    Numbers 1.x are those of calico/node before 2.4, which were calicoctl's own.
    """
    found = _IMAGE_TAG.match(calico.strip())
    if not found:
        raise VersionError(f"{calico!r} is no version of Calico; give version yourself, for instance 1.4.0")
    version = read_version(found.group(1))
    if number(version) < (2, 0, 0):
        return version
    theirs = _own_number(number(version))
    if theirs:
        return theirs
    if number(version) < (3, 0, 10):
        raise VersionError(f"Calico {version}: its calicoctl is not known; give version yourself")
    return version


def _own_number(calico: Number) -> Optional[str]:
    return next((theirs for first, last, theirs in _OWN_NUMBERS if first <= calico <= last), None)
