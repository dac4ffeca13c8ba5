# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in for `ansible.module_utils.basic` where a firewall module is started by plugin_utils/lean.py.

Ansible's own is a hundred kilobytes, of which these modules use three functions; a node compiles all of it for every
task. Options have been checked and completed on the controller, with Ansible's own code, before they come here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import syslog
from typing import Any, Dict, List, NoReturn, Optional, Tuple

# What the controller says of this task, set before the module begins: params, check_mode, diff, log (the module's name,
# or empty for no log).
given: Dict[str, Any] = {}
# A line of the node's log holds no more.
_LOGGED = 4096


class AnsibleModule:
    """The part of Ansible's class that the firewall modules use."""

    def __init__(self, argument_spec: Dict[str, Any], supports_check_mode: bool = False) -> None:
        self.params: Dict[str, Any] = given["params"]
        self.check_mode: bool = given["check_mode"]
        self._diff: bool = given["diff"]
        if given["log"]:
            words = " ".join(f"{name}={value}" for name, value in self.params.items() if value is not None)
            syslog.openlog(f"ansible-{given['log']}", 0, syslog.LOG_USER)
            line = f"Invoked with {words[:_LOGGED]}".encode("ascii", "backslashreplace").decode("ascii")
            syslog.syslog(syslog.LOG_INFO, line.replace("\0", " "))

    def run_command(
        self, args: List[str], handle_exceptions: bool = True, data: Optional[str] = None, binary_data: bool = False
    ) -> Tuple[int, str, str]:
        """Status, output and errors of a command. An OSError is the caller's, whatever `handle_exceptions` says.

        A command that ends before it has read its input is like any other.
        """
        text = data if data is None or binary_data else f"{data}\n"
        done = subprocess.run(
            args,
            input=None if text is None else text.encode("utf-8", "surrogateescape"),
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            # Messages are read by people and by us: in one language.
            env={**os.environ, "LC_ALL": "C", "LANG": "C"},
            check=False,
        )
        output, error = (part.decode("utf-8", "surrogateescape") for part in (done.stdout, done.stderr))
        return done.returncode, output, error

    def exit_json(self, **result: Any) -> NoReturn:
        """Hand over the result and end."""
        _end(0, result)

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        """Hand over a failure and end."""
        _end(1, {**result, "msg": msg, "failed": True})


def _end(status: int, result: Dict[str, Any]) -> NoReturn:
    """One line for the controller, as Ansible's own modules give it."""
    sys.stdout.write(json.dumps({"changed": False, **result}) + "\n")
    raise SystemExit(status)
