# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What calicoctl's words mean: a clear text with a remedy for those that are known, no secret in any (pure).

calicoctl prints errors on standard output (1.x, early 3.x) or standard error (later), and the tails of network and
certificate errors change with the Go it was built with: patterns match what is common to all.
"""

from __future__ import annotations

import re
from typing import Tuple

_HIDDEN = "(hidden)"
_SECRETS: Tuple[Tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [^-]*-----.*?(-----END [^-]*-----|\Z)", re.DOTALL), _HIDDEN),
    (re.compile(r"(\w+://)[^/\s@]*@"), rf"\1{_HIDDEN}@"),
    (
        re.compile(r"(?i)([\w.]*(?:password|token|secret|etcdKey|etcdCert|kubeconfigInline)\"?\s*[:=]\s*)(\S+)"),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"(?i)(bearer\s+)\S+"), rf"\1{_HIDDEN}"),
    # A token of a service account.
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]+)*"), _HIDDEN),
)
_MISSING = re.compile(r"resource does not exist: |^\s*(?:with error: )?<nil>\s*$")

# (what calicoctl says, what it means, what to do); the first that fits counts. {config} is the configuration file.
_KNOWN: Tuple[Tuple[str, str, str], ...] = (
    (
        r"certificate signed by unknown authority|certificate has expired or is not yet valid|certificate relies on"
        r"|certificate is (?:valid for|not valid)|doesn't contain any IP SANs",
        "the datastore's certificate is not accepted",
        "Check etcdCACertFile (k8sCAFile) in {config}, the server's names, and the clock of this host",
    ),
    (
        r"tls: (?:bad certificate|certificate required|unknown certificate|handshake failure|expired certificate)",
        "the datastore refused the client certificate",
        "Check etcdCertFile and etcdKeyFile in {config}: of this cluster, downloaded with --admin, and not expired",
    ),
    (
        r"private key does not match public key|KeyFile and CertFile must both be present|failed to find any PEM data",
        "the client key and the client certificate do not belong together",
        "Check etcdKeyFile and etcdCertFile in {config}",
    ),
    (
        r"connection is unauthorized|etcdserver: (?:user name is empty|permission denied|authentication failed)"
        r"|\bUnauthorized\b|is forbidden:|permission denied, details",
        "the datastore does not allow it to this user",
        "Check the user or the certificate that {config} names, and what it may read and write",
    ),
    (
        r"database space exceeded|no space left on device",
        "the datastore has no room left",
        "Make room on its disk (etcd: compact, defragment, raise the quota), clear its alarm NOSPACE, and run again",
    ),
    (
        r"response is invalid json",
        "an answer came, but not one of an etcd with API v2",
        "Check etcdEndpoints in {config}; an etcd since 3.4 answers calicoctl 1.x only with --enable-v2",
    ),
    (
        r"(?i)version mismatch\.",
        "this calicoctl is of another version than the cluster",
        "Install the cluster's version (version: auto), or set allow_version_mismatch",
    ),
    (
        r"Error reading config file",
        "the configuration file {config} cannot be read",
        "Write it first, or name another one",
    ),
    (
        r"unknown APIVersion|expected kind '|unknown datastore type|syntax error in ",
        "{config} is not a configuration for this calicoctl",
        "calicoctl 1.x reads apiVersion v1, kind calicoApiConfig; 3.x reads projectcalico.org/v3, CalicoAPIConfig",
    ),
    (
        r"open .*: no such file or directory",
        "a file that {config} names does not exist",
        "Check the paths of certificates and kubeconfig in {config}",
    ),
    (
        r"no etcd authority or endpoints specified|no configuration has been provided|no etcd endpoints specified",
        "{config} names no datastore",
        "Give etcd_endpoints or kubeconfig",
    ),
    (
        r"first path segment in URL|missing protocol scheme|invalid (?:port|character) .*(?:in host|after host)",
        "an endpoint in {config} is no URL",
        "Give endpoints with scheme and port, separated by commas without blanks: https://169.1.1.1:30001",
    ),
    (
        r"the server could not find the requested resource|no matches for kind",
        "the Kubernetes API server does not know Calico's resources",
        "Check that Calico keeps its data in Kubernetes here (datastoreType), and that its definitions are installed",
    ),
    (
        r"the object has been modified|update conflict|operation .*conflict",
        "somebody else changed the resource in the meantime",
        "Run again",
    ),
    (
        r"\bis invalid: ",
        "the datastore refused a resource",
        "Correct the field that it names, or use the calicoctl of the cluster's version",
    ),
    (
        r"Unknown resource type|Resource type '[^']*' is not supported|resource type .* not (?:found|supported)",
        "this calicoctl does not know the kind",
        "Use a calicoctl of the version that has it",
    ),
    (
        r"Invalid option:|Unknown command:|^Usage:|unknown flag:",
        "this calicoctl does not know the command",
        "Use a calicoctl that knows it, or check that the program is calicoctl",
    ),
    (
        r"connection refused|no route to host|network is unreachable|i/o timeout|exceeded header timeout"
        r"|TLS handshake timeout|no such host|context deadline exceeded|etcd cluster is unavailable",
        "the datastore cannot be reached",
        "Check the endpoints in {config} and that they are open to this host",
    ),
)


# Texts above that tell of a moment, not of what was sent: sent again, it may be done.
_PASSING = ("the datastore cannot be reached", "somebody else changed the resource", "calicoctl was ended")


def may_pass(text: str) -> bool:
    """Whether an explained failure may be over in a second."""
    return any(words in text for words in _PASSING)


def redact(text: str) -> str:
    """A text without passwords, tokens, keys and certificates."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def only_missing(said: str) -> bool:
    """Whether a failed read says nothing but that names do not exist."""
    lines = [line for line in said.splitlines() if line.strip()]
    return bool(lines) and all(_MISSING.search(line) for line in lines)


def last_line(said: str) -> str:
    """The last line that says something, without secrets."""
    lines = [line.strip() for line in redact(said).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def explain(command: str, config: str, status: int, said: str) -> str:
    """Text for a calicoctl that failed: the command, what it said, what that means and what to do."""
    said = redact(said).strip()
    if status == 127:
        return f"{command}: {said or 'not found'}; calicoctl is not installed there: install it, or give its path"
    if status == 126:
        wrong = " (a program for another architecture?)" if "format" in said else ""
        return f"{command}: cannot be run: {said}{wrong}; install the calicoctl that fits this host"
    if status < 0:
        return f"{command}: calicoctl was ended by signal {-status}; run again"
    if (status == 2 and "panic:" in said) or "goroutine " in said:
        first = next((line for line in said.splitlines() if "panic:" in line), "panic")
        return (
            f"{command}: calicoctl crashed ({first.strip()}); its input is one that this version does not stand. "
            "Use another version of calicoctl, or find the resource by applying them one by one"
        )
    told = " ".join(said.split())
    for pattern, meaning, remedy in _KNOWN:
        if re.search(pattern, said, re.MULTILINE):
            meant = f"{meaning}: {told}. {remedy}" if told else f"{meaning}. {remedy}"
            return f"{command}: {meant.format_map(_Config(config))}"
    return f"{command}: ended with status {status}: {told or 'no message'}"


class _Config(dict):
    """The names that a meaning may use; braces in calicoctl's own words stay."""

    def __init__(self, config: str) -> None:
        super().__init__(config=config or "the configuration file")

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"
