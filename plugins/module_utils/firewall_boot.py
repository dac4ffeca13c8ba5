# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node loads before its network is up: the newest intact generation, else the emergency ruleset.

One shell script and one systemd unit, neither of which needs Python or the collection. The emergency ruleset stands in
the script itself, so that it is there when the state folder is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

from .errors import NodeError
from .firewall_plan import EMERGENCY, restore_text, with_ruleset
from .firewall_saved import GENERATIONS, HEAD, Saved, write_file
from .firewall_shell import LOCK_WAIT, Run, checked
from .firewall_state import OwnState
from .node_facts import read_text
from .ruleset import Ruleset, default_rules
from .traffic import FAMILIES, IPV4, IPV6, Network, PortRange, Rule

CONFIGURATION_FOLDER = "/etc/iks-hardening"
SCRIPT = f"{CONFIGURATION_FOLDER}/firewall-boot.sh"
UNIT = "iks-firewall.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
WANTED = f"/etc/systemd/system/sysinit.target.wants/{UNIT}"
# What the script found, for firewall_info; of this boot only.
REPORT = "/run/iks-hardening/boot"
_EMERGENCY_PART = re.compile(r"^<<<([a-z0-9]+)\n(.*?)^>>>\n", re.MULTILINE | re.DOTALL)

_DIGEST = "# emergency ruleset, sha256 "

UNIT_TEXT = f"""\
[Unit]
Description=iks.hardening: the last confirmed firewall rules, before the network is up
DefaultDependencies=no
After=local-fs.target systemd-modules-load.service
Wants=network-pre.target
Before=network-pre.target sysinit.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=90
ExecStart=/bin/sh {SCRIPT}

[Install]
WantedBy=sysinit.target
"""

_SCRIPT_HEAD = f"""\
#!/bin/sh
# Written by iks.hardening; a change by hand is undone by the next run of the collection.
# Loads the newest intact generation of confirmed rules; if none is intact, the emergency ruleset below.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
umask 077
report={REPORT}
mkdir -p "${{report%/*}}"

part() {{ sed -n "/^=== $2\\$/,/^=== /p" "$1" | grep -v '^=== '; }}
emergency() {{ sed -n "/^<<<$1\\$/,/^>>>\\$/p" "$0" | grep -v -e '^<<<' -e '^>>>'; }}

# The program of one family for the backend that holds our rules.
program() {{
  command -v "$1-$backend-$2" || command -v "$1-$2"
}}

# One family from standard input. Jumps that are there already are left out: the unit can be started again.
load() {{
  text=$(cat)
  [ -n "$text" ] || return 0
  present=$("$(program "$1" save)" 2>/dev/null |
    awk '/^\\*/ {{ table = $0 }} /^-A [A-Z]+ .*-j IKS-/ {{ print table " " $0 }}')
  export present
  printf '%s\\n' "$text" |
    awk 'BEGIN {{ n = split(ENVIRON["present"], a, "\\n"); for (i = 1; i <= n; i++) there[a[i]] }}
         /^\\*/ {{ table = $0 }} !((table " " $0) in there)' |
    "$(program "$1" restore)" -w {LOCK_WAIT} --noflush || return 1
  # A restore that was given nothing succeeds too.
  "$(program "$1" save)" | grep -q -e '-j IKS-'
}}

# Sets of a family that the kernel does not have are left out.
of_kernel() {{
  if [ -e /proc/net/if_inet6 ]; then cat; else grep -v -e ' iks6-' -e ' iks-held6 '; fi
}}

# Everything from the parts that the command in the arguments prints.
load_all() {{
  if "$@" sets | grep -q .; then "$@" sets | of_kernel | ipset restore || return 1; fi
  "$@" ipv4 | load iptables || return 1
  # A kernel without IPv6 has nothing to close.
  if [ -e /proc/net/if_inet6 ]; then "$@" ipv6 | load ip6tables || return 1; fi
}}

intact() {{
  digest=$(sed -n '1s/^{HEAD}//p' "$1")
  [ -n "$digest" ] && [ "$(sed 1d "$1" | sha256sum | cut -d' ' -f1)" = "$digest" ]
}}

damaged=
for file in $(ls -r {GENERATIONS}/[0-9]*.rules 2>/dev/null); do
  name=${{file##*/}}
  name=${{name%.rules}}
  if intact "$file"; then
    backend=$(part "$file" about | sed -n 's/^backend //p')
    if load_all part "$file"; then
      [ -z "$damaged" ] || echo "<2>iks.hardening: generation $name was loaded, those after it are damaged:$damaged" >&2
      printf 'loaded %s\\ndamaged%s\\n' "$name" "$damaged" >"$report"
      exit 0
    fi
  fi
  echo "<2>iks.hardening: generation $name is damaged or cannot be loaded" >&2
  damaged="$damaged $name"
done
backend=$(emergency about | sed -n 's/^backend //p')
if [ -z "$backend" ]; then
  printf 'loaded nothing\\ndamaged%s\\n' "$damaged" >"$report"
  echo "<2>iks.hardening: no generation could be loaded, and no emergency ruleset is known" >&2
  exit 1
fi
printf 'loaded emergency\\ndamaged%s\\n' "$damaged" >"$report"
echo "<2>iks.hardening: no generation is intact; the emergency ruleset is loaded. Run iks.hardening.harden_cluster" >&2
load_all emergency
exit $?
"""


@dataclass(frozen=True)
class Emergency:
    """`interfaces`: those on which new connections are dropped. `management`: networks that may come by SSH."""

    interfaces: Tuple[Optional[str], ...]
    management: Tuple[Network, ...]


