# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that runs calicoctl: arguments, a clean environment, a time limit of its own, and what answers mean.

Every function takes `run`, a callable `(argv, stdin, timeout) -> (status, stdout, stderr)` whose status is None when
the time ran out; `run_program` is the one for real programs. What calicoctl 1.4.0 and 3.25.2 print was measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from .calicoctl_errors import explain, last_line, only_missing
from .errors import HardeningError, choices

Run = Callable[[Sequence[str], str, float], Tuple[Optional[int], str, str]]

APIS = ("v1", "v3")
VERBS = ("apply", "create", "replace", "delete")
# The configuration is a file that --config names; anything else in the environment would beat or hide it.
_KEPT = ("PATH", "HOME", "LANG")
# How calicoctl 1.x spells a kind; it has no others.
V1_KINDS = {
    "GlobalNetworkPolicy": "policy",
    "HostEndpoint": "hostEndpoint",
    "Profile": "profile",
    "IPPool": "ipPool",
    "BGPPeer": "bgpPeer",
    "Node": "node",
    "WorkloadEndpoint": "workloadEndpoint",
}
# Without --all-namespaces, calicoctl 3.x reads the namespace default only.
NAMESPACED = (
    "NetworkPolicy",
    "NetworkSet",
    "WorkloadEndpoint",
    "StagedNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
)
_CONFIGURATION = re.compile(r"""\bkind["']?\s*:\s*["']?(calicoApiConfig|CalicoAPIConfig)\b""")
_VERSION = re.compile(r"version:?\s+v?(\d+\.\d+\.\d+[-+.\w]*)", re.IGNORECASE)


class DatastoreError(HardeningError):
    """calicoctl could not be run, or did not do what it was asked; the text says why and what to do."""


@dataclass(frozen=True)
class Tool:
    """One calicoctl with its configuration: `api` is v1 (calicoctl 1.x) or v3, `timeout` seconds for each process."""

    path: str
    config: str
    api: str
    timeout: float = 20.0
    allow_version_mismatch: bool = False

    def __post_init__(self) -> None:
        if self.api not in APIS:
            raise DatastoreError(choices("api", self.api, APIS))
        if not self.timeout > 0:
            raise DatastoreError(f"timeout: {self.timeout} seconds is not more than 0; give the seconds to wait")


@dataclass(frozen=True)
class Outcome:
    """How a write ended: calicoctl's status (None when the time ran out) and its words, without secrets.

    The words and counts of calicoctl mislead: what was written is known only by reading it back.
    """

    status: Optional[int]
    message: str
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether calicoctl said that everything was done."""
        return self.status == 0


def clean_environment(environ: Mapping[str, str]) -> Dict[str, str]:
    """The variables that calicoctl may see: none that would choose another datastore, server or user."""
    return {name: environ[name] for name in _KEPT if name in environ}


def run_program(argv: Sequence[str], stdin: str, timeout: float) -> Tuple[Optional[int], str, str]:
    """Run a program in a clean environment and in a session of its own; at the timeout (seconds) all of it is killed.

    A program that cannot be started has status 126 or 127, as in a shell.
    """
    try:
        process = started(argv)
    except OSError as error:
        return (127 if isinstance(error, FileNotFoundError) else 126), "", error.strerror or str(error)
    return finished(process, stdin, timeout)


def started(argv: Sequence[str]) -> subprocess.Popen:
    """A program in a clean environment and in a session of its own, for `finished`. Raises OSError."""
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(os.environ),
        start_new_session=True,
    )


def finished(process: subprocess.Popen, stdin: str, timeout: float) -> Tuple[Optional[int], str, str]:
    """What became of a started program, and all that it printed; at the timeout (seconds) it is killed."""
    try:
        output, errors = process.communicate(stdin.encode(), timeout=timeout)
        status: Optional[int] = process.returncode
    except subprocess.TimeoutExpired:
        status = None
        stop(process)
        output, errors = _rest(process)
    except BaseException:
        stop(process)
        raise
    return status, output.decode(errors="replace"), errors.decode(errors="replace")


def stop(process: subprocess.Popen) -> None:
    """Kill a program and all that it started."""
    # It may have ended by itself in the meantime.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _rest(process: subprocess.Popen) -> Tuple[bytes, bytes]:
    """What a killed program had printed; a child that left its session may still hold the pipes, so not for ever."""
    try:
        return process.communicate(timeout=1)
    except subprocess.TimeoutExpired:
        return b"", b""


def get_arguments(tool: Tool, kind: str, names: Sequence[str] = (), namespace: Optional[str] = None) -> List[str]:
    """The command that reads resources of one kind; several names are found among all (1.x takes only one)."""
    name = list(names) if len(names) == 1 and (namespace or kind not in NAMESPACED) else []
    where: List[str] = []
    if tool.api == "v3" and kind in NAMESPACED:
        where = [f"--namespace={namespace}"] if namespace else ["--all-namespaces"]
    return [tool.path, "get", kind_word(tool.api, kind), *name, "-o", "json", *where, *_common(tool)]


def write_arguments(tool: Tool, verb: str) -> List[str]:
    """The command that writes the documents on standard input. Deleting what is not there is no error."""
    if verb not in VERBS:
        raise DatastoreError(choices("verb", verb, VERBS))
    return [tool.path, verb, *(["--skip-not-exists"] if verb == "delete" else []), "-f", "-", *_common(tool)]


def _common(tool: Tool) -> List[str]:
    mismatch = ["--allow-version-mismatch"] if tool.allow_version_mismatch and tool.api == "v3" else []
    return [f"--config={tool.config}", *mismatch]


def kind_word(api: str, kind: str) -> str:
    """How calicoctl's command line spells a kind; `kind` in the spelling of API v3. Raises DatastoreError."""
    if api != "v1":
        return kind.lower()
    if kind not in V1_KINDS:
        raise DatastoreError(choices("calicoctl 1.x: kind", kind, V1_KINDS))
    return V1_KINDS[kind]


