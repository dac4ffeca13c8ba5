# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A datastore in memory behind calicoctl's command line, with failures to order: for tests of what fails when.

What the real tool says and does is the matter of tests/calico; here is only what a failure in a batch leaves behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Tuple

Key = Tuple[str, str, str]


class FakeDatastore:
    """Called as the runner of calicoctl. `broken` is asked before each document that is written or deleted.

    It returns None, or the text of the failure at which 1.x stops and 3.x goes on; "hang" ends the process by time.
    """

    def __init__(self, api: str = "v3", documents: Sequence[dict[str, Any]] = ()) -> None:
        self.api = api
        self.held: dict[Key, dict[str, Any]] = {self.key(item): item for item in documents}
        self.calls: list[str] = []
        self.written: list[str] = []
        self.broken: Callable[[str, dict[str, Any]], str | None] = lambda verb, document: None
        self.unreadable: Callable[[], str | None] = lambda: None

    def key(self, document: dict[str, Any]) -> Key:
        metadata = document["metadata"]
        return document["kind"], metadata.get("node", metadata.get("namespace", "")), metadata["name"]

    def __call__(self, argv: Sequence[str], stdin: str, timeout: float) -> tuple[int | None, str, str]:
        verb = argv[1]
        self.calls.append(verb)
        if verb == "get":
            problem = self.unreadable()
            if problem == "hang":
                return None, "", ""
            if problem:
                return 1, "", problem
            kind = argv[2]
            found = [item for item in self.held.values() if kind in (item["kind"].lower(), item["kind"])]
            return 0, json.dumps(found), ""
        return self._write(verb, json.loads(stdin))

    def _write(self, verb: str, documents: list[dict[str, Any]]) -> tuple[int | None, str, str]:
        errors = []
        for document in documents:
            problem = self.broken(verb, document)
            if problem == "hang":
                return None, "", ""
            if problem:
                errors.append(problem)
                if self.api == "v1":
                    break
                continue
            self.written.append(f"{verb} {document['kind']} {document['metadata']['name']}")
            if verb == "delete":
                self.held.pop(self.key(document), None)
            else:
                self.held[self.key(document)] = document
        text = "\n".join(errors)
        return (1, text, "") if errors and self.api == "v1" else (1, "", text) if errors else (0, "Successfully", "")
