# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at UDP ports all the time and notes when one of them changes sides; test_families.py starts it in a namespace.

Every look comes from a source port of its own: to connection tracking each is the first packet of a stranger. A port
answers or refuses; silence is no answer and is not counted.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterator

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))))

from tests.lab.guard import require_inside_lab

PATIENCE = 0.1
LOWEST, PORTS = 20000, 40000


def source_ports() -> Iterator[int]:
    """One after the other, from a place that moves faster than they are used: no run takes those of the last."""
    first = int(time.monotonic() * 4000)
    return (LOWEST + (first + number) % PORTS for number in itertools.count())


def look(targets: list[tuple[str, int]], ports: Iterator[int]) -> list[str]:
    """What each target does now: open, refused, or nothing."""
    found = [""] * len(targets)
    waiting = {}
    poll = select.poll()
    for place, target in enumerate(targets):
        sock = socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("", next(ports)))
        sock.connect(target)
        sock.send(b"?")
        waiting[sock.fileno()] = (place, sock)
        poll.register(sock, select.POLLIN)
    end = time.monotonic() + PATIENCE
    while waiting and (left := end - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            place, sock = waiting.pop(descriptor)
            poll.unregister(descriptor)
            try:
                sock.recv(512)
                found[place] = "open"
            except OSError:
                found[place] = "refused"
            sock.close()
    for _place, sock in waiting.values():
        sock.close()
    return found


def main() -> int:
    request = json.loads(sys.stdin.buffer.raw.readline())
    require_inside_lab(int(request["lab"]))
    targets = [(address, port) for address, port in request["targets"]]
    ports = source_ports()
    seen = look(targets, ports)
    changes: list[list[float]] = [[] for _ in targets]
    last = [time.monotonic()] * len(targets)
    blind = 0.0
    print("ready", flush=True)
    while not select.select([0], [], [], 0.001)[0]:
        now = look(targets, ports)
        moment = time.monotonic()
        for place, answer in enumerate(now):
            if answer:
                blind = max(blind, moment - last[place])
                last[place] = moment
                if answer != seen[place]:
                    changes[place].append(moment)
                    seen[place] = answer
    print(json.dumps({"changes": changes, "blind": blind, "seen": seen}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
