#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# stage.sh DESTINATION: a clean copy of the work tree, of the files git knows or would add, and no others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
destination=${1:?usage: stage.sh DESTINATION}
rm -rf "$destination"
mkdir -p "$destination"
# A file deleted but not yet committed is still listed.
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  if [[ -e $file || -L $file ]]; then printf '%s\0' "$file"; fi
done | tar --create --null --no-recursion --files-from=- | tar --extract --directory="$destination"
