# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds, once, the root file system of the nodes, the repository they install from, and the kube layer.

A cache entry is a directory: `rootfs` (the lower layer of every node), `kube` (a layer with iptables above it) and
`repo` (a flat repository). It is built beside its final name and renamed when whole: a killed build leaves
nothing that is used.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from .recipe import Recipe
from .system import LabError, remove_tree, require_root, require_tools, run, run_visibly, say

DEFAULT_CACHE = Path("/var/cache/iks-lab")


@dataclass(frozen=True)
class Image:
    """A finished cache entry."""

    folder: Path

    @property
    def rootfs(self) -> Path:
        return self.folder / "rootfs"

    @property
    def kube(self) -> Path:
        return self.folder / "kube"

    @property
    def archive(self) -> Path:
        """The sources.list that debootstrap wrote: where more packages come from, while building."""
        return self.folder / "archive.list"

    @property
    def repo(self) -> Path:
        return self.folder / "repo"


def cache_folder() -> Path:
    return Path(os.environ.get("IKS_LAB_CACHE") or DEFAULT_CACHE)


def image_for(recipe: Recipe) -> Image:
    """The image of a recipe; built now if it is not in the cache."""
    image = Image(cache_folder() / recipe.key)
    if image.folder.is_dir():
        return image
    require_root()
    require_tools(["debootstrap", "chroot", "unshare", "mount"])
    cache_folder().mkdir(parents=True, exist_ok=True)
    with build_lock(cache_folder() / f".{recipe.key}.lock"):
        if not image.folder.is_dir():
            _build(recipe, image)
    return image


@contextmanager
def build_lock(path: Path) -> Iterator[None]:
    with open(path, "w", encoding="utf-8") as handle:
        started = time.monotonic()
        while not _try_lock(handle):
            say(f"another process builds this root file system: waiting for it, {time.monotonic() - started:.0f} s")
            time.sleep(5)
        yield


def _try_lock(handle: TextIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(recipe: Recipe, image: Image) -> None:
    started = time.monotonic()
    unfinished = Image(image.folder.with_name(f".{recipe.key}.unfinished"))
    remove_tree(unfinished.folder)
    unfinished.folder.mkdir(mode=0o755)
    log = unfinished.folder / "build.log"
    say(f"building the {recipe.suite} root file system once, about a minute; kept in {image.folder}")
    _debootstrap(recipe, unfinished.rootfs, log)
    _build_repository(recipe, unfinished, log)
    shutil.copyfile(unfinished.rootfs / "etc/apt/sources.list", unfinished.archive)
    _configure(recipe, unfinished.rootfs)
    _in_root(unfinished, ["apt-get", "-q", "update"], "reading the lab's own repository", log)
    _build_kube_layer(recipe, unfinished, log)
    unfinished.folder.rename(image.folder)
    say(f"root file system ready in {time.monotonic() - started:.0f} s")


def _debootstrap(recipe: Recipe, root: Path, log: Path) -> None:
    mirror = host_mirror()
    argv = [
        # Its own mount namespace: what debootstrap mounts is gone with it, however it ends.
        "unshare",
        "--mount",
        "--fork",
        "--kill-child",
        "--propagation",
        "private",
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(recipe.base)}",
        recipe.suite,
        str(root),
        *([mirror] if mirror else []),
    ]
    run_visibly(argv, f"debootstrap {recipe.suite}", log)


def host_mirror(sources: Path = Path("/etc/apt"), os_release: Path = Path("/etc/os-release")) -> str | None:
    """The archive that a Debian host itself uses; None elsewhere (debootstrap then takes its default)."""
    if "ID=debian" not in os_release.read_text(encoding="utf-8").splitlines():
        return None
    for file in [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]:
        if file.is_file():
            for uri in _uris(file.read_text(encoding="utf-8")):
                if uri.rstrip("/").endswith("/debian"):
                    return uri
    return None


def _uris(text: str) -> list[str]:
    """The archive addresses of a sources file, in either of apt's two formats."""
    words = []
    for line in text.splitlines():
        if line.startswith("URIs:"):
            words += line.split()[1:]
        elif line.startswith("deb "):
            words += [word for word in line.split()[1:] if "://" in word][:1]
    return [word for word in words if word.startswith(("http://", "https://"))]


def _build_repository(recipe: Recipe, image: Image, log: Path) -> None:
    """Download the packages with their dependencies, as the archive serves them, into a flat repository."""
    image.repo.mkdir()
    archives = image.rootfs / "var/cache/apt/archives"
    _in_root(image, ["apt-get", "-q", "update"], "reading the archive", log)
    for packages in (recipe.repository, recipe.managers):
        _in_root(
            image,
            ["apt-get", "-q", "-y", "--no-install-recommends", "--download-only", "install", *packages],
            "downloading packages for the nodes",
            log,
        )
    for package in sorted(archives.glob("*.deb")):
        shutil.move(str(package), image.repo / package.name.replace("%3a", "."))
    write_packages_index(image.repo)
    # Nothing of the real archive may stay: an `apt-get update` in a node must not look for it.
    remove_tree(image.rootfs / "var/lib/apt/lists")
    (image.rootfs / "var/lib/apt/lists/partial").mkdir(parents=True)
    for cache in (image.rootfs / "var/cache/apt").glob("*.bin"):
        cache.unlink()


def write_packages_index(repo: Path) -> None:
    """`Packages` of a flat repository: each package's control file plus where it lies and its checksum."""
    stanzas = []
    for package in sorted(repo.glob("*.deb")):
        control = run(["dpkg-deb", "--field", str(package)]).stdout.strip()
        checksum = run(["sha256sum", str(package)]).stdout.split()[0]
        stanzas.append(f"{control}\nFilename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {checksum}\n")
    if not stanzas:
        raise LabError(f"{repo}: no package was downloaded, so the nodes could install nothing")
    (repo / "Packages").write_text("\n".join(stanzas), encoding="utf-8")


def _configure(recipe: Recipe, root: Path) -> None:
    for name, text in recipe.files:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (root / "etc/sudoers.d/iks").chmod(0o440)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (root / "etc/machine-id").write_text("", encoding="utf-8")
    (root / "srv/repo").mkdir(parents=True, exist_ok=True)
    for unit in recipe.masked:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    run(["chroot", str(root), "useradd", "--create-home", "--uid", "1000", "--shell", "/bin/bash", "iks"])
    run(["chroot", str(root), "systemctl", "enable", "systemd-networkd.service", "ssh.service"])


def _build_kube_layer(recipe: Recipe, image: Image, log: Path) -> None:
    work = image.folder / "work"
    view = image.folder / "view"
    for folder in (image.kube, work, view):
        folder.mkdir()
    options = f"lowerdir={image.rootfs},upperdir={image.kube},workdir={work}"
    install = f"apt-get -q -y install {' '.join(recipe.kube)} && apt-get clean"
    script = (
        f"mount -t overlay overlay -o {options} {view} && mount --bind {image.repo} {view}/srv/repo"
        f" && chroot {view} sh -c '{install}'"
    )
    run_visibly(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], "adding the kube layer", log)
    for folder in (work, view):
        remove_tree(folder)


def _in_root(image: Image, argv: list[str], title: str, log: Path) -> None:
    """Run a command in the unfinished root with the repository bound in; mounts end with the command."""
    script = 'mkdir -p "$0/srv/repo" && mount --bind "$1" "$0/srv/repo" && root=$0 && shift && exec chroot "$root" "$@"'
    run_visibly(
        [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            str(image.rootfs),
            str(image.repo),
            *argv,
        ],
        title,
        log,
    )
