#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Writes requirements/constraints-<python>.txt from a fresh environment of .venv's Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch=build/lock
version=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
.venv/bin/python -m venv --clear "$scratch"
"$scratch/bin/python" -m pip install -q -r requirements/dev.txt
{
  printf '# What requirements/dev.txt pulls in on Python %s; written by make lock.\n' "$version"
  "$scratch/bin/python" -m pip freeze --exclude pip
} >"requirements/constraints-$version.txt"
rm -rf "$scratch"
