# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of calicoctl 3.25.2: results on standard output, errors on standard error, status 1 for them."""

from __future__ import annotations

import os
import sys

from . import commandline, config, documents, v3_client, v3_model
from .decode import DecodeError
from .golang import json_text, yaml_text
from .v3_etcd import Exists, Missing, Store, StoreError
from .v3_usage import MAIN, OPTIONS, PANIC, USAGE

VERSION = "v3.25.2"
_PAST = {"apply": "applied", "create": "created", "replace": "replaced", "delete": "deleted"}
_ACTIONS = {
    "apply": v3_client.apply,
    "create": v3_client.create,
    "replace": v3_client.replace,
    "delete": v3_client.delete,
}


class _Failed(Exception):
    """Text for standard error and status 1."""


class _Panicked(Exception):
    pass


def run(words: list, patience: float) -> int:
    """The status; `patience` scales how long one attempt waits, but attempts on a dead etcd never end."""
    try:
        return _run(words, patience)
    except config.ConfigError as error:
        print(error)
    except _Failed as error:
        sys.stderr.write(f"{error}\n")
    except _Panicked:
        sys.stderr.write(PANIC)
        return 2
    return 1


def _run(words: list, patience: float) -> int:
    leading = []
    while words and words[0].startswith("-"):
        if words[0] in ("-l", "--log-level", "--context"):
            words = words[1:]
        elif words[0] == "--allow-version-mismatch":
            leading.append(words[0])
        elif words[0] == "--version":
            print(f"calicoctl version {VERSION}, build h2build")
            return 0
        words = words[1:]
    if not words:
        sys.stderr.write("Usage:\n  calicoctl [options] <command> [<args>...]\n")
        return 0
    command = words[0]
    if command not in OPTIONS:
        raise _Failed(f'Unknown command: "{command}"\n{MAIN}')
    try:
        options = commandline.parse(words[1:], *OPTIONS[command])
        _shape(command, options)
    except commandline.Misfit:
        sys.stderr.write(f"Usage:\n  {USAGE[command]}\n")
        return 1
    options.update(dict.fromkeys(leading, True))
    if "--context" in options:
        os.environ["K8S_CURRENT_CONTEXT"] = str(options["--context"])
    return {"get": _get, "patch": _patch, "label": _label, "version": _version}.get(command, _change)(
        command, options, patience
    )


def _shape(command: str, options: dict) -> None:
    words, by_file = options["words"], "--filename" in options
    fits = {
        "get": not words if by_file else bool(words),
        "delete": not words if by_file else bool(words),
        "patch": len(words) == 2 and "--patch" in options,
        "label": len(words) == 3,
        "version": not words,
    }.get(command, by_file and not words)
    if not fits:
        raise commandline.Misfit


def _open(options: dict, patience: float):
    settings = config.load(str(options.get("--config", config.DEFAULT)), "v3")
    kind = settings.get("datastoreType") or ("etcdv3" if settings.get("etcdEndpoints") else "kubernetes")
    if kind == "kubernetes":
        from .v3_kube import opened

        return opened(settings, patience)
    if kind != "etcdv3":
        raise config.ConfigError(f"Failed to create Calico API client: unknown datastore type: {kind}")
    endpoints = config.endpoints(settings)
    files = config.tls_files(_inline(settings), "could not initialize etcdv3 client: ")
    user, password = str(settings.get("etcdUsername", "")), str(settings.get("etcdPassword", ""))
    return Store(endpoints, files, user, password, patience)


def _inline(settings: dict) -> dict:
    """PEM text given in the configuration, as files."""
    names = {"etcdKey": "etcdKeyFile", "etcdCert": "etcdCertFile", "etcdCACert": "etcdCACertFile"}
    given = {field: text for field, text in names.items() if settings.get(field)}
    if not given:
        return settings
    import tempfile

    folder = tempfile.mkdtemp(prefix="calicoctl-stand-in-")
    out = dict(settings)
    for field, file_field in given.items():
        path = os.path.join(folder, field)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as handle:
            handle.write(str(settings[field]))
        out[file_field] = path
    return out


def _check_version(options: dict, patience: float) -> None:
    """_Failed if the cluster's version is another one; nothing is known without ClusterInformation."""
    if "--allow-version-mismatch" in options:
        return
    try:
        store = _open(options, patience)
    except config.ConfigError as error:
        if str(error).startswith("Error reading config file"):
            raise
        return
    try:
        found = store.get(v3_model.KINDS["ClusterInformation"], "", "default")
    except Missing:
        return
    except StoreError as error:
        raise _Failed(
            f"Unable to get Cluster Information to verify version mismatch: {error}\n"
            "Use --allow-version-mismatch to override.\n"
        ) from None
    cluster = str(found["spec"].get("calicoVersion") or "").lstrip("v").partition("-")[0]
    if cluster and cluster != VERSION[1:]:
        raise _Failed(
            f"Version mismatch.\nClient Version:   {VERSION}\nCluster Version:  {cluster}\n"
            "Use --allow-version-mismatch to override.\n"
        )


