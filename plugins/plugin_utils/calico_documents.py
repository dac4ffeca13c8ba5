# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calico resources out of files: YAML or JSON, one or many documents, lists, list kinds.

Read as calicoctl's YAML library reads, with its traps taken out: `n`, `on` and their like stay the words that they
are, `22:25` stays a range of ports, a name that is there twice is refused instead of the last one winning silently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from ..module_utils.calico_model import CalicoError

# What a file may grow to by aliases; a thousandfold of what people write.
_MOST_NODES = 1_000_000
_LISTS = re.compile(r"(\w+)List")
_BOM = "\ufeff"


class _Rules:
    """What both loaders make of scalars and mappings."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, Any] = {}
        for key, _value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a name of a field is a plain word", key.start_mark)
            if key.tag == _MERGE:
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} is there twice, first in line {seen[key.value].line + 1}", key.start_mark
                )
            seen[key.value] = key.start_mark
            # A name is text whatever it looks like: labels are called `1` and `true`.
            key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)  # type: ignore[misc,no-any-return]


class _PureLoader(_Rules, yaml.SafeLoader):
    """Where PyYAML has no libyaml. Tabs are taken where libyaml, and calicoctl's port of it, takes them."""

    def scan_to_next_token(self) -> None:
        while True:
            while self.peek() == " " or (self.peek() == "\t" and (self.flow_level or not self.allow_simple_key)):
                self.forward()
            if self.peek() == "#":
                while self.peek() not in "\0\r\n\x85\u2028\u2029":
                    self.forward()
            if self.scan_line_break():
                if not self.flow_level:
                    self.allow_simple_key = True
            else:
                return


if yaml.__with_libyaml__:

    class _FastLoader(_Rules, yaml.CSafeLoader):
        """Ten times as fast, and the parser that calicoctl's was ported from."""


_MERGE = "tag:yaml.org,2002:merge"
_KEPT = ("tag:yaml.org,2002:null", _MERGE)
LOADERS: list[Any] = [_FastLoader, _PureLoader] if yaml.__with_libyaml__ else [_PureLoader]
for _loader in LOADERS:
    _loader.yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in resolvers if tag in _KEPT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
    )
    _loader.add_implicit_resolver(
        "tag:yaml.org,2002:int",
        re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)$"),
        list("-+0123456789"),
    )
    _loader.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(
            r"[-+]?(?:[0-9][0-9_]*\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"
        ),
        list("-+.0123456789"),
    )


def read_documents(text: str, origin: str) -> list[dict[str, Any]]:
    """The resources of one file, in its order, as plain JSON values.

    Takes several documents, lists of resources, and list kinds (`List`, `GlobalNetworkPolicyList`, `policyList`), whose
    items get the kind and version that they do not name. Nothing but comments is no resource. Raises CalicoError with
    `origin`, line and column.
    """
    if "\t" in text and (place := re.search(r"^ *\t+ *[^\s#]", text, re.MULTILINE)) and not _is_json(text):
        line = text.count("\n", 0, place.end())
        raise CalicoError(f"{origin}: line {line + 1}: YAML is indented with spaces, and here is a tab; replace it")
    text = text.lstrip(_BOM)
    try:
        documents = _json(text)
        if documents is None:
            documents = list(yaml.load_all(text, Loader=LOADERS[0]))  # a SafeLoader with less in it
    except yaml.MarkedYAMLError as error:
        raise CalicoError(_told(error, text, origin)) from None
    except ValueError as error:
        raise CalicoError(f"{origin}: a value cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise CalicoError(f"{origin}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise CalicoError(f"{origin}: fields are nested too deep to be resources") from None
    found: list[dict[str, Any]] = []
    count = [0]
    for place, document in enumerate(documents):
        _flatten(document, found, f"{origin}: document {place + 1}" if len(documents) > 1 else origin)
    for document in found:
        _count(document, count, origin)
    return found


def _is_json(text: str) -> bool:
    return text.lstrip(f"{_BOM} \t\r\n")[:1] in ("{", "[")


def _json(text: str) -> list[Any] | None:
    """JSON by its own parser: it knows the escapes that YAML reads otherwise. None leaves the text to YAML."""
    if not _is_json(text):
        return None
    try:
        return [json.loads(text, object_pairs_hook=_pairs)]
    except ValueError:
        return None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("YAML's reader tells which name is there twice, and where")
    return dict(pairs)


def _told(error: yaml.MarkedYAMLError, text: str, origin: str) -> str:
    mark = error.problem_mark or error.context_mark
    place = "" if mark is None else f" line {mark.line + 1}, column {mark.column + 1}:"
    problem = error.problem or error.context or "not YAML"
    if "could not determine a constructor" in problem:
        problem = f"{problem}; resources hold plain values only"
    elif mark is not None and re.search(
        r"\{[{%]", text.split("\n")[mark.line] if mark.line <= text.count("\n") else ""
    ):
        problem = f"{problem}; a template must be rendered first"
    return f"{origin}:{place} {problem}"


def _flatten(document: Any, found: list[dict[str, Any]], origin: str, depth: int = 0) -> None:
    if document is None:
        return
    if depth > 3:
        raise CalicoError(f"{origin}: lists are nested too deep to be resources")
    if isinstance(document, list):
        for place, item in enumerate(document):
            if item is None:
                raise CalicoError(f"{origin}: item {place + 1} of the list is empty")
            _flatten(item, found, f"{origin}: item {place + 1}", depth + 1)
        return
    if not isinstance(document, Mapping):
        raise CalicoError(
            f"{origin}: a resource is a mapping with apiVersion, kind, metadata and spec, not {document!r:.60}"
        )
    match = _LISTS.fullmatch(str(document.get("kind", "")))
    if document.get("kind") != "List" and (match is None or not isinstance(document.get("items"), list)):
        found.append(dict(document))
        return
    items = document.get("items")
    if not isinstance(items, list):
        raise CalicoError(f"{origin}: items of {document['kind']} is a list of resources, not {items!r:.60}")
    for place, item in enumerate(items):
        if match is not None and isinstance(item, Mapping):
            item = {"apiVersion": document.get("apiVersion"), "kind": match.group(1), **item}
        _flatten(item, found, f"{origin}: item {place + 1}", depth + 1)


def _count(value: Any, count: list[int], origin: str) -> None:
    """Aliases share what they stand for until it is written out; a few lines can stand for gigabytes."""
    count[0] += 1
    if count[0] > _MOST_NODES:
        raise CalicoError(f"{origin}: its aliases stand for more than {_MOST_NODES} values")
    if isinstance(value, dict):
        for item in value.values():
            _count(item, count, origin)
    elif isinstance(value, list):
        for item in value:
            _count(item, count, origin)
