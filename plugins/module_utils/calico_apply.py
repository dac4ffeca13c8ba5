# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out a plan through calicoctl, and finding out what became of every resource.

calicoctl's own words do not tell: `apply` says the same of what was there already, counts wrongly when a batch fails
part-way, and 1.x stops where 3.x goes on. So the datastore is read again, and each resource's fate is what it holds.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

from .calico_model import Identity, Resource, stored_resource
from .calico_plan import Plan, Step, undo
from .calicoctl_errors import may_pass
from .calicoctl_run import DatastoreError, Run, Tool, get_documents, write

APPLIED, FAILED, NOT_TRIED, UNDONE, UNKNOWN = "applied", "failed", "not tried", "undone", "unknown"
# A batch that the datastore did not finish is given to it again so often, after so many seconds: applying what is
# applied already changes nothing.
RETRIES, PAUSE = 2, 1.0
# What a resource may cost on a slow datastore, beside the time limit of a process.
_SECONDS_EACH = 0.05
_TAKEN = "the datastore holds something else than was written: another writer was at work at the same time"
_STILL_THERE = "it is still there after its deletion: another writer made it anew"


@dataclass(frozen=True)
class Fate:
    """What became of one step: its result, and for what failed why."""

    step: Step
    result: str
    error: str = ""

    def told(self) -> Dict[str, object]:
        """For the task's result."""
        identity = self.step.resource.identity
        found: Dict[str, object] = {"kind": identity.kind, "name": identity.name, "action": self.step.action}
        if identity.namespace is not None:
            found["namespace"] = identity.namespace
        if identity.node is not None:
            found["node"] = identity.node
        found["result"] = self.result
        if self.error:
            found["error"] = self.error
        return found


def read(run: Run, tool: Tool, kinds: Iterable[str]) -> Dict[Identity, Resource]:
    """All resources of these kinds (in v3 spelling), one process a kind, side by side. Raises DatastoreError."""
    asked = sorted(set(kinds))
    answers: Dict[str, Any] = {}

    def ask(kind: str) -> None:
        try:
            answers[kind] = get_documents(run, tool, kind)
        except DatastoreError as error:
            answers[kind] = error

    others = [threading.Thread(target=ask, args=(kind,)) for kind in asked[1:]]
    for other in others:
        other.start()
    for kind in asked[:1]:
        ask(kind)
    for other in others:
        other.join()
    found: Dict[Identity, Resource] = {}
    for kind in asked:
        if isinstance(answers[kind], DatastoreError):
            raise answers[kind]
        for document in answers[kind]:
            resource = stored_resource(document, tool.api)
            found[resource.identity] = resource
    return found


def carry_out(
    run: Run, tool: Tool, plan: Plan, atomic: bool, sleep: Callable[[float], None] = time.sleep
) -> Tuple[Fate, ...]:
    """Do what is planned: one process for all that is written, one for all that is deleted, one a kind to read back.

    With `atomic`, whatever was done is taken back when anything fails. Never raises for a datastore's failure: the
    fates tell.
    """
    fates, passing = _attempt(run, tool, plan)
    for _count in range(RETRIES):
        if not passing or succeeded(fates):
            break
        sleep(PAUSE)
        fates, passing = _attempt(run, tool, _left(plan, fates), fates)
    if atomic and not succeeded(fates):
        return _taken_back(run, tool, fates)
    return fates


def succeeded(fates: Sequence[Fate]) -> bool:
    """Whether the datastore holds all that was planned."""
    return all(fate.result == APPLIED for fate in fates)


@dataclass(frozen=True)
class _Sent:
    """How a round went: what was sent, what went wrong, whether that may pass, whether the first failure ended it."""

    steps: Tuple[Step, ...] = ()
    error: str = ""
    passing: bool = False
    stopped: bool = False


def _attempt(run: Run, tool: Tool, plan: Plan, earlier: Sequence[Fate] = ()) -> Tuple[Tuple[Fate, ...], bool]:
    """One round, and whether another may end better; earlier fates of what is not in the plan any more are kept."""
    sent = _send(run, tool, plan)
    passing = sent.passing
    try:
        now = read(run, tool, {step.resource.identity.kind for step in plan.steps})
    except DatastoreError as problem:
        why = f"{sent.error or problem}; what the datastore holds could not be read back"
        new = {step.resource.identity: Fate(step, UNKNOWN, why) for step in plan.steps}
        passing = passing or may_pass(str(problem))
    else:
        new = _fates(plan.steps, now, sent)
    if not earlier:
        return tuple(new.values()), passing
    return tuple(new.get(fate.step.resource.identity, fate) for fate in earlier), passing


def _send(run: Run, tool: Tool, plan: Plan) -> _Sent:
    """What is deleted waits for what is written: it may be what the former state of a host endpoint needed."""
    done: Tuple[Step, ...] = ()
    for verb, steps in (("apply", plan.writes), ("delete", plan.deletes)):
        if not steps:
            continue
        done += steps
        patient = replace(tool, timeout=tool.timeout + _SECONDS_EACH * len(steps))
        outcome = write(run, patient, verb, [step.resource.document() for step in steps])
        if not outcome.ok:
            stopped = tool.api == "v1" or outcome.timed_out
            return _Sent(done, outcome.message, outcome.timed_out or may_pass(outcome.message), stopped)
    return _Sent(done)


def _fates(steps: Sequence[Step], now: Dict[Identity, Resource], sent: _Sent) -> Dict[Identity, Fate]:
    """Each step's fate, by what the datastore holds now."""
    tried = {step.resource.identity for step in sent.steps}
    fates: Dict[Identity, Fate] = {}
    failed = False
    for step in steps:
        identity = step.resource.identity
        held = now.get(identity)
        if _same(held, step.after):
            fates[identity] = Fate(step, APPLIED)
        elif not sent.error:
            fates[identity] = Fate(step, FAILED, _STILL_THERE if step.after is None else _TAKEN)
        elif not _same(held, step.before):
            fates[identity] = Fate(step, FAILED, f"{_TAKEN} ({sent.error})")
        elif identity not in tried or (failed and sent.stopped):
            fates[identity] = Fate(step, NOT_TRIED)
        else:
            fates[identity] = Fate(step, FAILED, sent.error)
            failed = True
    return fates


def _same(held: Optional[Resource], wanted: Optional[Resource]) -> bool:
    if held is None or wanted is None:
        return held is wanted
    return held.normal() == wanted.normal()


def _left(plan: Plan, fates: Sequence[Fate]) -> Plan:
    done = {fate.step.resource.identity for fate in fates if fate.result == APPLIED}
    return Plan(
        tuple(step for step in plan.writes if step.resource.identity not in done),
        tuple(step for step in plan.deletes if step.resource.identity not in done),
    )


def _taken_back(run: Run, tool: Tool, fates: Sequence[Fate]) -> Tuple[Fate, ...]:
    """Undo what was done (and what may have been done) and tell each step's end."""
    done = [fate.step for fate in fates if fate.result in (APPLIED, UNKNOWN)]
    if not done:
        return tuple(fates)
    back, _passing = _attempt(run, tool, undo(done))
    ends = {fate.step.resource.identity: fate for fate in back}
    told: List[Fate] = []
    for fate in fates:
        end = ends.get(fate.step.resource.identity)
        if end is None:
            told.append(fate)
        elif end.result == APPLIED:
            told.append(Fate(fate.step, UNDONE if fate.result == APPLIED else FAILED, fate.error))
        else:
            told.append(Fate(fate.step, UNKNOWN if end.result == UNKNOWN else APPLIED, f"not undone: {end.error}"))
    return tuple(told)
