# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The slower tier: one node as a virtual machine with Debian's own kernel, for what the machine's kernel lacks.

The disk is made from the same layers as the other nodes' overlays, plus a layer with a kernel. KVM is used where it
works; software emulation (TCG) boots in about half a minute.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .nodefiles import NodeFile
from .rootfs import Image, build_lock, cache_folder
from .system import LabError, remove_tree, require_tools, run, run_visibly, say, tool_path
from .topology import Node

KERNEL_PACKAGES = ("linux-image-cloud-amd64", "udev", "initramfs-tools", "apparmor")
# The few modules that find the disk: under emulation every megabyte of an initial file system takes time to unpack.
KERNEL_SETTINGS = {
    "etc/initramfs-tools/conf.d/iks-lab": "MODULES=list\n",
    "usr/share/initramfs-tools/modules.d/iks-lab": "virtio_pci\nvirtio_blk\next4\ncrc32c_generic\n",
}
TOOLS = ("qemu-system-x86_64", "mke2fs")
DISK_SIZE = "4G"
MEMORY = "1024"
EMULATOR = ("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35")


def why_not() -> str:
    """Why no virtual machine can run here; empty when one can."""
    if platform.machine() != "x86_64":
        return f"virtual machines are made for x86_64 only; this machine is {platform.machine()}"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=tool_path()) is None]
    return f"{' and '.join(missing)} missing; VM=1 make setup installs what is needed" if missing else ""


def layer(image: Image) -> Path:
    """The kernel's layer above the root file system; made once, on the first virtual machine, from the archive."""
    wanted = f"{KERNEL_PACKAGES} {KERNEL_SETTINGS}"
    done = image.folder / f"vm-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    if done.is_dir():
        return done
    reason = why_not()
    if reason:
        raise LabError(reason)
    with build_lock(image.folder / ".vm.lock"):
        if not done.is_dir():
            _build_layer(image, done)
    return done


def _build_layer(image: Image, done: Path) -> None:
    upper, work, view = (image.folder / name for name in (".vm.unfinished", ".vm.work", ".vm.view"))
    for folder in (upper, work, view):
        remove_tree(folder)
        folder.mkdir()
    for name, text in KERNEL_SETTINGS.items():
        (upper / name).parent.mkdir(parents=True, exist_ok=True)
        (upper / name).write_text(text, encoding="utf-8")
    install = f"apt-get -q update && apt-get -q -y install {' '.join(KERNEL_PACKAGES)} && apt-get clean"
    script = (
        f"mount -t overlay overlay -o lowerdir={image.rootfs},upperdir={upper},workdir={work} {view}"
        f" && cp /etc/resolv.conf {view}/etc/resolv.conf"
        f" && cp {view}/etc/apt/sources.list {view}/etc/apt/sources.lab"
        f" && cp {image.archive} {view}/etc/apt/sources.list && mount -t proc proc {view}/proc"
        f" && chroot {view} sh -c '{install}'"
        f" && mv {view}/etc/apt/sources.lab {view}/etc/apt/sources.list && : > {view}/etc/resolv.conf"
        f" && rm -rf {view}/var/lib/apt/lists && cp -a {image.rootfs}/var/lib/apt/lists {view}/var/lib/apt"
    )
    run_visibly(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        "installing a kernel for the virtual machine",
        image.folder / "build.log",
    )
    for folder in (work, view):
        remove_tree(folder)
    upper.rename(done)


def make_disk(image: Image, layers: list[Path], files_layer: Path, folder: Path) -> None:
    """One ext4 file system with everything in it, and the kernel beside it; a disk that is there already is kept."""
    disk, view, work = folder / "disk.img", folder / "root", folder / "work"
    if disk.exists():
        return
    require_tools(TOOLS)
    fresh = folder / "disk.new"
    fresh.unlink(missing_ok=True)
    script = (
        f"mount -t overlay overlay {view}"
        f" -o lowerdir={':'.join(map(str, layers))},upperdir={files_layer},workdir={work}"
        f" && mount --bind {image.repo} {view}/srv/repo"
        f" && mke2fs -q -t ext4 -E root_owner=0:0 -d {view} {fresh} {DISK_SIZE}"
    )
    run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], timeout=120)
    boot = layers[0] / "boot"
    for kind in ("vmlinuz", "initrd.img"):
        newest = max(boot.glob(f"{kind}-*"), default=None)
        if newest is None:
            raise LabError(f"{boot}: no {kind} there; remove {layers[0]} and try again")
        shutil.copyfile(newest, folder / kind)
    fresh.rename(disk)


def extra_files() -> Iterable[NodeFile]:
    """What a machine needs and a container does not."""
    return [
        NodeFile("etc/fstab", "/dev/vda / ext4 defaults,discard 0 1\n"),
        NodeFile("etc/systemd/system/e2scrub_reap.service", link_to="/dev/null"),  # minutes under emulation
        NodeFile("etc/modules-load.d/iks-lab.conf", "nf_tables\n"),
    ]


def accelerator(kernel: Path) -> list[str]:
    """KVM where a kernel really starts with it (in nested clouds it is often there and broken), else emulation."""
    # Without arch-capabilities: some hypervisors above refuse to have that register written.
    kvm = ["-accel", "kvm", "-cpu", "max,-arch-capabilities", "-smp", "2"]
    verdict = cache_folder() / f"kvm-{platform.release()}"
    if not verdict.exists():
        say("trying whether KVM works here (once)")
        verdict.write_text("works" if Path("/dev/kvm").exists() and _starts(kernel, kvm) else "does not work")
    if os.environ.get("IKS_LAB_ACCEL") != "tcg" and verdict.read_text() == "works":
        return kvm
    # One processor: two emulated ones wait for each other whenever the computer is busy.
    return ["-accel", "tcg", "-cpu", "max", "-smp", "1"]


def _starts(kernel: Path, accel: list[str]) -> bool:
    """A kernel without a root file system panics within a second, and the emulator ends; a broken one hangs."""
    argv = [*EMULATOR, *accel, "-m", "256", "-no-reboot", "-serial", "stdio", "-kernel", str(kernel)]
    try:
        trial = run([*argv, "-append", "console=ttyS0 panic=-1"], check=False, timeout=15)
    except subprocess.TimeoutExpired:
        return False
    return trial.returncode == 0 and "Unable to mount root" in trial.stdout


def command(node: Node, folder: Path) -> list[str]:
    """The emulator's command line."""
    argv = [
        *EMULATOR, *accelerator(folder / "vmlinuz"), "-serial", "stdio", "-m", MEMORY, "-no-reboot",
        "-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd.img"),
        "-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet nowatchdog",
        "-drive", f"file={folder / 'disk.img'},format=raw,if=virtio,cache=unsafe,discard=unmap",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
    for number, nic in enumerate(node.nics):
        mac = f"52:54:00:{int(nic.ipv4.ip) & 0xFFFFFF:06x}"
        mac = mac[:9] + ":".join(mac[9 + step : 11 + step] for step in (0, 2, 4))
        interface = node.host_interface(nic)
        argv += ["-netdev", f"tap,id=net{number},ifname={interface},script=no,downscript=no"]
        argv += ["-device", f"virtio-net-pci,netdev=net{number},mac={mac},romfile="]
    return argv


def spec(node: Node, folder: Path) -> str:
    """What supervise.py needs to know to run it."""
    bridges = {node.host_interface(nic): nic.bridge for nic in node.nics}
    return json.dumps({"command": command(node, folder), "bridges": bridges, "console": str(folder / "console.log")})
