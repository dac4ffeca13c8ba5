# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the controller reaches the nodes: keys, known hosts, the ssh options, and the inventory for Ansible.

Everything runs over plain SSH. The lab's namespace is entered by proxy.py, which ssh starts for each new connection.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .nodefiles import Keys
from .system import run

if TYPE_CHECKING:
    from .lab import Lab

GROUPS = ("iks_masters", "iks_workers", "iks_gateways", "lab_vms", "lab_support")


def make_keys(folder: Path) -> None:
    """One login key and one host key for the whole lab, made with it and gone with it."""
    for name in ("login", "host"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"iks-lab-{name}", "-f", str(folder / name)])


def read_keys(folder: Path) -> Keys:
    return Keys((folder / "login.pub").read_text(), (folder / "host").read_text(), (folder / "host.pub").read_text())


def options(lab: Lab) -> list[str]:
    """ssh's command-line options for any node of the lab."""
    folder = lab.state.folder
    proxy = [sys.executable, "-I", str(Path(__file__).with_name("proxy.py")), lab.netns, "%h", "%p"]
    settings = {
        "ProxyCommand": shlex.join(proxy),
        "ProxyUseFdpass": "yes",
        "UserKnownHostsFile": str(folder / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "IdentityFile": str(folder / "login"),
        "LogLevel": "ERROR",
    }
    return ["-F", "/dev/null", *[word for name, value in settings.items() for word in ("-o", f"{name}={value}")]]


def command(lab: Lab, node: str, user: str = "root") -> list[str]:
    """The ssh command line that logs in on a node."""
    return ["ssh", *options(lab), f"{user}@{lab.topology.node(node).ssh_address}"]


def inventory(lab: Lab, *, user: str = "iks") -> dict[str, Any]:
    """A whole Ansible inventory of the lab's nodes, in the form of its YAML files."""
    state = lab.state
    groups: dict[str, Any] = {}
    for group in GROUPS:
        hosts = {
            node.name: {"ansible_host": node.ssh_address}
            for node in lab.topology.nodes
            if node.group == group and node.name in state.nodes
        }
        if hosts:
            groups[group] = {"hosts": hosts}
    variables = {
        "ansible_user": user,
        "ansible_become": user != "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": str(state.folder / "login"),
        "ansible_ssh_common_args": shlex.join(options(lab)),
        # A folder of the lab's own: a master connection must not outlive the lab it leads to.
        "ansible_control_path_dir": str(state.folder / "cp"),
    }
    return {"all": {"children": groups, "vars": variables}}


def write_inventory_files(lab: Lab) -> Path:
    """Write known_hosts and inventory.yml (JSON is YAML) into the lab's folder; returns the inventory's path."""
    folder = lab.state.folder
    (folder / "cp").mkdir(mode=0o700, exist_ok=True)
    host_key = " ".join((folder / "host.pub").read_text(encoding="utf-8").split()[:2])
    (folder / "known_hosts").write_text(
        "".join(f"{node.ssh_address} {host_key}\n" for node in lab.topology.nodes), encoding="utf-8"
    )
    file = folder / "inventory.yml"
    file.write_text(json.dumps(inventory(lab), indent=2) + "\n", encoding="utf-8")
    return file


def end_masters(folder: Path) -> None:
    """Ask ssh's multiplexing masters to leave: they would keep the lab's namespace alive for a minute."""
    for control in (folder / "cp").glob("*") if (folder / "cp").is_dir() else ():
        run(["ssh", "-F", "/dev/null", "-O", "exit", "-o", f"ControlPath={control}", "lab"], check=False, timeout=5)
