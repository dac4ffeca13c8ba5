# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table that `bx cs workers CLUSTER` prints (the page's step 1), read by its columns. Pure."""

from __future__ import annotations

from ansible_collections.iks.hardening.plugins.module_utils.errors import HardeningError

from . import addresses

COLUMNS = {"public": "Public IP", "private": "Private IP"}
# What the command prints for a worker without an address in a column.
_NONE = ("", "-")


class TableError(HardeningError):
    """A text that is not the table, or a table without the addresses that are asked for."""


def worker_addresses(text: object, column: str = "public") -> list[str]:
    """One column's addresses, in the order of the table. Raises TableError: never a list that lacks a worker.

    Cells are cut at the header's positions, because a cell may be empty or hold blanks.
    """
    if column not in COLUMNS:
        raise TableError(f"worker_addresses: column {column!r} is not one of {', '.join(COLUMNS)}")
    if not isinstance(text, str):
        raise TableError(
            f"worker_addresses: {type(text).__name__} where the text that bx cs workers prints is expected"
        )
    lines = text.expandtabs().splitlines()
    title = COLUMNS[column]
    top = next((number for number, line in enumerate(lines) if line.lstrip().startswith("ID ") and title in line), None)
    if top is None:
        raise TableError(
            f"worker_addresses: no line with the columns ID and {title}; give the whole output of bx cs workers"
        )
    start = lines[top].index(title)
    end = start + len(title)
    while end < len(lines[top]) and lines[top][end] == " ":
        end += 1
    begin = lines[top].index("ID")
    found: dict[str, str] = {}
    for number, line in enumerate(lines[top + 1 :], top + 2):
        if not line.strip():
            continue
        worker = line[begin:].split()[0] if line[begin:].split() else line.strip()
        if start and line[start - 1 : start].strip():
            raise TableError(f"worker_addresses: line {number} ({worker}) does not stand under the header's columns")
        cell = line[start : end if end < len(lines[top]) else None].strip()
        if cell in _NONE:
            raise TableError(
                f"worker_addresses: worker {worker} has no address under {title}; rules without it would cut it off"
            )
        try:
            address = addresses.host(cell)
        except addresses.AddressError as error:
            raise TableError(f"worker_addresses: worker {worker}, line {number}: {error}") from None
        if address in found:
            raise TableError(f"worker_addresses: {address} stands under {title} for {found[address]} and for {worker}")
        found[address] = worker
    if not found:
        raise TableError("worker_addresses: the table lists no worker; an empty list never means any")
    return list(found)