def _files(options: dict) -> list:
    name = str(options["--filename"])
    if name == "-" or not os.path.isdir(name):
        return [name]
    out = []
    for folder, below, names in os.walk(name):
        out += [os.path.join(folder, n) for n in sorted(names) if n.endswith((".json", ".yaml", ".yml"))]
        if "--recursive" not in options:
            break
        below.sort()
    return out


def _from_files(options: dict) -> list:
    out = []
    for name in _files(options):
        try:
            text = documents.read(name)
            found = []
            for part in documents.split(text):
                loaded = documents.load(part, 1)
                found += [v3_model.read(item) for item in (loaded if isinstance(loaded, list) else [loaded])]
        except OSError as error:
            raise _Failed(f"Failed to execute command: {documents.go_error(error, name)}") from None
        except v3_model.UnknownKind as error:
            raise _Failed(f"Failed to execute command: {error}") from None
        except DecodeError as error:
            raise _Failed(f"Failed to execute command: error parsing document: {error}") from None
        if not found and "--skip-empty" not in options:
            raise _Failed(f"No resources specified in file {name}")
        out += found
    if not out and "--skip-empty" not in options:
        raise _Failed(f"No resources specified in directory {options['--filename']}")
    return out


def _kind(word: str) -> v3_model.Kind:
    kind = v3_model.by_word(word)
    if kind is None:
        raise _Failed(f"resource type '{word}' is not supported")
    return kind


def _named(kind: v3_model.Kind, name: str) -> dict:
    metadata = {"name": name} if name else {}
    return {"kind": kind.name, "apiVersion": v3_model.API, "metadata": metadata, "spec": {}}


def _with_namespace(resource: dict, options: dict) -> dict:
    """StoreError if the command line and the resource do not agree on where it lives."""
    kind, metadata = v3_model.KINDS[resource["kind"]], resource["metadata"]
    everywhere, wanted, given = "--all-namespaces" in options, options.get("--namespace"), metadata.get("namespace")
    if not kind.namespaced:
        if given:
            raise StoreError(
                "namespace should not be specified for a non-namespaced resource. "
                f"{kind.name} is not a namespaced resource"
            )
        if everywhere or wanted:
            raise StoreError(f"{kind.name} is not namespaced")
        return resource
    if everywhere and wanted:
        raise StoreError("cannot use both --namespace and --all-namespaces flags at the same time")
    if given and wanted and given != wanted:
        raise StoreError(f"resource namespace does not match client namespace. {given} != {wanted}")
    namespace = "" if everywhere else (given or wanted or "default")
    return {**resource, "metadata": v3_model.ordered_metadata({**metadata, "namespace": namespace})}


def _change(command: str, options: dict, patience: float) -> int:
    _check_version(options, patience)
    if "--filename" in options:
        resources = _from_files(options)
    else:
        kind = _kind(options["words"][0])
        resources = [_named(kind, name) for name in options["words"][1:] or [""]]
    if not resources:
        print("No resources specified")
        return 0
    store = _open(options, patience)
    done, errors = 0, []
    for resource in resources:
        if isinstance(resource, v3_model.List_):
            raise _Panicked
        try:
            _ACTIONS[command](store, _with_namespace(resource, options))
        except (StoreError, DecodeError) as error:
            skipped = (isinstance(error, Exists) and "--skip-exists" in options) or (
                isinstance(error, Missing) and "--skip-not-exists" in options
            )
            if not skipped:
                errors.append(error)
                # A replacement that failed is counted all the same: measured (transcript 043).
                done += command == "replace"
                continue
        done += 1
    kinds = {resource["kind"] for resource in resources}
    return _outcome(command, next(iter(kinds)) if len(kinds) == 1 else "", len(resources), done, errors)


def _outcome(command: str, single: str, total: int, done: int, errors: list) -> int:
    past, quoted = _PAST[command], f" '{single}'" if single else ""
    listed = "[" + " ".join(str(error) for error in errors) + "]"
    if command == "delete":
        if done:
            print(f"Successfully deleted {done}{quoted} resource(s)")
        if errors:
            raise _Failed("".join(f"Failed to delete{quoted} resource: {error}\n" for error in errors))
        return 0
    if not errors:
        print(f"Successfully {past} {done}{quoted} resource(s)")
        return 0
    if command == "replace":
        print(f"Partial success: replaced the first {done} out of {total}{quoted} resources:")
        raise _Failed(f"Hit error: {errors[-1]}")
    if not done:
        raise _Failed(
            f"Failed to {command}{'' if total == 1 else ' any'}{quoted} resource{'s' * (total > 1)}: {listed}"
        )
    if done > len(errors):
        print(f"Partial success: {past} the first {done} out of {total}{quoted} resources:")
    raise _Failed(f"Hit error{'(s)' if command == 'apply' else ''}: {listed}")


