# Part of the stand-ins for calicoctl and its datastores, for tests only.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixtures of fixtures.py, for the stand-ins' own tests."""

from __future__ import annotations

from .fixtures import (
    calico_kube,
    calico_kube_tool,
    calico_v1,
    calico_v1_datastore,
    calico_v3,
    calico_v3_datastore,
)

__all__ = [
    "calico_kube",
    "calico_kube_tool",
    "calico_v1",
    "calico_v1_datastore",
    "calico_v3",
    "calico_v3_datastore",
]
