# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret leaves with calicoctl's words; what they mean is told (real answers: test_calicoctl_run.py)."""

from __future__ import annotations

import re

import pytest

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_errors import explain, only_missing, redact


@pytest.mark.parametrize(
    "text",
    [
        "parse https://root:S3cret@10.0.0.1:2379: bad",
        "etcdPassword: S3cret",
        '"etcdPassword":"S3cret"',
        "k8sAPIToken=S3cret",
        "Authorization: Bearer S3cret",
        "etcdKey: S3cret",
        "-----BEGIN RSA PRIVATE KEY-----\nS3cret\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nS3cret and cut",
        "token eyJhbGciOiS3cret.eyJpc3MiS3cret.S3cret",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    assert "S3cret" not in redact(f"before {text}\nafter")
    assert redact(f"before {text}").startswith("before ")
    assert "S3cret" not in explain("calicoctl get", "c.cfg", 1, text)


def test_what_is_no_secret_stays() -> None:
    said = "open /etc/calico/certs/admin-key.pem: no such file or directory"
    assert redact(said) == said


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        (
            "resource does not exist: Node(a) with error: <nil>\nresource does not exist: Node(b) with error: <nil>",
            True,
        ),
        ("resource does not exist: Node(a)\nconnection is unauthorized", False),
        ("", False),
    ],
)
def test_only_missing(said: str, missing: bool) -> None:
    assert only_missing(said) is missing


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (-9, "", "ended by signal 9"),
        (2, "panic: runtime error: x\n\ngoroutine 1 [running]:\nmain.main()", r"crashed \(panic: runtime error: x\)"),
        (1, "", "ended with status 1: no message"),
        (1, "etcdserver: mvcc: database space exceeded", "no room left: etcdserver: .*alarm NOSPACE"),
        (1, 'GlobalNetworkPolicy "b" is invalid: spec.order', "the datastore refused a resource"),
        (1, "something {new} happened\n", r"ended with status 1: something \{new\} happened"),
        (1, "Unknown command: {x}", r"does not know the command: Unknown command: \{x\}"),
        (1, "the object has been modified; please apply", "somebody else changed .* Run again"),
        (1, 'globalnetworkpolicies is forbidden: User "x"', "does not allow it"),
    ],
)
def test_explanations(status: int, said: str, told: str) -> None:
    text = explain("calicoctl apply", "c.cfg", status, said)
    assert re.search(told, text), text
    assert "goroutine" not in text
    assert "{config}" not in text
