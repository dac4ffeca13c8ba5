# Part of the stand-ins for calicoctl and its datastores, for tests only.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab's cluster gets Calico: etcd with client certificates on the master, and on each worker a stand-in for Felix.

The stand-in asks the datastore every two seconds and programs the worker's kernel (tests/felix). What the collection
brings itself, calicoctl's installation and configuration, is left to it; its file to install is on the master.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .certificates import Authority
from .fixtures import config_v3
from .install import packed

if TYPE_CHECKING:
    from tests.lab.lab import Lab
    from tests.lab.topology import Topology

VERSION = "3.25.2"
PORT = 2379
# Where the variables of the collection find things, on the master.
PROGRAM = f"/srv/calico/calicoctl-{VERSION}"
CERTIFICATES = "/root/cluster-admin"
_FELIX = Path(__file__).resolve().parents[1] / "felix"
_HOME = "/usr/local/lib/iks-lab/calico"
_LOOP = """\
import json, shutil, subprocess, sys, time

HOME, NODE = sys.argv[1:]
KINDS = ("globalnetworkpolicy", "hostendpoint", "globalnetworkset", "profile")
programmed, when = None, 0.0


def held(kind):
    command = [f"{HOME}/calicoctl", "get", kind, "-o", "json", f"--config={HOME}/calicoctl.cfg"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=20, check=True)
    return json.loads(done.stdout)["items"]


while True:
    try:
        text = json.dumps([item for kind in KINDS for item in held(kind)], sort_keys=True)
        # Felix writes its rules anew now and then, changed or not.
        if shutil.which("ipset") and shutil.which("iptables") and (text != programmed or time.monotonic() - when > 30):
            command = [sys.executable, "-m", "felix", "--node", NODE, "--apply"]
            subprocess.run(command, input=text.encode(), cwd=HOME, timeout=60, check=True)
            programmed, when = text, time.monotonic()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr, flush=True)
    time.sleep(2)
"""


def variables(lab: Topology) -> dict[str, object]:
    """What the collection is told of this Calico."""
    return {
        "iks_calico_host": "master",
        "iks_calicoctl_version": VERSION,
        "iks_calicoctl_src": PROGRAM,
        "iks_calicoctl_checksum": f"sha256:{hashlib.sha256(packed(VERSION)).hexdigest()}",
        "iks_calicoctl_config": {"etcd_endpoints": f"https://{lab.node('master').address('priv')}:{PORT}"},
        "iks_calicoctl_certs_dir": CERTIFICATES,
    }


def provision(lab: Lab, *, tools: bool = False) -> None:
    """Bring a running lab's master and workers that far; what is there already is written again.

    `tools`: iptables and ipset as well, which Felix brings along in its image and the collection's roles install.
    """
    master = lab.topology.node("master").address("priv")
    assert master is not None
    with tempfile.TemporaryDirectory(prefix="iks-calico-") as folder:
        authority = Authority(Path(folder))
        authority.issue("etcd", (master, "127.0.0.1"))
        authority.issue("admin", organisation="ibm-admins")
        authority.issue("felix")
        files = {path.name: path.read_text(encoding="utf-8") for path in Path(folder).iterdir()}
    _datastore(lab, files)
    for name in ("worker1", "worker2"):
        if tools:
            lab.run(name, ["apt-get", "-q", "-y", "install", "iptables", "ipset"])
        _felix(lab, name, files, f"https://{master}:{PORT}")
    _nodes(lab, ("worker1", "worker2"))


def _datastore(lab: Lab, files: dict[str, str]) -> None:
    lab.run("master", ["apt-get", "-q", "-y", "install", "etcd-server", "python3-yaml"])
    for name in ("ca.pem", "etcd.pem", "etcd-key.pem"):
        lab.write("master", f"/etc/iks-lab-etcd/{name}", files[name], mode=0o600)
    for name in ("admin.pem", "admin-key.pem"):
        lab.write("master", f"{CERTIFICATES}/{name}", files[name], mode=0o600)
    lab.write("master", f"{CERTIFICATES}/ca-lab.pem", files["ca.pem"])
    _write_bytes(lab, "master", PROGRAM, packed(VERSION))
    own = "/etc/iks-lab-etcd"
    command = (
        "/usr/bin/etcd --data-dir /var/lib/iks-lab-etcd --enable-v2 --client-cert-auth "
        f"--listen-client-urls https://0.0.0.0:{PORT} --advertise-client-urls https://127.0.0.1:{PORT} "
        "--listen-peer-urls http://127.0.0.1:2380 "
        f"--trusted-ca-file {own}/ca.pem --cert-file {own}/etcd.pem --key-file {own}/etcd-key.pem"
    )
    _service(lab, "master", "iks-lab-etcd", command)


def _felix(lab: Lab, node: str, files: dict[str, str], url: str) -> None:
    # The stand-in for calicoctl reads its configuration with it.
    lab.run(node, ["apt-get", "-q", "-y", "install", "python3-yaml"])
    for name in ("ca.pem", "felix.pem", "felix-key.pem"):
        lab.write(node, f"{_HOME}/{name}", files[name], mode=0o600)
    for path in _FELIX.glob("*.py"):
        lab.write(node, f"{_HOME}/felix/{path.name}", path.read_text(encoding="utf-8"))
    _write_bytes(lab, node, f"{_HOME}/calicoctl", packed(VERSION))
    config = config_v3(url, f"{_HOME}/ca.pem", f"{_HOME}/felix.pem", f"{_HOME}/felix-key.pem")
    lab.write(node, f"{_HOME}/calicoctl.cfg", config)
    lab.write(node, f"{_HOME}/loop.py", _LOOP)
    _service(lab, node, "iks-lab-felix", f"/usr/bin/python3 {_HOME}/loop.py {_HOME} {node}")


def _nodes(lab: Lab, names: tuple[str, ...]) -> None:
    """What calico/node writes when it starts on a worker."""
    documents = [
        {"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": name}, "spec": {}} for name in names
    ]
    config = config_v3(
        f"https://127.0.0.1:{PORT}",
        f"{CERTIFICATES}/ca-lab.pem",
        f"{CERTIFICATES}/admin.pem",
        f"{CERTIFICATES}/admin-key.pem",
    )
    lab.write("master", "/srv/calico/provision.cfg", config, mode=0o600)
    argv = ["timeout", "20", PROGRAM, "apply", "-f", "-", "--config=/srv/calico/provision.cfg"]
    lab.run("master", argv, stdin=json.dumps(documents))


def _service(lab: Lab, node: str, name: str, command: str) -> None:
    unit = (
        f"[Unit]\nDescription={name}\nAfter=network.target\n\n[Service]\nExecStart={command}\nRestart=always\n"
        "RestartSec=1\n\n[Install]\nWantedBy=multi-user.target\n"
    )
    lab.write(node, f"/etc/systemd/system/{name}.service", unit)
    lab.run(node, ["systemctl", "daemon-reload"])
    lab.run(node, ["systemctl", "enable", "--quiet", name])
    lab.run(node, ["systemctl", "restart", name])


def _write_bytes(lab: Lab, node: str, path: str, content: bytes) -> None:
    script = 'mkdir -p "$(dirname "$1")" && base64 -d > "$1" && chmod 0755 "$1"'
    lab.run(node, ["sh", "-c", script, "sh", path], stdin=base64.b64encode(content).decode())
