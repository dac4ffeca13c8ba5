# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirmed rules on the disk: a few generations, one file each, whole or not there at all.

    # iks.hardening generation, sha256 <digest of everything below this line>
    === about    backend nft
    === sets     ipset restore input
    === ipv4     iptables-restore input, from a node on which nothing of ours is loaded
    === ipv6

Both families, sets included, are one file, so that they are replaced together. What reads it at boot is firewall_boot.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Tuple

from .errors import NodeError
from .firewall_plan import restore_text
from .firewall_state import OwnState, OwnTable, is_same, read_state
from .intrusion import HELD, held_text
from .peer_sets import create_text, is_peer_set, read_members
from .traffic import FAMILIES

STATE_FOLDER = "/var/lib/iks-hardening"
GENERATIONS = f"{STATE_FOLDER}/generations"
STAGED = f"{STATE_FOLDER}/staged.rules"
# The newest ones that are kept: enough to go back over a bad week, few enough to be looked through.
KEPT = 5
HEAD = "# iks.hardening generation, sha256 "
_FILE = re.compile(r"([0-9]{6})\.rules", re.ASCII)


@dataclass(frozen=True)
class Saved:
    """A generation's number, and its text without the head; None when it is damaged."""

    number: int
    body: Optional[str]


def generation_body(states: Mapping[str, OwnState], backend: str) -> str:
    """What a generation says; the same rules give the same text."""
    sets: Dict[str, Tuple[str, ...]] = {}
    held = []
    for family, state in states.items():
        sets.update(state.sets)
        if HELD[family] in state.sets_referred_to():
            held.append(held_text(family))
    parts = [f"=== about\nbackend {backend}\n", "=== sets\n", *held]
    parts += [create_text(name, sets[name]).replace("\n", " -exist\n") for name in sorted(sets)]
    for family in FAMILIES:
        parts.append(f"=== {family}\n")
        if family in states:
            parts.append(restore_text(OwnState(), _in_order(states[family])))
    return "".join(parts)


def _in_order(state: OwnState) -> OwnState:
    """The same state with its chains in one order, wherever it was read."""
    tables = [
        OwnTable({name: table.chains[name] for name in sorted(table.chains)}, table.jumps)
        for _name, table in state.tables()
    ]
    return OwnState(tables[0], tables[1], state.sets)


def says(body: Optional[str], states: Mapping[str, OwnState], backend: str) -> bool:
    """Whether a generation holds these states, whichever of the tools' forms it holds them in."""
    if body is None:
        return False
    if body == generation_body(states, backend):
        return True
    try:
        saved_backend, saved = generation_states(body)
    except NodeError:
        return False
    return (
        saved_backend == backend
        and saved.keys() == {family for family, state in states.items() if state.filter.chains}
        and all(is_same(saved[family], states[family]) for family in saved)
        and all(dict(saved[family].sets) == dict(states[family].sets) for family in saved)
    )


def generation_states(body: str) -> Tuple[str, Dict[str, OwnState]]:
    """Backend and states of a generation. Raises NodeError when it is none."""
    parts = dict(re.findall(r"^=== (\S+)\n(.*?)(?=^=== |\Z)", body, re.MULTILINE | re.DOTALL))
    about = dict(line.split(" ", 1) for line in parts.get("about", "").splitlines() if " " in line)
    if "backend" not in about or not set(FAMILIES) <= set(parts):
        raise NodeError("a saved generation is not complete; nothing was changed")
    states = {}
    for family in FAMILIES:
        if not parts[family]:
            continue
        state = read_state(parts[family])
        sets = {
            name: read_members(parts["sets"].replace(" -exist\n", "\n"), name)
            for name in state.sets_referred_to()
            if is_peer_set(name)
        }
        states[family] = OwnState(state.filter, state.mangle, sets)
    return about["backend"], states


def with_head(body: str) -> str:
    """The file's text."""
    return f"{HEAD}{_digest(body)}\n{body}"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8")).hexdigest()


def generations(folder: str = GENERATIONS) -> List[Saved]:
    """Every generation on the disk, the newest first."""
    found = []
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder), reverse=True):
            match = _FILE.fullmatch(name)
            if match:
                found.append(Saved(int(match.group(1)), _body(f"{folder}/{name}")))
    return found


