# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the task calico_resource does, from documents to a result: read, plan, guard, write, read back."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from .calico_apply import APPLIED, UNDONE, UNKNOWN, Fate, carry_out, read, succeeded
from .calico_flows import Flow, read_flows
from .calico_model import CalicoError, Identity, Resource, read_resource, stored_resource
from .calico_owner import check_owner
from .calico_plan import Plan, Step, after, plan
from .calicoctl_run import Run, Tool, nothing_yet
from .errors import choices

APIS = {"v1": "v1", "projectcalico.org/v3": "v3"}
# What decides over a packet at a host endpoint.
_DECIDING = {
    "v1": ("GlobalNetworkPolicy", "HostEndpoint", "Profile"),
    "v3": ("FelixConfiguration", "GlobalNetworkPolicy", "GlobalNetworkSet", "HostEndpoint", "Profile"),
}
_NOT_YET = "{0.path} or {0.config} is not there yet, so this is the plan for an empty datastore"
# More mistakes than a person mends in one go.
_MOST_ERRORS = 20


@dataclass(frozen=True)
class Request:
    """What a task asks for. `documents`: pairs of origin (a file's name, an item of a list) and document."""

    documents: Sequence[Tuple[str, Mapping[str, Any]]]
    state: str
    owner: Optional[str] = None
    atomic: bool = False
    allow_lockout: bool = False
    allow_unknown_nodes: bool = False
    flows: Tuple[Flow, ...] = ()
    assume: Sequence[Mapping[str, Any]] = ()


def request_of(params: Mapping[str, Any], documents: Sequence[Tuple[str, Mapping[str, Any]]]) -> Request:
    """The module's options, and what `documents_of` made of them. Raises CalicoError."""
    names = ("state", "owner", "atomic", "allow_lockout", "allow_unknown_nodes")
    flows = read_flows(params["flows"])
    return Request(documents, flows=flows, assume=params["assume"], **{name: params[name] for name in names})


@dataclass(frozen=True)
class Done:
    """A plan, and what became of its steps; no fates where it was not carried out."""

    plan: Plan
    fates: Tuple[Fate, ...] = ()
    notes: Tuple[str, ...] = ()


def perform(run: Run, tool: Tool, request: Request, check_mode: bool) -> Done:
    """Lead the datastore to what is asked for. Raises CalicoError or DatastoreError before the first change."""
    if request.owner is not None:
        check_owner(request.owner)
    elif request.state == "exact":
        raise CalicoError("state exact needs the option owner: it deletes only what carries that owner's mark")
    want = wanted(request.documents, tool.api, request.state)
    kinds = {resource.identity.kind for resource in want}
    if request.state == "exact":
        kinds |= set(_DECIDING[tool.api]) - {"FelixConfiguration", "Profile"}
    have = read(run, tool, kinds)
    assumed = {item.identity: item for item in _assumed(request, tool.api)} if check_mode else {}
    steps = plan(have, want, request.state, request.owner)
    notes: Tuple[str, ...] = (_NOT_YET.format(tool),) if run is nothing_yet else ()
    if steps:
        if not request.allow_unknown_nodes and run is not nothing_yet:
            _check_nodes(run, tool, steps)
        notes += _guard(run, tool, have, kinds, assumed, steps, request)
    if check_mode or not steps:
        return Done(steps, notes=notes)
    return Done(steps, carry_out(run, tool, steps, request.atomic), notes)


def wanted(documents: Iterable[Tuple[str, Mapping[str, Any]]], api: str, state: str) -> List[Resource]:
    """Checked resources in the API of the tool, converted where they were written for the other one.

    Raises CalicoError that lists every mistake, a line each.
    """
    found: List[Resource] = []
    errors: List[str] = []
    for origin, document in documents:
        try:
            found.append(_one(document, api, state, origin))
        except CalicoError as error:
            errors.append(str(error))
    if errors:
        more = len(errors) - _MOST_ERRORS
        told = errors[:_MOST_ERRORS] + ([f"and {more} more"] if more > 0 else [])
        raise CalicoError("\n".join(told))
    return found


def _one(document: Mapping[str, Any], api: str, state: str, origin: str) -> Resource:
    version = document.get("apiVersion") if isinstance(document, Mapping) else None
    own = APIS.get(str(version), api)
    resource = _named(document, own, origin) if state == "absent" else read_resource(document, own, origin)
    return _converted(resource, api)


def _named(document: Mapping[str, Any], api: str, origin: str) -> Resource:
    """What is to be deleted needs a name, and may be incomplete otherwise."""
    try:
        resource = replace(stored_resource(document, api), origin=origin)
    except CalicoError as error:
        raise CalicoError(f"{origin}: {str(error).replace('the datastore gave', 'this is')}") from None
    if api == "v1" and resource.identity.kind == "HostEndpoint" and resource.identity.node is None:
        raise CalicoError(f"{origin}: {resource.identity}: metadata.node is missing; API v1 knows host endpoints by it")
    return resource


def _converted(resource: Resource, api: str) -> Resource:
    if resource.api == api:
        return resource
    # Late: most tasks are of one API, and a target compiles what is imported.
    from .calico_convert import to_v1, to_v3

    return to_v1(resource) if api == "v1" else to_v3(resource)