def emergency_ruleset(wanted: Emergency) -> Ruleset:
    """New connections on the public interface dropped, except pings, leases, neighbours and SSH from the management."""
    rules: List[Rule] = []
    for protocol in ("icmp", "icmpv6"):
        rules.append(Rule(f"emergency-{protocol}", "in", "accept", "reachability tests", protocol))
    if wanted.management:
        rules.append(
            Rule(
                "emergency-ssh",
                "in",
                "accept",
                "SSH from the management networks of the last confirmation",
                "tcp",
                sources=wanted.management,
                ports=(PortRange(22, 22),),
            )
        )
    closed = [{"direction": "in", **({"interface": name} if name else {})} for name in wanted.interfaces]
    return Ruleset(EMERGENCY, 999, tuple(rules), default_rules(closed))


def emergency_parts(wanted: Emergency, backend: str) -> Dict[str, str]:
    """The parts of the script's emergency ruleset. Sets are not used: they may be what is missing."""
    ruleset = emergency_ruleset(wanted)
    texts = {
        family: restore_text(OwnState(), with_ruleset(OwnState(), ruleset, family, use_sets=False))
        for family in FAMILIES
    }
    return {"about": f"backend {backend}\n", IPV4: texts[IPV4], IPV6: texts[IPV6]}


def script_text(parts: Mapping[str, str]) -> str:
    """The boot script with an emergency ruleset (no parts: none is known yet)."""
    data = "".join(f"\n<<<{name}\n{text}>>>\n" for name, text in parts.items())
    # A shell that parses the whole script takes what follows for a text that is given to nobody.
    return f"{_SCRIPT_HEAD}\n{_DIGEST}{_digest(data)}\n: <<'EMERGENCY'\n{data}EMERGENCY\n" if parts else _SCRIPT_HEAD


def parts_of(script: str) -> Dict[str, str]:
    """The emergency ruleset of a boot script; nothing when it was edited: then nobody knows what it should be."""
    parts = dict(_EMERGENCY_PART.findall(script))
    return parts if script_text(parts).partition(_DIGEST)[2] == script.partition(_DIGEST)[2] else {}


def has_parts(script: str) -> bool:
    """Whether an emergency ruleset stands in a boot script, edited or not."""
    return bool(_EMERGENCY_PART.search(script))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def wanted_files(parts: Mapping[str, str]) -> Dict[str, str]:
    """Path -> text of what boot needs, with the parts of an emergency ruleset."""
    return {SCRIPT: script_text(parts), UNIT_FILE: UNIT_TEXT}


def missing_files(files: Mapping[str, str]) -> List[str]:
    """Paths whose text differs or that others could write, and the unit's enabling link where it is missing."""
    found = [path for path, text in files.items() if read_text(path) != text or not is_roots_own(path)]
    return found if os.path.islink(WANTED) else [*found, WANTED]


def is_roots_own(path: str) -> bool:
    """Whether a path is a file that only root can write, and no link to one: root runs it at boot."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022


def check_writable(paths: Iterable[str]) -> None:
    """Find a read-only or full disk before any rule changes. Raises NodeError."""
    for path in paths:
        folder = os.path.dirname(path)
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        trial = f"{folder}/.iks-hardening-{os.getpid()}"
        try:
            os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            os.unlink(trial)
        except OSError as error:
            raise NodeError(f"{path}: cannot be written: {error.strerror}; nothing was changed") from None


def install(run: Run, files: Mapping[str, str], paths: Iterable[str]) -> None:
    """Write what is missing and enable the unit. Raises NodeError."""
    paths = list(paths)
    known = os.path.exists(UNIT_FILE)
    for path in paths:
        try:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            if path == WANTED:
                os.symlink(UNIT_FILE, WANTED)
        except OSError as error:
            raise NodeError(f"{path}: cannot be written: {error.strerror}") from None
        if path in files:
            write_file(path, files[path], 0o600 if path == SCRIPT else 0o644)
    # A unit that systemd has not read yet is found when it is asked for.
    if known and UNIT_FILE in paths:
        checked(run, ["systemctl", "daemon-reload"], "", "")


def present_files() -> List[str]:
    """Paths of what boot has of ours."""
    return [path for path in (WANTED, UNIT_FILE, SCRIPT) if os.path.lexists(path)]


def uninstall(run: Run) -> None:
    """Take the unit and the script away."""
    found = present_files()
    for path in (WANTED, UNIT_FILE, SCRIPT, REPORT):
        with contextlib.suppress(OSError):
            os.unlink(path)
    if UNIT_FILE in found:
        run(["systemctl", "daemon-reload"], "")
    with contextlib.suppress(OSError):
        os.rmdir(CONFIGURATION_FOLDER)


def boot_state(saved: Iterable[Saved]) -> Dict[str, object]:
    """What boot did and would do: the report of this boot, the unit, and the saved generations."""
    saved = list(saved)
    return {
        **boot_report(read_text(REPORT)),
        "unit": os.path.islink(WANTED) and read_text(UNIT_FILE) == UNIT_TEXT,
        "generations": [item.number for item in saved],
        "intact": [item.number for item in saved if item.body is not None],
    }


def boot_report(text: str) -> Dict[str, object]:
    """What was loaded at this boot: `loaded` (a number, emergency, nothing or null) and `damaged` (numbers)."""
    words = dict(line.partition(" ")[::2] for line in text.splitlines())
    loaded = words.get("loaded")
    return {
        "loaded": int(loaded) if loaded and loaded.isdigit() else loaded,
        "damaged": [int(word) for word in words.get("damaged", "").split()],
    }
