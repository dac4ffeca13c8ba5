# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program behind the stand-in; tests.calico.install packs it into one executable file.

Nothing here imports outside the standard library at start, and nothing slow before it is needed: one process a command
is how the real tool is used, and the product's speed is measured against that.
"""
