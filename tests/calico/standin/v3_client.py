# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands of calicoctl 3.x do with a store, whichever it is."""

from __future__ import annotations

import copy
import time

from . import v3_model, v3_validate
from .v3_etcd import Conflict, Exists, Missing, StoreError

RETRIES = 5


class Invalid(StoreError):
    """Refused by the validator."""


def _prepared(resource: dict) -> tuple:
    """(kind, a copy with defaults and its stored name), validated."""
    kind = v3_model.KINDS[resource["kind"]]
    resource = copy.deepcopy(resource)
    v3_model.defaulted(resource)
    found = v3_validate.errors(resource)
    if found:
        raise Invalid(v3_validate.error_text(found))
    resource["metadata"]["name"] = v3_model.stored_name(kind.name, resource["metadata"]["name"])
    return kind, resource


def create(store, resource: dict) -> None:
    import uuid

    kind, made = _prepared(resource)
    metadata = made["metadata"]
    metadata.pop("resourceVersion", None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    made["metadata"] = v3_model.ordered_metadata(metadata)
    store.create(kind, made)


def replace(store, resource: dict) -> None:
    """With a resourceVersion in the document only that one is replaced; without, whatever is there."""
    kind, made = _prepared(resource)
    wanted = made["metadata"].get("resourceVersion", "")
    for attempt in range(RETRIES):
        held = store.get(kind, made["metadata"].get("namespace", ""), made["metadata"]["name"])
        for name in ("uid", "creationTimestamp"):
            if held["metadata"].get(name):
                made["metadata"][name] = held["metadata"][name]
        made["metadata"]["resourceVersion"] = wanted or held["metadata"]["resourceVersion"]
        made["metadata"] = v3_model.ordered_metadata(made["metadata"])
        try:
            return store.update(kind, made)
        except Conflict:
            if wanted or attempt == RETRIES - 1:
                raise
    return None


def apply(store, resource: dict) -> None:
    """Create, or replace what is there; always a write, also of what is the same."""
    try:
        create(store, resource)
    except Exists:
        replace(store, resource)


def delete(store, resource: dict) -> None:
    kind = v3_model.KINDS[resource["kind"]]
    metadata = resource["metadata"]
    store.delete(kind, metadata.get("namespace", ""), v3_model.stored_name(kind.name, metadata.get("name", "")))


def get(store, kind: v3_model.Kind, namespace: str, name: str) -> dict:
    if kind.name == "Profile" and name == "projectcalico-default-allow":
        return v3_model.default_allow_profile()
    found = store.get(kind, namespace, v3_model.stored_name(kind.name, name))
    return _shown(kind, found)


def _shown(kind: v3_model.Kind, resource: dict) -> dict:
    metadata = dict(resource["metadata"])
    metadata["name"] = v3_model.shown_name(kind.name, metadata["name"])
    return {**resource, "metadata": v3_model.ordered_metadata(metadata)}


def listed(store, kind: v3_model.Kind, namespace: str) -> dict:
    """A `...List` document."""
    found, revision = store.list(kind, namespace)
    if kind.name == "Profile":
        found.append(v3_model.default_allow_profile())
    return {
        "kind": f"{kind.name}List",
        "apiVersion": v3_model.API,
        "metadata": {"resourceVersion": revision},
        "items": [_shown(kind, item) for item in found],
    }


def _merged(held, patch):
    if not isinstance(held, dict) or not isinstance(patch, dict):
        return patch
    out = dict(held)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = _merged(out.get(key), value)
    return out


def patch(store, kind: v3_model.Kind, namespace: str, name: str, change: dict) -> None:
    """A merge patch: lists are replaced as a whole."""
    held = get(store, kind, namespace, name)
    replace(store, v3_model.shaped(_merged(held, change), kind))


__all__ = [
    "Exists",
    "Invalid",
    "Missing",
    "StoreError",
    "apply",
    "create",
    "delete",
    "get",
    "listed",
    "patch",
    "replace",
]
