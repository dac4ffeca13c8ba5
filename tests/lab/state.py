# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a lab between two commands: /run/iks-lab/<id>/lab.json, written before what it describes exists."""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from .system import LabError
from .topology import MAX_LAB_ID

RUN = Path("/run/iks-lab")
REPO_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class LabState:
    """`groups` are the lab's control groups, `image` the cache entry its nodes are made of."""

    lab_id: int
    owner: str
    suite: str
    image: str
    groups: list[str]
    nodes: list[str] = field(default_factory=list)
    kube: bool = True
    ready: bool = False

    @property
    def folder(self) -> Path:
        return lab_folder(self.lab_id)

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / "lab.json.new"
        fresh.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        fresh.replace(self.folder / "lab.json")

    def changed(self, **values: object) -> LabState:
        """The same state with some values replaced, saved."""
        fresh = replace(self, **values)  # type: ignore[arg-type]
        fresh.save()
        return fresh


def lab_folder(lab_id: int) -> Path:
    return RUN / str(lab_id)


def load(lab_id: int) -> LabState | None:
    try:
        text = (lab_folder(lab_id) / "lab.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return LabState(**json.loads(text))


def existing_ids() -> list[int]:
    """Ids that have a folder, whole or half made, or at least a network namespace."""
    folders = [entry.name for entry in RUN.iterdir()] if RUN.is_dir() else []
    namespaces = [entry.name[3:] for entry in Path("/run/netns").glob("iks*")]
    return sorted({int(name) for name in [*folders, *namespaces] if name.isdigit() and int(name) <= MAX_LAB_ID})


def default_id() -> int:
    """The id a checkout keeps: always the same, so that every command finds the same lab."""
    return zlib.crc32(str(REPO_ROOT).encode()) % (MAX_LAB_ID + 1)


def resolve_id(wanted: str | None) -> int:
    """A lab id from a command line or IKS_LAB_ID: a number, `auto` (any free one), or nothing (the checkout's own)."""
    wanted = wanted or os.environ.get("IKS_LAB_ID") or ""
    if wanted == "auto":
        return _claim_free_id()
    if wanted:
        if not wanted.isdigit() or int(wanted) > MAX_LAB_ID:
            raise LabError(f"lab id {wanted}: must be a number from 0 to {MAX_LAB_ID}, or auto")
        return int(wanted)
    for lab_id in _from(default_id()):
        state = load(lab_id)
        if state is None or state.owner == str(REPO_ROOT):
            return lab_id
    raise LabError(f"all lab ids from 0 to {MAX_LAB_ID} are in use; end one with: python -m tests.lab down --id NUMBER")


def _from(first: int) -> list[int]:
    return [(first + step) % (MAX_LAB_ID + 1) for step in range(MAX_LAB_ID + 1)]


def _claim_free_id() -> int:
    """A new folder is the claim: only one process can make it."""
    RUN.mkdir(parents=True, exist_ok=True)
    for lab_id in _from(default_id() + 1)[:-1]:  # the checkout's own id stays free for its default lab
        try:
            lab_folder(lab_id).mkdir()
        except FileExistsError:
            continue
        return lab_id
    raise LabError("no lab id is free; end a lab with: python -m tests.lab down --id NUMBER")


@contextmanager
def locked(lab_id: int) -> Iterator[None]:
    """Only one command at a time builds or ends a lab. The lock is the lab's folder, so no file is left behind."""
    folder = lab_folder(lab_id)
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # While we waited, the former holder may have removed the folder: then this lock means nothing.
            if folder.is_dir() and os.fstat(descriptor).st_ino == folder.stat().st_ino:
                yield
                return
        finally:
            os.close(descriptor)
