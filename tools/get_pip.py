# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for the get-pip script that ansible-test downloads from a host of its own.

ansible-test keeps that script in ~/.ansible/test/cache and takes whatever lies there. This one installs the same
packages from the package index the machine is configured for: first the pip that Python carries, then the wanted one.
tools/ansible_test.sh puts it there only where there is none.
"""

from __future__ import annotations

import subprocess
import sys


def main() -> int:
    """Install the packages named on the command line as get-pip does; its own options are not for pip."""
    # In a process of its own: ensurepip turns off the pip configuration of the process it runs in.
    subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
    return subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", *arguments])


if __name__ == "__main__":
    sys.exit(main())
