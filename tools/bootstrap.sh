#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes the machine ready: Debian packages, then the pinned virtual environment .venv. Instant when nothing is to do.
#
#   CI or YES set    install missing Debian packages without asking
#   VM set           also the packages of the lab's virtual-machine tier, where its machines can run (x86_64)
#   PYTHON=<path>    the interpreter for .venv (default: the first of python3, python3.13 ... python3.10 that serves)
set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
venv=.venv
log=build/log/bootstrap.log

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 2; }

# --- Debian packages ------------------------------------------------------------------------------------------------

# Is this tier of packages wanted here? Only tests/lab/packages.txt has tiers.
wanted_tier() {
  case $1 in
    '' | base) return 0 ;;
    ubuntu) ! grep -qx 'ID=debian' /etc/os-release ;;
    vm) [[ -n ${VM:-} && $(uname -m) == x86_64 ]] ;;
    *) die "tests/lab/packages.txt: tier $1 is unknown; known: base, ubuntu, vm" ;;
  esac
}

# Names of the packages the lists want and dpkg does not have; a line is a name and, maybe, a tier.
missing_packages() {
  local list name tier
  for list in tools/packages.txt tests/lab/packages.txt; do
    [[ -r $list ]] || continue
    sed 's/#.*//' "$list" | while read -r name tier; do
      if [[ -z $name ]] || ! wanted_tier "$tier"; then continue; fi
      [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null) == ?i* ]] || printf '%s\n' "$name"
    done
  done | sort -u
}

install_packages() {
  local names
  local -a wanted
  names=$(missing_packages)
  if [[ -z $names ]]; then return 0; fi
  mapfile -t wanted <<<"$names"
  local -a command=(apt-get install -y -q --no-install-recommends "${wanted[@]}")
  if ((EUID != 0)); then
    die "packages: ${wanted[*]} are missing and this is not root; run: sudo ${command[*]}"
  fi
  if [[ -z ${CI:-} && -z ${YES:-} ]]; then
    if [[ ! -t 0 ]]; then
      die "packages: ${wanted[*]} are missing and nobody can be asked; set YES=1, or run: ${command[*]}"
    fi
    local answer
    read -r -p "Install these Debian packages: ${wanted[*]} ? [y/N] " answer
    [[ $answer == [yY]* ]] || die "packages: not installed; nothing was changed. Run: ${command[*]}"
  fi
  say "bootstrap: installing ${#wanted[@]} Debian packages: ${wanted[*]}"
  export DEBIAN_FRONTEND=noninteractive
  if ! compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null; then fetch_lists; fi
  if ! run_apt "${command[@]}"; then
    # Stale lists name files that the archive has no longer.
    fetch_lists
    run_apt "${command[@]}" || die "packages: apt-get failed; the whole log: $log. Run: ${command[*]}"
  fi
  # Tests start an etcd of their own; the service that the package brings is nothing to leave on a developer's machine.
  if [[ $names == *etcd-server* && -d /run/systemd/system ]]; then
    systemctl disable --now --quiet etcd.service || say "bootstrap: etcd.service could not be disabled"
  fi
}

fetch_lists() {
  say "bootstrap: fetching package lists"
  run_apt apt-get update -q
}

# Shows that something moves; the log holds the rest.
run_apt() {
  "$@" 2>&1 | tee -a "$log" | awk '/^(Get:|Setting up|E:)/ { print "  " $0; fflush() }'
}

# --- Python ---------------------------------------------------------------------------------------------------------

# True for an interpreter of 3.10 or later that can make virtual environments.
serves() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.10 \
      "$HOME"/.pyenv/versions/3.1[0-9]*/bin/python3; do
    if serves "$candidate"; then
      # The real binary: a version manager's shim means something else in another directory, and python3 may be the
      # very .venv that is to be made anew.
      "$candidate" -c 'import os, sys; print(os.path.realpath(sys.executable))'
      return 0
    fi
  done
  return 1
}

# pip tells of every index it looks at; a reader wants to see that something moves, and the log holds the rest.
pip_install() {
  PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --progress-bar off "$@" 2>&1 | tee -a "$log" | awk '
    /^Collecting/ { if (++n % 10 == 0) print "  " n " packages resolved, last: " $2; fflush() }
    /^(ERROR|error)/ { print "  " $0; fflush() }
    /^Installing collected/ { print "  installing " n " packages"; fflush() }'
}

make_environment() {
  local python=$1 stamp=$2 version constraints
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  constraints=requirements/constraints-$version.txt
  say "bootstrap: making $venv with Python $version ($python); about a minute the first time"
  if [[ ! -x $venv/bin/python || $("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) != "$version" ]]; then
    "$python" -m venv --clear "$venv"
  fi
  rm -f "$venv/.stamp"
  local -a arguments=(-r requirements/dev.txt)
  if [[ -r $constraints ]]; then arguments+=(-c "$constraints"); fi
  if ! pip_install "${arguments[@]}"; then
    tail -n 15 "$log" >&2
    die "bootstrap: pip could not install requirements/dev.txt for Python $version; the whole log: $log"
  fi
  printf '%s' "$stamp" >"$venv/.stamp"
  say "bootstrap: $venv is ready"
}

# What .venv was made from; another value means it is to be made again.
fingerprint() {
  { cat requirements/dev.txt requirements/constraints-*.txt; printf '%s\n' "${PYTHON:-}" "$root"; } | sha256sum | cut -d' ' -f1
}

mkdir -p build/log
exec 9>build/log/bootstrap.lock
flock 9
command -v dpkg-query >/dev/null || die "machine: no dpkg here; the lab needs Debian 12/13 or Ubuntu 22.04/24.04"
install_packages
stamp=$(fingerprint)
if [[ -x $venv/bin/python && -r $venv/.stamp && $(<"$venv/.stamp") == "$stamp" ]]; then exit 0; fi
python=$(find_python) || die "python: no Python 3.10 or later with venv and ensurepip; install python3 and python3-venv"
make_environment "$python" "$stamp"
