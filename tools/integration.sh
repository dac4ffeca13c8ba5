#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The integration tests: most of them in two labs side by side, as they mostly wait; then, with the machine to themselves,
# those that measure. The stand-ins for calicoctl are checked first: they need no lab, and others build on them.
# With arguments: one pytest run with these.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python

if (($#)); then
  exec "$python" -m pytest tests/calico tests/integration "$@"
fi
"$python" -m pytest tests/calico --numprocesses 2 --dist loadfile
"$python" -m pytest tests/integration --ignore=tests/integration/soak --numprocesses 2 --dist loadfile
"$python" -m pytest tests/integration/soak
