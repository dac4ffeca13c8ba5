# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be written and deleted to lead a datastore's Calico resources to those that are wanted. Pure.

Order is part of the plan. A host endpoint without a policy closes its interface, so that what it needs is written
before it (sets, then profiles and policies, then host endpoints), and deleted after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from .calico_model import CalicoError, Identity, Resource
from .calico_owner import is_converted, marked, owner_of

# Smaller is written sooner and deleted later; other kinds have nothing to do with what passes a host endpoint.
_RANKS = {
    "Tier": 1,
    "GlobalNetworkSet": 2,
    "NetworkSet": 2,
    "Profile": 3,
    "GlobalNetworkPolicy": 4,
    "NetworkPolicy": 4,
    "HostEndpoint": 6,
    "WorkloadEndpoint": 6,
}
_OTHER_RANK = 5

Have = Mapping[Identity, Resource]


@dataclass(frozen=True)
class Step:
    """One resource that changes: `before` is None for a new one, `after` None for one that is deleted."""

    before: Optional[Resource]
    after: Optional[Resource]

    @property
    def resource(self) -> Resource:
        found = self.after or self.before
        if found is None:
            raise ValueError("a step is a resource before, after, or both")
        return found

    @property
    def action(self) -> str:
        """created, updated or deleted."""
        if self.after is None:
            return "deleted"
        return "created" if self.before is None else "updated"


@dataclass(frozen=True)
class Plan:
    """Steps in the order in which they are safe, and what is as it should be already."""

    writes: Tuple[Step, ...] = ()
    deletes: Tuple[Step, ...] = ()
    unchanged: Tuple[Resource, ...] = ()

    @property
    def steps(self) -> Tuple[Step, ...]:
        return self.writes + self.deletes

    def __bool__(self) -> bool:
        return bool(self.steps)


def plan(have: Have, want: Sequence[Resource], state: str, owner: Optional[str] = None) -> Plan:
    """Lead `have`, all that the datastore holds of the kinds in question, to `want`.

    `state` is present, absent, or exact, which is present and deletes what carries the mark of `owner` and is not
    wanted. With an owner, what is wanted carries its mark. Raises CalicoError for a resource that is given twice, that
    another owner has, or that Calico makes itself.
    """
    named = _by_identity(want if owner is None or state == "absent" else [marked(item, owner) for item in want])
    _check_ours(named, have, owner)
    if state == "absent":
        gone = [Step(have[identity], None) for identity in named if identity in have]
        return Plan(deletes=_in_order(gone, deleting=True))
    writes, unchanged = [], []
    for identity, resource in named.items():
        before = have.get(identity)
        if before is not None and before.normal() == resource.normal():
            unchanged.append(resource)
        else:
            writes.append(Step(before, resource))
    gone = []
    if state == "exact":
        gone = [
            Step(resource, None)
            for identity, resource in have.items()
            if identity not in named and owner_of(resource) == owner and not is_converted(resource)
        ]
    return Plan(_in_order(writes, deleting=False), _in_order(gone, deleting=True), tuple(unchanged))


def undo(done: Iterable[Step]) -> Plan:
    """The plan that takes these steps back, in the order in which that is safe."""
    back = [Step(step.after, step.before) for step in done]
    return Plan(
        _in_order([step for step in back if step.after is not None], deleting=False),
        _in_order([step for step in back if step.after is None], deleting=True),
    )


def after(have: Have, steps: Iterable[Step]) -> Dict[Identity, Resource]:
    """What the datastore holds when the steps are done."""
    found = dict(have)
    for step in steps:
        if step.after is None:
            found.pop(step.resource.identity, None)
        else:
            found[step.resource.identity] = step.after
    return found


def _by_identity(resources: Sequence[Resource]) -> Dict[Identity, Resource]:
    found: Dict[Identity, Resource] = {}
    for resource in resources:
        other = found.setdefault(resource.identity, resource)
        if other is not resource:
            raise CalicoError(
                f"{resource.origin}: {resource.identity} is given twice, first in {other.origin}; give it once"
            )
    return found


def _check_ours(named: Have, have: Have, owner: Optional[str]) -> None:
    for identity, resource in named.items():
        if is_converted(resource):
            raise CalicoError(
                f"{resource.origin}: {identity} is made by Calico from an object of Kubernetes, and Calico would write "
                "it again; change the object of Kubernetes"
            )
        holder = owner_of(have[identity]) if identity in have else None
        if owner is not None and holder not in (None, owner):
            raise CalicoError(
                f"{resource.origin}: {identity} belongs to owner {holder}, not to {owner}; give it another name, or "
                f"take it out of what {holder} applies first"
            )


def _in_order(steps: List[Step], deleting: bool) -> Tuple[Step, ...]:
    """Stable: the author's order is kept among equals."""

    def rank(step: Step) -> int:
        return _RANKS.get(step.resource.identity.kind, _OTHER_RANK)

    return tuple(sorted(steps, key=rank, reverse=deleting))
