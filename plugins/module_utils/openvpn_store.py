# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of an endpoint's files: whole generations, and one link that leads to the one in force.

A new generation is written beside the old one and flushed; one rename of the link then puts all of it in place.
Whatever ends the work before the rename leaves the former files, whatever ends it after leaves the new ones.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from typing import Dict, Mapping, Optional

from .openvpn_model import VpnError
from .openvpn_text import SECRET

Files = Mapping[str, bytes]
_STAGED = ".staged-"


def mode_of(path: str) -> int:
    """The mode a file has: keys are root's alone, the rest is read by the unprivileged daemon (CRL, clients)."""
    return 0o600 if path in SECRET else 0o644


class Store:
    """The generations of one endpoint below `root`; the link is `<root>/<name>`."""

    def __init__(self, root: str, name: str) -> None:
        self.root, self.link, self.folder = root, os.path.join(root, name), os.path.join(root, f"{name}.d")

    def current(self) -> Optional[str]:
        """Name of the generation in force, None when there is none."""
        try:
            return os.path.basename(os.readlink(self.link))
        except FileNotFoundError:
            return None
        except OSError:
            raise VpnError(f"{self.link} is no link of this collection; move it away") from None

    def read(self) -> Dict[str, bytes]:
        """Files in force, by relative path; those whose mode or owner is not ours are left out, and so are drift."""
        found: Dict[str, bytes] = {}
        for folder, _folders, names in os.walk(f"{self.link}/"):
            for name in names:
                path = os.path.join(folder, name)
                relative = os.path.relpath(path, self.link)
                with suppress(OSError):
                    about = os.lstat(path)
                    if (stat.S_IMODE(about.st_mode), about.st_uid) == (mode_of(relative), os.geteuid()):
                        with open(path, "rb") as handle:
                            found[relative] = handle.read()
        return found

    def put(self, files: Files) -> Optional[str]:
        """Write a generation and let the link lead to it; the former generation's name. Raises VpnError."""
        former = self.current()
        digest = hashlib.sha256()
        for path in sorted(files):
            digest.update(f"{path}\0{len(files[path])}\0".encode() + files[path])
        name = digest.hexdigest()[:16]
        staged = None
        try:
            os.makedirs(self.folder, mode=0o755, exist_ok=True)
            staged = tempfile.mkdtemp(prefix=_STAGED, dir=self.folder)
            _fill(staged, files)
            place = os.path.join(self.folder, name)
            if os.path.isdir(place):
                # Same content, but changed by hand: it may be in force, so that it is not touched.
                name = f"{name}-{os.path.basename(staged)[len(_STAGED) :]}"
                place = os.path.join(self.folder, name)
            os.rename(staged, place)
            staged = None
            _flush(self.folder)
            self.lead(name)
        except OSError as error:
            raise VpnError(
                f"{self.folder}: {error.strerror}; make room, or let the task be root. The former files are in force"
            ) from None
        finally:
            if staged:
                shutil.rmtree(staged, ignore_errors=True)
        return former

    def lead(self, name: Optional[str]) -> None:
        """Let the link lead to a generation in one step, or away from all (None)."""
        if name is None:
            with suppress(FileNotFoundError):
                os.unlink(self.link)
        else:
            fresh = os.path.join(self.folder, f"{_STAGED}link")
            with suppress(FileNotFoundError):
                os.unlink(fresh)
            os.symlink(os.path.join(os.path.basename(self.folder), name), fresh)
            os.rename(fresh, self.link)
        _flush(self.root)

    def tidy(self) -> None:
        """Remove every generation but the one in force, and what an ended run left."""
        keep = self.current()
        with suppress(FileNotFoundError):
            for name in os.listdir(self.folder):
                path = os.path.join(self.folder, name)
                if name != keep:
                    shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)
            if keep is None:
                os.rmdir(self.folder)


def _fill(folder: str, files: Files) -> None:
    os.chmod(folder, 0o755)
    for path in sorted(files):
        place = os.path.join(folder, path)
        if not os.path.isdir(os.path.dirname(place)):
            os.mkdir(os.path.dirname(place))
            os.chmod(os.path.dirname(place), 0o755)
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as target:
            target.write(files[path])
            os.fchmod(target.fileno(), mode_of(path))
            target.flush()
            os.fsync(target.fileno())
    for place, _folders, _names in os.walk(folder):
        _flush(place)


def _flush(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
