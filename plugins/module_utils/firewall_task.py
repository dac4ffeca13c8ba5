# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every task that changes a node's rulesets does: look, plan, load on trial or at once, confirm, save for boot.

The modules turn their parameters into the wanted states; everything else is here, so that a rollback is as safe as a
change. Nothing here knows Ansible.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Optional, Tuple

from . import firewall_boot, firewall_saved
from .errors import NodeError, UnsavedError
from .firewall_boot import Emergency
from .firewall_commit import (
    LOCK_FILE,
    UNDO_FOLDER,
    Means,
    begin,
    confirm,
    end,
    forget_trial,
    is_confirmed,
    remove_undo_folder,
    seconds_left,
    settle,
)
from .firewall_early import told
from .firewall_holders import detect_backend
from .firewall_plan import restore_text, without_all
from .firewall_saved import Saved
from .firewall_shell import Backend, Run, apply_states, collect_sets, families_in_kernel, load_sets, read_states
from .firewall_state import OwnState, entries_of
from .firewall_trial import has_trial, promoted, without_trial
from .node_facts import read_text
from .peer_sets import changed_sets
from .traffic import FAMILIES, IPV6

States = Mapping[str, OwnState]


@dataclass(frozen=True)
class Node:
    """What a task found. `raw` is what the kernel holds, `have` the same without leftovers of a trial."""

    backend: Backend
    means: Means
    raw: States
    have: States
    saved: Optional[Saved]
    script: str
    texts: Mapping[str, str]
    # What is saved of families that the kernel does not have.
    asleep: States = field(default_factory=dict)

    @property
    def families(self) -> Dict[str, OwnState]:
        """Every family as it is: in the kernel, or on the disk where the kernel does not have it."""
        return {**self.have, **self.asleep}

    @property
    def notes(self) -> List[str]:
        """What a reader should know of the node."""
        notes = []
        if IPV6 in self.asleep:
            notes.append("the kernel has no IPv6; only the IPv4 half is loaded, the other is saved for boot")
        if self.backend.name is None:
            notes.append("iptables is not installed; the node counts as empty")
        if self.means.ipset is None:
            notes.append("ipset is not installed; without it every address of a long list is a rule of its own")
        if not self.means.systemd:
            notes.append("systemd does not run; the rules are not saved for boot")
        if self.saved is not None and self.saved.body is None:
            notes.append(f"the saved generation {self.saved.number} is damaged; this run replaces it")
        report = firewall_boot.boot_report(read_text(firewall_boot.REPORT))
        if report["loaded"] == "emergency":
            notes.append("at boot no saved generation was intact, and the emergency ruleset was loaded")
        return notes


@dataclass(frozen=True)
class Change:
    """What is to be done. `rules`: families whose chains change. `body`: the generation to save, None for none."""

    want: States
    rules: Tuple[str, ...]
    sets: Tuple[str, ...]
    leftovers: bool
    body: Optional[str]
    files: Mapping[str, str]
    missing: Tuple[str, ...]
    removes: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything is to be done at all."""
        return bool(self.rules or self.sets or self.leftovers or self.body is not None or self.missing)

    def told(self) -> List[str]:
        """What changes besides the rules, in words."""
        parts = [f"set {name} is filled" for name in self.sets]
        if self.leftovers:
            parts.append("leftovers of an ended trial are removed")
        if self.body is not None:
            parts.append("the rules are saved for boot")
        return parts + [f"{path} is {'removed' if self.removes else 'written'}" for path in self.missing]


def look(run: Run) -> Node:
    """Read the node. Raises NodeError when it cannot be worked with."""
    means = Means.of_node()
    backend, texts = detect_backend(run)
    texts = {family: texts[family] for family in families_in_kernel() if family in texts}
    raw = read_states(run, backend, texts)
    clean = promoted if any(map(has_trial, raw.values())) and is_confirmed(run, means) else without_trial
    have = {family: clean(own) for family, own in raw.items()}
    saved, script = firewall_saved.newest(), read_text(firewall_boot.SCRIPT)
    return Node(backend, means, raw, have, saved, script, texts, _asleep(saved, have))


def _asleep(saved: Optional[Saved], have: States) -> Dict[str, OwnState]:
    """Families that the kernel does not have now, as the newest generation has them: it may have them after a boot."""
    families = [family for family in FAMILIES if family not in have]
    if not families:
        return {}
    states: States = {}
    if saved is not None and saved.body is not None:
        with contextlib.suppress(NodeError):
            states = firewall_saved.generation_states(saved.body)[1]
    return {family: states.get(family, OwnState()) for family in families}


def plan(node: Node, want: States, emergency: Optional[Emergency], management_given: bool) -> Change:
    """What has to change for `want` to be loaded, saved, and there at the next boot. Reads files, writes none.

    `want` has every family of `node.families`; those that the kernel does not have are saved only.
    Raises NodeError when a folder of ours is not ours alone.
    """
    check_folders()
    whole, want = want, {family: state for family, state in want.items() if family in node.have}
    rules = tuple(family for family in want if restore_text(node.have[family], want[family]))
    sets = tuple(sorted({name for family in want for name in changed_sets(node.have[family].sets, want[family].sets)}))
    leftovers = any(restore_text(node.raw[family], node.have[family]) for family in want)
    body: Optional[str] = None
    files: Dict[str, str] = {}
    missing: List[str] = []
    if node.means.systemd:
        backend = node.backend.name or "nft"
        empty = not any(state.filter.chains for state in whole.values())
        if (node.saved is not None or not empty) and not firewall_saved.says(
            node.saved.body if node.saved is not None else None, whole, backend
        ):
            body = firewall_saved.generation_body(whole, backend)
        closes = any(entry.closes for state in whole.values() for entry in entries_of(state.filter, "INPUT"))
        parts = firewall_boot.parts_of(node.script) if closes else {}
        if closes and emergency is not None and (management_given or rules or not parts):
            # Without networks of the user's the present SSH peer counts, which is no reason to change anything.
            parts = firewall_boot.emergency_parts(emergency, backend)
        if not empty or node.script:
            files = firewall_boot.wanted_files(parts)
            if closes and not parts and firewall_boot.has_parts(node.script):
                # An emergency ruleset that was edited is mended by the task that knows what it should be.
                files = {**files, firewall_boot.SCRIPT: node.script}
            missing = firewall_boot.missing_files(files)
    return Change(want, rules, sets, leftovers, body, files, tuple(missing))


def check_folders() -> None:
    """Find a folder that somebody else prepared before anything is done, in check mode as well. Raises NodeError."""
    ours = (firewall_saved.STATE_FOLDER, firewall_saved.GENERATIONS, firewall_boot.CONFIGURATION_FOLDER, UNDO_FOLDER)
    if os.path.islink(LOCK_FILE):
        raise NodeError(f"{LOCK_FILE}: is a link; nothing was changed. Remove it")
    for folder in ours:
        firewall_saved.check_place(folder)
        firewall_saved.check_folder(folder)


def refuse_other_trial(run: Run, node: Node) -> None:
    """Raise NodeError while another task's rules are on trial."""
    if node.means.ipset is None or any(has_trial(own) for own in node.raw.values()):
        left = seconds_left(run, node.means)
        if left:
            raise NodeError(f"other rules are on trial on this node for {left} more seconds; try again after that")


