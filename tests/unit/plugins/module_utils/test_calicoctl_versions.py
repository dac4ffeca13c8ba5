# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which calicoctl is where, and which belongs to which Calico."""

from __future__ import annotations

import hashlib
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_versions import (
    KNOWN,
    VersionError,
    api_of,
    calicoctl_of,
    find_download,
    find_sum,
    platform_of,
    range_of,
    read_checksum,
    read_releases,
    read_version,
)

OLD = "https://github.com/projectcalico/calicoctl/releases/download"
NEW = "https://github.com/projectcalico/calico/releases/download"


@pytest.mark.parametrize(
    ("version", "platform", "url", "sums"),
    [
        ("1.4.0", "linux-amd64", f"{OLD}/v1.4.0/calicoctl", None),
        ("1.4.0", "darwin-amd64", f"{OLD}/v1.4.0/calicoctl-darwin-amd64", None),
        ("2.0.7", "linux-amd64", f"{OLD}/v2.0.7/calicoctl", None),
        ("3.1.7", "linux-amd64", f"{OLD}/v3.1.7/calicoctl", None),
        ("3.1.7", "linux-arm64", f"{OLD}/v3.1.7/calicoctl-linux-arm64", None),
        ("3.20.6", "linux-amd64", f"{OLD}/v3.20.6/calicoctl-linux-amd64", None),
        ("3.21.0", "linux-amd64", f"{NEW}/v3.21.0/calicoctl-linux-amd64", f"{NEW}/v3.21.0/SHA256SUMS"),
        ("3.32.1", "darwin-arm64", f"{NEW}/v3.32.1/calicoctl-darwin-arm64", f"{NEW}/v3.32.1/SHA256SUMS"),
    ],
)
def test_known_downloads(version: str, platform: str, url: str, sums: Optional[str]) -> None:
    download = find_download(version, platform)
    assert (download.url, download.sums_url, download.checksum) == (url, sums, None)


def test_a_mirror_has_the_same_paths() -> None:
    download = find_download("3.25.2", "linux-amd64", "https://mirror.example.com/github/")
    folder = "https://mirror.example.com/github/projectcalico/calico/releases/download/v3.25.2"
    assert (download.url, download.sums_url) == (f"{folder}/calicoctl-linux-amd64", f"{folder}/SHA256SUMS")


@pytest.mark.parametrize(
    ("version", "platform", "said"),
    [
        ("1.4.0", "linux-arm64", "'linux-arm64' is not one of linux-amd64, darwin-amd64.*Give url and checksum"),
        ("1.7.0", "linux-amd64", "there is no calicoctl 1.7.0 .known: 1.0 to 1.6.*an entry in releases"),
        ("2.6.5", "linux-amd64", "there is no calicoctl 2.6.5.*Calico 2.6.5 has calicoctl 1.6.3"),
        ("3.0.8", "linux-amd64", "Calico 3.0.8 has calicoctl 2.0.6"),
        ("4.0.0", "linux-amd64", "there is no calicoctl 4.0.0"),
        ("0.23.1", "linux-amd64", "there is no calicoctl 0.23.1"),
    ],
)
def test_what_there_is_not(version: str, platform: str, said: str) -> None:
    with pytest.raises(VersionError, match=said):
        find_download(version, platform)


def test_a_table_of_ones_own_comes_first() -> None:
    digits = "ab" * 32
    releases = {"v1.4.0": {"linux-arm64": {"url": "https://x.example.com/calicoctl-arm", "checksum": digits}}}
    download = find_download("1.4.0", "linux-arm64", None, releases)
    assert (download.url, download.asset) == ("https://x.example.com/calicoctl-arm", "calicoctl-arm")
    assert download.checksum == f"sha256:{digits}"
    assert find_download("1.4.0", "linux-amd64", None, releases).url == f"{OLD}/v1.4.0/calicoctl"


@pytest.mark.parametrize(
    ("releases", "said"),
    [
        ({"1.4": {}}, None),
        ({"1.4.0": "x"}, "releases: 1.4.0: 'x' is no dictionary of platforms"),
        ({"1.4.0": {"linux-amd64": "x"}}, "releases: 1.4.0: linux-amd64: 'x' is no dictionary"),
        ({"1.4.0": {"linux-amd64": {"url": "x", "sum": "y"}}}, "'sum' is not one of url, checksum"),
        ({"1.4.0": {"linux-amd64": {"url": "x"}}}, "url and checksum are both needed"),
        ({"1.4.0": {"linux-amd64": {"url": "x", "checksum": "y"}}}, "checksum: 'y' is neither"),
        ({"1.4": {"linux-amd64": {"url": "x", "checksum": "a" * 64}}}, "'1.4' is no version"),
    ],
)
def test_tables_of_ones_own(releases: Any, said: Optional[str]) -> None:
    if said is None:
        assert read_releases(releases) == {}
        return
    with pytest.raises(VersionError, match=said):
        read_releases(releases)


