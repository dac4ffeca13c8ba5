#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Every linter, all of them even after the first complaint; fails if one complained.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export PATH=$PWD/.venv/bin:$PATH
failed=()

run() {
  local name=$1 begin=$SECONDS
  shift
  printf 'lint: %s ...\n' "$name"
  if "$@"; then
    printf 'lint: %s ok (%d s)\n' "$name" "$((SECONDS - begin))"
  else
    failed+=("$name")
    printf 'lint: %s FAILED\n' "$name"
  fi
}

# Both resolve iks.hardening.* names, so they look at a copy that lies where a collection lies.
lint_ansible() {
  # Scenarios learn their nodes from the lab when they run; a syntax check wants some name.
  (cd "$copy" && SCENARIO_NODES=localhost ansible-lint --offline --strict -q)
}

lint_docs() {
  (cd "$copy" && antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck --disallow-unknown-collection-refs .)
}

mkdir -p build/log
exec 9>build/log/lint.lock
flock 9
copy=build/lint/ansible_collections/iks/hardening
tools/stage.sh "$copy" || exit 1
export ANSIBLE_COLLECTIONS_PATH=$PWD/build/lint ANSIBLE_HOME=$PWD/build/lint/home NO_COLOR=1
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run)
run ruff ruff check .
run ruff-format ruff format --check .
run yamllint yamllint --strict .
run shellcheck shellcheck --external-sources "${scripts[@]}"
run antsibull-changelog antsibull-changelog lint
run antsibull-docs lint_docs
run ansible-lint lint_ansible

if ((${#failed[@]})); then
  printf 'lint: failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
