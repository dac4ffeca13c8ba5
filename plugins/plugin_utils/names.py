# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names as people write them, and what to say when one is unknown."""

from __future__ import annotations

import difflib
import posixpath
import re
import unicodedata
from typing import Iterable

from ..module_utils.errors import HardeningError


def normal(name: object) -> str:
    """`US South`, `us_south` and `us  south` are one name; accents do not count (`São Paulo`)."""
    plain = unicodedata.normalize("NFKD", str(name)).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[\s_-]+", "-", plain.strip().lower())


def nearest_first(name: object, known: Iterable[str]) -> list[str]:
    """The known names, those most like `name` first; equally near ones keep their order."""
    wanted = normal(name)
    return sorted(known, key=lambda word: -difflib.SequenceMatcher(None, wanted, normal(word)).ratio())


def unknown(subject: str, name: object, known: Iterable[str]) -> str:
    """Text for a name that is not known: all that are, the nearest first."""
    words = nearest_first(name, known)
    return f"{subject} {name!r} is not known; known, nearest first: {', '.join(words) if words else 'none'}"


def check_overlay_path(path: str) -> str:
    """The path of an overlay, which does not climb out of where it is looked for. Raises HardeningError."""
    if ".." in path.split("/"):
        raise HardeningError(
            f"option overlay: {path!r} climbs with '..', so that what is read depends on where it is looked for first; "
            f"give the whole path, or put {posixpath.basename(path)} beside the playbook"
        )
    return path
