# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection as container plugins are: commands are started inside the node, and nothing crosses its network."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: boxed
short_description: Commands inside a node of the lab
description: For tests of the collection only.
author: iks.hardening contributors
options:
  enter:
    description: The command line, as a list, that puts a program into the node.
    type: list
    elements: str
    vars:
      - name: boxed_enter
"""


class Connection(ConnectionBase):
    """One process a command."""

    transport = "boxed"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._run(["/bin/sh", "-c", cmd], in_data)

    def put_file(self, in_path: str, out_path: str) -> None:
        super().put_file(in_path, out_path)
        self._checked(f"cat >{shlex.quote(out_path)}", Path(in_path).read_bytes())

    def fetch_file(self, in_path: str, out_path: str) -> None:
        super().fetch_file(in_path, out_path)
        Path(out_path).write_bytes(self._checked(f"cat {shlex.quote(in_path)}", b""))

    def close(self) -> None:
        self._connected = False

    def _run(self, argv: list[str], data: bytes | None) -> tuple[int, bytes, bytes]:
        words: Any = self.get_option("enter")
        done = subprocess.run([*words, *argv], input=data or b"", capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def _checked(self, script: str, data: bytes) -> bytes:
        status, output, error = self._run(["/bin/sh", "-c", script], data)
        if status != 0:
            raise AnsibleConnectionFailure(error.decode(errors="replace"))
        return output
