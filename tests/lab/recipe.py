# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nodes' root file system is made of. Any change here makes a new cache entry."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field

SUITES = ("bullseye", "bookworm", "trixie")

# Minimal on purpose: no iptables, no ipset. The roles must cope with that.
BASE_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "python3",
    "python3-apt",
    "iproute2",
    "nftables",
    "kmod",
    "ca-certificates",
    "iputils-ping",
    "procps",
    "sudo",
)

# Served to the nodes by a local repository, with whatever they depend on.
REPOSITORY_PACKAGES = (
    "iptables",
    "ipset",
    "conntrack",
    "ipvsadm",
    "iptables-persistent",
    "ipset-persistent",
    "unattended-upgrades",
    "cron",
    "apparmor",
    # The datastore of the calicoctl stand-in, and what it reads YAML with.
    "etcd-server",
    "python3-yaml",
    "openvpn",
)

# Firewall managers, which the modules have to recognise; ufw cannot stand beside iptables-persistent.
MANAGER_PACKAGES = ("ufw", "firewalld")

# A worker whose kube-proxy speaks iptables has the iptables package, as every such worker has.
KUBE_PACKAGES = ("iptables",)

# Reached by no test, only in the way of a quick boot.
MASKED_UNITS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "man-db.timer",
    "systemd-firstboot.service",
    "getty.target",
    "console-getty.service",
    "nftables.service",
    "etcd.service",
)

FILES = {
    "etc/apt/sources.list": "deb [trusted=yes] file:///srv/repo ./\n",
    "etc/apt/apt.conf.d/90iks-lab": (
        'Acquire::Languages "none";\nAPT::Install-Recommends "false";\nAPT::Sandbox::User "root";\n'
        'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
    ),
    "etc/dpkg/dpkg.cfg.d/90iks-lab": "force-unsafe-io\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/doc/*\n",
    "etc/sudoers.d/iks": "iks ALL=(ALL) NOPASSWD:ALL\n",
    "etc/ssh/sshd_config.d/iks-lab.conf": (
        "HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nUseDNS no\n"
    ),
    "etc/systemd/journald.conf.d/iks-lab.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n",
    "etc/resolv.conf": "",  # a name server that never answers would slow everything down
    "etc/default/locale": "LANG=C.UTF-8\n",
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the content of the cached root file system."""

    suite: str = "bookworm"
    machine: str = field(default_factory=platform.machine)
    base: tuple[str, ...] = BASE_PACKAGES
    repository: tuple[str, ...] = REPOSITORY_PACKAGES
    managers: tuple[str, ...] = MANAGER_PACKAGES
    kube: tuple[str, ...] = KUBE_PACKAGES
    masked: tuple[str, ...] = MASKED_UNITS
    files: tuple[tuple[str, str], ...] = tuple(sorted(FILES.items()))
    format: int = 2

    def __post_init__(self) -> None:
        if self.suite not in SUITES:
            raise ValueError(f"suite {self.suite}: not known; known are {', '.join(SUITES)}")

    @property
    def key(self) -> str:
        """Name of the cache entry: readable suite, then a hash of the whole recipe."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"{self.suite}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