def _assumed(request: Request, api: str) -> List[Resource]:
    """What an earlier task of a run in check mode would have written."""
    return [_one(document, api, "present", f"assume[{number}]") for number, document in enumerate(request.assume)]


def _as_applied(resource: Resource) -> Resource:
    """In API v3; Felix of API v1's time applied every policy in both directions."""
    from .calico_convert import to_v3

    return to_v3(resource, both_directions=True)


def _check_nodes(run: Run, tool: Tool, steps: Plan) -> None:
    """A host endpoint of a node that is not there would make a node of that name, which stays (1.x), or do nothing."""
    new = [
        step.resource
        for step in steps.writes
        if step.resource.identity.kind == "HostEndpoint"
        and (step.before is None or _node(step.before) != _node(step.resource))
    ]
    if not new:
        return
    nodes = [identity.name for identity in read(run, tool, ["Node"])]
    for resource in new:
        if _node(resource) not in nodes:
            raise CalicoError(
                f"{resource.origin}: {resource.identity}: "
                + choices("node", _node(resource), nodes or ["(the datastore holds no node)"])
                + ". allow_unknown_nodes: true writes it all the same"
            )


def _node(resource: Resource) -> Optional[str]:
    return resource.identity.node or resource.spec.get("node")


def _guard(
    run: Run,
    tool: Tool,
    have: Mapping[Identity, Resource],
    known: Iterable[str],
    assumed: Mapping[Identity, Resource],
    steps: Plan,
    request: Request,
) -> Tuple[str, ...]:
    """Refuse what would cut a node off; what was broken before is told only."""
    deciding = set(_DECIDING[tool.api])
    if not any(step.resource.identity.kind in deciding for step in steps.steps):
        return ()
    whole = {**have, **read(run, tool, {"HostEndpoint"} - set(known))}
    later = after(whole, steps.steps)
    if not any(identity.kind == "HostEndpoint" for identity in later):
        return ()
    rest = {**read(run, tool, deciding - set(known) - {"HostEndpoint"}), **assumed}
    whole, later = {**whole, **rest}, {**rest, **later}
    # Late: nothing of this is needed where nothing changes, and a target compiles what is imported.
    from .calico_compile import compile_policies
    from .calico_guard import broken_flows, refusal
    from .calico_settings import SETTINGS, SETTINGS_V1

    settings = SETTINGS_V1 if tool.api == "v1" else SETTINGS
    sides = [
        compile_policies([_as_applied(item).document() for item in side.values()], settings) for side in (whole, later)
    ]
    found = broken_flows(sides[0], sides[1], request.flows)
    refused = refusal(found)
    if refused and not request.allow_lockout:
        raise CalicoError(refused)
    return tuple(item.text for item in found)


def result_of(done: Done, tool: Tool, with_diff: bool) -> Dict[str, Any]:
    """changed, before, after, resources, commands, notes and diff."""
    fates = done.fates or tuple(Fate(step, "") for step in done.plan.steps)
    before = {_title(step): _document(step.before) for step in done.plan.steps}
    later = {_title(fate.step): _document(_end(fate)) for fate in fates}
    counts = {verb: len(steps) for verb, steps in (("apply", done.plan.writes), ("delete", done.plan.deletes)) if steps}
    result: Dict[str, Any] = {
        "changed": bool(done.plan) if not done.fates else any(fate.result in (APPLIED, UNKNOWN) for fate in done.fates),
        "before": before,
        "after": later,
        "resources": [_told(fate) for fate in fates],
        "unchanged": len(done.plan.unchanged),
        "commands": [
            f"{tool.path} --config={tool.config} {verb} -f - ({count} resources)" for verb, count in counts.items()
        ],
        "notes": list(done.notes),
    }
    if with_diff:
        result["diff"] = [
            {
                "before_header": title,
                "after_header": title,
                "before": _text(before[title]),
                "after": _text(later[title]),
            }
            for title in before
            if before[title] != later[title]
        ]
    return result


def failure_of(done: Done) -> str:
    """What a failed task says; empty where all was applied."""
    if not done.fates or succeeded(done.fates):
        return ""
    first = next(fate for fate in done.fates if fate.result != APPLIED and fate.error)
    counts: Dict[str, int] = {}
    for fate in done.fates:
        counts[fate.result] = counts.get(fate.result, 0) + 1
    summary = ", ".join(f"{count} {result}" for result, count in counts.items())
    end = ""
    if not any(fate.result in (APPLIED, UNKNOWN) for fate in done.fates):
        end = ". Nothing was changed" if UNDONE not in counts else ". What was done was taken back"
    return f"{first.step.resource.identity}: {first.error}; of {len(done.fates)} resources: {summary}{end}"


def _end(fate: Fate) -> Optional[Resource]:
    """What the datastore holds after the step, as far as is known; without a result: as planned."""
    return fate.step.after if fate.result in ("", APPLIED) else fate.step.before


def _told(fate: Fate) -> Dict[str, Any]:
    return {name: value for name, value in fate.told().items() if value != ""}


def _title(step: Step) -> str:
    return str(step.resource.identity)


def _document(resource: Optional[Resource]) -> Optional[Mapping[str, Any]]:
    return None if resource is None else resource.document()


def _text(document: Optional[Mapping[str, Any]]) -> str:
    return "" if document is None else json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
