# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading begins before it is known what for: calicoctl asks the datastore while the host still compiles the rest of
the module and checks the documents, which takes it as long.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from .calicoctl_run import NAMESPACED, V1_KINDS, Run, Tool, finished, get_arguments, run_program, started, stop

Answer = Tuple[Optional[int], str, str]

_KIND = re.compile(r"[A-Za-z]{1,60}\Z")
_FROM_V1 = {word: kind for kind, word in V1_KINDS.items()}
# A task of more kinds is slow for other reasons; here is only a guess, and a process for each.
_MOST = 8


def documents_of(params: Mapping[str, Any]) -> List[Tuple[str, Any]]:
    """Origin and document of each of a module's resources, which come as the controller packed them; unchecked."""
    given = params["resources"]
    if isinstance(given, str):
        return json.loads(given)
    return [("resources", item) for item in (given if isinstance(given, list) else [given] if given else [])]


def kinds_at_sight(documents: Iterable[Tuple[str, Any]], api: str) -> Set[str]:
    """Which kinds (as API v3 spells them) a task with these documents will read first; nothing is checked yet.

    A document that is none, or of a kind that this API has not, adds nothing.
    """
    found: Set[str] = set()
    for _origin, document in documents:
        word = document.get("kind") if isinstance(document, Mapping) else None
        if not isinstance(word, str) or not _KIND.match(word):
            continue
        kind = _FROM_V1.get(word, word) if document.get("apiVersion") == "v1" else word
        if kind in V1_KINDS or (api == "v3" and (kind in NAMESPACED or kind == "GlobalNetworkSet")):
            found.add(kind)
    return found if len(found) <= _MOST else set()


@contextlib.contextmanager
def reading_ahead(run: Run, tool: Tool, kinds: Iterable[str]) -> Iterator[Run]:
    """A `run` for the block, whose first reads of these kinds have begun; whatever else it is asked goes to `run`.

    Each of those answers is given once, and none after a write. What was not asked for is ended with the block. Only
    real programs are begun ahead of their question.
    """
    if run is not run_program:
        yield run
        return
    ahead = _Ahead(run)
    try:
        for kind in sorted(kinds):
            ahead.begin(get_arguments(tool, kind), tool.timeout)
        yield ahead
    finally:
        ahead.close()


class _Read:
    """A read under way."""

    def __init__(self, argv: Sequence[str], timeout: float) -> None:
        self.answer: Optional[Answer] = None
        self._process = started(argv)
        self._thread = threading.Thread(target=self._finish, args=(timeout,), daemon=True)
        self._thread.start()

    def _finish(self, timeout: float) -> None:
        # Its output is more than a pipe holds, so somebody has to take it while the others work.
        self.answer = finished(self._process, "", timeout)

    def wait(self) -> Answer:
        self._thread.join()
        # Without one the thread itself has failed: as a program that could not be run.
        return self.answer or (126, "", "its output could not be read")

    def end(self) -> None:
        if self.answer is None:
            stop(self._process)
            self._thread.join()


class _Ahead:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._reads: Dict[Tuple[str, ...], _Read] = {}
        self._lock = threading.Lock()

    def begin(self, argv: List[str], timeout: float) -> None:
        # What cannot be started tells so when it is asked for.
        with contextlib.suppress(OSError):
            self._reads[tuple(argv)] = _Read(argv, timeout)

    def __call__(self, argv: Sequence[str], stdin: str, timeout: float) -> Answer:
        with self._lock:
            begun = self._reads.pop(tuple(argv), None) if not stdin else None
        if stdin:
            # What was read before a write is not what the datastore holds after it.
            self.close()
        return self._run(argv, stdin, timeout) if begun is None else begun.wait()

    def close(self) -> None:
        while self._reads:
            self._reads.popitem()[1].end()
