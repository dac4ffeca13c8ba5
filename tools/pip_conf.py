# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print pip's effective configuration as a pip.conf, for programs that drop the environment it partly came from."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys


def effective(listing: str) -> configparser.RawConfigParser:
    """The sections of `pip config list`, whose lines are `section.option='value'`; the environment's wins."""
    conf = configparser.RawConfigParser()
    lines = sorted(filter(None, listing.splitlines()), key=lambda line: line.startswith(":env:"))
    for line in lines:
        name, _equals, value = line.partition("=")
        section, _dot, option = name.rpartition(".")
        section = "global" if section == ":env:" else section
        if not conf.has_section(section):
            conf.add_section(section)
        conf.set(section, option, str(ast.literal_eval(value)).replace("\n", "\n  "))
    return conf


def main() -> None:
    """Read the configuration of this interpreter's pip and print it."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    )
    effective(listing.stdout).write(sys.stdout)


if __name__ == "__main__":
    main()
