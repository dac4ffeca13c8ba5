# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a confirmed commit (documentation fragment confirmed): what they may be. Pure.

Asked by the modules on the node, and on the controller before anything is installed.
"""

from __future__ import annotations

import re
from typing import Any, Mapping

from .errors import NodeError

# Seconds that a node may be asked to wait; less than 5 leaves no time for a new connection.
TIMEOUTS = (5, 600)
# An address or a host name, as ansible_host is.
_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]{0,252}[A-Za-z0-9])?|::[A-Fa-f0-9:.]*", re.ASCII)


def check_timeout(seconds: int) -> int:
    """0 (no trial), or how long the node waits for the confirmation."""
    if seconds != 0 and not TIMEOUTS[0] <= seconds <= TIMEOUTS[1]:
        raise NodeError(f"confirm_timeout: {seconds} is not 0 (off) or {TIMEOUTS[0]} to {TIMEOUTS[1]} seconds")
    return seconds


def check_confirmation(params: Mapping[str, Any]) -> int:
    """How long the node waits for the confirmation, from a module's options. Raises NodeError."""
    seconds = check_timeout(params["confirm_timeout"])
    connect = params.get("confirm_connect_timeout")
    if connect is not None and (connect < 1 or (seconds and connect >= seconds)):
        most = f"1 to {seconds - 1} seconds" if seconds else "1 second or more"
        raise NodeError(
            f"confirm_connect_timeout: {connect} is not {most}; a connection that is waited for as long as the rules "
            f"are on trial (confirm_timeout: {seconds}) can confirm nothing. Leave it out, or make it shorter"
        )
    if not 1 <= params["confirm_port"] <= 65535:
        raise NodeError(f"confirm_port: {params['confirm_port']} is outside 1-65535")
    address = params.get("confirm_address")
    if address is not None and not _ADDRESS.fullmatch(address):
        raise NodeError(f"confirm_address: {address!r} is neither an address nor a host name")
    return seconds