def input_text(documents: Sequence[Mapping[str, Any]]) -> str:
    """Documents as calicoctl is fed them: a JSON array, one document a line. List kinds make calicoctl panic."""
    for document in documents:
        kind = str(document.get("kind", ""))
        if kind.endswith("List"):
            raise DatastoreError(f"kind {kind}: calicoctl crashes on list kinds; give the list's items")
    return "[\n" + ",\n".join(json.dumps(document, sort_keys=True) for document in documents) + "\n]\n"


def read_output(text: str) -> Tuple[List[Dict[str, Any]], str]:
    """The resources of an answer as a flat list whatever the version printed, and what follows them.

    A list (1.x), an object of a list kind, one object, or null. Text before 3.9 follows on the same stream. Raises
    ValueError when the answer is no JSON.
    """
    start = text.lstrip()
    if not start:
        return [], ""
    value, end = json.JSONDecoder().raw_decode(start)
    return _flat(value), start[end:].strip()


def _flat(value: Any) -> List[Dict[str, Any]]:
    if value is None:
        return []
    if isinstance(value, list):
        return [document for item in value for document in _flat(item)]
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no resource")
    if isinstance(value.get("items"), list) or str(value.get("kind", "")).endswith("List"):
        return [_typed(document, value) for document in _flat(value.get("items"))]
    return [value]


def _typed(document: Dict[str, Any], holder: Mapping[str, Any]) -> Dict[str, Any]:
    """An item of a list with the kind and version that the list says once for all."""
    kind = str(holder.get("kind", ""))
    told = {"apiVersion": holder.get("apiVersion"), "kind": kind[: -len("List")] if kind != "List" else None}
    return {**{key: value for key, value in told.items() if value}, **document}


def get_documents(
    run: Run, tool: Tool, kind: str, names: Sequence[str] = (), namespace: Optional[str] = None
) -> List[Dict[str, Any]]:
    """The resources of one kind (spelled as in API v3), or those of these names: documents as calicoctl prints them.

    Of every namespace unless one is named. A name that does not exist is left out. Raises DatastoreError.
    """
    argv = get_arguments(tool, kind, names, namespace)
    status, output, errors = run(argv, "", tool.timeout)
    if status is None:
        raise DatastoreError(_late(tool, argv, f"{output}\n{errors}"))
    try:
        documents, after = read_output(output)
    except ValueError:
        documents, after = [], output.strip()
    said = "\n".join(text for text in (after, errors.strip()) if text)
    # Of several versions only 1.x calls a name that does not exist a success.
    if (status != 0 and not (status == 1 and only_missing(said))) or (status == 0 and after):
        raise DatastoreError(explain(_shown(argv), tool.config, status, said))
    return [document for document in documents if not names or _name(document) in names]


