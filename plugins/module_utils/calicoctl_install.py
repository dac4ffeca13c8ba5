# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program calicoctl on a host: what is there, what is wanted, and how it is put in place.

A new program is staged beside the old one, compared with its checksum before it may run, asked for its version, and
then put in place by one rename: a download that fails or is wrong leaves the old program running.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import Callable, Dict, Optional

from .calicoctl_config import ConfigError, check_path
from .calicoctl_download import DownloadError, Manner, check_content, digest_of, fetch
from .calicoctl_run import DatastoreError, Run, client_version
from .calicoctl_versions import Download, find_sum
from .errors import HardeningError

_PREFIX = ".calicoctl-"
_MODE = re.compile(r"^0?[0-7]{3}$")


class InstallError(HardeningError):
    """calicoctl cannot be put where it is wanted."""


@dataclass(frozen=True)
class Program:
    """What stands at a path: nothing (all None), or a program with checksum, version (None: it tells none) and mode."""

    checksum: Optional[str] = None
    version: Optional[str] = None
    mode: Optional[str] = None
    link_to: Optional[str] = None
    owner: Optional[int] = None

    def shown(self) -> Dict[str, Optional[str]]:
        """As a result tells it."""
        return {"checksum": self.checksum, "version": self.version, "mode": self.mode, "link": self.link_to}


@dataclass(frozen=True)
class Wanted:
    """The program that is wanted: where, pinned by checksum or version or both, and a link to it."""

    path: str
    mode: str
    checksum: Optional[str] = None
    version: Optional[str] = None
    link: Optional[str] = None

    def is_met(self, have: Program) -> bool:
        """Whether a program is the wanted one, so that nothing is fetched. A checksum decides before a version."""
        if have.checksum is None:
            return False
        return have.checksum == self.checksum if self.checksum else have.version == self.version


def check_mode(mode: str) -> str:
    """A file mode as four digits, others must not write. Raises InstallError."""
    if not _MODE.match(mode):
        raise InstallError(f"mode: {mode!r} is no octal mode; give it quoted, for instance '0755'")
    value = int(mode, 8)
    if value & 0o022 or not value & 0o100:
        raise InstallError(f"mode: {mode} lets others change the program, or nobody run it; give for instance '0755'")
    return f"{value:04o}"


def check_place(subject: str, path: str) -> None:
    """Refuse a path that somebody else could turn elsewhere. Raises InstallError.

    That is one with `..`, one below a link that lies in a directory which everybody can write to, and one in such a
    directory itself.
    """
    try:
        check_path(subject, path)
    except ConfigError as error:
        raise InstallError(str(error)) from None
    place = "/"
    for part in [part for part in path.split("/") if part]:
        with suppress(OSError):
            if stat.S_ISLNK(os.lstat(os.path.join(place, part)).st_mode) and _is_writable(place):
                raise InstallError(
                    f"{subject}: {os.path.join(place, part)} is a link in {place}, which everybody can write to: "
                    "whoever made it decides where it leads. Give a path without it"
                )
        place = os.path.join(place, part)
    folder = os.path.dirname(path)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if _is_writable(folder):
        raise InstallError(
            f"{subject}: everybody can write to {folder}, and put another file there; give another directory"
        )
    if os.path.isdir(path):
        raise InstallError(f"{subject}: {path} is a directory; give the path of a file")


def _is_writable(folder: str) -> bool:
    try:
        return bool(os.stat(folder).st_mode & stat.S_IWOTH)
    except OSError:
        return False


def look(run: Run, path: str, kind: str = "sha256", link: Optional[str] = None) -> Program:
    """What stands at a path; its version is asked of the program itself."""
    checksum = digest_of(path, kind)
    link_to = os.readlink(link) if link and os.path.islink(link) else None
    if checksum is None:
        return Program(link_to=link_to)
    found = os.stat(path)
    mode = stat.S_IMODE(found.st_mode)
    version = None
    # Somebody else's program is not run to ask for its version.
    if mode & 0o100 and not mode & 0o022:
        with suppress(DatastoreError):
            version = client_version(run, path)
    return Program(checksum, version, f"{mode:04o}", link_to, found.st_uid)


def checksum_of(download: Download, manner: Manner, folder: str) -> str:
    """The checksum that a release publishes for a program. Raises DownloadError or VersionError."""
    if download.sums_url is None:
        raise DownloadError(
            f"checksum: none is given, and none is published for {download.url}: download it once yourself, make sure "
            "that it is the right one, and give its sha256"
        )
    with tempfile.TemporaryFile(dir=folder) as sums:
        fetch(download.sums_url, manner, sums, limit=1 << 20)
        sums.seek(0)
        text = sums.read().decode("utf-8", errors="replace")
    return find_sum(text, download.asset, download.sums_url)


def install(
    run: Run,
    wanted: Wanted,
    fill: Callable[[str], None],
    source: str,
    move: Callable[[str, str], None],
) -> str:
    """Put the wanted program in place; its version. Raises errors, and then the old program is as it was.

    `fill` writes the program to a path; `move` replaces one file by another in one step.
    """
    folder = os.path.dirname(wanted.path)
    _make_folder(folder)
    handle, staged = tempfile.mkstemp(prefix=_PREFIX, dir=folder)
    os.close(handle)
    try:
        fill(staged)
        check_content(staged, source, wanted.checksum)
        # Only what was compared may run.
        os.chmod(staged, 0o700)
        version = client_version(run, staged)
        if wanted.version and version != wanted.version:
            raise InstallError(f"{source}: is calicoctl {version}, not {wanted.version}; give the one that is meant")
        os.chmod(staged, int(wanted.mode, 8))
        move(staged, wanted.path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(staged)
    set_mode(wanted.path, wanted.mode)
    return version


def set_mode(path: str, mode: str) -> None:
    """Make a program ours with this mode: a former file's owner and mode do not live on in a new one."""
    os.chown(path, os.geteuid(), os.getegid())
    os.chmod(path, int(mode, 8))


def copy_from(source: str) -> Callable[[str], None]:
    """Fills the staged file from a file on this host."""

    def fill(path: str) -> None:
        try:
            shutil.copyfile(source, path)
        except OSError as error:
            raise InstallError(f"src: {source}: {error.strerror}; give the path of a file on this host") from None

    return fill


def fetch_from(url: str, manner: Manner) -> Callable[[str], None]:
    """Fills the staged file from a URL."""

    def fill(path: str) -> None:
        with open(path, "wb") as staged:
            fetch(url, manner, staged)

    return fill


def check_link(link: str) -> None:
    """Refuse to replace a file by a link. Raises InstallError."""
    check_place("link", link)
    if os.path.lexists(link) and not os.path.islink(link):
        raise InstallError(f"link: {link} is a file, not a link; remove it, or leave link out and give it as path")


def set_link(link: str, path: str) -> None:
    """Let a link lead to a program, in one step."""
    folder = os.path.dirname(link)
    _make_folder(folder)
    # A name of its own: a link cannot be made where a file is.
    staged = os.path.join(tempfile.mkdtemp(prefix=_PREFIX, dir=folder), "link")
    try:
        os.symlink(path, staged)
        os.replace(staged, link)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(staged)
        os.rmdir(os.path.dirname(staged))


def remove(wanted: Wanted) -> None:
    """Remove a program, and the link to it."""
    if wanted.link and os.path.islink(wanted.link) and os.readlink(wanted.link) == wanted.path:
        os.unlink(wanted.link)
    with suppress(FileNotFoundError):
        os.unlink(wanted.path)


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
    except OSError as error:
        raise InstallError(f"{folder}: cannot be made ({error.strerror}); give another directory") from None
