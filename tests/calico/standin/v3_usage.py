# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What calicoctl 3.25.2 says of how it is to be called."""

from __future__ import annotations

_COMMON = "[--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]"
USAGE = {
    "apply": f"""calicoctl apply --filename=<FILENAME> [--recursive] [--skip-empty]
                  {_COMMON}""",
    "create": f"""calicoctl create --filename=<FILENAME> [--recursive] [--skip-empty]
                   [--skip-exists] {_COMMON}""",
    "replace": f"""calicoctl replace --filename=<FILENAME> [--recursive] [--skip-empty]
                    {_COMMON}""",
    "delete": f"""calicoctl delete ( (<KIND> [<NAME>...]) |
                   --filename=<FILE> [--recursive] [--skip-empty] )
                   [--skip-not-exists] {_COMMON}""",
    "get": """calicoctl get ( (<KIND> [<NAME>...]) |
                --filename=<FILENAME> [--recursive] [--skip-empty] )
                [--output=<OUTPUT>] [--config=<CONFIG>] [--namespace=<NS>] [--all-namespaces] [--export] \
[--context=<context>] [--allow-version-mismatch]""",
    "patch": f"calicoctl patch <KIND> <NAME> --patch=<PATCH> [--type=<TYPE>] {_COMMON}",
    "label": f"""calicoctl label (<KIND> <NAME>
                  ( <key>=<value> [--overwrite] |
                    <key> --remove )
                  {_COMMON})""",
    "version": "calicoctl version [--config=<CONFIG>] [--poll=<POLL>] [--client] [--allow-version-mismatch]",
}
_BY_FILE = ("--filename", "--config", "--namespace", "--context")
_FLAGS = ("--allow-version-mismatch", "--recursive", "--skip-empty")
# The options with a value and those without.
OPTIONS = {
    "apply": (_BY_FILE, _FLAGS),
    "create": (_BY_FILE, (*_FLAGS, "--skip-exists")),
    "replace": (_BY_FILE, _FLAGS),
    "delete": (_BY_FILE, (*_FLAGS, "--skip-not-exists")),
    "get": ((*_BY_FILE, "--output"), (*_FLAGS, "--all-namespaces", "--export")),
    "patch": (("--config", "--namespace", "--context", "--patch", "--type"), ("--allow-version-mismatch",)),
    "label": (
        ("--config", "--namespace", "--context"),
        ("--allow-version-mismatch", "--overwrite", "--remove"),
    ),
    "version": (("--config", "--poll"), ("--client", "--allow-version-mismatch")),
}
MAIN = """Usage:
  calicoctl [options] <command> [<args>...]

    create       Create a resource by file, directory or stdin.
    replace      Replace a resource by file, directory or stdin.
    apply        Apply a resource by file, directory or stdin.  This creates a resource
                 if it does not exist, and replaces a resource if it does exists.
    patch        Patch a pre-exisiting resource in place.
    delete       Delete a resource identified by file, directory, stdin or resource type and
                 name.
    get          Get a resource identified by file, directory, stdin or resource type and
                 name.
    label        Add or update labels of resources.
    convert      Convert config files between different API versions.
    ipam         IP address management.
    node         Calico node management.
    version      Display the version of this binary.
    datastore    Calico datastore management.

Options:
  -h --help                    Show this screen.
  -l --log-level=<level>       Set the log level (one of panic, fatal, error,
                               warn, info, debug) [default: panic]
     --context=<context>       The name of the kubeconfig context to use.
     --allow-version-mismatch  Allow client and cluster versions mismatch.

Description:
  The calicoctl command line tool is used to manage Calico network and security
  policy, to view and manage endpoint configuration, and to manage a Calico
  node instance.

  See 'calicoctl <command> --help' to read about a specific subcommand.
"""
PANIC = """panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x16b077b]

goroutine 1 [running]:
github.com/projectcalico/calico/calicoctl/calicoctl/resourcemgr.resourceHelper.Create(...)
"""
