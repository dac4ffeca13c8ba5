# Part of the stand-ins for calicoctl and its datastores, for tests only.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Kubernetes datastore. Of its success paths no recording exists: what is expected here is what upstream documents
and publishes (CRDs, the annotation that holds the metadata, policies named knp.default.*)."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request

import pytest

from .fixtures import config_kube
from .kube_objects import Refused
from .kube_schema import CALICO, NETWORKING, RESOURCES


def policy(name="p", **spec):
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name, "labels": {"owner": "iks"}},
        "spec": {"selector": "all()", **spec},
    }


def applied(calico, *documents, check=True):
    return calico.run("apply", "-f", "-", stdin=json.dumps(list(documents)), check=check)


def test_resource_is_stored_as_upstream_stores_it(calico_kube):
    applied(calico_kube, policy(order=10, ingress=[{"action": "Allow", "protocol": "TCP"}]))
    stored = calico_kube.kube.custom("globalnetworkpolicies")["default.p"]
    assert stored["apiVersion"] == "crd.projectcalico.org/v1"
    assert "labels" not in stored["metadata"]
    own = json.loads(stored["metadata"]["annotations"]["projectcalico.org/metadata"])
    assert own["labels"] == {"owner": "iks"}
    assert stored["spec"] == {
        "order": 10,
        "ingress": [{"action": "Allow", "protocol": "TCP", "source": {}, "destination": {}}],
        "selector": "all()",
        "types": ["Ingress"],
    }


def test_round_trip_changes_nothing(calico_kube):
    applied(calico_kube, policy(order=10))
    first = calico_kube.run("get", "gnp", "p", "-o", "json").stdout
    applied(calico_kube, json.loads(first))
    assert calico_kube.run("get", "gnp", "p", "-o", "json").stdout == first


def test_older_version_of_a_resource_is_not_written_over_a_newer_one(calico_kube):
    applied(calico_kube, policy(order=10))
    old = json.loads(calico_kube.run("get", "gnp", "p", "-o", "json").stdout)
    applied(calico_kube, policy(order=11))
    done = applied(calico_kube, old, check=False)
    assert done.returncode == 1
    assert "update conflict: GlobalNetworkPolicy(default.p)" in done.stderr


def test_conflicting_writer_is_overtaken_after_some_tries(calico_kube):
    applied(calico_kube, policy(order=10))
    left = [3]

    def conflict(method, path):
        if method == "PUT" and left[0]:
            left[0] -= 1
            raise Refused(409, "Conflict", "the object has been modified")

    calico_kube.kube.faults.append(conflict)
    applied(calico_kube, policy(order=11))
    assert calico_kube.kube.custom("globalnetworkpolicies")["default.p"]["spec"]["order"] == 11
    assert left == [0]


def test_one_resource_that_fails_does_not_stop_the_others(calico_kube):
    posted = []

    def second_fails(method, path):
        if method == "POST":
            posted.append(path)
            if len(posted) == 2:
                raise Refused(500, "InternalError", "etcdserver: request timed out")

    calico_kube.kube.faults.append(second_fails)
    done = applied(calico_kube, policy("a"), policy("b"), policy("c"), check=False)
    assert done.returncode == 1
    assert done.stdout == "Partial success: applied the first 2 out of 3 'GlobalNetworkPolicy' resources:\n"
    assert done.stderr == "Hit error(s): [etcdserver: request timed out]\n"
    assert calico_kube.kube.custom("globalnetworkpolicies").keys() == {"default.a", "default.c"}


def test_nodes_are_those_of_the_cluster(calico_kube):
    listed = json.loads(calico_kube.run("get", "nodes", "-o", "json").stdout)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["worker1", "worker2"]
    assert listed["items"][0]["spec"]["bgp"] == {"ipv4Address": "10.1.1.1/26"}


