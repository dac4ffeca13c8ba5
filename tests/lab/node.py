# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One running node: the files that make it that node, the program that keeps it running, and its first process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import cgroup, kube, vm
from .nodefiles import NodeFile
from .rootfs import Image
from .state import LabState
from .system import run, tool_path
from .topology import Node, topology


@dataclass(frozen=True)
class NodePaths:
    """Where a node's parts lie, all below the lab's folder."""

    folder: Path

    @property
    def upper(self) -> Path:
        return self.folder / "upper"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def lock_note(self) -> Path:
        return self.folder / "nspawn-lock"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"


def paths(state: LabState, name: str) -> NodePaths:
    return NodePaths(state.folder / "nodes" / name)


def groups(state: LabState) -> list[Path]:
    return [Path(group) for group in state.groups]


def write_files(upper: Path, lowers: list[Path], files: Iterable[NodeFile]) -> None:
    """Put files into an overlay's upper layer; the directories on the way keep the owner and mode they have below."""
    for file in files:
        target = upper / file.path
        _copy_directories(upper, lowers, Path(file.path).parent)
        if file.link_to:
            target.unlink(missing_ok=True)
            target.symlink_to(file.link_to)
            continue
        target.write_text(file.text, encoding="utf-8")
        target.chmod(file.mode)
        os.chown(target, file.owner, file.owner)


def _copy_directories(upper: Path, lowers: list[Path], folder: Path) -> None:
    for part in [*reversed(folder.parents), folder]:
        made = upper / part
        if made.is_dir():
            continue
        made.mkdir()
        below = next((lower / part for lower in lowers if (lower / part).is_dir()), None)
        if below is not None:
            known = below.stat()
            made.chmod(known.st_mode & 0o7777)
            os.chown(made, known.st_uid, known.st_gid)


def start(state: LabState, node: Node, image: Image, netns: str, files: Iterable[NodeFile]) -> None:
    """Start the node's supervisor; returns at once, before the node has booted."""
    place = paths(state, node.name)
    for folder in (place.upper, place.work, place.root):
        folder.mkdir(parents=True, exist_ok=True)
    lowers = lower_layers(state, node, image)
    if node.virtual:
        lowers = [vm.layer(image), *lowers]
        write_files(place.upper, lowers, [*files, *vm.extra_files()])
        vm.make_disk(image, lowers, place.upper, place.folder)
        text = vm.spec(node, place.folder)
    else:
        write_files(place.upper, lowers, files)
        text = _spec(state, node, image, place, lowers)
    spec = place.folder / "supervise.json"
    spec.write_text(text, encoding="utf-8")
    with open(place.console, "ab") as console:
        # Each program runs the next: private mounts, the lab's network, then the supervisor.
        subprocess.Popen(  # it outlives this command on purpose
            [
                *["unshare", "--mount", "--propagation", "private", "nsenter", f"--net={netns}"],
                *[sys.executable, "-I", str(Path(__file__).with_name("supervise.py")), str(spec)],
            ],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            env={"PATH": tool_path()},
            preexec_fn=lambda: cgroup.join(groups(state), node.name),
        )


def lower_layers(state: LabState, node: Node, image: Image) -> list[Path]:
    """A worker that runs kube-proxy's iptables mode has iptables installed; every other node is minimal."""
    return [image.kube, image.rootfs] if state.kube and kube.uses_iptables(node) else [image.rootfs]


def _spec(state: LabState, node: Node, image: Image, place: NodePaths, lowers: list[Path]) -> str:
    nspawn = [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={place.root}",
        "--register=no",
        "--keep-unit",
        f"--machine=iks{state.lab_id}-{node.name}",
        f"--hostname={node.name}",
        f"--uuid={machine_id(state, node)}",
        "--private-network",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=pipe",
        f"--bind-ro={image.repo}:/srv/repo",
        *[f"--network-veth-extra={node.host_interface(nic)}:{nic.name}" for nic in node.nics],
    ]
    if Path("/dev/net/tun").exists():
        nspawn.append("--bind=/dev/net/tun")
    return json.dumps(
        {
            "overlay": f"lowerdir={':'.join(map(str, lowers))},upperdir={place.upper},workdir={place.work}",
            "root": str(place.root),
            "lock_note": str(place.lock_note),
            "command": nspawn,
            "bridges": {node.host_interface(nic): nic.bridge for nic in node.nics},
        }
    )


def machine_id(state: LabState, node: Node) -> str:
    """Fixed, so that systemd does not take the start for a first boot."""
    return hashlib.sha256(f"{state.lab_id} {node.name}".encode()).hexdigest()[:32]


def leader(state: LabState, name: str) -> int | None:
    """The node's first process (its systemd), as numbered on this machine, or its emulator; None while it is down."""
    for pid in sorted(cgroup.members([group / name for group in groups(state)])):
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if status.startswith("Name:\tqemu-system"):
            return pid
        numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
        if len(numbers) > 1 and numbers[-1] == "1":
            return pid
    return None


def stop(state: LabState, name: str) -> None:
    """End the node at once, as if its power had failed; its overlay stays."""
    cgroup.end([group / name for group in groups(state)])
    # A firewall that lets no answer out keeps the kernel waiting for it, and with it the dead node's network: its
    # interfaces would be in the way of the next boot.
    for nic in topology(state.lab_id).node(name).nics:
        link = topology(state.lab_id).node(name).host_interface(nic)
        run(["ip", "-n", f"iks{state.lab_id}", "link", "delete", link], check=False)
    note = paths(state, name).lock_note
    if note.exists():
        Path("/run/systemd/nspawn/locks", note.read_text(encoding="utf-8")).unlink(missing_ok=True)
    for left_behind in (Path("/run/systemd/nspawn/propagate"), Path("/run/systemd/nspawn/unix-export")):
        folder = left_behind / f"iks{state.lab_id}-{name}"
        if folder.exists():
            run(["umount", "--lazy", str(folder)], check=False)
            run(["rm", "-rf", "--one-file-system", str(folder)], check=False)
