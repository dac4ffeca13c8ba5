# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as a whole: `up` builds it, `Lab` is a handle on a running one, `down` removes every trace."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import cgroup, dhcp, kube, limits, ssh
from . import node as nodes
from .nodefiles import NodeFile, common_files, internet_files
from .recipe import Recipe
from .rootfs import Image, image_for
from .state import REPO_ROOT, RUN, LabState, existing_ids, lab_folder, load, locked
from .system import LabError, enter_netns, remove_tree, require_root, require_tools, run, say, unmount_below, wait_until
from .topology import Topology, controller_addresses, topology

VM_PATIENCE = 300  # seconds that a virtual machine without KVM may take on a busy computer


class Lab:
    """A handle on a lab that exists; reads its state anew each time, so it stays valid across reboots of nodes."""

    def __init__(self, lab_id: int) -> None:
        self.lab_id = lab_id
        self.topology: Topology = topology(lab_id)

    @property
    def state(self) -> LabState:
        state = load(self.lab_id)
        if state is None or not state.ready:
            raise LabError(f"lab {self.lab_id} is not up: start it with: python -m tests.lab up --id {self.lab_id}")
        return state

    @property
    def netns(self) -> str:
        """The lab's own namespace: the controller's side."""
        return netns_path(self.lab_id)

    @property
    def node_names(self) -> list[str]:
        return list(self.state.nodes)

    def leader(self, node: str) -> int:
        """Process id of the node's systemd on this machine."""
        self._must_have(node)
        pid = nodes.leader(self.state, node)
        if pid is None:
            raise LabError(
                f"node {node} of lab {self.lab_id} is not running; see {nodes.paths(self.state, node).console}"
            )
        return pid

    def node_netns(self, node: str) -> str:
        """Path of the network namespace of a node, of a pod (`worker1/pod`) or of the `controller`, the lab's own.

        A node's changes when it reboots.
        """
        if node == "controller":
            return self.netns
        name, _, pod = node.partition("/")
        if self.topology.node(name).virtual:
            raise LabError(f"node {name}: is a virtual machine, whose network namespace is its own; probe towards it")
        return f"/proc/{self.leader(name)}/root/run/netns/{pod}" if pod else f"/proc/{self.leader(name)}/ns/net"

    def run(
        self,
        node: str,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        check: bool = True,
        timeout: float | None = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root inside a node, past its network: no firewall can prevent it.

        (Into a virtual machine there is no such way; there it is SSH.)
        """
        words = [shlex.join(argv)] if self.topology.node(node).virtual else list(argv)
        return run([*self.enter_command(node), *words], stdin=stdin, check=check, timeout=timeout)

    def enter_command(self, node: str) -> list[str]:
        """The command line that puts a program into a node."""
        leader = self.leader(node)
        if self.topology.node(node).virtual:
            return [*ssh.command(self, node), "--"]
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = ["env", "-i", f"PATH={path}", "HOME=/root", "LANG=C.UTF-8"]
        return ["nsenter", f"--target={leader}", *namespaces, *environment]

    def write(self, node: str, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file in a node, with the directories above it."""
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"'
        self.run(node, ["sh", "-c", script, "sh", path, f"{mode:o}"], stdin=text)

    def read(self, node: str, path: str) -> str:
        return self.run(node, ["cat", path]).stdout

    def boot_id(self, node: str) -> str:
        """What the node's present boot is known by: its first process, or what a virtual machine's kernel drew."""
        if not self.topology.node(node).virtual:
            return str(nodes.leader(self.state, node) or "")
        return self.run(node, ["cat", "/proc/sys/kernel/random/boot_id"], check=False).stdout

    def reboot(self, node: str, *, timeout: float = 30) -> None:
        """Reboot as an administrator would; returns when SSH answers again."""
        virtual = self.topology.node(node).virtual
        limit, step = (timeout + VM_PATIENCE, 1.0) if virtual else (timeout, 0.03)
        before = self.boot_id(node)
        ssh.end_masters(self.state.folder)  # a connection to a machine that is no more would only hang
        self.run(node, ["systemctl", "reboot"], check=False)
        wait_until(lambda: self.boot_id(node) not in ("", before), limit, f"node {node} reboots", step=step)
        self.wait_for_ssh([node], timeout=timeout)
        self.wait_booted([node])

    def power_cut(self, node: str) -> None:
        """End the node at once and start it again with the disk it had; returns when SSH answers again."""
        self._must_have(node)
        nodes.stop(self.state, node)
        self._start([node])

    def reset(self, *names: str) -> None:
        """Give nodes (all, when none is named) a fresh disk and start them anew, as if the lab had just been made."""
        chosen = list(names) or self.node_names
        for node in chosen:
            self._must_have(node)
            nodes.stop(self.state, node)
            remove_tree(nodes.paths(self.state, node).folder)
        self._start(chosen)

    def _start(self, names: Sequence[str]) -> None:
        ssh.end_masters(self.state.folder)
        _start_nodes(self.state, names)
        self.wait_for_ssh(names)
        self.wait_booted(names)

    def enable_dhcp(self, node: str, *, lease_seconds: int = 20) -> None:
        """The node's private address comes from a DHCP lease from now on; it stays the same address."""
        dhcp.enable(self, node, lease_seconds=lease_seconds)

    def disable_dhcp(self, node: str) -> None:
        dhcp.disable(self, node)

    def dhcp_log(self, node: str) -> list[dict[str, object]]:
        """What the DHCP server heard from the node: dictionaries with time, message (discover, request) and unicast."""
        return dhcp.log(self, node)

    @property
    def inventory_file(self) -> Path:
        """The lab's Ansible inventory: user iks, who becomes root."""
        return self.state.folder / "inventory.yml"

    def wait_for_ssh(self, names: Sequence[str], *, timeout: float = 30) -> None:
        with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
            list(pool.map(lambda name: self._wait_for_ssh(name, timeout), names))

    def _wait_for_ssh(self, name: str, timeout: float) -> None:
        enter_netns(self.netns)  # of this thread alone, which ends with the pool
        node = self.topology.node(name)
        if node.virtual:
            say(f"node {name} boots as a virtual machine, half a minute without KVM")
            timeout += VM_PATIENCE
        state = load(self.lab_id)
        assert state is not None

        def answers() -> bool:
            if not cgroup.members([group / name for group in nodes.groups(state)]):
                raise LabError(f"node {name} ended while it was booting; see {nodes.paths(state, name).console}")
            return _greets(node.ssh_address)

        wait_until(answers, timeout, f"SSH of node {name} answers on {node.ssh_address}")

    def wait_booted(self, names: Sequence[str]) -> None:
        """SSH answers a little before the last service has started; tests want all of them."""
        for name in names:
            self.run(name, ["systemctl", "is-system-running", "--wait"], check=False, timeout=VM_PATIENCE)

    def _must_have(self, node: str) -> None:
        if node not in self.state.nodes:
            raise LabError(f"node {node}: not in lab {self.lab_id}, which has {', '.join(self.state.nodes) or 'none'}")


def _greets(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=0.5) as connection:
            connection.settimeout(1)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def netns_name(lab_id: int) -> str:
    return f"iks{lab_id}"


def netns_path(lab_id: int) -> str:
    return f"/run/netns/{netns_name(lab_id)}"


def up(lab_id: int, *, names: Sequence[str] | None = None, suite: str = "bookworm", kube: bool = True) -> Lab:
    """Bring a lab to run with at least the named nodes (without names: all but the virtual machine).

    What runs is left alone; a half-made lab is made anew.
    """
    require_root()
    require_tools(["systemd-nspawn", "ip", "nsenter", "unshare", "mount", "ssh-keygen", "ssh"])
    wanted = _check_names(lab_id, names)
    image = image_for(Recipe(suite=suite))
    started = time.monotonic()
    with locked(lab_id):
        state = load(lab_id)
        if state is not None and not (state.ready and Path(netns_path(lab_id)).exists()):
            say(f"lab {lab_id} was left half made: removing it first")
            _remove(lab_id)
            state = None
        if state is None:
            state = _make_network(lab_id, suite, image, kube)
        elif (state.suite, state.kube) != (suite, kube):
            raise LabError(
                f"lab {lab_id} runs with suite {state.suite} and kube {state.kube}: end it first (down --id {lab_id})"
            )
        missing = [name for name in wanted if name not in state.nodes or nodes.leader(state, name) is None]
        limits.check_room(len(missing))
        state = state.changed(nodes=[n.name for n in topology(lab_id).nodes if n.name in {*wanted, *state.nodes}])
        _start_nodes(state, missing)
        lab = Lab(lab_id)
        lab.wait_for_ssh(missing)
        state.changed(ready=True)
        ssh.write_inventory_files(lab)
        lab.wait_booted(missing)
    say(f"lab {lab_id} is up ({', '.join(wanted)}), {time.monotonic() - started:.1f} s")
    return lab


def _check_names(lab_id: int, names: Sequence[str] | None) -> list[str]:
    known = {node.name: node for node in topology(lab_id).nodes}
    for name in names or []:
        if name not in known:
            raise LabError(f"node {name}: not known; the lab can have {', '.join(known)}")
    return list(names or [name for name, node in known.items() if not node.virtual])


def _make_network(lab_id: int, suite: str, image: Image, kube: bool) -> LabState:
    """State first, so that whatever follows can be found and removed; then the namespace with its bridges."""
    state = LabState(
        lab_id, str(REPO_ROOT), suite, str(image.folder), [str(g) for g in cgroup.lab_groups(lab_id)], kube=kube
    )
    state.save()
    cgroup.make(nodes.groups(state))
    ssh.make_keys(state.folder)
    name, lab = netns_name(lab_id), topology(lab_id)
    run(["ip", "netns", "add", name])
    batch = ["link set lo up"]
    for bridge in lab.bridges:
        batch += [f"link add {bridge.name} type bridge forward_delay 0 mcast_snooping 0", f"link set {bridge.name} up"]
    for bridge_name, (four, six) in controller_addresses(lab).items():
        batch += [f"address add {four} dev {bridge_name}", f"address add {six} dev {bridge_name} nodad"]
    run(["ip", "-n", name, "-batch", "-"], stdin="\n".join(batch) + "\n")
    return state


def _start_nodes(state: LabState, names: Sequence[str]) -> None:
    lab, image, keys = topology(state.lab_id), Image(Path(state.image)), ssh.read_keys(state.folder)
    for name in names:
        nodes.stop(state, name)  # what a crashed run may have left of it
        node = lab.node(name)
        files: list[NodeFile] = common_files(lab, node, keys)
        if state.kube and node.pod_network:
            files += kube.files(node)
        if name == "internet":
            files += internet_files(node)
        nodes.start(state, node, image, netns_path(state.lab_id), files)


def down(lab_id: int) -> bool:
    """End a lab and remove every trace of it, also of a half-made one. False when there was nothing."""
    require_root()
    if not lab_folder(lab_id).exists() and not Path(netns_path(lab_id)).exists():
        return False
    with locked(lab_id):
        _remove(lab_id)
    with contextlib.suppress(OSError):
        RUN.rmdir()  # only when no other lab is there
    return True


def down_all() -> list[int]:
    return [lab_id for lab_id in existing_ids() if down(lab_id)]


def _remove(lab_id: int) -> None:
    """The caller holds the lock."""
    state = load(lab_id)
    groups = nodes.groups(state) if state else cgroup.lab_groups(lab_id)
    if state is not None:
        ssh.end_masters(state.folder)
        for node in topology(lab_id).nodes:
            nodes.stop(state, node.name)
    cgroup.end(groups)
    if Path(netns_path(lab_id)).exists():
        end_processes_in(netns_path(lab_id))
        run(["ip", "netns", "delete", netns_name(lab_id)])
    unmount_below(lab_folder(lab_id))
    remove_tree(lab_folder(lab_id))


def end_processes_in(netns: str) -> None:
    """A process that still lives in the lab's namespace (a probe whose parent was killed) belongs to the lab."""
    for pid in run(["ip", "netns", "pids", Path(netns).name], check=False).stdout.split():
        if int(pid) != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
