#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# ansible_test.sh sanity|units [ARGUMENT ...]: ansible-test on a clean copy of the work tree. Works without any host but
# the package index: ansible-test makes its own environments for the sanity tests, with the stand-in tools/get_pip.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
command=${1:?usage: ansible_test.sh sanity|units [ARGUMENT ...]}
shift
log=$root/build/log/$command.log
# Environments that ansible-test makes for its sanity tests are kept here, for every clone of this repository.
home=${XDG_CACHE_HOME:-$HOME/.cache}/iks.hardening/ansible-test
copy=build/ansible-test/ansible_collections/iks/hardening
# Nothing else of PATH: a version manager's shims exist also for versions that are not selected, and fail.
export PATH=$root/.venv/bin:$root/build/pythons:/usr/local/bin:/usr/bin:/bin

# What is no part of a collection to ansible-test: the lab, the project's own tools, and unit tests about the project
# as a whole, which lie directly in tests/unit (ruff and pytest look at all of those).
stage() {
  tools/stage.sh "$copy"
  (cd "$copy" && rm -rf .ci tools tests/lab tests/demo tests/proof tests/integration tests/benchmarks tests/matrix \
    tests/unit/lab tests/unit/tools tests/unit/test_*.py extensions/molecule
    # ansible-test asks the nearest repository above what belongs to the collection, and ours ignores build/.
    git init -q)
}

# Targets may run Pythons that are not on PATH by their version: ansible-test finds them in build/pythons. Controllers'
# Pythons, but for that of .venv, are the matrix's business.
link_pythons() {
  local python version
  rm -rf build/pythons
  mkdir -p build/pythons
  for python in ~/.pyenv/versions/3.{8,9,10}.*/bin/python3 /usr/bin/python3.{8,9,10} .venv/bin/python; do
    [[ -x $python ]] || continue
    version=$("$python" -c 'import sys, ensurepip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    ln -sf "$(realpath "$python")" "build/pythons/python$version"
  done
}

# The pip that this ansible-test bootstraps its environments with; the cached script is looked up by that version.
cache_get_pip() {
  local version
  version=$(python - <<'PYTHON'
import re
from pathlib import Path

import ansible_test

source = Path(ansible_test.__file__).parent / "_internal" / "python_requirements.py"
print(*re.findall(r"pip='([0-9.]+)'", source.read_text(encoding="utf-8")))
PYTHON
  )
  mkdir -p "$home/.ansible/test/cache"
  for version in $version; do
    cp tools/get_pip.py "$home/.ansible/test/cache/get_pip_${version//./_}.py"
  done
}

# ansible-test hands no PIP_ variable on, and looks for pip's configuration and its own cache in HOME.
make_home() {
  (umask 077 && mkdir -p "$home/.config/pip" && python tools/pip_conf.py >"$home/.config/pip/pip.conf")
  cache_get_pip
}

# The tests' names and complaints; what pip says about its work is in the log.
quietly() {
  "$@" 2>&1 | tee "$log" | grep --line-buffered -Ev \
    -e '^(Looking in|Collecting|Downloading|Processing|Using cached|Successfully|Installing collected|WARNING: Location)' \
    -e '^  (Downloading|Using cached|Preparing|Installing|Getting|Obtaining)' -e '^ +━' -e '^Installing requirements'
}

mkdir -p build/log
exec 9>build/log/ansible-test.lock
flock 9
stage
link_pythons
make_home
case $command in
  sanity)
    printf 'sanity: Pythons found for the import and compile tests: '
    (cd build/pythons && printf '%s ' *)
    printf '\n'
    ;;
  # Targets' Pythons are the matrix's business (tests/matrix): there is no pytest for them here.
  units) set -- --python "$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" "$@" ;;
  *)
    printf 'ansible_test.sh: %s: unknown command; known: sanity, units\n' "$command" >&2
    exit 2
    ;;
esac
cd "$copy"
HOME=$home quietly ansible-test "$command" --local "$@"
