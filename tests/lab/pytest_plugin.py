# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for tests that need real nodes: pytest -p tests.lab.pytest_plugin.

`lab` is one whole lab for the session, with an id of its own. IKS_LAB_ID names one to use instead (and, if it was up
before, to leave up); IKS_LAB_KEEP=1 leaves it up in any case; IKS_LAB_NODES=worker1,internet starts no more than the
tests that you run need. `fresh_nodes` is the same lab with fresh disks. `vm` is a lab of its own with nothing but the
virtual machine, booted once for all tests that want it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab import lab as labs
from tests.lab import vm as virtual
from tests.lab.lab import Lab
from tests.lab.state import load, resolve_id


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    lab_id = resolve_id(os.environ.get("IKS_LAB_ID") or "auto")
    found = load(lab_id)
    suite = found.suite if found else os.environ.get("IKS_LAB_SUITE", "bookworm")
    names = [name for name in os.environ.get("IKS_LAB_NODES", "").split(",") if name]
    try:
        yield labs.up(lab_id, names=names or None, suite=suite)
    finally:
        if not os.environ.get("IKS_LAB_KEEP") and not (found and found.ready):
            labs.down(lab_id)


@pytest.fixture(scope="session")
def vm() -> Iterator[Lab]:
    """A lab with the node `vm` alone, so that nothing done to the other nodes makes it boot again."""
    reason = virtual.why_not()
    if reason:
        pytest.skip(f"no virtual machine: {reason}")
    lab_id = resolve_id("auto")
    try:
        yield labs.up(lab_id, names=["vm"])
    finally:
        labs.down(lab_id)


@pytest.fixture
def fresh_nodes(lab: Lab) -> Lab:
    """The lab with every node as new, also in its memory: no rule or package of an earlier test is left."""
    lab.reset()
    return lab
