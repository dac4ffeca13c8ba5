# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the API server is reached: the settings of calicoctl's configuration, or a kubeconfig."""

from __future__ import annotations

import os

from . import documents
from .config import ConfigError
from .decode import DecodeError
from .wire import TlsFiles


def _refused(text: str) -> ConfigError:
    return ConfigError(f"Failed to create Calico API client: {text}")


_NOTHING = (
    "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable"
)


class Access:
    """`insecure` asks for no check of the server's certificate."""

    def __init__(self, server: str, tls: TlsFiles, token: str = "", insecure: bool = False) -> None:
        self.server, self.tls, self.token, self.insecure = server.rstrip("/"), tls, token, insecure

    def context(self):
        if not self.server.startswith("https"):
            return None
        context = self.tls.context()
        if self.insecure:
            import ssl

            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def read(settings: dict) -> Access:
    """ConfigError if there is no cluster, or if a file that is named is not there."""
    if settings.get("k8sAPIEndpoint"):
        names = ("k8sCAFile", "k8sCertFile", "k8sKeyFile")
        files = TlsFiles(*(str(settings.get(name) or "") for name in names))
        insecure = str(settings.get("k8sInsecureSkipTLSVerify", "")).lower() == "true"
        access = Access(str(settings["k8sAPIEndpoint"]), files, str(settings.get("k8sAPIToken") or ""), insecure)
    else:
        access = _from_kubeconfig(settings)
    try:
        access.tls.check()
    except OSError as error:
        path = str(error.filename)
        raise _refused(f"unable to read file {path}: {documents.go_error(error, path)}") from None
    return access


def _from_kubeconfig(settings: dict) -> Access:
    inline = settings.get("kubeconfigInline")
    if inline:
        return _parsed(str(inline), os.getcwd(), settings)
    path = str(settings.get("kubeconfig") or "")
    if not path:
        path = os.path.join(os.path.expanduser("~"), ".kube", "config")
        if not os.path.exists(path):
            raise _refused(_NOTHING)
    try:
        with open(path, encoding="utf-8") as handle:
            text = handle.read()
    except OSError as error:
        raise _refused(f"stat {path}: {str(error.strerror).lower()}") from None
    return _parsed(text, os.path.dirname(os.path.abspath(path)), settings)


def _entry(config: dict, plural: str, name: str) -> dict:
    singular = plural[:-1]
    for item in config.get(plural) or []:
        if item.get("name") == name:
            return item.get(singular) or {}
    return {}


def _parsed(text: str, folder: str, settings: dict) -> Access:
    try:
        config = documents.load(text, 1)
    except DecodeError as error:
        raise _refused(f"error loading config file: {error}") from None
    config = config if isinstance(config, dict) else {}
    current = (
        os.environ.get("K8S_CURRENT_CONTEXT") or settings.get("k8sCurrentContext") or config.get("current-context")
    )
    context = _entry(config, "contexts", str(current or ""))
    cluster = _entry(config, "clusters", str(context.get("cluster", "")))
    user = _entry(config, "users", str(context.get("user", "")))
    if not cluster.get("server"):
        raise _refused(_NOTHING)
    files = TlsFiles(
        _file(cluster, "certificate-authority", folder),
        _file(user, "client-certificate", folder),
        _file(user, "client-key", folder),
    )
    token = str(user.get("token") or "")
    if user.get("exec"):
        token = _executed(user["exec"])
    return Access(cluster["server"], files, token, bool(cluster.get("insecure-skip-tls-verify")))


def _file(entry: dict, name: str, folder: str) -> str:
    """The path of a PEM file, also of one that is given as base64 in the kubeconfig."""
    data = entry.get(f"{name}-data")
    if not data:
        return os.path.join(folder, entry[name]) if entry.get(name) else ""
    import base64
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="calicoctl-stand-in-", suffix=".pem")
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(base64.b64decode(data))
    return path


def _executed(plugin: dict) -> str:
    """The token that a credential plugin prints."""
    import json
    import subprocess

    environment = {**os.environ, **{item["name"]: item["value"] for item in plugin.get("env") or []}}
    try:
        done = subprocess.run(
            [plugin["command"], *(plugin.get("args") or [])],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        return str(json.loads(done.stdout.decode("utf-8"))["status"]["token"])
    except (OSError, ValueError, KeyError, subprocess.CalledProcessError) as error:
        raise _refused(f"getting credentials: exec: {error}") from None
