# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""community.general, from the Python package that carries it: only for the measurements, only below build/peers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "requirements" / "peers.txt"
FOLDER = ROOT / "build" / "peers"
_COLLECTION = "ansible_collections/community/general/"
_WANTED = tuple(
    _COLLECTION + path
    for path in (
        "MANIFEST.json",
        "meta/runtime.yml",
        "plugins/action/iptables_state.py",
        "plugins/modules/iptables_state.py",
    )
)


class PeerMissing(Exception):
    """A peer that cannot be had here; its text says why."""


def community_general() -> Path:
    """A collections path that holds what is measured. The first call downloads the package. Raises PeerMissing."""
    stamp = FOLDER / ".made-of"
    pins = PINS.read_text(encoding="utf-8")
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != pins:
        with tempfile.TemporaryDirectory() as folder:
            _unpack(_download(Path(folder)))
        stamp.write_text(pins, encoding="utf-8")
    return FOLDER


def _download(folder: Path) -> Path:
    print("  downloading the package that carries community.general (about 50 MB, once)", flush=True)
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
        missing = set(_WANTED) - set(archive.namelist())
        if missing:
            raise PeerMissing(f"{wheel.name} has no {min(missing)}")
        archive.extractall(FOLDER, _WANTED)