@pytest.mark.parametrize(
    ("who", "words", "said"),
    [
        ({"token": "nobody"}, ("get", "gnp"), "connection is unauthorized: Unauthorized"),
        ({"token": "reader-token"}, ("delete", "gnp", "p"), 'User "reader" cannot delete resource'),
    ],
)
def test_who_may_not_is_refused(calico_kube, tmp_path, who, words, said):
    kubeconfig = tmp_path / "other-kubeconfig"
    kubeconfig.write_text(calico_kube.kube.kubeconfig(**who), encoding="utf-8")
    calico_kube.config.write_text(config_kube(kubeconfig), encoding="utf-8")
    done = calico_kube.run(*words, check=False)
    assert (done.returncode, said in done.stderr) == (1, True)


def test_reader_may_read(calico_kube, tmp_path):
    applied(calico_kube, policy())
    kubeconfig = tmp_path / "other-kubeconfig"
    kubeconfig.write_text(calico_kube.kube.kubeconfig(calico_kube.kube.reader, inline=True), encoding="utf-8")
    calico_kube.config.write_text(config_kube(kubeconfig), encoding="utf-8")
    assert calico_kube.run("get", "gnp").stdout == "NAME   \np      \n\n"


def test_credential_plugin_of_a_kubeconfig_is_run(calico_kube, tmp_path):
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    credential["status"] = {"token": "admin-token"}
    document = json.loads(calico_kube.kube.kubeconfig())
    plugin = {"apiVersion": credential["apiVersion"], "command": "/bin/echo", "args": [json.dumps(credential)]}
    document["users"][0]["user"] = {"exec": plugin}
    kubeconfig = tmp_path / "other-kubeconfig"
    kubeconfig.write_text(json.dumps(document), encoding="utf-8")
    calico_kube.config.write_text(config_kube(kubeconfig), encoding="utf-8")
    assert calico_kube.run("get", "gnp").returncode == 0
    assert calico_kube.kube.requests[-1][2] == "token-admin"


def test_policies_of_kubernetes_are_shown_and_never_written(calico_kube):
    spec = {
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]}],
    }
    calico_kube.kube.put("networkpolicies", {"metadata": {"name": "web"}, "spec": spec}, NETWORKING, "default")
    shown = json.loads(calico_kube.run("get", "networkpolicy", "knp.default.web", "-o", "json").stdout)
    source = {"selector": "projectcalico.org/orchestrator == 'k8s'", "namespaceSelector": "all()"}
    assert shown["spec"] == {
        "order": 1000,
        "ingress": [
            {"action": "Allow", "protocol": "TCP", "source": source, "destination": {"ports": [80]}},
            {"action": "Allow", "protocol": "UDP", "source": source, "destination": {"ports": [53]}},
        ],
        "selector": "projectcalico.org/orchestrator == 'k8s' && app == 'web'",
        "types": ["Ingress"],
    }
    done = calico_kube.run("delete", "networkpolicy", "knp.default.web", check=False)
    assert "operation Delete is not supported on NetworkPolicy(default/knp.default.web)" in done.stderr


def test_other_version_of_the_cluster_is_refused(calico_kube):
    calico_kube.kube.set_cluster_version("v3.24.5")
    done = calico_kube.run("get", "gnp", check=False)
    assert (done.returncode, "Cluster Version:  3.24.5" in done.stderr) == (1, True)
    assert calico_kube.run("get", "gnp", "--allow-version-mismatch").returncode == 0


def test_client_without_a_certificate_gets_an_answer(calico_kube):
    context = ssl.create_default_context(cafile=str(calico_kube.kube.authority.ca))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(calico_kube.kube.url + "/api/v1/nodes", context=context)
    assert (caught.value.code, json.load(caught.value)["reason"]) == (401, "Unauthorized")


class Client:
    """Plain requests as the admin."""

    def __init__(self, kube):
        self.url = kube.url
        self.context = ssl.create_default_context(cafile=str(kube.authority.ca))
        self.context.load_cert_chain(kube.admin.cert, kube.admin.key)

    def __call__(self, method, path, body=None, kind="application/json"):
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, {"Content-Type": kind}, method=method)
        try:
            with urllib.request.urlopen(request, context=self.context) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


NETWORK_POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"


