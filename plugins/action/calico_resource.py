# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: calico_resource reads files and templates on the controller, and hands the host finished documents."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

from ..module_utils.errors import HardeningError, unchanged
from ..plugin_utils.calico_documents import read_documents
from ..plugin_utils.lean import execute

MODULE = "iks.hardening.calico_resource"
_SUFFIXES = (".yml", ".yaml", ".json")


class ActionModule(ActionBase):
    """Documents on the controller, the datastore's tool on the host."""

    TRANSFERS_FILES = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            packed = [
                *_given(arguments.pop("resources", None)),
                *self._files(_names("src", arguments.pop("src", None))),
                *self._templates(_names("template", arguments.pop("template", None)), task_vars or {}),
            ]
            # One text: Ansible goes through a structure of thousands of values several times, and through a text once.
            arguments["resources"] = json.dumps(packed, default=_plain)
        except HardeningError as error:
            raise AnsibleActionFail(unchanged(error)) from None
        return {**result, **execute(self, MODULE, arguments, task_vars)}

    def _files(self, names: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name in names:
            path = Path(self._found("files", "src", name))
            for file in _below(path, name):
                try:
                    text = file.read_text(encoding="utf-8")
                except (OSError, UnicodeDecodeError) as error:
                    raise HardeningError(f"option src: {file} cannot be read: {error}") from None
                yield from _labelled(text, str(file))

    def _templates(self, names: list[str], task_vars: dict[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name in names:
            path = self._found("templates", "template", name)
            lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
            text = "".join(str(part) for part in lookup.run([path], variables=task_vars, jinja2_native=False))
            yield from _labelled(text, path)

    def _found(self, folder: str, option: str, name: str) -> str:
        """A file is looked for as Ansible looks for files: beside the role and the playbook."""
        try:
            return str(self._find_needle(folder, name))
        except AnsibleError:
            raise HardeningError(
                f"option {option}: there is no {name} on the controller, neither beside the role nor beside the "
                "playbook; put it there or give its whole path"
            ) from None


def _below(path: Path, name: str) -> list[Path]:
    """The file, or the documents in a folder and the folders in it, in the order of their names."""
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    if not found:
        raise HardeningError(f"option src: the folder {name} holds no {', '.join(_SUFFIXES)}; name one that does")
    return found


def _names(option: str, value: Any) -> list[str]:
    found = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(name, str) and name for name in found):
        raise HardeningError(f"option {option}: {value!r} is not a path or a list of paths")
    return found


def _given(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What the option resources holds: a text, a document, or a list of both."""
    for number, item in enumerate([] if value is None else value if isinstance(value, list) else [value]):
        origin = f"resources[{number}]" if isinstance(value, list) else "resources"
        if isinstance(item, str):
            yield from _labelled(item, origin)
        else:
            yield origin, item


def _labelled(text: str, origin: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    documents = read_documents(text, origin)
    for number, document in enumerate(documents):
        yield (origin if len(documents) == 1 else f"{origin}, document {number + 1}"), document


def _plain(value: Any) -> Any:
    """What YAML made of a value that JSON has no word for is refused by the reading of documents; here, inline."""
    raise HardeningError(f"option resources: {value!r} has no form in JSON; quote it")
