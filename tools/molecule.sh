#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# molecule.sh [ARGUMENT ...]: every molecule scenario (or what the arguments say: `converge -s node_firewall`), with the
# collection as installed from the tarball, in a lab of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH
export ANSIBLE_COLLECTIONS_PATH=${IKS_COLLECTIONS_PATH:-$PWD/build/collections}
export ANSIBLE_FORCE_COLOR=${ANSIBLE_FORCE_COLOR:-0} NO_COLOR=${NO_COLOR-1}
# Molecule's own place is shared by all projects whose folder has the same name.
export MOLECULE_EPHEMERAL_DIRECTORY=$PWD/build/molecule

mkdir -p build/log
exec 9>build/log/molecule.lock
flock 9

# Whatever happened to the last run, its lab must not be taken for this one's; nor may this one's stay behind.
end_lab() {
  local id
  id=$(sed -n 's/.*lab_id: \([0-9]*\).*/\1/p' "$MOLECULE_EPHEMERAL_DIRECTORY/lab/lab.yml" 2>/dev/null || true)
  if [[ $id ]]; then python -m tests.lab down --id "$id"; fi
  rm -rf "$MOLECULE_EPHEMERAL_DIRECTORY"
}

# With shared state one time is kept for the files of all scenarios, and every other time draws a warning.
touch --reference=extensions/molecule/config.yml extensions/molecule/*/molecule.yml

if (($#)) && [[ $1 != test ]]; then exec molecule "$@"; fi
if ((!$#)); then set -- test --all; fi
end_lab
if [[ " $* " != *" --destroy=never "* ]]; then trap end_lab EXIT; fi
molecule "$@"
