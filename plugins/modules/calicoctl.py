#!/usr/bin/python
# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a pinned calicoctl, its configuration, and the proof that both work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: calicoctl
short_description: Install a pinned calicoctl, write its configuration, prove that it reaches the datastore
version_added: 0.1.0
author: iks.hardening contributors (@iks-hardening)
description:
  - Puts a calicoctl in place from a release, a mirror, a URL or a file on the host, pinned by version and
    checksum. What was fetched is compared before it may run, must say the version that is wanted, and replaces the
    former program in one step; a download that is cut, changed or led elsewhere leaves the former program as it
    was.
  - Writes the configuration file for API v1 (calicoctl 1.x) or v3 (later ones), from options or found as the
    container service's page of 2017 describes, and looks whether the certificates that it names can work.
  - Proves on request that the datastore answers, within a time of its own - calicoctl 1.4.0 waits 30 seconds for
    each endpoint, and calicoctl 3.25.2 with etcd waits for ever.
  - Runs on Linux and macOS. Ansible does not run on Windows; see the page on calicoctl for the same steps in the
    Windows subsystem for Linux.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and return changed status prediction without modifying the target.
  diff_mode:
    support: full
    description: Returns the program and the configuration before and after, without secrets.
  platform:
    support: full
    platforms: posix
    description: Target platform.
