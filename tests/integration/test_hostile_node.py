# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node in somebody else's hands tells templates as facts. They stay data: the controller runs nothing of theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab

from .node_state import node_state
from .playbooks import HARDEN, Run, play, run_playbook, task
from .refusals import inventory_of

NODE = "worker1"
LINK = "{{7*7}}"


class Trap:
    """A file on the controller that exists once a template of the node's has been run there."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "marker"
        # Some files are read word by word.
        self.template = f"{{{{lookup('pipe','touch${{IFS}}{self.marker}')}}}}"

    def is_shut(self) -> bool:
        return not self.marker.exists()


@pytest.fixture
def trap(lab: Lab, tmp_path: Path) -> Iterator[Trap]:
    """Whatever firewall_info reads on the node says what would open the trap."""
    lab.reset(NODE)
    found = Trap(tmp_path)
    text = found.template
    lab.write(NODE, "/etc/os-release", f'ID="{text}"\nVERSION_ID="{text}"\nID_LIKE={text}\nPRETTY_NAME="{text}"\n')
    lab.write(NODE, "/etc/resolv.conf", f"nameserver {text}\nnameserver 192.0.2.53\nsearch {text}\n")
    lab.write(NODE, "/etc/chrony/chrony.conf", f"server {text} iburst\npool 192.0.2.123\n")
    lab.write(NODE, "/run/iks-hardening/boot", f"loaded {text}\ndamaged\n")
    lab.run(NODE, ["python3", "-c", f"import socket; socket.sethostname({LINK!r})"])
    lab.run(NODE, ["ip", "link", "add", LINK, "type", "bridge"])
    lab.run(NODE, ["iptables", "-N", LINK])
    lab.run(NODE, ["iptables", "-A", LINK, "-m", "comment", "--comment", text, "-j", "RETURN"])
    yield found
    lab.reset(NODE)


def test_the_trap_works(lab: Lab, tmp_path: Path) -> None:
    """The positive control: the author of a playbook may run what a node may not."""
    trap = Trap(tmp_path)
    steps = [task("it", "ansible.builtin.debug", {"msg": trap.template})]
    run_playbook(lab, [play("localhost", steps, connection="local")]).succeeded()
    assert not trap.is_shut()


def hardened(lab: Lab, **variables: Any) -> Run:
    private = f"10.171.{lab.lab_id}"
    given = {"iks_management_networks": [f"{private}.1/32"], **variables}
    return run_playbook(lab, HARDEN, given, inventory=inventory_of(lab, {NODE: {}}))


def test_B59_a_template_as_a_fact_stays_data(lab: Lab, trap: Trap) -> None:
    uses = {
        "shown": {"msg": "{{ node.os.id }} {{ node.time_server_names[0] }} {{ node.boot.loaded }}"},
        "derived": {"msg": "{{ derived }} {{ node.holders.nft | string }} {{ node.interfaces.keys() | list }}"},
    }
    rule = "accept in tcp port 80 name web # {{ node.os.id }}"
    steps = [
        task("info", "firewall_info", register="node"),
        task("set", "ansible.builtin.set_fact", {"derived": "{{ node.os.version }}"}),
        *(task(name, "ansible.builtin.debug", given) for name, given in uses.items()),
        task("rendered", "node_firewall", {"rules": rule, "state": "rendered"}),
        task("conditional", "ansible.builtin.debug", {"msg": "yes"}, when="node.os.id != 'debian'"),
        task("facts", "ansible.builtin.setup", {"gather_subset": "!all,!min,distribution"}),
    ]
    run = run_playbook(lab, [play(NODE, steps)]).succeeded()
    assert trap.is_shut()
    told = run.one("info").data
    assert told["os"] == {"id": trap.template, "version": trap.template, "like": trap.template}
    assert told["time_server_names"] == [trap.template]
    assert told["resolvers"] == ["192.0.2.53"], "what is no address is no resolver"
    assert LINK in told["interfaces"]
    assert told["boot"]["loaded"] == trap.template
    assert LINK in json.dumps(told["holders"])
    assert run.one("shown").data["msg"] == " ".join([trap.template] * 3)
    assert run.one("derived").data["msg"].startswith(trap.template)
    printed = trap.template.replace("'", r"\'")  # as iptables-save prints it
    assert any(f"web: {printed}" in line for line in run.one("rendered").data["after"]["ipv4"])


def test_B59_the_whole_playbook_says_what_the_node_says_and_runs_none_of_it(lab: Lab, trap: Trap) -> None:
    before = node_state(lab, NODE)
    refused = hardened(lab)
    (failure,) = refused.failures
    assert f"{NODE} runs {trap.template} {trap.template}, which the collection does not know" in failure.message
    assert "Nothing was changed" in failure.message
    assert node_state(lab, NODE) == before
    run = hardened(lab, iks_allow_untested_platform=True)
    assert trap.is_shut()
    assert "Traceback" not in run.output


# What a node could answer besides text in files: its programs are its own.
LIES: dict[str, list[dict[str, Any]]] = {
    "name": [{"ifname": "TEMPLATE", "addr_info": [{"local": "192.0.2.1", "prefixlen": 24, "scope": "global"}]}],
    "address": [{"ifname": "eth0", "addr_info": [{"local": "TEMPLATE", "prefixlen": 24, "scope": "global"}]}],
    "length": [{"ifname": "eth0", "addr_info": [{"local": "192.0.2.1", "prefixlen": "TEMPLATE", "scope": "global"}]}],
}


def test_B59_a_lying_program_opens_no_door(lab: Lab, trap: Trap) -> None:
    """The node's own `ip` answers with templates."""
    for name, lie in LIES.items():
        text = json.dumps(lie).replace("TEMPLATE", trap.template)
        lab.write(NODE, "/usr/local/sbin/ip", f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n", mode=0o755)
        run = hardened(lab, iks_allow_untested_platform=True)
        assert trap.is_shut(), name
        assert run.failures, name
        assert run.changed == {}, name
        assert "Traceback" not in run.output, run.output