def _name(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def write(run: Run, tool: Tool, verb: str, documents: Sequence[Mapping[str, Any]]) -> Outcome:
    """Apply, create, replace or delete documents in one process. Raises DatastoreError for documents that crash it."""
    argv = write_arguments(tool, verb)
    status, output, errors = run(argv, input_text(documents), tool.timeout)
    if status is None:
        return Outcome(None, _late(tool, argv, f"{output}\n{errors}"), True)
    said = "\n".join(text.strip() for text in (output, errors) if text.strip())
    return Outcome(status, said if status == 0 else explain(_shown(argv), tool.config, status, said))


def client_version(run: Run, path: str, timeout: float = 20.0) -> str:
    """The version of a calicoctl without the v, for instance 1.4.0; asks no datastore. Raises DatastoreError."""
    said = ""
    # `version` of 1.x asks the datastore, for a minute if need be; `--version` is not known to every 3.x.
    for argv in ([path, "--version"], [path, "version", "--client"]):
        status, output, errors = run(argv, "", timeout)
        said = f"{output}\n{errors}".strip()
        found = _VERSION.search(output)
        if status == 0 and found:
            return found.group(1)
        if status in (126, 127):
            raise DatastoreError(explain(path, "", status, said))
    last = said.splitlines()[-1].strip() if said else "no message"
    raise DatastoreError(f"{path}: does not say which calicoctl it is ({last}); install it anew")


def tool_of(params: Mapping[str, Any]) -> Tool:
    """The calicoctl that a module's options name; the configuration file says which API it speaks.

    Raises DatastoreError.
    """
    path, api = params["config"], params.get("api")
    if api is None:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError as error:
            raise DatastoreError(
                f"option config: {path} cannot be read: {error.strerror}; write it with iks.hardening.calicoctl, or "
                "name another one"
            ) from None
        api = api_of(text)
        if api is None:
            raise DatastoreError(
                f"option config: {path} is no configuration of calicoctl: its kind is neither calicoApiConfig (1.x) "
                "nor CalicoAPIConfig (3.x)"
            )
    return Tool(params["calicoctl"], path, api, float(params["timeout"]))


def reached(params: Mapping[str, Any], check_mode: bool) -> Tuple[Run, Tool]:
    """A module's calicoctl and how it is run; in check mode, one that is still to come has an empty datastore.

    Raises DatastoreError.
    """
    path, config, api = params["calicoctl"], params["config"], params.get("api")
    if check_mode and not (os.path.exists(path) and os.path.exists(config)):
        return nothing_yet, Tool(path, config, api or "v3", float(params["timeout"]))
    return run_program, tool_of(params)


def nothing_yet(argv: Sequence[str], stdin: str, timeout: float) -> Tuple[Optional[int], str, str]:
    """The answers of a calicoctl that is not installed yet: those of one with an empty datastore."""
    return (0, "calicoctl version v0.0.0", "") if "--version" in argv else (0, "[]", "")


def api_of(configuration: str) -> Optional[str]:
    """The API that a calicoctl with this configuration speaks, None for a text that is none."""
    found = _CONFIGURATION.search(configuration)
    return None if found is None else "v1" if found.group(1) == "calicoApiConfig" else "v3"


def check_connection(run: Run, tool: Tool) -> List[str]:
    """Prove that the datastore answers; the names of its nodes. Raises DatastoreError.

    `calicoctl version` proves nothing: it succeeds with the datastore down.
    """
    nodes = sorted(_name(document) for document in get_documents(run, tool, "Node"))
    if not nodes:
        # calicoctl 1.4.0 lists no nodes, with success, when a Kubernetes API server cannot be reached.
        get_documents(run, tool, "GlobalNetworkPolicy")
    return nodes


def _shown(argv: Sequence[str]) -> str:
    return " ".join(["calicoctl", *argv[1:]])


def _late(tool: Tool, argv: Sequence[str], said: str) -> str:
    """The text for a calicoctl that was ended at its time limit: 3.x with etcd waits for ever without a word."""
    told = last_line(said)
    return (
        f"{_shown(argv)}: no answer from the datastore within {tool.timeout:g} seconds{f' ({told})' if told else ''}; "
        f"calicoctl was ended. Check that the endpoints in {tool.config} are reachable from this host, that the "
        "certificates belong to them, or give a longer timeout"
    )
