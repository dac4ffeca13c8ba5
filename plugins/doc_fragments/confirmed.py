# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module whose changes are on trial until somebody has come back."""

from __future__ import annotations


class ModuleDocFragment:
    """How long rules are on trial, and who proves that the node stays reachable."""

    DOCUMENTATION = r"""
options:
  confirm_timeout:
    description:
      - Seconds for which new rules are on trial, 5 to 600. Until the controller has come back over a new connection and
        confirmed them, the kernel goes back to the former rules by itself when the time is over, whatever died.
      - V(0) loads the rules at once. A connection that does not cross the network (local, container) proves nothing; it
        needs that, or O(confirm_from).
    type: int
    default: 30
  confirm_from:
    description:
      - An inventory host that proves the node's reachability by a new TCP connection to O(confirm_port), for
        connections that do not cross the network themselves (local, container).
    type: str
  confirm_port:
    description: The port of the node that O(confirm_from) tries; it has to be open under the new rules.
    type: int
    default: 22
  confirm_address:
    description: The address of the node that O(confirm_from) tries; C(ansible_host) when it is not given.
    type: str
  confirm_connect_timeout:
    description:
      - Seconds for which the controller waits for the new connection; less than O(confirm_timeout).
      - The smaller of the connection's own timeout and O(confirm_timeout) less two when it is not given.
    type: int
"""

    PHASE = r"""
options:
  phase:
    description:
      - Which half of a confirmed commit this is. The action plugin of the module sets it; leave it alone.
    type: str
    choices: [trial, confirm]
    default: trial
"""
