# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens between a task and its datastore: a line that is cut, a program that does more than it was asked."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class Line:
    """A relay on loopback to a datastore. `slow()` lets a watcher keep up, `cut()` ends it, `mend()` opens it again."""

    def __init__(self, url: str) -> None:
        scheme, _sep, place = url.partition("://")
        host, _colon, port = place.rpartition(":")
        self._target = (host, int(port))
        self._delay = 0.0
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def slow(self, seconds: float) -> None:
        self._delay = seconds

    def cut(self) -> None:
        """What is connected is reset, and so is everybody who comes."""
        with self._lock:
            self._cut = True
            held, self._open = self._open, []
        for one in held:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def mend(self) -> None:
        self._delay = 0.0
        self._cut = False

    def close(self) -> None:
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            if self._cut:
                client.close()
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self._delay)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def line_to(url: str) -> Iterator[Line]:
    line = Line(url)
    try:
        yield line
    finally:
        line.close()


@contextlib.contextmanager
def when(condition: Callable[[], bool], action: Callable[[], None]) -> Iterator[threading.Event]:
    """Do something once as soon as a condition holds, while a task runs; the event tells whether it came to that."""
    done, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            if condition():
                action()
                done.set()
                return
            time.sleep(0.005)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield done
    finally:
        over.set()
        watcher.join()


def wrapped(folder: Path, tool: Path, before_apply: str = "", after_apply: str = "") -> tuple[Path, Path]:
    """A program that logs its words, a line a start, and runs calicoctl, with more commands around an apply.

    Returns the program and the log. The commands run once.
    """
    program, log, once = folder / "calicoctl", folder / "starts.log", folder / "once"
    program.write_text(
        f"""#!/bin/bash
printf '%s\\n' "$*" >> {shlex.quote(str(log))}
if [ "$1" = apply ] && mkdir {shlex.quote(str(once))} 2>/dev/null; then
    {before_apply or ":"}
    {shlex.quote(str(tool))} "$@"
    status=$?
    {after_apply or ":"}
    exit $status
fi
exec {shlex.quote(str(tool))} "$@"
""",
        encoding="utf-8",
    )
    os.chmod(program, 0o755)
    log.touch()
    return program, log