@pytest.mark.parametrize(
    ("text", "read"),
    [("v1.4.0", "1.4.0"), ("1.4.0", "1.4.0"), (" 3.25.2 ", "3.25.2"), ("1.4", None), (1.4, None), ("latest", None)],
)
def test_versions(text: Any, read: Optional[str]) -> None:
    if read:
        assert read_version(text) == read
    else:
        with pytest.raises(VersionError, match="is no version of calicoctl"):
            read_version(text)


@pytest.mark.parametrize(("version", "api"), [("1.4.0", "v1"), ("v1.6.5", "v1"), ("2.0.0", "v3"), ("3.25.2", "v3")])
def test_apis(version: str, api: str) -> None:
    assert api_of(version) == api


def test_ranges_neither_overlap_nor_are_out_of_order() -> None:
    for before, after in zip(KNOWN, KNOWN[1:]):
        assert before.first <= before.last < after.first
    # Digests are published from 3.21 on, nowhere before.
    assert [known.sums for known in KNOWN] == [False, False, False, False, True]
    assert range_of("3.21.0").sums
    assert not range_of("3.20.6").sums


@pytest.mark.parametrize(
    ("system", "machine", "platform"),
    [
        ("Linux", "x86_64", "linux-amd64"),
        ("Linux", "aarch64", "linux-arm64"),
        ("Darwin", "arm64", "darwin-arm64"),
        ("Darwin", "x86_64", "darwin-amd64"),
        ("Linux", "armv7l", None),
        ("Windows", "AMD64", None),
    ],
)
def test_platforms(system: str, machine: str, platform: Optional[str]) -> None:
    if platform:
        assert platform_of(system, machine) == platform
    else:
        with pytest.raises(VersionError, match=f"{system} on {machine}.*give url or src"):
            platform_of(system, machine)


@given(st.binary(max_size=20))
def test_checksums_are_read_in_every_form(content: bytes) -> None:
    for kind in ("sha256", "sha512"):
        digits = hashlib.new(kind, content).hexdigest()
        assert read_checksum(digits) == read_checksum(f"{kind}:{digits.upper()}") == f"{kind}:{digits}"


@pytest.mark.parametrize(
    "text", ["", "abc", "md5:" + "a" * 32, "sha256:" + "a" * 63, "sha512:" + "a" * 64, "sha256:" + "g" * 64, "a" * 65]
)
def test_what_is_no_checksum(text: str) -> None:
    with pytest.raises(VersionError, match="neither sha256"):
        read_checksum(text)


def test_sums_of_a_release() -> None:
    one, two = "1" * 64, "2" * 64
    text = f"{one}  calicoctl-linux-amd64\n{two} *./calicoctl-linux-arm64\nrubbish\n{one}  release-v3.25.2.tgz\n"
    assert find_sum(text, "calicoctl-linux-amd64", "SHA256SUMS") == f"sha256:{one}"
    assert find_sum(text, "calicoctl-linux-arm64", "SHA256SUMS") == f"sha256:{two}"
    with pytest.raises(
        VersionError,
        match=r"names no calicoctl-darwin-arm64 \(of calicoctl: calicoctl-linux-amd64, calicoctl-linux-arm64",
    ):
        find_sum(text, "calicoctl-darwin-arm64", "SHA256SUMS")
    with pytest.raises(VersionError, match="of calicoctl: nothing"):
        find_sum("<html>404</html>", "calicoctl-linux-amd64", "SHA256SUMS")


@pytest.mark.parametrize(
    ("calico", "calicoctl"),
    [
        ("v1.1.3", "1.1.3"),
        ("v2.1.5", "1.1.3"),
        ("v2.4.1", "1.4.0"),
        ("v2.5.0", "1.5.0"),
        ("v2.6.2", "1.6.1"),
        ("v2.6.5-42", "1.6.3"),
        ("v2.6.12", "1.6.5"),
        ("v3.0.2", "2.0.0"),
        ("v3.0.9", "2.0.7"),
        ("v3.0.10", "3.0.10"),
        ("v3.25.2", "3.25.2"),
        ("3.29.1_dirty", "3.29.1"),
    ],
)
def test_the_calicoctl_of_a_calico(calico: str, calicoctl: str) -> None:
    assert calicoctl_of(calico) == calicoctl


@pytest.mark.parametrize("calico", ["latest", "", "v2.0.2", "v2.9.0", "master-abc"])
def test_a_calico_that_is_not_known_is_no_guess(calico: str) -> None:
    with pytest.raises(VersionError, match="give version yourself"):
        calicoctl_of(calico)
