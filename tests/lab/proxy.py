# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh's ProxyCommand: enter the lab's network namespace, connect, hand the socket to ssh (ProxyUseFdpass) and end.

A program of its own that imports little: it runs once for each SSH connection.
"""

from __future__ import annotations

import array
import os
import socket
import sys


def main(netns: str, host: str, port: str) -> int:
    descriptor = os.open(netns, os.O_RDONLY)
    if hasattr(os, "setns"):
        os.setns(descriptor, 0)
    else:
        import ctypes

        if ctypes.CDLL(None).setns(descriptor, 0) != 0:
            print(f"cannot enter {netns}: root is needed", file=sys.stderr)
            return 1
    try:
        connection = socket.create_connection((host, int(port)), timeout=15)
    except OSError as error:
        print(f"lab: {host} port {port} is not reachable: {error.strerror or error}", file=sys.stderr)
        return 1
    connection.setblocking(True)
    with socket.socket(fileno=os.dup(1)) as ssh:
        ssh.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