def _get(command: str, options: dict, patience: float) -> int:
    output = str(options.get("--output", "ps"))
    if output not in ("yaml", "yml", "json", "ps", "wide"):
        raise _Failed(f"unrecognized output format '{output}'")
    try:
        _check_version(options, patience)
        if "--filename" in options:
            asked = _from_files(options)
        else:
            asked = [_named(_kind(options["words"][0]), name) for name in options["words"][1:] or [""]]
    except _Failed as error:
        text = str(error)
        raise _Failed(text if text.startswith("Failed to") else f"Failed to get resources: {text}") from None
    store = _open(options, patience)
    found, errors = [], []
    for resource in asked:
        try:
            found.append(_one(store, _with_namespace(resource, options)))
        except StoreError as error:
            errors.append(str(error))
    if "--export" in options and options["words"][1:]:
        found = [_exported(resource) for resource in found]
    _print(found, output, "--all-namespaces" in options or "--namespace" in options)
    if errors:
        raise _Failed("\n".join(errors))
    return 0


def _one(store, resource: dict) -> dict:
    kind, metadata = v3_model.KINDS[resource["kind"]], resource["metadata"]
    if metadata.get("name"):
        return v3_client.get(store, kind, metadata.get("namespace", ""), metadata["name"])
    return v3_client.listed(store, kind, metadata.get("namespace", ""))


def _exported(resource: dict) -> dict:
    cluster = ("namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
    metadata = {key: value for key, value in resource["metadata"].items() if key not in cluster}
    return {**resource, "metadata": v3_model.ordered_metadata(metadata)}


def _print(found: list, output: str, namespaces: bool) -> None:
    if output in ("ps", "wide"):
        from .v3_table import rendered

        for resource in found:
            name = resource["kind"][:-4] if "items" in resource else resource["kind"]
            rows = resource.get("items", [resource])
            sys.stdout.write(rendered(v3_model.KINDS[name], rows, output == "wide", namespaces))
        return
    value = found[0] if len(found) == 1 else (found or None)
    sys.stdout.write(json_text(value, 2) + "\n" if output == "json" else yaml_text(value))


def _patch(command: str, options: dict, patience: float) -> int:
    _check_version(options, patience)
    kind = _kind(options["words"][0])
    store = _open(options, patience)
    try:
        resource = _with_namespace(_named(kind, options["words"][1]), options)
        change = documents.load(str(options["--patch"]))
        v3_client.patch(store, kind, resource["metadata"].get("namespace", ""), options["words"][1], change)
    except (StoreError, DecodeError) as error:
        raise _Failed(f"Failed to patch '{kind.name}' resource: [{error}]") from None
    print(f"Successfully patched 1 '{kind.name}' resource")
    return 0


def _label(command: str, options: dict, patience: float) -> int:
    _check_version(options, patience)
    word, name, change = options["words"]
    kind = _kind(word)
    key, _equals, value = change.partition("=")
    store = _open(options, patience)
    try:
        resource = _with_namespace(_named(kind, name), options)
        namespace = resource["metadata"].get("namespace", "")
        labels = v3_client.get(store, kind, namespace, name)["metadata"].get("labels", {})
        if "--remove" in options:
            if key not in labels:
                raise StoreError(f"can not remove label of {word} {name}, key {key} does not exist")
            said, value = f"Successfully removed label {key} from {word} {name}.", None
        elif labels.get(key, value) != value and "--overwrite" not in options:
            raise StoreError(
                f"failed to update label of {word} {name}, key {key} is already present. "
                "please use '--overwrite' to set a new value."
            )
        else:
            said = f"Successfully {'updated' if key in labels else 'set'} label {key} on {word} {name}"
        v3_client.patch(store, kind, namespace, name, {"metadata": {"labels": {key: value}}})
    except StoreError as error:
        raise _Failed(str(error)) from None
    print(said)
    return 0


def _version(command: str, options: dict, patience: float) -> int:
    print(f"Client Version:    {VERSION}\nGit commit:        h2build")
    if "--client" in options:
        return 0
    try:
        store = _open(options, patience)
    except config.ConfigError as error:
        if str(error).startswith("Error reading config file"):
            raise
        print("Unable to detect installed Calico version")
        return 0
    sys.stdout.flush()
    try:
        spec = store.get(v3_model.KINDS["ClusterInformation"], "", "default")["spec"]
    except StoreError as error:
        raise _Failed(f"Unable to retrieve Cluster Version or Type: {error}") from None
    print(f"Cluster Version:   {spec.get('calicoVersion', '')}\nCluster Type:      {spec.get('clusterType', '')}")
    return 0
