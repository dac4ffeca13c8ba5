# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""calicoctl's configuration file: which settings there are, what they may be, the text (pure).

Keys of API v1 (`calicoApiConfig`, calicoctl 1.x) and v3 (`CalicoAPIConfig`, calicoctl 2.0 and later). calicoctl refuses
a file with any other key, and ignores the environment when the file exists, so that everything has to be in the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple
from urllib.parse import urlsplit

from .calicoctl_errors import redact
from .errors import HardeningError, choices

ETCD = {"v1": "etcdv2", "v3": "etcdv3"}
KUBERNETES = "kubernetes"

# option: (key in the file, APIs that have it)
KEYS: Dict[str, Tuple[str, Tuple[str, ...]]] = {
    "datastore_type": ("datastoreType", ("v1", "v3")),
    "etcd_endpoints": ("etcdEndpoints", ("v1", "v3")),
    "etcd_discovery_srv": ("etcdDiscoverySrv", ("v3",)),
    "etcd_username": ("etcdUsername", ("v1", "v3")),
    "etcd_password": ("etcdPassword", ("v1", "v3")),
    "etcd_key_file": ("etcdKeyFile", ("v1", "v3")),
    "etcd_cert_file": ("etcdCertFile", ("v1", "v3")),
    "etcd_ca_cert_file": ("etcdCACertFile", ("v1", "v3")),
    "etcd_key": ("etcdKey", ("v3",)),
    "etcd_cert": ("etcdCert", ("v3",)),
    "etcd_ca_cert": ("etcdCACert", ("v3",)),
    "kubeconfig": ("kubeconfig", ("v1", "v3")),
    "kubeconfig_inline": ("kubeconfigInline", ("v3",)),
    "k8s_api_endpoint": ("k8sAPIEndpoint", ("v1", "v3")),
    "k8s_key_file": ("k8sKeyFile", ("v1", "v3")),
    "k8s_cert_file": ("k8sCertFile", ("v1", "v3")),
    "k8s_ca_file": ("k8sCAFile", ("v1", "v3")),
    "k8s_api_token": ("k8sAPIToken", ("v1", "v3")),
    "k8s_insecure_skip_tls_verify": ("k8sInsecureSkipTLSVerify", ("v1", "v3")),
    "k8s_current_context": ("k8sCurrentContext", ("v3",)),
}
SECRET = ("etcd_password", "etcd_key", "kubeconfig_inline", "k8s_api_token")
PATHS = (*(name for name in KEYS if name.endswith("_file")), "kubeconfig")
_TOGETHER = (
    ("etcd_key_file", "etcd_cert_file"),
    ("etcd_key", "etcd_cert"),
    ("k8s_key_file", "k8s_cert_file"),
    ("etcd_username", "etcd_password"),
)
_INSTEAD = (("etcd_key_file", "etcd_key"), ("etcd_cert_file", "etcd_cert"), ("etcd_ca_cert_file", "etcd_ca_cert"))
HIDDEN = "(hidden)"


class ConfigError(HardeningError):
    """A configuration of calicoctl that cannot work."""


@dataclass(frozen=True)
class Settings:
    """A checked configuration: the API, and the values of the options that are set, in the order of KEYS."""

    api: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_secret(self) -> bool:
        """Whether the file holds a password, key or token itself."""
        return any(name in self.values for name in SECRET) or "@" in str(self.values.get("etcd_endpoints", ""))

    @property
    def mode(self) -> str:
        """The mode of the file: with a secret in it only its owner may read it."""
        return "0600" if self.has_secret else "0644"

    def text(self) -> str:
        """The file; values are read back as they are, whatever is in them."""
        head = ("v1", "calicoApiConfig") if self.api == "v1" else ("projectcalico.org/v3", "CalicoAPIConfig")
        lines = [f"apiVersion: {head[0]}", f"kind: {head[1]}", "metadata:", "spec:"]
        lines += [f"  {KEYS[name][0]}: {_quoted(value)}" for name, value in self.values.items()]
        return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    """A value in YAML's double quotes. JSON's way of writing what is beyond 16 bits is not YAML's."""
    if not isinstance(value, str):
        return json.dumps(value)
    signs = (f"\\U{ord(sign):08x}" if ord(sign) > 0xFFFF else json.dumps(sign)[1:-1] for sign in value)
    return f'"{"".join(signs)}"'


def read_settings(api: str, options: Mapping[str, Any]) -> Settings:
    """Options as a checked configuration; None is not set. Raises ConfigError that names option and value."""
    given = {name: value for name, value in options.items() if value is not None and value != ""}
    for name in given:
        if name not in KEYS:
            raise ConfigError(choices("config", name, KEYS))
        if api not in KEYS[name][1]:
            raise ConfigError(
                f"config: {name}: calicoctl 1.x has no {KEYS[name][0]}"
                + ("; write it to a file and give its path" if f"{name}_file" in KEYS else "")
            )
    values = {name: _value(name, given[name]) for name in KEYS if name in given}
    for one, other in (*_TOGETHER, *((second, first) for first, second in _TOGETHER)):
        if one in values and other not in values:
            raise ConfigError(f"config: {one} is given without {other}; give both or neither")
    for one, other in _INSTEAD:
        if one in values and other in values:
            raise ConfigError(f"config: {one} and {other} are both given; give one of them")
    return Settings(api, {"datastore_type": _datastore(api, values), **_without(values, "datastore_type")})