def _body(path: str) -> Optional[str]:
    try:
        # As it is, line ends too: boot takes the digest of the bytes.
        with open(path, encoding="utf-8", newline="") as stream:
            head, _newline, body = stream.read().partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return body if head == f"{HEAD}{_digest(body)}" else None


def newest(folder: str = GENERATIONS) -> Optional[Saved]:
    """The newest generation, damaged or not; what lies below it is not read."""
    try:
        numbers = [int(match.group(1)) for match in map(_FILE.fullmatch, os.listdir(folder)) if match]
    except OSError:
        return None
    return Saved(max(numbers), _body(_path(folder, max(numbers)))) if numbers else None


def choose_generation(saved: List[Saved], wanted: str) -> Saved:
    """The generation that `last`, `previous` or a number means. Raises NodeError."""
    intact = [item for item in saved if item.body is not None]
    known = ", ".join(str(item.number) for item in intact) or "none"
    place = {"last": 0, "previous": 1}.get(wanted)
    if place is not None and place < len(intact):
        return intact[place]
    for item in intact:
        if str(item.number) == wanted:
            return item
    raise NodeError(
        f"to: {wanted!r} is not a saved generation; saved and intact are {known}; "
        "allowed are last, previous, one of these numbers, and removed"
    )


def present_files() -> List[str]:
    """Paths of what is saved."""
    found = [_path(GENERATIONS, item.number) for item in generations()]
    return found + [path for path in (STAGED, GENERATIONS, STATE_FOLDER) if os.path.lexists(path)]


def forget() -> None:
    """Take every saved generation away."""
    for path in present_files():
        with contextlib.suppress(OSError):
            os.unlink(path)
    for folder in (GENERATIONS, STATE_FOLDER):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _path(folder: str, number: int) -> str:
    return f"{folder}/{number:06d}.rules"


def stage(body: str) -> None:
    """Write a generation beside its place, so that a full disk is found before rules change. Raises NodeError."""
    prepare_folder(STATE_FOLDER)
    prepare_folder(GENERATIONS)
    write_file(STAGED, with_head(body))


def keep(body: str) -> int:
    """Make a generation the newest, the staged one if it is that; its number. Raises NodeError."""
    if _body(STAGED) != body:
        stage(body)
    numbers = [saved.number for saved in generations()]
    number = max(numbers, default=0) + 1
    try:
        os.rename(STAGED, _path(GENERATIONS, number))
        sync_folder(GENERATIONS)
    except OSError as error:
        raise NodeError(f"{GENERATIONS}: cannot be written: {error.strerror}") from None
    for old in sorted(numbers, reverse=True)[KEPT - 1 :]:
        with contextlib.suppress(OSError):
            os.unlink(_path(GENERATIONS, old))
    return number


def drop_staged() -> None:
    """Forget a staged generation that did not come to be."""
    with contextlib.suppress(OSError):
        os.unlink(STAGED)


def prepare_folder(folder: str) -> None:
    """A directory that only root can read and that nobody else prepared. Raises NodeError."""
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise NodeError(f"{folder}: cannot be made: {error.strerror}; nothing was changed") from None
    check_folder(folder)


def check_folder(folder: str) -> None:
    """Refuse a folder of ours that is a link or that others could write; none is fine. Raises NodeError."""
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise NodeError(
            f"{folder}: not a directory that root owns and nobody else can write "
            f"(owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}); nothing was changed. "
            "Remove it, or correct it"
        )


def check_place(folder: str) -> None:
    """Refuse a folder above which everybody can write, and could plant a link in its place. Raises NodeError."""
    above = folder
    while above != "/":
        above = os.path.dirname(above)
        try:
            mode = os.stat(above).st_mode
        except FileNotFoundError:
            continue
        if mode & 0o002:
            raise NodeError(
                f"{folder}: lies in {above}, which everybody can write (mode {stat.S_IMODE(mode):04o}), so that "
                f"somebody could plant a link in its place; nothing was changed. Correct the mode of {above}"
            )


def write_file(path: str, text: str, mode: int = 0o600) -> None:
    """The whole file or the former one, on the disk when this returns. Raises NodeError."""
    temporary = f"{path}.new"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        sync_folder(os.path.dirname(path))
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise NodeError(f"{path}: cannot be written: {error.strerror}; nothing was changed") from None


def sync_folder(folder: str) -> None:
    """Make a rename in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
