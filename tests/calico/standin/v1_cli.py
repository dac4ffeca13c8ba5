# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of calicoctl 1.4.0: all results and errors on standard output, status 1 for a failure."""

from __future__ import annotations

import sys

from . import commandline, config, documents, v1_kinds, v1_model
from .decode import DecodeError
from .golang import json_text, table, yaml_text
from .v1_etcd import Store, StoreError

_USAGE = {
    "apply": "calicoctl apply --filename=<FILENAME> [--config=<CONFIG>]",
    "create": "calicoctl create --filename=<FILENAME> [--skip-exists] [--config=<CONFIG>]",
    "replace": "calicoctl replace --filename=<FILENAME> [--config=<CONFIG>]",
    "delete": """calicoctl delete ([--scope=<SCOPE>] [--node=<NODE>] [--orchestrator=<ORCH>]
                    [--workload=<WORKLOAD>] (<KIND> [<NAME>]) |
                    --filename=<FILE>)
                   [--skip-not-exists] [--config=<CONFIG>]""",
    "get": """calicoctl get ([--scope=<SCOPE>] [--node=<NODE>] [--orchestrator=<ORCH>]
                 [--workload=<WORKLOAD>] (<KIND> [<NAME>]) |
                 --filename=<FILENAME>)
                [--output=<OUTPUT>] [--config=<CONFIG>]""",
    "version": "calicoctl version [--config=<CONFIG>]",
}
_PLACE = ("--scope", "--node", "--orchestrator", "--workload")
_OPTIONS = {
    "apply": (("--filename", "--config"), ()),
    "create": (("--filename", "--config"), ("--skip-exists",)),
    "replace": (("--filename", "--config"), ()),
    "delete": (("--filename", "--config", *_PLACE), ("--skip-not-exists",)),
    "get": (("--filename", "--config", "--output", *_PLACE), ()),
    "version": (("--config",), ()),
}
_PAST = {"apply": "applied", "create": "created", "replace": "replaced", "delete": "deleted"}
_EXISTS = {"apply": None, "create": False, "replace": True}

_PANIC = """panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x109e9cc]

goroutine 1 [running]:
github.com/projectcalico/calicoctl/calicoctl/resourcemgr.resourceHelper.Apply(...)
"""


class _Failed(Exception):
    """One line for standard output and status 1."""


class _Panicked(Exception):
    pass


def run(words: list, patience: float) -> int:
    """The status; `patience` scales how long a dead endpoint is waited for."""
    try:
        return _run(words, patience)
    except (_Failed, config.ConfigError) as error:
        print(error)
        return 1
    except _Panicked:
        sys.stderr.write(_PANIC)
        return 2


def _run(words: list, patience: float) -> int:
    if not words:
        sys.stderr.write("Usage:\n  calicoctl [options] <command> [<args>...]\n")
        return 0
    if words[0] == "--version":
        print("calicoctl version v1.4.0, build 03574e5d")
        return 0
    if words[0] in ("-l", "--log-level"):
        words = words[2:]
    elif words[0].startswith(("-l", "--log-level=")):
        words = words[1:]
    command = words[0] if words else ""
    if command not in _OPTIONS:
        sys.stderr.write(f'Unknown command: "{command}"\nUsage:\n  calicoctl [options] <command> [<args>...]\n')
        return 1
    try:
        options = commandline.parse(words[1:], *_OPTIONS[command])
        _shape(command, options)
    except commandline.Misfit:
        sys.stderr.write(f"Usage:\n  {_USAGE[command]}\n")
        raise _Failed(
            f"Invalid option: 'calicoctl {' '.join(words)}'. Use flag '--help' to read about a specific subcommand."
        ) from None
    if command == "version":
        return _version(options, patience)
    if command == "get":
        return _get(options, patience)
    return _change(command, options, patience)


def _shape(command: str, options: dict) -> None:
    by_file = "--filename" in options
    words = options["words"]
    if command in ("get", "delete"):
        fits = not words if by_file else 1 <= len(words) <= 2
    else:
        fits = not words and (by_file or command == "version")
    if not fits:
        raise commandline.Misfit


def _store(settings: dict, patience: float) -> Store:
    files = config.tls_files(settings)
    user, password = str(settings.get("etcdUsername", "")), str(settings.get("etcdPassword", ""))
    return Store(config.endpoints(settings), files, user, password, patience)


def _settings(options: dict) -> dict:
    settings = config.load(str(options.get("--config", config.DEFAULT)), "v1")
    kind = settings.get("datastoreType", "etcdv2")
    if kind not in ("etcdv2", "kubernetes"):
        raise config.ConfigError(f"Failed to create Calico API client: Unknown datastore type: {kind}")
    return settings


