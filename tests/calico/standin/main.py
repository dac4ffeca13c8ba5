# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the installed file starts: one program, and the version it was installed as."""

from __future__ import annotations

import os
import sys


def run(version: str, patience: float) -> None:
    """Exits with the status of the command."""
    if version.startswith("1."):
        from .v1_cli import run as command
    else:
        from .v3_cli import run as command
    try:
        status = command(sys.argv[1:], patience)
        sys.stdout.flush()
    except BrokenPipeError:
        status = 1
    except KeyboardInterrupt:
        status = 130
    # What the interpreter would tidy up at its end costs a fifth of the whole run.
    sys.stderr.flush()
    os._exit(status)
