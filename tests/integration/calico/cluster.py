# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Calico datastore as its users' tasks see it, and documents in the words of either API."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.calico.certificates import Pair
from tests.calico.fixtures import Calico, config_kube
from tests.integration.playbooks import Result, play, run_playbook, task

PUBLIC = "ibm.role == 'worker_public'"
INVENTORY = {
    "all": {
        "hosts": {
            "here": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
            }
        }
    }
}


@dataclass(frozen=True)
class Cluster:
    """A datastore, and tasks that run against it from this machine."""

    calico: Calico

    @property
    def api(self) -> str:
        return self.calico.api

    def add_nodes(self, *names: str) -> None:
        nodes = [
            {
                "apiVersion": self._version,
                "kind": "node" if self.api == "v1" else "Node",
                "metadata": {"name": name},
                "spec": {},
            }
            for name in names
        ]
        self.calico.run("apply", "-f", "-", stdin=json.dumps(nodes))

    @property
    def _version(self) -> str:
        return "v1" if self.api == "v1" else "projectcalico.org/v3"

    def policy(
        self, name: str, *ports: int | str, order: float = 1000, selector: str = PUBLIC, **spec: Any
    ) -> dict[str, Any]:
        """A policy that allows tcp to these ports, or everything, into what the selector selects."""
        old = self.api == "v1"
        rule: dict[str, Any] = {"action": "allow" if old else "Allow"}
        if ports:
            rule |= {"protocol": "tcp" if old else "TCP", "destination": {"ports": list(ports)}}
        return {
            "apiVersion": self._version,
            "kind": "policy" if old else "GlobalNetworkPolicy",
            "metadata": {"name": name},
            "spec": {
                "order": order,
                "selector": selector,
                "ingress": [rule],
                **({} if old else {"types": ["Ingress"]}),
                **spec,
            },
        }

    def endpoint(self, name: str, node: str = "worker1", role: str = "worker_public", **spec: Any) -> dict[str, Any]:
        """A host endpoint of eth1 (`spec` may say otherwise)."""
        given = {"interfaceName": "eth1", "expectedIPs": ["203.0.113.11"], **spec}
        metadata = {"name": name, "labels": {"ibm.role": role}}
        if self.api == "v1":
            return {"apiVersion": "v1", "kind": "hostEndpoint", "metadata": {**metadata, "node": node}, "spec": given}
        return {
            "apiVersion": self._version,
            "kind": "HostEndpoint",
            "metadata": metadata,
            "spec": {"node": node, **given},
        }

    def resource(self, *documents: Mapping[str, Any], check: bool = False, **options: Any) -> Result:
        """One task calico_resource; a failure is a result like any other."""
        given = {**({"resources": list(documents)} if documents else {}), **options}
        return self.run("calico_resource", given, check=check)

    def run(self, module: str, options: Mapping[str, Any], check: bool = False) -> Result:
        """One task of a module that drives calicoctl."""
        tool = {"calicoctl": str(self.calico.tool), "config": str(self.calico.config)}
        return self.tasks([task("it", module, {**tool, **options})], check=check).one("it")

    def tasks(self, tasks: Sequence[Mapping[str, Any]], check: bool = False) -> Any:
        return run_playbook(None, [play("here", tasks)], inventory=INVENTORY, check=check, diff=True)  # type: ignore[arg-type]

    def with_tool(self, tool: Path) -> Cluster:
        """The same datastore through another program."""
        return replace(self, calico=replace(self.calico, tool=tool))

    def reached_at(self, url: str, pair: Pair | None = None, token: str = "") -> Cluster:
        """The same datastore at another address, or for another user (`token` for a Kubernetes API only)."""
        calico, config = self.calico, self.calico.config.with_name(f"other-{uuid.uuid4().hex}.cfg")
        if calico.kube is None:
            text = calico.config_text.replace(calico.etcd.url, url)  # type: ignore[union-attr]
            if pair is not None:
                text = text.replace(str(calico.admin.key), str(pair.key)).replace(
                    str(calico.admin.cert), str(pair.cert)
                )  # type: ignore[union-attr]
        else:
            kubeconfig = config.with_suffix(".kubeconfig")
            kubeconfig.write_text(
                calico.kube.kubeconfig(pair, token).replace(calico.kube.url, url or calico.kube.url), encoding="utf-8"
            )
            text = config_kube(kubeconfig)
        config.write_text(text, encoding="utf-8")
        return replace(self, calico=replace(calico, config=config))

    @property
    def url(self) -> str:
        held = self.calico.kube or self.calico.etcd
        assert held is not None
        return held.url

    def keys(self) -> dict[str, Any]:
        """What the datastore holds, by its own API."""
        if self.calico.kube is not None:
            return {"/".join(place): document for place, document in self.calico.kube.objects.held.items()}
        return dict(self.calico.keys())
