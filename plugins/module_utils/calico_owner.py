# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a Calico resource belongs to: a mark of ours, without which nothing is ever pruned."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Optional

from .calico_model import CalicoError, Resource

MARK = "iks.hardening/owned-by"
# What may be the value of a label (Kubernetes, "Labels and Selectors"): where a kind has no annotations, it is one.
_OWNER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)
# API v1 keeps annotations of policies and labels of host endpoints; its other kinds keep neither as their own
# (a profile's labels are those of its endpoints).
_V1_PLACES = {"GlobalNetworkPolicy": "annotations", "HostEndpoint": "labels"}
# Calico's controllers write these from objects of Kubernetes, and would write them again.
CONVERTED = ("knp.", "kns.", "ksa.", "k8s_ns.", "k8s-pod-network.", "np.projectcalico.org/")


def check_owner(owner: str) -> str:
    """An owner's name as it may stand in a label. Raises CalicoError."""
    if not _OWNER.fullmatch(owner):
        raise CalicoError(
            f"option owner: {owner!r} cannot be a mark; only letters, digits, '.', '_' and '-' are allowed, at most "
            "63, beginning and ending with a letter or digit"
        )
    return owner


def can_be_marked(resource: Resource) -> bool:
    """Whether the resource's kind has a place for the mark in its API."""
    return resource.api == "v3" or resource.identity.kind in _V1_PLACES


def marked(resource: Resource, owner: str) -> Resource:
    """The same resource with the mark of `owner`. Raises CalicoError for a kind that has no place for it."""
    if not can_be_marked(resource):
        raise CalicoError(
            f"{resource.origin}: {resource.identity}: this kind has neither labels nor annotations of its own in API "
            f"{resource.api}, so that state exact could not know what is its own; use state present for it"
        )
    place = _place(resource)
    return replace(resource, **{place: {**getattr(resource, place), MARK: owner}})


def owner_of(resource: Resource) -> Optional[str]:
    """Whose mark the resource carries, None where it carries none."""
    return getattr(resource, _place(resource)).get(MARK) if can_be_marked(resource) else None


def is_converted(resource: Resource) -> bool:
    """Whether Calico made the resource itself from an object of Kubernetes."""
    return resource.identity.name.startswith(CONVERTED)


def _place(resource: Resource) -> str:
    return "annotations" if resource.api == "v3" else _V1_PLACES[resource.identity.kind]
