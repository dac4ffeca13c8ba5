# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that carry what a user needs: subject, value, reason, remedy.

Only a module's or a plugin's entry point turns them into a failed task.
"""

from __future__ import annotations

import re
from typing import Iterable


class HardeningError(Exception):
    """A mistake in the input or a finding on the node; its text is shown to the user as it is."""


class TrafficError(HardeningError):
    """A traffic rule that cannot be built."""


class NodeError(HardeningError):
    """The node is in a state, or answered in a way, that the work cannot go on from."""


class UnsavedError(NodeError):
    """Rules are loaded and in force, and could not be saved for boot."""


_TOLD = re.compile("nothing was changed|put back|in force", re.IGNORECASE)


def unchanged(error: object) -> str:
    """An error's text with the assurance that nothing was changed, unless it tells itself what was."""
    text = str(error)
    return text if _TOLD.search(text) else f"{text}{'' if text.endswith('?') else '.'} Nothing was changed"


def choices(subject: str, value: object, allowed: Iterable[str]) -> str:
    """Text for a word that is not one of `allowed`: the nearest one first, then all of them."""
    import difflib  # late: only needed on the way to a failure, and slow to import on a target

    known = [str(word) for word in allowed]
    near = difflib.get_close_matches(str(value).lower(), [word.lower() for word in known], n=1, cutoff=0.5)
    hint = f"; did you mean {next(word for word in known if word.lower() == near[0])}?" if near else ""
    return f"{subject}: {value!r} is not one of {', '.join(known)}{hint}"
