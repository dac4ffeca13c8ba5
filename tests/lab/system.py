# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small wrappers around the operating system that the rest of the lab shares."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CLONE_NEWNET = 0x40000000


class LabError(Exception):
    """Something a person can put right; the text says what and how."""


def say(text: str) -> None:
    """One line of progress, at once (output may be a pipe)."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def require_root() -> None:
    if os.geteuid() != 0:
        raise LabError(
            f"the lab needs root (network namespaces, overlays); this is uid {os.geteuid()}: run it with sudo"
        )


def require_tools(tools: Sequence[str]) -> None:
    """Fail by name before anything is built; packages.txt names the packages."""
    missing = [tool for tool in tools if shutil.which(tool, path=tool_path()) is None]
    if missing:
        packages = Path(__file__).with_name("packages.txt")
        raise LabError(f"missing on this machine: {', '.join(missing)}; install the packages of {packages}")


def tool_path() -> str:
    """PATH with the sbin directories, which an ordinary user's shell does not have."""
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def run(
    argv: Sequence[str], *, stdin: str | None = None, check: bool = True, timeout: float | None = 60
) -> subprocess.CompletedProcess[str]:
    """Run one command quietly; a failure names the command, its status and its last line."""
    done = subprocess.run(
        list(argv),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PATH": tool_path()},
    )
    if check and done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise LabError(f"command failed with status {done.returncode}: {' '.join(argv)}: {lines[-1]}")
    return done


def run_visibly(argv: Sequence[str], title: str, log: Path, *, every: float = 5.0) -> None:
    """Run a slow command; its output goes to `log`, its newest line is shown every few seconds."""
    started = time.monotonic()
    newest = title
    finished = threading.Event()

    def show() -> None:
        while not finished.wait(every):
            say(f"{title}: {int(time.monotonic() - started)} s: {newest[:90]}")

    say(title)
    with open(log, "a", encoding="utf-8") as sink, subprocess.Popen(
        list(argv),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, "PATH": tool_path(), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
    ) as process:
        shower = threading.Thread(target=show, daemon=True)
        shower.start()
        assert process.stdout is not None
        for line in process.stdout:
            sink.write(line)
            newest = line.strip() or newest
        status = process.wait()
        finished.set()
    if status != 0:
        raise LabError(f"{title} failed with status {status}: {newest}; the log is {log}")


def wait_until(condition: Callable[[], bool], timeout: float, what: str, *, step: float = 0.03) -> None:
    """Poll until `condition` holds or raise with `what` was awaited."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not so after {timeout:.0f} s")
        time.sleep(step)


def enter_netns(path: str) -> None:
    """Move the calling thread into the network namespace behind `path`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if hasattr(os, "setns"):
            os.setns(descriptor, CLONE_NEWNET)
        elif ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    finally:
        os.close(descriptor)


def mounts_below(folder: Path) -> list[str]:
    """Mount points at or below `folder`, deepest first (the order to unmount them in)."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        for line in table:
            point = line.split()[4].encode().decode("unicode_escape")
            if point == str(folder) or point.startswith(f"{folder}/"):
                found.append(point)
    return sorted(found, key=len, reverse=True)


def unmount_below(folder: Path) -> None:
    for point in mounts_below(folder):
        run(["umount", "--lazy", point], check=False)


def remove_tree(folder: Path) -> None:
    """Delete a directory of ours; refuses while something is still mounted below it."""
    if mounts_below(folder):
        raise LabError(f"{folder} still has mounts below it: unmount them first")
    if folder.exists():
        # rm is much faster than shutil.rmtree on a whole root file system.
        run(["rm", "-rf", "--one-file-system", str(folder)], timeout=300)
