#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# molecule.sh [ARGUMENT ...]: every molecule scenario (or what the arguments say), with the collection as installed
# from the tarball.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
export PATH=$root/.venv/bin:$PATH
export ANSIBLE_COLLECTIONS_PATH=$root/build/collections
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export ANSIBLE_FORCE_COLOR=${ANSIBLE_FORCE_COLOR:-0} NO_COLOR=${NO_COLOR-1}
cd extensions
if (($#)); then exec molecule "$@"; fi
exec molecule test --all
