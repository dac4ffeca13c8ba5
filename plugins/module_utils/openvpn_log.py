# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a tunnel does not come up, from OpenVPN's log. Pure; the messages are those of OpenVPN 2.5 and 2.6."""

from __future__ import annotations

import re
from typing import List, Sequence, Tuple

# (pattern, reason). The first that any line matches wins: from the cause to its consequences.
_REASONS: Tuple[Tuple[str, str], ...] = (
    (
        r"Options error: (?:Unrecognized option|.*(?:unknown|unrecognized))",
        "the installed OpenVPN does not know an option",
    ),
    (r"Options error: ", "OpenVPN refuses its configuration"),
    (
        r"Cannot open TUN/TAP dev|Cannot ioctl TUNSETIFF|/dev/net/tun: No such",
        "the TUN device cannot be used: load the module tun, or let the container have /dev/net/tun",
    ),
    (
        r"Socket bind failed.*Address already in use|TCP/UDP: Socket bind failed.*\(errno=98\)",
        "the port is taken by another program",
    ),
    (r"Socket bind failed.*Cannot assign", "the address to listen at is not an address of this node"),
    (
        r"certificate is not yet valid",
        "a certificate is not valid yet: the clocks of the two ends differ (clock skew), or it was issued with a wrong "
        "clock; compare `date -u` on both and set the time",
    ),
    (r"CRL has expired", "the revocation list has expired; issue a new one"),
    (r"CRL is not yet valid", "the revocation list is not valid yet: the clocks differ (clock skew)"),
    (r"certificate (?:has )?expired", "a certificate has expired, or a clock is ahead (clock skew); renew it"),
    (r"certificate (?:is |has been )?revoked", "the certificate was revoked"),
    (
        r"unable to get local issuer certificate|unable to get issuer certificate|self[- ]signed certificate"
        r"|certificate signature failure|unknown ca",
        "the certificate comes from an authority that the other end does not trust: it is of another cluster",
    ),
    (
        r"VERIFY X509NAME ERROR|VERIFY ERROR.*X509NAME",
        "the server's certificate has another common name than server_name says",
    ),
    (
        r"VERIFY (?:KU|EKU) ERROR|unsupported certificate purpose|unsuitable certificate purpose",
        "a certificate lacks the usage for its end of the tunnel",
    ),
    (
        r"key values mismatch|Cannot load private key file|Error: private key password",
        "the key cannot be loaded, or is not the certificate's",
    ),
    (
        r"tls-crypt(?:-v2)? unwrap|tls-crypt-v2 (?:unwrapping|error)|TLS Error: tls-crypt|tls_crypt_v2",
        "tls-crypt mismatch: the tls-crypt-v2 keys of the two ends do not belong together",
    ),
    (r"tlsv13? alert (?:bad )?certificate required", "the other end wants a certificate"),
    (
        r"tls(?:v1[0-9]?)? alert protocol version|no protocols available|unsupported protocol",
        "the ends have no TLS version in common",
    ),
    (
        r"no shared cipher|Failed to negotiate cipher|Data channel cipher negotiation failed",
        "the ends have no cipher in common",
    ),
    (r"alert certificate (expired)", "a certificate has expired, or a clock is ahead (clock skew); renew it"),
    (r"AUTH_FAILED|CCD-EXCLUSIVE|client-config-dir authentication failed", "the server refuses this client's name"),
    (r"Cannot resolve host|RESOLVE: Cannot", "the server's name cannot be resolved"),
    (r"Network is unreachable|No route to host|EHOSTUNREACH|ENETUNREACH", "there is no route to the server"),
    (
        r"Connection refused|ECONNREFUSED|\(code=111\)",
        "the server's port is closed: OpenVPN does not run there, or a firewall refuses it",
    ),
    (
        r"TLS key negotiation failed|TLS handshake failed|server_poll|Server poll timeout|Connection timed out",
        "the peer is silent: a firewall drops the packets, no server is there, or it does not accept this client's "
        "tls-crypt-v2 key",
    ),
    (
        r"ERROR: .*route addition failed|Linux route add command failed|net_route_v[46]_add.*error",
        "a route cannot be added",
    ),
    (r"Exiting due to fatal error", "OpenVPN ended with a fatal error"),
)
_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), reason) for pattern, reason in _REASONS)
_SECRET = re.compile(r"-----BEGIN|-----END|^[A-Za-z0-9+/=]{40,}$")
_CIPHER = re.compile(r"[Dd]ata [Cc]hannel: (?:using negotiated )?cipher '([A-Z0-9-]+)'")
SILENT = "nothing came back from the peer within the time"


def reason_of(lines: Sequence[str]) -> str:
    """Why, in words, with the line that says so; lines that could be keys are not repeated."""
    shown = [line.strip() for line in lines if line.strip() and not _SECRET.search(line.strip())]
    for pattern, reason in _PATTERNS:
        for line in reversed(shown):
            if pattern.search(line):
                return f"{reason} (OpenVPN: {line[:200]})"
    return f"{SILENT}{_last(shown)}"


def _last(lines: List[str]) -> str:
    return f" (OpenVPN's last line: {lines[-1][:200]})" if lines else ""


def cipher_of(lines: Sequence[str]) -> str:
    """The data channel's cipher that was negotiated last, empty when the log does not tell."""
    found = [match.group(1) for match in map(_CIPHER.search, lines) if match]
    return found[-1] if found else ""
