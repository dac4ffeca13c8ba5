# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for the get-pip script that ansible-test downloads from a host of its own.

ansible-test keeps that script in ~/.ansible/test/cache and takes whatever lies there. This one installs the pip that
Python itself carries: its version is not the one that is asked for, which does not matter to what is installed with it.
"""

from __future__ import annotations

import subprocess
import sys

# In a process of its own: ensurepip turns off the pip configuration of the process it runs in.
sys.exit(subprocess.call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL))
