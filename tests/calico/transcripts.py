# Part of the stand-ins for calicoctl and its datastores, for tests only.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the real tools did, as recorded (tests/data/calicoctl): cases, the datastore each one met, and how to compare.

A case without keys of its own ran on what the case before it left; a few ran on what a case left that is not among the
recorded ones, and for those another case's keys are named in STATE_OF.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

FOLDER = Path(__file__).resolve().parents[1] / "data" / "calicoctl"
RECORDED = ("v1.4.0", "v3.25.2")

# The state of a case whose predecessor was not recorded: "before" or "after" of another one.
STATE_OF = {
    "v1.4.0": {
        "014-get-nodes": ("021-apply-policy-unchanged", "before"),
        "015-get-nodes-wide": ("021-apply-policy-unchanged", "before"),
        "016-get-node-yaml": ("021-apply-policy-unchanged", "before"),
        "300-tls-ok": ("246-json-array-stdin", "after"),
        "500-bulk-500-one-file-run0": ("510-phantom-hep", "before"),
    },
    "v3.25.2": {},
}

# What the recorder itself had put there.
ADDED = {"261-corrupt-etcd-value": {"/calico/v1/policy/tier/default/policy/corrupt": "{not json"}}
# Cases whose command has to be run first, as its keys were not recorded.
AFTER = {
    "502-get-500-json": "500-bulk-500-one-file-run0",
    "503-get-500-ps": "500-bulk-500-one-file-run0",
    "504-delete-500-one-file": "500-bulk-500-one-file-run0",
}

_TAIL = re.compile(r"(error #\d+: )[^\n]*")
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_REVISION = re.compile(r'(resourceVersion"?: )"\d+"')
_TRACE = re.compile(r"\n\[signal SIGSEGV.*", re.DOTALL)
_LOG = re.compile(r'time="[^\n]*\n')


@dataclass(frozen=True)
class Case:
    """One command line of one version; `rc` is None if the tool had not ended when the recorder's patience did."""

    version: str
    name: str
    argv: Tuple[str, ...]
    env: Dict[str, str]
    files: Dict[str, str]
    rc: Optional[int]
    stdout: str
    stderr: str
    before: Dict[str, Optional[str]]
    after: Optional[Dict[str, Optional[str]]]

    @property
    def id(self) -> str:
        return f"{self.version}-{self.name}"


def cases(version: str) -> List[Case]:
    """In the order in which they were recorded."""
    rows = [json.loads(line) for line in (FOLDER / f"{version}.jsonl").read_text(encoding="utf-8").splitlines()]
    by_name = {row["case"]: row for row in rows}
    state: Dict[str, Optional[str]] = {}
    out = []
    for row in rows:
        before = row.get("etcd_before")
        after = before if row.get("etcd_after") == "unchanged" else row.get("etcd_after")
        borrowed = STATE_OF[version].get(row["case"])
        if borrowed:
            state = by_name[borrowed[0]][f"etcd_{borrowed[1]}"]
        if before is not None:
            state = before
        files = {
            name: by_name[text["as_in"]]["files"][name] if isinstance(text, dict) else text
            for name, text in row["files"].items()
        }
        rc = None if row["rc"] == "TIMEOUT" else row["rc"]
        argv = tuple(row["argv"])
        met = {**state, **ADDED.get(row["case"], {})}
        out.append(Case(version, row["case"], argv, row["env"], files, rc, row["stdout"], row["stderr"], met, after))
        if after is not None:
            state = after
    return out


def comparable(text: str) -> str:
    """Without what differs from run to run or with the Go version that built the tool.

    The tails of network and certificate errors, what the datastore numbers and dates, the addresses of a panic's
    trace, and log lines (which hold pointers).
    """
    for pattern, replacement in (
        (_TAIL, r"\1<tail>"),
        (_UID, "<uid>"),
        (_TIME, "<time>"),
        (_REVISION, r'\1"<revision>"'),
        (_TRACE, "\n<trace>\n"),
        (_LOG, ""),
    ):
        text = pattern.sub(replacement, text)
    return text


def comparable_keys(keys: Dict[str, Optional[str]]) -> Dict[str, Optional[str]]:
    """Keys and values without what is made up anew for every resource."""
    return {
        key: "<guid>" if key.endswith("/ClusterGUID") else value and _TIME.sub("<time>", _UID.sub("<uid>", value))
        for key, value in keys.items()
    }
