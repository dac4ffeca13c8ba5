# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environments of the matrix: which ansible-core on which Pythons, and how a virtual environment is made."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements" / "matrix.txt"
PYENV = Path.home() / ".pyenv" / "versions"


@dataclass(frozen=True)
class Environment:
    """One ansible-core; `controller` is false where only what runs on targets is tested."""

    name: str
    core: str
    pythons: tuple[str, ...]
    controller: bool = True

    @property
    def path(self) -> Path:
        """The virtual environment."""
        return ROOT / f".venv-{self.name}"

    def binary(self, name: str) -> str:
        """Path of a program of the virtual environment."""
        return str(self.path / "bin" / name)


ENVIRONMENTS = (
    Environment("2.17", "2.17.14", ("3.10", "3.11", "3.12")),
    Environment("2.19", "2.19.14", ("3.11", "3.12", "3.13")),
    # The newest that the package index offers; tests/matrix/__main__.py says so when there is a newer one.
    Environment("2.21", "2.21.5", ("3.12", "3.13", "3.14")),
    # Targets with the oldest Python (Ubuntu 20.04). 2.13 is the last ansible-core that installs there: it only lends
    # ansible.module_utils to the tests, a real target gets that from its controller.
    Environment("target-3.8", "2.13.13", ("3.8",), controller=False),
)


def find_python(versions: tuple[str, ...]) -> str | None:
    """The first interpreter of one of these versions, on PATH or of pyenv, that can make virtual environments."""
    for version in versions:
        candidates = [shutil.which(f"python{version}"), *map(str, sorted(PYENV.glob(f"{version}.*/bin/python3")))]
        for candidate in filter(None, candidates):
            # A version manager's shim exists also for versions that are not selected: only a run tells. The base
            # interpreter is what counts: PATH begins with .venv, which may be made anew.
            code = "import ensurepip, os, sys, venv; print(os.path.realpath(sys.executable))"
            probe = subprocess.run([candidate, "-c", code], capture_output=True, encoding="utf-8", check=False)
            if probe.returncode == 0:
                return probe.stdout.strip()
    return None


def make(environment: Environment, python: str) -> None:
    """Make the virtual environment unless it is there and made from the same requirements."""
    wanted = hashlib.sha256(f"{environment.core}\n{python}\n{REQUIREMENTS.read_text()}".encode()).hexdigest()
    stamp = environment.path / ".stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    subprocess.run([python, "-m", "venv", "--clear", str(environment.path)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    command = [environment.binary("python"), *install, f"ansible-core=={environment.core}"]
    outcome = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if outcome.returncode != 0:
        raise SystemExit(f"matrix {environment.name}: pip failed ({outcome.returncode}):\n{outcome.stderr[-2000:]}")
    stamp.write_text(wanted)
