# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file: its text, and what is refused before calicoctl would refuse it."""

from __future__ import annotations

from typing import Any, Dict, Optional

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.module_utils.calicoctl_config import (
    KEYS,
    SECRET,
    ConfigError,
    Settings,
    check_path,
    read_endpoints,
    read_settings,
    shown,
)

PAGE = {
    "etcd_endpoints": "https://169.1.1.1:30001",
    "etcd_key_file": "/c/admin-key.pem",
    "etcd_cert_file": "/c/admin.pem",
    "etcd_ca_cert_file": "/c/ca-dal10-x.pem",
}


def test_the_file_of_the_page() -> None:
    settings = read_settings("v1", {**PAGE, "kubeconfig": None, "etcd_username": ""})
    assert settings.mode == "0644"
    assert settings.text() == (
        "apiVersion: v1\n"
        "kind: calicoApiConfig\n"
        "metadata:\n"
        "spec:\n"
        '  datastoreType: "etcdv2"\n'
        '  etcdEndpoints: "https://169.1.1.1:30001"\n'
        '  etcdKeyFile: "/c/admin-key.pem"\n'
        '  etcdCertFile: "/c/admin.pem"\n'
        '  etcdCACertFile: "/c/ca-dal10-x.pem"\n'
    )


@pytest.mark.parametrize(
    ("api", "options", "datastore"),
    [
        ("v3", PAGE, "etcdv3"),
        ("v3", {"kubeconfig": "/k.yml"}, "kubernetes"),
        ("v3", {"etcd_discovery_srv": "example.com"}, "etcdv3"),
        ("v1", {"k8s_api_endpoint": "https://10.0.0.1:6443/"}, "kubernetes"),
        ("v1", {**PAGE, "datastore_type": "etcd"}, "etcdv2"),
        ("v3", {**PAGE, "kubeconfig": "/k.yml"}, "etcdv3"),
    ],
)
def test_the_datastore_follows_from_what_is_given(api: str, options: Dict[str, Any], datastore: str) -> None:
    document = yaml.safe_load(read_settings(api, options).text())
    assert document["kind"] == ("calicoApiConfig" if api == "v1" else "CalicoAPIConfig")
    assert document["apiVersion"] == ("v1" if api == "v1" else "projectcalico.org/v3")
    assert document["spec"]["datastoreType"] == datastore


@pytest.mark.parametrize(
    ("api", "options", "said"),
    [
        ("v1", {"etcd_endpoint": "https://h:1"}, "config: 'etcd_endpoint' is not one of .*did you mean etcd_endpoints"),
        ("v1", {**PAGE, "etcd_ca_cert": "x"}, "calicoctl 1.x has no etcdCACert; write it to a file and give its path"),
        ("v1", {**PAGE, "k8s_current_context": "x"}, "calicoctl 1.x has no k8sCurrentContext$"),
        ("v1", {}, "no etcd_endpoints; give them"),
        ("v1", {**PAGE, "datastore_type": "etcdv3"}, "for API v1: 'etcdv3' is not one of etcdv2, kubernetes"),
        ("v3", {**PAGE, "datastore_type": "kubernetes"}, "kubernetes needs kubeconfig or k8s_api_endpoint"),
        ("v1", {**PAGE, "etcd_key_file": None}, "etcd_cert_file is given without etcd_key_file"),
        ("v1", {**PAGE, "etcd_username": "root"}, "etcd_username is given without etcd_password"),
        ("v3", {**PAGE, "etcd_ca_cert": "x"}, "etcd_ca_cert_file and etcd_ca_cert are both given"),
        ("v1", {**PAGE, "etcd_ca_cert_file": "ca.pem"}, "etcd_ca_cert_file: 'ca.pem' is not absolute"),
        ("v1", {**PAGE, "etcd_ca_cert_file": "/c/../ca.pem"}, "has a part .."),
        ("v1", {**PAGE, "etcd_username": " ", "etcd_password": "x"}, "etcd_username is blank"),
        ("v3", {"k8s_api_endpoint": "10.0.0.1:6443"}, "k8s_api_endpoint: '10.0.0.1:6443' is no URL"),
    ],
)
def test_what_cannot_work(api: str, options: Dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_settings(api, options)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("https://a:1", "https://a:1"),
        ("https://a:1/, https://b:2", "https://a:1,https://b:2"),
        (["https://a:1", " https://[fd00::1]:2379/"], "https://a:1,https://[fd00::1]:2379"),
        ("", None),
        ([], None),
        ("a:2379", None),
        ("https://a", None),
        ("https://a:0", None),
        ("https://a:70000", None),
        ("https://a b:1", None),
        ("https://a:1/v2", None),
        ("https://a:1?x=1", None),
        ("etcd://a:1", None),
        ("http://a:1,https://b:1", None),
    ],
)
def test_endpoints(value: Any, read: Optional[str]) -> None:
    if read is not None:
        assert read_endpoints(value) == read
    else:
        with pytest.raises(ConfigError, match="config: etcd_endpoints"):
            read_endpoints(value)


def test_a_password_in_an_endpoint_is_not_told() -> None:
    with pytest.raises(ConfigError) as caught:
        read_endpoints("https://root:S3cret@a")
    assert "S3cret" not in str(caught.value)
    settings = read_settings("v1", {"etcd_endpoints": "https://root:S3cret@a:1,https://root:S3cret@b:1"})
    assert settings.mode == "0600"
    assert "S3cret" not in shown(settings.text())


VALUES = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=20).filter(lambda text: text.strip())


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(SECRET, VALUES)), VALUES)
def test_every_value_is_read_back_as_it_was_and_no_secret_is_shown(secrets: Dict[str, str], context: str) -> None:
    if "etcd_key" in secrets:
        secrets = {**secrets, "etcd_cert": "cert"}
    if "etcd_password" in secrets:
        secrets = {**secrets, "etcd_username": "user"}
    settings = read_settings("v3", {"kubeconfig": "/k.yml", "k8s_current_context": context, **secrets})
    spec = yaml.safe_load(settings.text())["spec"]
    assert spec == {KEYS[name][0]: value for name, value in settings.values.items()}
    told = yaml.safe_load(shown(settings.text()))["spec"]
    for name in SECRET:
        if name in secrets:
            assert told[KEYS[name][0]] == "(hidden)"
    assert settings.mode == ("0600" if any(name in secrets for name in SECRET) else "0644")


@pytest.mark.parametrize(
    "text",
    [
        "spec:\n  etcdPassword: S3cret\n  etcdKey: |\n    S3cret\n\n    S3cret\n  etcdEndpoints: x\n",
        'spec:\n  etcdPassword: "a\n    S3cret"\n',
        '{"spec": {"etcdPassword": "S3cret"}}',
        "spec: {k8sAPIToken: S3cret}\n",
        "  'etcdPassword': S3cret\n",
        "  etcdEndpoints: https://u:S3,cret@h:1\n",
    ],
)
def test_what_others_wrote_is_shown_without_its_secrets(text: str) -> None:
    assert "cret" not in shown(text)


def test_what_is_no_secret_is_shown() -> None:
    text = read_settings("v1", PAGE).text()
    assert shown(text) == text
    assert shown(None) == ""


@pytest.mark.parametrize("path", ["etc/x", "/etc/../x", "/etc/x\n", "..", "C:\\..\\x"])
def test_B60_paths_that_are_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="path: "):
        check_path("path", path)


def test_settings_without_values_have_no_secret() -> None:
    assert Settings("v1").mode == "0644"