def test_network_policy_has_all_of_its_verbs(calico_kube):
    ask = Client(calico_kube.kube)
    body = {"metadata": {"name": "deny"}, "spec": {"podSelector": {}}}
    status, made = ask("POST", NETWORK_POLICIES, body)
    assert (status, made["kind"], made["metadata"]["namespace"]) == (201, "NetworkPolicy", "default")
    assert ask("POST", NETWORK_POLICIES, body)[1]["reason"] == "AlreadyExists"
    change = {"spec": {"policyTypes": ["Ingress", "Egress"]}}
    status, changed = ask("PATCH", NETWORK_POLICIES + "/deny", change, "application/strategic-merge-patch+json")
    assert (status, changed["spec"]) == (200, {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    assert ask("PUT", NETWORK_POLICIES + "/deny", made)[1]["reason"] == "Conflict"
    assert ask("PUT", NETWORK_POLICIES + "/deny", changed)[1]["metadata"] == changed["metadata"], "nothing changed"
    assert ask("PATCH", NETWORK_POLICIES + "/deny?dryRun=All", {"spec": None}, "application/merge-patch+json")[0] == 200
    assert ask("GET", NETWORK_POLICIES + "/deny")[1] == changed
    operations = [{"op": "remove", "path": "/spec/policyTypes/1"}]
    assert ask("PATCH", NETWORK_POLICIES + "/deny", operations, "application/json-patch+json")[1]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress"],
    }
    assert ask("DELETE", NETWORK_POLICIES + "/deny")[1]["status"] == "Success"
    assert ask("GET", NETWORK_POLICIES + "/deny")[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (
            f"/apis/{CALICO}/v1/globalnetworkpolicies",
            {"metadata": {"name": "p"}, "spec": {"order": "10"}},
            422,
            'spec.order: Invalid value: "string": spec.order in body must be of type number: "string"',
        ),
        (
            f"/apis/{CALICO}/v1/globalnetworkpolicies",
            {"metadata": {"name": "p"}, "spec": {"ingress": [{}]}},
            422,
            "spec.ingress[0].action: Required value",
        ),
        (f"/apis/{CALICO}/v1/hostendpoints", {"metadata": {"name": "A_b"}}, 422, "RFC 1123 subdomain"),
        (
            NETWORK_POLICIES,
            {"metadata": {"name": "p"}, "spec": {"ingress": [{"ports": [{"port": 0}]}]}},
            422,
            "must be between 1 and 65535",
        ),
        (NETWORK_POLICIES.replace("default", "nowhere"), {"metadata": {"name": "p"}}, 404, '"nowhere" not found'),
        ("/apis/example.com/v1/things", {}, 404, "could not find the requested resource"),
        (NETWORK_POLICIES, {"kind": "Pod", "metadata": {"name": "p"}}, 400, "must be of type NetworkPolicy"),
    ],
)
def test_refusals_name_what_is_wrong(calico_kube, path, body, status, said):
    found, answer = Client(calico_kube.kube)("POST", path, body)
    assert (found, answer["code"], said in answer["message"]) == (status, status, True), answer


def test_unknown_fields_of_a_custom_resource_are_dropped(calico_kube):
    body = {"metadata": {"name": "p"}, "spec": {"selector": "all()", "nonsense": 1}}
    _status, made = Client(calico_kube.kube)("POST", f"/apis/{CALICO}/v1/globalnetworkpolicies", body)
    assert made["spec"] == {"selector": "all()"}


def test_discovery_names_every_resource(calico_kube):
    ask = Client(calico_kube.kube)
    assert ask("GET", "/version")[1]["gitVersion"].startswith("v1.26")
    found = {("", item["name"]) for item in ask("GET", "/api/v1")[1]["resources"]}
    for group in ask("GET", "/apis")[1]["groups"]:
        listed = ask("GET", f"/apis/{group['preferredVersion']['groupVersion']}")[1]["resources"]
        found |= {(group["name"], item["name"]) for item in listed}
    assert found == RESOURCES.keys()
