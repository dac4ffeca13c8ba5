# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the datastore is: the configuration file or, only without one, the environment."""

from __future__ import annotations

import os
from typing import Dict

from . import documents
from .decode import DecodeError

DEFAULT = "/etc/calico/calicoctl.cfg"

_SHARED = (
    ("datastoreType", "DATASTORE_TYPE"),
    ("etcdEndpoints", "ETCD_ENDPOINTS"),
    ("etcdUsername", "ETCD_USERNAME"),
    ("etcdPassword", "ETCD_PASSWORD"),
    ("etcdKeyFile", "ETCD_KEY_FILE"),
    ("etcdCertFile", "ETCD_CERT_FILE"),
    ("etcdCACertFile", "ETCD_CA_CERT_FILE"),
    ("kubeconfig", "KUBECONFIG"),
    ("k8sAPIEndpoint", "K8S_API_ENDPOINT"),
    ("k8sKeyFile", "K8S_KEY_FILE"),
    ("k8sCertFile", "K8S_CERT_FILE"),
    ("k8sCAFile", "K8S_CA_FILE"),
    ("k8sAPIToken", "K8S_API_TOKEN"),
    ("k8sInsecureSkipTLSVerify", "K8S_INSECURE_SKIP_TLS_VERIFY"),
    ("k8sDisableNodePoll", "K8S_DISABLE_NODE_POLL"),
)
FIELDS = {
    "v1": (*_SHARED, ("etcdScheme", "ETCD_SCHEME"), ("etcdAuthority", "ETCD_AUTHORITY")),
    "v3": (
        *_SHARED,
        ("etcdDiscoverySrv", "ETCD_DISCOVERY_SRV"),
        ("etcdKey", ""),
        ("etcdCert", ""),
        ("etcdCACert", ""),
        ("kubeconfigInline", ""),
        ("k8sCurrentContext", "K8S_CURRENT_CONTEXT"),
        ("k8sClientQPS", "K8S_CLIENT_QPS"),
        ("k8sUsePodCIDR", "USE_POD_CIDR"),
    ),
}
_KIND = {"v1": ("v1", "calicoApiConfig"), "v3": ("projectcalico.org/v3", "CalicoAPIConfig")}


class ConfigError(Exception):
    """The whole line that the tool prints."""


def _client(text: str) -> ConfigError:
    return ConfigError(f"Failed to create Calico API client: {text}")


def load(path: str, api: str) -> Dict[str, object]:
    """The settings by their names in the file; ConfigError with the tool's words."""
    if os.path.exists(path):
        return _from_file(path, api)
    if path != DEFAULT:
        raise ConfigError(f"Error reading config file: {path}")
    return from_environment(api)


def from_environment(api: str) -> Dict[str, object]:
    """CALICO_X beats X (transcript 342)."""
    out: Dict[str, object] = {}
    for field, name in FIELDS[api]:
        value = os.environ.get(f"CALICO_{name}") or os.environ.get(name) if name else None
        if value:
            out[field] = value
    if api == "v1":
        out.setdefault("datastoreType", "etcdv2")
        if "etcdEndpoints" not in out:
            out["etcdEndpoints"] = f"{out.get('etcdScheme', 'http')}://{out.get('etcdAuthority', '127.0.0.1:2379')}"
    return out


def _from_file(path: str, api: str) -> Dict[str, object]:
    try:
        with open(path, encoding="utf-8") as handle:
            document = documents.load(handle.read(), 0 if api == "v1" else 1)
    except DecodeError as error:
        raise _client(f"syntax error in {path}: error parsing document: {error}") from None
    except OSError as error:
        raise _client(documents.go_error(error, path)) from None
    document = document if isinstance(document, dict) else {}
    spec = document.get("spec") or {}
    known = {field for field, _name in FIELDS[api]}
    for key in spec:
        if key not in known:
            text = f"field in document is not recognized or is in the wrong location: {key}"
            raise _client(f"syntax error in {path}: error parsing document: {text}")
    version, kind = _KIND[api]
    found = document.get("apiVersion") or ""
    if found != version:
        raise _client(f"syntax error in {path}: invalid config file: unknown APIVersion '{found}'")
    found = document.get("kind") or ""
    if found != kind:
        raise _client(f"syntax error in {path}: invalid config file: expected kind '{kind}', got '{found}'")
    out = {key: value for key, value in spec.items() if value is not None}
    if api == "v1" and out.get("datastoreType", "etcdv2") == "etcdv2" and "etcdEndpoints" not in out:
        if not out.get("etcdAuthority"):
            raise _client("no etcd authority or endpoints specified")
        out["etcdEndpoints"] = f"{out.get('etcdScheme', 'http')}://{out['etcdAuthority']}"
    return out


def endpoints(settings: Dict[str, object]) -> list:
    """The list of URLs; blanks after a comma and a missing scheme are refused as Go's URL parser does."""
    out = []
    for endpoint in str(settings.get("etcdEndpoints", "")).split(","):
        if "://" not in endpoint or endpoint != endpoint.strip():
            raise _client(f'parse "{endpoint}": first path segment in URL cannot contain colon')
        out.append(endpoint)
    return out


def tls_files(settings: Dict[str, object], prefix: str = ""):
    """The PEM files of etcd, looked at; `prefix` stands before the complaint."""
    from .wire import TlsFiles

    names = ("etcdCACertFile", "etcdCertFile", "etcdKeyFile")
    ca, cert, key = (str(settings.get(name) or "") for name in names)
    if bool(cert) != bool(key):
        raise _client(f"{prefix}KeyFile and CertFile must both be present[key: {key}, cert: {cert}]")
    files = TlsFiles(ca, cert, key)
    try:
        files.check()
    except OSError as error:
        raise _client(prefix + documents.go_error(error, str(error.filename))) from None
    if cert:
        import ssl

        try:
            files.context()
        except ssl.SSLError as error:
            mismatch = "mismatch" in str(error).lower()
            text = (
                "tls: private key does not match public key"
                if mismatch
                else f"tls: failed to find any PEM data: {error}"
            )
            raise _client(prefix + text) from None
    return files