def _from_file(name: str) -> list:
    try:
        text = documents.read(name)
    except OSError as error:
        raise _Failed(f"Failed to execute command: {documents.go_error(error, name)}") from None
    out = []
    try:
        for part in documents.split(text):
            loaded = documents.load(part)
            out.extend(v1_model.read(item) for item in (loaded if isinstance(loaded, list) else [loaded]))
    except v1_model.UnknownKind as error:
        raise _Failed(f"Failed to execute command: {error}") from None
    except DecodeError as error:
        raise _Failed(f"Failed to execute command: error parsing document: {error}") from None
    if not out:
        raise _Failed("No resources specified in file")
    for resource in out:
        found = v1_model.errors(resource) if "spec" in resource else []
        if found:
            raise _Failed(f"Failed to execute command: {v1_model.error_text(found)}")
    return out


def _from_words(options: dict, failed: str) -> dict:
    words = options["words"]
    kind = v1_kinds.NAMES.get(words[0].lower())
    if kind is None:
        raise _Failed(f"{failed}: Resource type '{words[0]}' is not supported")
    metadata = {option[2:]: str(options[option]) for option in _PLACE if option in options}
    if len(words) > 1:
        metadata[{"ipPool": "cidr", "bgpPeer": "peerIP"}.get(kind, "name")] = words[1]
    return {"kind": kind, "apiVersion": "v1", "metadata": metadata, "spec": {"selector": ""}}


def _resources(options: dict, failed: str) -> list:
    if "--filename" in options:
        return _from_file(str(options["--filename"]))
    return [_from_words(options, failed)]


def _change(command: str, options: dict, patience: float) -> int:
    resources = _resources(options, "Failed to execute command")
    settings = _settings(options)
    store = None if settings.get("datastoreType") == "kubernetes" else _store(settings, patience)
    kinds = {resource["kind"] for resource in resources}
    single = next(iter(kinds)) if len(kinds) == 1 else ""
    done, error = 0, None
    for resource in resources:
        if "spec" not in resource:
            raise _Panicked
        try:
            if store is None:
                raise StoreError("the server could not find the requested resource")
            _one(command, store, resource)
        except v1_kinds.AlreadyThere as met:
            error = None if "--skip-exists" in options else met
        except v1_kinds.NotThere as met:
            error = None if "--skip-not-exists" in options else met
        except (StoreError, DecodeError) as met:
            error = met
        if error is not None:
            break
        done += 1
    return _outcome(command, single, len(resources), done, error)


def _one(command: str, store: Store, resource: dict) -> None:
    if command == "delete":
        v1_kinds.delete(store, resource)
    else:
        v1_kinds.write(store, resource, _EXISTS[command])


def _outcome(command: str, single: str, total: int, done: int, error) -> int:
    past = _PAST[command]
    quoted = f" '{single}'" if single else ""
    if error is None:
        print(f"Successfully {past} {done}{quoted} resource(s)")
        return 0
    if done:
        raise _Failed(f"Partial success: {past} the first {done} out of {total}{quoted} resources:\nHit error: {error}")
    if total == 1:
        raise _Failed(f"Failed to {command}{quoted} resource: {error}")
    raise _Failed(f"Failed to {command} any{quoted} resources: {error}")


def _get(options: dict, patience: float) -> int:
    output = str(options.get("--output", "ps"))
    if output.partition("=")[0] not in ("yaml", "json", "ps", "wide"):
        raise _Failed(f"unrecognized output format '{output}'")
    resources = _resources(options, "Failed to get resources")
    settings = _settings(options)
    groups = []
    try:
        if settings.get("datastoreType") == "kubernetes":
            groups = [_kubernetes(resource, settings) for resource in resources]
        else:
            store = _store(settings, patience)
            for resource in resources:
                metadata = resource["metadata"]
                wanted = {key: metadata[key] for key in ("name", "node", "cidr", "scope", "peerIP") if key in metadata}
                groups.append((resource["kind"], v1_kinds.listed(store, resource["kind"], wanted)))
    except StoreError as error:
        raise _Failed(f"Failed to get resources: {error}") from None
    flat = [resource for _kind, found in groups for resource in found]
    if output == "json":
        print(json_text(flat, 2))
    elif output == "yaml":
        sys.stdout.write(yaml_text(flat))
    else:
        for kind, found in groups:
            headings = v1_kinds.HEADINGS[kind][output == "wide"]
            sys.stdout.write(table(headings, [[v1_kinds.cells(r, h) for h in headings] for r in found]))
    return 0


def _kubernetes(resource: dict, settings: dict) -> tuple:
    """Nothing but what was measured: nodes are an empty table, other kinds an error (transcripts 262, 344)."""
    if resource["kind"] == "node":
        return resource["kind"], []
    raise StoreError(f"Get {settings.get('k8sAPIEndpoint', '')}/api: connection refused")


def _version(options: dict, patience: float) -> int:
    """Status 0 even without an answer; the cluster is asked twice, so a dead endpoint costs twice the wait."""
    print("Client Version:    v1.4.0\nBuild date:        2017-07-28T18:16:29+0000\nGit commit:        03574e5d")
    store = _store(_settings(options), patience)
    for title, key in (("Version", "CalicoVersion"), ("Type", "ClusterType")):
        try:
            value = store.get(f"/calico/v1/config/{key}") or "unknown"
        except StoreError as error:
            value = f"unknown ({error})"
        label = f"Cluster {title}:"
        print(f"{label:<19}{value}")
    return 0
