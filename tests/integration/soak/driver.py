# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module in a node, many times a second, and kills it where it is told to. Standard library only.

    python3 driver.py FOLDER        FOLDER holds `ansible` and `ansible_collections`

A request is a line of JSON on standard input, its answer a line on standard output. Each request is a fork of this
process, which has imported everything already: the module's own `main`, with the arguments that Ansible would hand it.

    {"arguments": {...}}                               run it
    {"arguments": {...}, "kill_after": 0.05}           SIGKILL after so many seconds
    {"arguments": {...}, "kill_after": 0.05, "group": true}    its children with it
    {"arguments": {...}, "kill_before": 3}             SIGKILL when it is about to run its third command
    {"arguments": {...}, "stopped": true}              stop before the first step, until somebody lets it go on

The answer: {"result": what the module returned or null, "status": as waitpid gives it, "seconds": wall time,
"commands": how many it ran}.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import Any, Dict, Optional

sys.path.insert(0, sys.argv[1])

from ansible.module_utils import basic

from ansible_collections.iks.hardening.plugins.modules import node_firewall

LIMIT = 120.0


def hand_over(arguments: Dict[str, Any]) -> None:
    """The module's arguments, where AnsibleModule looks for them in every ansible-core from 2.17 on."""
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    if hasattr(basic, "_ANSIBLE_PROFILE"):  # from 2.19 on
        basic._ANSIBLE_PROFILE = "legacy"


def child(request: Dict[str, Any], pipe: int) -> None:
    """Be the module. Does not return."""
    os.setpgid(0, 0)
    if request.get("stopped"):
        os.kill(os.getpid(), signal.SIGSTOP)
    os.dup2(pipe, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    count_commands(request.get("kill_before"))
    status = 1
    try:
        hand_over(request["arguments"])
        node_firewall.main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        print(json.dumps({"commands": COUNTED[0]}), flush=True)
        os._exit(status)


COUNTED = [0]


def count_commands(last: Optional[int]) -> None:
    """Count what the module runs; before its `last` command it is gone."""
    real = basic.AnsibleModule.run_command

    def counted(self: Any, *args: Any, **keywords: Any) -> Any:
        COUNTED[0] += 1
        if COUNTED[0] == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *args, **keywords)

    basic.AnsibleModule.run_command = counted


def serve(request: Dict[str, Any]) -> Dict[str, Any]:
    """Run one request to its end."""
    reader, writer = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        child(request, writer)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)  # the child does so too: whoever comes first, there is a group to kill
    os.close(writer)
    output = read_until(reader, began + request.get("kill_after", LIMIT))
    if output is None:
        (os.killpg if request.get("group") else os.kill)(pid, signal.SIGKILL)
        output = b""
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    answer: Dict[str, Any] = {"status": status, "seconds": time.monotonic() - began, "result": None, "commands": None}
    for line in output.decode("utf-8", "replace").splitlines():
        if line.startswith("{"):
            found = json.loads(line)
            answer.update(found if set(found) == {"commands"} else {"result": found})
    return answer


def read_until(reader: int, deadline: float) -> Optional[bytes]:
    """What comes until the end of file; None when the deadline passes first."""
    output = b""
    while True:
        if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        part = os.read(reader, 1 << 16)
        if not part:
            return output
        output += part


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