options:
  state:
    description:
      - V(present) puts the program and the configuration in place.
      - V(absent) removes the program, and O(link) when it leads there. The configuration stays.
    type: str
    choices: [present, absent]
    default: present
  path:
    description:
      - Where the program is. Several versions live side by side at several paths, for instance
        C(/usr/local/bin/calicoctl-1.4.0), with O(link) leading to one of them.
    type: path
    default: /usr/local/bin/calicoctl
  link:
    description: A link that is to lead to O(path). A file that is there already is not replaced.
    type: path
  mode:
    description: Mode of the program. It belongs to the user that the task runs as.
    type: str
    default: '0755'
  version:
    description:
      - Version of calicoctl, for instance V(1.4.0). Without it, and without O(url) and O(src), no program is
        installed.
      - V(auto) is the one that the cluster runs - of ClusterInformation, else of the image C(calico/node) in the
        namespace kube-system, both read with O(kubectl). A version that neither tells is an error.
    type: str
  checksum:
    description:
      - SHA-256 (or SHA-512) of the program, as C(sha256:...) or digits alone.
      - Needed for every version below 3.21, as none was published for those, and with O(url). From 3.21 on, the
        release's own C(SHA256SUMS) is read when it is not given.
    type: str
  url:
    description: Where the program is, instead of where O(version) is released. Only HTTPS.
    type: str
  src:
    description: A file on the host that is the program.
    type: path
  mirror:
    description: URL that stands for V(https://github.com), with the same paths below it.
    type: str
  releases:
    description:
      - Versions, platforms, URLs and checksums of your own, which come before the known ones - a dictionary of
        versions, each a dictionary of platforms (V(linux-amd64), V(linux-arm64), V(darwin-amd64), ...), each with
        C(url) and C(checksum).
    type: dict
  allowed_hosts:
    description: Hosts (with the port, unless it is 443) that a redirect may lead to, besides the one that was asked.
    type: list
    elements: str
    default: [objects.githubusercontent.com, release-assets.githubusercontent.com]
  validate_certs:
    description: Whether a server must prove that it is the one that was asked. Not doing so needs O(force) too.
    type: bool
    default: true
  force:
    description: Allows O(validate_certs=false). The checksum is compared all the same.
    type: bool
    default: false
  ca_path:
    description: File with the authorities whose certificates are accepted for downloads, instead of the host's own.
    type: path
  url_username:
    description: User at the server of the download; not told to where it redirects.
    type: str
  url_password:
    description: That user's password.
    type: str
  download_timeout:
    description: Seconds to wait for the next bytes of a download.
    type: float
    default: 30
  config_path:
    description: The configuration file. Every command names it, as the environment would be ignored or win by chance.
    type: path
    default: /etc/calico/calicoctl.cfg
  config:
    description:
      - The configuration. Without it and without O(discover) the file stays as it is.
      - With a password, token or key in it the file is readable by its owner only.
    type: dict
    suboptions:
      datastore_type:
        description:
          - V(etcd) (the etcd that the API needs), V(etcdv2), V(etcdv3) or V(kubernetes); found out if left out.
        type: str
      etcd_endpoints:
        description: URLs of etcd, a list or text with commas, for instance V(https://169.1.1.1:30001).
        type: raw
      etcd_discovery_srv:
        description: Domain whose SRV records name etcd (v3).
        type: str
      etcd_username:
        description: User of etcd.
        type: str
      etcd_password:
        description: That user's password.
        type: str
      etcd_key_file:
        description: Path of the client's key.
        type: str
      etcd_cert_file:
        description: Path of the client's certificate.
        type: str
      etcd_ca_cert_file:
        description: Path of the authority's certificate.
        type: str
      etcd_key:
        description: The client's key itself (v3).
        type: str
      etcd_cert:
        description: The client's certificate itself (v3).
        type: str
      etcd_ca_cert:
        description: The authority's certificate itself (v3).
        type: str
      kubeconfig:
        description: Path of a kubeconfig, for the datastore V(kubernetes).
        type: str
      kubeconfig_inline:
        description: A kubeconfig itself (v3).
        type: str
      k8s_api_endpoint:
        description: URL of the Kubernetes API server.
        type: str
      k8s_key_file:
        description: Path of the client's key for the API server.
        type: str
      k8s_cert_file:
        description: Path of the client's certificate for the API server.
        type: str
      k8s_ca_file:
        description: Path of the certificate of the API server's authority.
        type: str
      k8s_api_token:
        description: Token for the API server.
        type: str
      k8s_insecure_skip_tls_verify:
        description: Whether the API server need not prove who it is.
        type: bool
      k8s_current_context:
        description: Context of the kubeconfig (v3).
        type: str
  api:
    description: API of the configuration, where no version tells it.
    type: str
    choices: [v1, v3]
  certs_dir:
    description:
      - Directory with C(admin.pem), C(admin-key.pem) and one C(ca-*.pem), from which certificates are taken that
        O(config) does not name. With O(discover), by default the directory of the kubeconfig.
    type: path
  check_certificates:
    description:
      - Whether files that the configuration names are looked into - there, not readable (keys) or writable by
        everybody, key and certificate belonging together, signed by the authority, not expired. Needs C(openssl)
        on the host for the last three, and says so where it is missing.
    type: bool
    default: true
  expiry_days:
    description: A certificate that expires within so many days is noted.
    type: int
    default: 30
  discover:
    description:
      - Find what O(config) does not name - the endpoints in the config map C(calico-config) of the namespace
        kube-system, the certificates beside the kubeconfig.
    type: bool
    default: false
  kubeconfig:
    description:
      - The cluster's kubeconfig on the host, for O(discover) and O(version=auto); several as in C(KUBECONFIG), the
        first that exists counts. By default what C(KUBECONFIG) says there. Windows paths are looked for below
        C(/mnt).
    type: str
  kubectl:
    description: The program kubectl on the host.
    type: str
    default: kubectl
  config_map:
    description:
      - The config map C(calico-config), as a dictionary or as kubectl prints it, where kubectl is not to be asked.
    type: raw
  allow_exec_plugin:
    description:
      - Whether a kubeconfig may have programs run to get credentials. Otherwise such a kubeconfig is refused,
        naming the program.
    type: bool
    default: false
  verify:
    description: Whether to prove, with C(calicoctl get nodes), that the datastore answers.
    type: bool
    default: false
  timeout:
    description: Seconds after which a question to the datastore, or to kubectl, is ended and the task fails.
    type: float
    default: 20
  allow_version_mismatch:
    description: Whether calicoctl may be of another version than the cluster (calicoctl from 3.20.2 on).
    type: bool
    default: false
seealso:
  - name: calicoctl v1.4.0
    description: The release that the page supports.
    link: https://github.com/projectcalico/calicoctl/releases/tag/v1.4.0
"""

EXAMPLES = r"""
- name: The version that the page supports, with a checksum of a copy that was examined
  iks.hardening.calicoctl:
    version: 1.4.0
    checksum: "{{ calicoctl_sha256 }}"

- name: From a mirror, with the configuration as the page finds it, and proved
  iks.hardening.calicoctl:
    version: 1.4.0
    checksum: "{{ calicoctl_sha256 }}"
    mirror: https://artifacts.example.com/github
    discover: true
    kubeconfig: /root/mycluster-admin/kube-config-dal10-mycluster.yml
    verify: true

- name: The version that the cluster runs, beside others
  iks.hardening.calicoctl:
    version: auto
    kubeconfig: /etc/kubernetes/admin.conf
    path: /opt/bin/calicoctl-cluster
    link: /usr/local/bin/calicoctl
    config:
      kubeconfig: /etc/kubernetes/admin.conf
    verify: true

- name: A file that is on the host already, with a configuration by options
  iks.hardening.calicoctl:
    src: /root/calicoctl
    version: 3.25.2
    config:
      etcd_endpoints: [https://10.0.0.1:2379, https://10.0.0.2:2379]
      etcd_key_file: /etc/calico/certs/admin-key.pem
      etcd_cert_file: /etc/calico/certs/admin.pem
      etcd_ca_cert_file: /etc/calico/certs/ca.pem
"""

RETURN = r"""
before:
  description:
    - The program before the task (C(path), C(checksum), C(version), C(mode), where O(link) leads) and the configuration
      (C(config), with C(path), C(mode), and C(text) without secrets); null for what was not there.
  returned: always
  type: dict
after:
  description: The same after the task (in check mode - after a real run).
  returned: always
  type: dict
commands:
  description: What was done, in words; empty in check mode.
  returned: always
  type: list
  elements: str
version:
  description: Version of the calicoctl at O(path); null when there is none, or it tells none.
  returned: always
  type: str
api:
  description: The API that it speaks, V(v1) or V(v3).
  returned: always
  type: str
certificates:
  description: The certificates that were looked into - C(path), C(not_after), C(days_left).
  returned: always
  type: list
  elements: dict
nodes:
  description: Names of the nodes that the datastore holds.
  returned: when O(verify) has been done
  type: list
  elements: str
notes:
  description: What a reader should know, for instance that a certificate expires soon.
  returned: always
  type: list
  elements: str
"""

import os
import platform
import time
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_config import KEYS, SECRET
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_run import APIS, run_program
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_task import (
    Host,
    PartlyError,
    apply_plan,
    make_plan,
    partly,
    result_of,
    verify,
)
from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_versions import GITHUB_STORES
from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError, unchanged

_TYPES = {"etcd_endpoints": "raw", "k8s_insecure_skip_tls_verify": "bool"}
CONFIG = {name: {"type": _TYPES.get(name, "str"), "no_log": name in SECRET} for name in KEYS}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "path": {"type": "path", "default": "/usr/local/bin/calicoctl"},
    "link": {"type": "path"},
    "mode": {"type": "str", "default": "0755"},
    "version": {"type": "str"},
    "checksum": {"type": "str"},
    "url": {"type": "str"},
    "src": {"type": "path"},
    "mirror": {"type": "str"},
    "releases": {"type": "dict"},
    "allowed_hosts": {"type": "list", "elements": "str", "default": list(GITHUB_STORES)},
    "validate_certs": {"type": "bool", "default": True},
    "force": {"type": "bool", "default": False},
    "ca_path": {"type": "path"},
    "url_username": {"type": "str"},
    "url_password": {"type": "str", "no_log": True},
    "download_timeout": {"type": "float", "default": 30},
    "config_path": {"type": "path", "default": "/etc/calico/calicoctl.cfg"},
    "config": {"type": "dict", "options": CONFIG},
    "api": {"type": "str", "choices": list(APIS)},
    "certs_dir": {"type": "path"},
    "check_certificates": {"type": "bool", "default": True},
    "expiry_days": {"type": "int", "default": 30},
    "discover": {"type": "bool", "default": False},
    "kubeconfig": {"type": "str"},
    "kubectl": {"type": "str", "default": "kubectl"},
    "config_map": {"type": "raw"},
    "allow_exec_plugin": {"type": "bool", "default": False},
    "verify": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 20},
    "allow_version_mismatch": {"type": "bool", "default": False},
}


def main() -> None:
    """Parameters to plan, apply, prove, exit."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, supports_check_mode=True, mutually_exclusive=[("url", "src"), ("url", "mirror")]
    )
    try:
        result = run(module)
    except HardeningError as error:
        changed = isinstance(error, PartlyError)
        module.fail_json(msg=str(error) if changed else unchanged(error), changed=changed)
    module.exit_json(**result)


def run(module: AnsibleModule) -> Dict[str, Any]:
    """The task's result."""
    params = module.params
    host = Host(
        run_program, module.atomic_move, module.tmpdir, platform.system(), platform.machine(), os.environ, time.time()
    )
    plan = make_plan(params, host)
    absent = params["state"] == "absent"
    done: List[str] = []
    if not module.check_mode:
        plan, done = apply_plan(plan, host, absent)
    nodes: Optional[List[str]] = None
    notes: List[str] = []
    if params["verify"] and not absent:
        if module.check_mode and plan.changed:
            notes.append("not proved in check mode: calicoctl or its configuration would change first")
        else:
            try:
                nodes = verify(plan, params, host)
            except HardeningError as error:
                raise partly(error, done) from None
    result = result_of(plan, module._diff)
    result["notes"] = [*result["notes"], *notes]
    return {**result, "commands": done, **({} if nodes is None else {"nodes": nodes})}


if __name__ == "__main__":
    main()
