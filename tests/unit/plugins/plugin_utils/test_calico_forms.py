# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people published is read, sent, compared, converted and evaluated, or refused for the reason it deserves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_convert import ConversionError, to_v1, to_v3
from ansible_collections.iks.hardening.plugins.module_utils.calico_model import (
    CalicoError,
    Resource,
    read_resource,
    stored_resource,
)
from ansible_collections.iks.hardening.plugins.module_utils.calico_selector import parse
from ansible_collections.iks.hardening.plugins.plugin_utils.calico_documents import read_documents

FORMS = Path(__file__).parents[3] / "unit/data/calico_forms"
FILES = sorted(FORMS.glob("v*/*.form"))


def _reason(path: Path) -> str | None:
    match = re.search(r"^# refused: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return match.group(1) if match else None


def _read(path: Path) -> list[Resource]:
    documents = read_documents(path.read_text(encoding="utf-8"), path.name)
    return [read_resource(document, path.parent.name, path.name) for document in documents]


TAKEN = [path for path in FILES if _reason(path) is None]
REFUSED = [path for path in FILES if _reason(path) is not None]


def _selectors(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [item for key, item in value.items() if key.lower().endswith("selector") and isinstance(item, str)]
        return own + [text for item in value.values() for text in _selectors(item)]
    return [text for item in value for text in _selectors(item)] if isinstance(value, list) else []


def _converted(resource: Resource) -> Resource | None:
    try:
        return to_v1(resource) if resource.api == "v3" else to_v3(resource)
    except ConversionError:
        return None


@pytest.mark.parametrize("path", TAKEN, ids=[f"{path.parent.name}/{path.stem}" for path in TAKEN])
def test_taken(path: Path) -> None:
    api = path.parent.name
    for resource in _read(path):
        sent = resource.document()
        assert read_resource(sent, api, path.name).normal() == resource.normal()
        assert stored_resource(sent, api).normal() == resource.normal()
        for text in _selectors(sent["spec"]):
            assert parse(text, api).matches({}) in (True, False)
        other = _converted(resource)
        if other is not None:
            back = _converted(other)
            # A tag has become a label for good; everything else comes back.
            assert "tag" in str(sent).lower() or (
                back is not None and back.normal()["spec"] == resource.normal()["spec"]
            )


@pytest.mark.parametrize("path", REFUSED, ids=[f"{path.parent.name}/{path.stem}" for path in REFUSED])
def test_refused_for_the_reason_it_deserves(path: Path) -> None:
    with pytest.raises(CalicoError) as caught:
        _read(path)
    assert str(_reason(path)) in str(caught.value)
    assert str(caught.value).startswith(f"{path.name}:")


def test_there_are_enough_of_both() -> None:
    found: dict[str, int] = {"v1": 0, "v3": 0}
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# source: "), path
        assert re.search(r"^# commit: [0-9a-f]{40}$", text, re.MULTILINE), path
        found[path.parent.name] += len(re.findall(r"^[ -]*kind: ", text, re.MULTILINE))
    assert found["v1"] >= 25
    assert sum(found.values()) >= 150
