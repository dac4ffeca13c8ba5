#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Builds build/iks-hardening-<version>.tar.gz from a clean copy and installs it into build/collections, offline.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$(sed -n 's/^version: *//p' galaxy.yml)
tarball=build/iks-hardening-$version.tar.gz
galaxy=.venv/bin/ansible-galaxy
export ANSIBLE_COLLECTIONS_PATH=$PWD/build/collections ANSIBLE_LOCALHOST_WARNING=false

mkdir -p build/log
exec 9>build/log/build.lock
flock 9

# Nothing to do if no file that goes in has changed: demo, matrix, integration and molecule all ask for a build.
fingerprint=$(
  git ls-files -z --cached --others --exclude-standard | xargs -0 sha256sum 2>/dev/null | sha256sum | cut -d' ' -f1
)
installed=build/collections/ansible_collections/iks/hardening
if [[ -r $tarball && -r $installed/MANIFEST.json && $(cat build/.built 2>/dev/null) == "$fingerprint" ]]; then
  exit 0
fi
tools/stage.sh build/source
"$galaxy" collection build --force --output-path build build/source >/dev/null
# Swapped in at the end: whoever uses the former copy meanwhile keeps a whole one for all but an instant.
rm -rf build/collections.new build/collections.old
"$galaxy" collection install --offline --force --collections-path build/collections.new "$tarball" \
  >build/log/galaxy.log 2>&1 || { cat build/log/galaxy.log >&2; exit 1; }
if [[ -e build/collections ]]; then mv build/collections build/collections.old; fi
mv build/collections.new build/collections
rm -rf build/collections.old
printf '%s' "$fingerprint" >build/.built
printf 'build: %s, installed into build/collections\n' "$tarball"
