# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading ahead: every answer is the one that the question would have had, and nothing is left running."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_ahead import (
    documents_of,
    kinds_at_sight,
    reading_ahead,
)
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import (
    Tool,
    get_arguments,
    run_program,
    write_arguments,
)

POLICY = "GlobalNetworkPolicy"


def calicoctl(folder: Path, *lines: str) -> Tool:
    """A tool that appends its process id and words to `log`, then does what the lines say."""
    path = folder / "calicoctl"
    path.write_text("\n".join(["#!/bin/sh", f'echo "$$ $*" >> {folder}/log', *lines]) + "\n", encoding="utf-8")
    path.chmod(0o755)
    return Tool(str(path), "/cfg", "v3", 20.0)


def starts(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def awaited(folder: Path, count: int) -> list[str]:
    """The starts, when there are so many."""
    for _attempt in range(500):
        if len(starts(folder)) >= count:
            break
        time.sleep(0.01)
    return starts(folder)


def test_the_answer_is_taken_once(tmp_path: Path) -> None:
    tool = calicoctl(tmp_path, f"wc -l < {tmp_path}/log")
    read = get_arguments(tool, POLICY)
    with reading_ahead(run_program, tool, {POLICY}) as run:
        assert len(awaited(tmp_path, 1)) == 1
        assert run(read, "", 20) == (0, "1\n", "")
        assert run(read, "", 20) == (0, "2\n", "")


def test_more_than_a_pipe_holds_is_taken_meanwhile(tmp_path: Path) -> None:
    tool = calicoctl(tmp_path, "head -c 300000 /dev/zero | tr '\\0' x", f"echo done > {tmp_path}/done")
    with reading_ahead(run_program, tool, {POLICY}) as run:
        for _attempt in range(500):
            if (tmp_path / "done").exists():
                break
            time.sleep(0.01)
        assert (tmp_path / "done").exists()
        assert len(run(get_arguments(tool, POLICY), "", 20)[1]) == 300_000


def test_nothing_from_before_a_write_is_told_after_it(tmp_path: Path) -> None:
    tool = calicoctl(tmp_path, f"wc -l < {tmp_path}/log")
    with reading_ahead(run_program, tool, {POLICY}) as run:
        awaited(tmp_path, 1)
        run(write_arguments(tool, "apply"), "[]", 20)
        assert run(get_arguments(tool, POLICY), "", 20)[1] == "3\n"


@pytest.mark.parametrize("ending", ["question", "error"])
def test_what_is_not_asked_for_is_ended(tmp_path: Path, ending: str) -> None:
    """calicoctl 3.25.2 waits for ever on a dead datastore: documents that are refused must not wait with it."""
    tool = calicoctl(tmp_path, "exec sleep 300")
    began = time.monotonic()
    try:
        with reading_ahead(run_program, tool, {POLICY, "HostEndpoint"}):
            processes = [int(line.split()[0]) for line in awaited(tmp_path, 2)]
            if ending == "error":
                raise LookupError
    except LookupError:
        pass
    assert time.monotonic() - began < 30
    assert len(processes) == 2
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]


def test_the_time_limit_is_the_tools(tmp_path: Path) -> None:
    tool = Tool(calicoctl(tmp_path, "exec sleep 300").path, "/cfg", "v3", 0.2)
    with reading_ahead(run_program, tool, {POLICY}) as run:
        assert run(get_arguments(tool, POLICY), "", 0.2)[0] is None


def test_a_tool_that_is_not_there_says_so_when_it_is_asked(tmp_path: Path) -> None:
    tool = Tool(str(tmp_path / "nothing"), "/cfg", "v3", 20.0)
    with reading_ahead(run_program, tool, {POLICY}) as run:
        assert run(get_arguments(tool, POLICY), "", 20)[0] == 127


def test_only_programs_are_begun_ahead() -> None:
    def answers(argv: Any, stdin: str, timeout: float) -> tuple[int, str, str]:
        raise AssertionError("nobody asked")

    with reading_ahead(answers, Tool("/calicoctl", "/cfg", "v3"), {POLICY}) as run:
        assert run is answers


@pytest.mark.parametrize(
    ("api", "documents", "kinds"),
    [
        ("v3", [{"apiVersion": "projectcalico.org/v3", "kind": POLICY}], {POLICY}),
        ("v3", [{"apiVersion": "v1", "kind": "policy"}, {"apiVersion": "v1", "kind": "node"}], {POLICY, "Node"}),
        ("v1", [{"apiVersion": "v1", "kind": "hostEndpoint"}], {"HostEndpoint"}),
        ("v1", [{"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet"}], set()),
        ("v3", [{"kind": "GlobalNetworkSet"}, {"kind": "NetworkSet"}], {"GlobalNetworkSet", "NetworkSet"}),
        ("v3", [{"kind": "--config=/x"}, {"kind": "Foo"}, {"kind": 1}, {}, None, "text"], set()),
    ],
)
def test_kinds_at_sight(api: str, documents: list[Any], kinds: set[str]) -> None:
    assert kinds_at_sight([("file", document) for document in documents], api) == kinds


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ('[["a.yml", {"kind": "Node"}]]', [["a.yml", {"kind": "Node"}]]),
        ({"kind": "Node"}, [("resources", {"kind": "Node"})]),
        ([{"kind": "Node"}], [("resources", {"kind": "Node"})]),
        (None, []),
    ],
)
def test_documents_of(given: Any, found: list[Any]) -> None:
    assert documents_of({"resources": given}) == found
