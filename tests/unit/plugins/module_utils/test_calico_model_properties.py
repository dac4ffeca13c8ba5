# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a user writes or a datastore gives: a resource that survives being sent and read, or a reason."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.calico_kinds import SPELLINGS
from ansible_collections.iks.hardening.plugins.module_utils.calico_model import (
    CalicoError,
    read_resource,
    stored_resource,
)

VERSION = {"v1": "v1", "v3": "projectcalico.org/v3"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELD = st.sampled_from(
    [
        "action",
        "protocol",
        "source",
        "destination",
        "nets",
        "net",
        "ports",
        "ingress",
        "egress",
        "selector",
        "order",
        "types",
        "icmp",
        "type",
        "preDNAT",
        "interfaceName",
        "node",
        "expectedIPs",
        "labels",
        "name",
        "http",
        "services",
        "cidr",
        "tier",
    ]
)
VALUE = st.recursive(
    JSON | st.sampled_from(["allow", "Allow", "tcp", "TCP", "all()", "10.0.0.0/8", "fd00::/8", "1:2", 80, "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FIELD, inner, max_size=3),
    max_leaves=10,
)


@given(
    st.sampled_from([(api, kind) for api in ("v1", "v3") for kind in SPELLINGS[api]]),
    VALUE | st.dictionaries(FIELD, VALUE, max_size=4),
    VALUE | st.dictionaries(FIELD, VALUE, max_size=4),
)
def test_whatever_is_written_is_a_resource_or_a_calico_error(kind: tuple[str, str], spec: Any, metadata: Any) -> None:
    api, word = kind
    written = {"apiVersion": VERSION[api], "kind": word, "spec": spec, "metadata": metadata}
    if isinstance(metadata, dict):
        metadata.setdefault("name", "a")
    resources, errors = [], []
    try:
        resources.append(read_resource(written, api, "f.yml"))
    except CalicoError as error:
        errors.append(str(error))
    assert all(text.startswith("f.yml: ") for text in errors)
    for resource in resources:
        again = read_resource(resource.document(), api, "f.yml")
        assert again.normal() == resource.normal()
        assert stored_resource(resource.document(), api).normal() == resource.normal()


@given(st.sampled_from([(api, kind) for api in ("v1", "v3") for kind in SPELLINGS[api]]), VALUE)
def test_whatever_a_datastore_gives_has_a_normal_form(kind: tuple[str, str], spec: Any) -> None:
    api, word = kind
    stored = {"apiVersion": VERSION[api], "kind": word, "metadata": {"name": "a"}, "spec": spec}
    stored_resource(stored, api).normal()