def carry_out(run: Run, node: Node, change: Change, seconds: int) -> Optional[Dict[str, object]]:
    """Load, on trial for `seconds` or at once (0); the trial's data for the controller, or None when all is done.

    Raises NodeError, which says what was changed or that nothing was.
    """
    if node.backend.name is None:
        raise NodeError("iptables is not installed; install the iptables package, or use the role, which does")
    refuse_other_trial(run, node)
    # The timer of a trial whose controller and task died would undo what is loaded now.
    forget_trial(run, node.means)
    # A full or read-only disk is found before the first rule changes.
    firewall_boot.check_writable(change.missing)
    if change.body is not None:
        firewall_saved.stage(change.body)
    try:
        if change.rules and seconds:
            how = begin(run, node.backend, node.means, node.raw, node.have, change.want, seconds)
            return {"seconds": seconds, "undone": how}
        if change.rules or change.leftovers:
            apply_states(run, node.backend, node.raw, change.want)
        elif change.sets:
            load_sets(run, node.have, change.want)
    except NodeError:
        firewall_saved.drop_staged()
        raise
    if change.leftovers:
        end(run, node.means)
    collect_sets(run, change.want)
    save(run, change)
    return None


def accept(run: Run, node: Node, change: Change) -> None:
    """Confirm the rules on trial and save them. Raises NodeError when the trial is over."""
    # Without sets the rules on trial stand in their final chains already.
    if change.rules or node.means.ipset is None:
        confirm(run, node.backend, node.means, node.raw, node.have, change.want)
    elif is_confirmed(run, node.means):
        settle(run, node.backend, node.means, node.raw, change.want)
    else:
        raise NodeError("the time for the confirmation is over: the former rules are back")
    save(run, change)


def save(run: Run, change: Change) -> None:
    """Make the rules that are in force the newest generation, and have boot load it. Raises UnsavedError."""
    try:
        if change.body is not None:
            firewall_saved.keep(change.body)
        if change.missing:
            firewall_boot.install(run, change.files, change.missing)
    except NodeError as error:
        reason = str(error).partition("; nothing was changed")[0]
        raise UnsavedError(
            f"the rules are loaded and in force, but a reboot would bring the former ones: {reason}. "
            "Mend that, and run the task again"
        ) from None


def plan_removal(node: Node) -> Change:
    """Nothing of ours is left: chains, jumps, sets, unit, script and saved generations. Raises NodeError as plan."""
    check_folders()
    want = {family: without_all(own) for family, own in node.have.items()}
    rules = tuple(family for family in want if restore_text(node.have[family], want[family]))
    leftovers = any(restore_text(node.raw[family], node.have[family]) for family in want)
    gone = [*firewall_boot.present_files(), *firewall_saved.present_files()]
    return Change(want, rules, (), leftovers, None, {}, tuple(gone), removes=True)


def remove(run: Run, node: Node, change: Change) -> None:
    """Carry a removal out. Raises NodeError."""
    refuse_other_trial(run, node)
    forget_trial(run, node.means)
    if change.rules or change.leftovers:
        apply_states(run, node.backend, node.raw, change.want)
    end(run, node.means)
    collect_sets(run, change.want)
    firewall_boot.uninstall(run)
    firewall_saved.forget()
    remove_undo_folder()


def states_text(states: States) -> Dict[str, List[str]]:
    """States as results have them: the lines of each family."""
    return {family: told(own) for family, own in states.items()}


def commands(have: States, want: States) -> Dict[str, str]:
    """What is given to `iptables-restore --noflush`, for each family that changes."""
    texts = {family: restore_text(have[family], want[family]) for family in want}
    return {family: text for family, text in texts.items() if text}
