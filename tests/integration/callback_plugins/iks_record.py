# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback: one JSON line a task result into the file that IKS_RECORD names, whatever the version of ansible-core."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: iks_record
type: notification
short_description: Record task results as JSON lines
description: For the integration tests, which judge results and not what is printed.
"""


class CallbackModule(CallbackBase):
    """Writes host, task, status and result of every task, the ignored failures too."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "iks_record"
    CALLBACK_NEEDS_ENABLED = True

    def _record(self, status: str, result: Any) -> None:
        # ansible-core 2.19 gave the attributes public names; 2.17 has only those with the underscore.
        host = getattr(result, "host", None) or result._host
        task = getattr(result, "task", None) or result._task
        found = getattr(result, "result", None) or result._result
        entry = {"host": host.get_name(), "task": task.get_name(), "status": status, "result": found}
        with open(os.environ["IKS_RECORD"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry, default=str) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._record("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._record("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._record("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._record("unreachable", result)