def _without(values: Mapping[str, Any], name: str) -> Dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _datastore(api: str, values: Mapping[str, Any]) -> str:
    """The datastore: as given, else as the other options tell. Checks that it has what it needs."""
    has_etcd = any(name in values for name in ("etcd_endpoints", "etcd_discovery_srv"))
    has_kubernetes = any(name in values for name in ("kubeconfig", "kubeconfig_inline", "k8s_api_endpoint"))
    told = values.get("datastore_type") or (KUBERNETES if has_kubernetes and not has_etcd else ETCD[api])
    if told == "etcd":
        told = ETCD[api]
    if told not in (ETCD[api], KUBERNETES):
        raise ConfigError(choices(f"config: datastore_type for API {api}", told, (ETCD[api], KUBERNETES)))
    if told == KUBERNETES and not has_kubernetes:
        raise ConfigError("config: datastore_type kubernetes needs kubeconfig or k8s_api_endpoint")
    if told != KUBERNETES and not has_etcd:
        raise ConfigError(
            "config: no etcd_endpoints; give them, for instance https://169.1.1.1:30001, or discover: true"
        )
    return told


def _value(name: str, value: Any) -> Any:
    if name == "etcd_endpoints":
        return read_endpoints(value)
    if name == "k8s_insecure_skip_tls_verify":
        return bool(value)
    if name == "k8s_api_endpoint":
        return _url(name, str(value))
    text = str(value)
    if name in PATHS:
        check_path(f"config: {name}", text)
    if not text.strip():
        raise ConfigError(f"config: {name} is blank; give a value or leave it out")
    return text


def read_endpoints(value: Any) -> str:
    """Endpoints as calicoctl reads them: URLs with scheme, host and port, separated by commas without blanks.

    Given as a list or as text with commas. Raises ConfigError naming the endpoint.
    """
    parts = [str(part) for part in value] if isinstance(value, (list, tuple)) else str(value).split(",")
    endpoints: List[str] = [_url("etcd_endpoints", part.strip()) for part in parts if part.strip()]
    if not endpoints:
        raise ConfigError("config: etcd_endpoints is empty; give at least one, for instance https://169.1.1.1:30001")
    if len({urlsplit(endpoint).scheme for endpoint in endpoints}) > 1:
        raise ConfigError(
            f"config: etcd_endpoints: {','.join(map(shown_url, endpoints))} mixes http and https; use one"
        )
    return ",".join(endpoints)


def _url(name: str, text: str) -> str:
    """A URL without trailing slash."""
    example = f"config: {name}: {shown_url(text)!r} is no URL with scheme, host and port (https://169.1.1.1:30001)"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigError(example) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or any(sign.isspace() for sign in text):
        raise ConfigError(example)
    if port == 0 or (port is None and name == "etcd_endpoints") or parts.query or parts.fragment:
        raise ConfigError(example)
    if parts.path not in ("", "/") and name == "etcd_endpoints":
        raise ConfigError(f"config: {name}: {shown_url(text)!r} has a path, which etcd has not; leave {parts.path} out")
    return text.rstrip("/")


def shown_url(url: str) -> str:
    """A URL as it may be told: without a user's password."""
    head, found, tail = url.rpartition("@")
    if not found:
        return url
    scheme, slashes, _user = head.rpartition("//")
    return f"{scheme}{slashes}{HIDDEN}@{tail}"


def check_path(subject: str, path: str, absolute: bool = True) -> None:
    """Refuse a path that is not absolute, or that leads out of where it seems to lead. Raises ConfigError."""
    if ".." in path.replace("\\", "/").split("/"):
        raise ConfigError(f"{subject}: {path!r} has a part ..; give the path without it")
    if absolute and not path.startswith("/"):
        raise ConfigError(f"{subject}: {path!r} is not absolute; give it from / on")
    if any(ord(sign) < 32 for sign in path):
        raise ConfigError(f"{subject}: {path!r} has a control character; give the path without it")


def shown(text: Optional[str]) -> str:
    """A configuration file as it may be shown in a result or a diff: without passwords, keys and tokens."""
    keys = {KEYS[name][0]: name for name in SECRET}
    lines: List[str] = []
    hiding: Optional[int] = None
    for line in (text or "").splitlines():
        indent = len(line) - len(line.lstrip())
        # A block or a value over several lines goes on as long as it is indented further than its key.
        if hiding is not None and (not line.strip() or indent > hiding):
            continue
        hiding = None
        key, colon, _rest = line.partition(":")
        if colon and key.strip().strip("\"'") in keys:
            lines.append(f"{key}: {HIDDEN}")
            hiding = indent
        elif any(f'"{name}"' in line or f"{name}:" in line for name in keys):
            lines.append(f"{line[:indent]}{HIDDEN}")  # flow style or JSON on one line
        else:
            lines.append(redact(line))
    return "".join(f"{line}\n" for line in lines)
