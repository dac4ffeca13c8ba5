# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs the stand-in into one executable file, as the real tool is one static binary."""

from __future__ import annotations

import functools
import io
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Optional

VERSIONS = ("1.4.0", "3.25.2")
PYTHON = "/usr/bin/python3"
_PACKAGE = Path(__file__).parent / "standin"

# Compiled by the interpreter that will run it: compiling at every start would take longer than the work. The header
# says that the source need not be compared (PEP 552); another interpreter falls back to the source.
_COMPILE = """
import importlib.util, marshal, sys
source = open(sys.argv[1], encoding="utf-8").read()
code = compile(source, sys.argv[2], "exec", dont_inherit=True, optimize=1)
header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source.encode())
sys.stdout.buffer.write(header + marshal.dumps(code))
"""


def install(path: Path, version: str, patience: float = 1.0, python: str = PYTHON) -> Path:
    """Write the executable of a version to `path` and return it.

    `patience` scales the times for which the real tool waits on a dead datastore (30 s an endpoint for 1.4.0);
    `python` is the interpreter on the machine that will run it, 3.8 or later, with PyYAML where YAML is read.
    """
    if version not in VERSIONS:
        raise ValueError(f"version {version}: the stand-in speaks {' and '.join(VERSIONS)}")
    path.write_bytes(packed(version, patience, python))
    path.chmod(0o755)
    return path


@functools.lru_cache(maxsize=None)
def real_tool(version: str) -> Optional[Path]:
    """The real calicoctl of a version among those that CALICOCTL_BIN names (several are separated by colons)."""
    for name in filter(None, os.environ.get("CALICOCTL_BIN", "").split(os.pathsep)):
        asked = subprocess.run([name, "version"], capture_output=True, text=True, timeout=120, check=False)
        if f"Client Version:    v{version}\n" in asked.stdout:
            return Path(name)
    return None


def tool(folder: Path, version: str, patience: float = 1.0) -> Path:
    """The real calicoctl of a version if there is one, else the stand-in, installed into `folder`."""
    return real_tool(version) or install(folder / f"calicoctl-{version}", version, patience)


def packed(version: str, patience: float = 1.0, python: str = PYTHON) -> bytes:
    """The bytes of the executable; the same every time for the same arguments, so that a checksum can be pinned."""
    start = f"from standin.main import run\nrun({version!r}, {patience!r})\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "__main__.py", start.encode())
        for module in sorted(_PACKAGE.glob("*.py")):
            _add(archive, f"standin/{module.name}", module.read_bytes())
            _add(archive, f"standin/{module.name}c", _compiled(module, python))
    return f"#!{python} -IS\n".encode() + content.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, (2017, 7, 28, 0, 0, 0)), content)


def _compiled(module: Path, python: str) -> bytes:
    command = [python, "-IS", "-c", _COMPILE, str(module), f"standin/{module.name}"]
    return subprocess.run(command, check=True, capture_output=True).stdout
