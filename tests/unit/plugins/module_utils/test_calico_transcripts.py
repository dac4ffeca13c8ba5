# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model agrees with what calicoctl 1.4.0 and 3.25.2 did: what they took, refused, and handed back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calico_model import (
    CalicoError,
    read_resource,
    stored_resource,
)
from ansible_collections.iks.hardening.plugins.plugin_utils.calico_documents import read_documents

DATA = json.loads((Path(__file__).parents[3] / "unit/data/calico/transcripts.json").read_text(encoding="utf-8"))


def _read(case: dict[str, Any]) -> list[Any]:
    return [
        read_resource(document, case["api"], "f.yml") for document in read_documents(case["text"], "f.yml") if document
    ]


def _ids(part: str) -> list[str]:
    return [case["case"] for case in DATA[part]]


@pytest.mark.parametrize("case", DATA["accepted"], ids=_ids("accepted"))
def test_what_calicoctl_took_is_taken(case: dict[str, Any]) -> None:
    resources = _read(case)
    assert resources
    for resource in resources:
        again = read_resource(resource.document(), case["api"], "f.yml")
        assert again.normal() == resource.normal()
        assert json.loads(json.dumps(resource.document())) == resource.document()


@pytest.mark.parametrize("case", DATA["refused"], ids=_ids("refused"))
def test_what_calicoctl_refused_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(CalicoError) as caught:
        _read(case)
    text = str(caught.value)
    assert text.startswith("f.yml")
    assert "\n" not in text


@pytest.mark.parametrize("case", DATA["read_back"], ids=_ids("read_back"))
def test_what_was_applied_equals_what_comes_back(case: dict[str, Any]) -> None:
    applied = read_resource(case["applied"], case["api"], "f.yml")
    stored = stored_resource(case["got"], case["api"])
    assert applied.identity == stored.identity
    assert applied.normal() == stored.normal()
    # What the datastore holds can be applied as it is: rolling back writes it.
    assert read_resource(stored.document(), case["api"], "f.yml").normal() == stored.normal()


def test_taken_on_purpose_although_calicoctl_does_not() -> None:
    """It crashes on list kinds (058, 063), and knows List (064) and, before 3.29, Tier (122) not at all."""
    item = {"metadata": {"name": "a"}, "spec": {"selector": "all()"}}
    for kind, version, api in (
        ("policyList", "v1", "v1"),
        ("GlobalNetworkPolicyList", "projectcalico.org/v3", "v3"),
    ):
        (document,) = read_documents(json.dumps({"kind": kind, "apiVersion": version, "items": [item]}), "f.yml")
        assert read_resource(document, api, "f.yml").identity.name == "a"
    tier = {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "t1"}, "spec": {"order": 1}}
    assert read_resource(tier, "v3", "f.yml").identity.kind == "Tier"


def test_refused_on_purpose_although_calicoctl_takes_it() -> None:
    """258: of a name that is there twice the last one wins, silently."""
    with pytest.raises(CalicoError, match="selector is there twice"):
        read_documents("spec:\n  selector: all()\n  selector: has(x)\n", "f.yml")
