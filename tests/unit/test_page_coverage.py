# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/page-coverage.md has one honest row for every item of the page."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
ITEMS = yaml.safe_load((ROOT / "tests" / "data" / "page-items.yml").read_text(encoding="utf-8"))["items"]
TEXT = (ROOT / "docs" / "page-coverage.md").read_text(encoding="utf-8")
STATUS = re.compile(r"done|later: \S.*|not ours: \S.*")
TEST = re.compile(r"`(tests/[^`]+\.py)`")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| id ")
]


def test_rows_are_well_formed():
    assert [row for row in ROWS if len(row) != 5] == []


def test_ids_are_unique():
    for ids in ([item["id"] for item in ITEMS], [row[0] for row in ROWS]):
        assert len(ids) == len(set(ids))


def test_every_item_has_a_row_and_every_row_an_item():
    items, rows = [item["id"] for item in ITEMS], [row[0] for row in ROWS]
    assert [name for name in items if name not in rows] == [], "items without a row in docs/page-coverage.md"
    assert [name for name in rows if name not in items] == [], "rows without an item in tests/data/page-items.yml"
    assert rows == items, "rows stand in another order than the page's items"


def test_titles_are_the_items_titles():
    assert {row[0]: row[1] for row in ROWS} == {item["id"]: item["title"] for item in ITEMS}


def _dishonest(row):
    """What is wrong with a row, if anything."""
    name, _title, where, tests, status = row
    named = TEST.findall(tests)
    if not STATUS.fullmatch(status):
        yield f"{name}: status {status!r} is none of: done, later: CHAPTER, not ours: REASON"
    if status == "done" and (where == "–" or not named):
        yield f"{name}: a done row says where it is done, and names its tests"
    for path in named:
        # Where only units are staged (ansible-test), the directory of the other tests is not there to be judged.
        if (ROOT / path).parent.is_dir() and not (ROOT / path).is_file():
            yield f"{name}: {path} does not exist"


def test_rows_are_honest():
    assert [problem for row in ROWS for problem in _dishonest(row)] == []


def test_the_count_is_that_of_the_rows():
    kinds = [row[4].split(":")[0] for row in ROWS]
    counted = f"{len(ROWS)} items: {kinds.count('done')} done, {kinds.count('later')} later, {kinds.count('not ours')} not ours."
    assert counted in TEXT


def test_every_address_of_the_2017_catalogue_is_an_item():
    data = yaml.safe_load((ROOT / "catalogue" / "regions-2017-09-29.yml").read_text(encoding="utf-8"))
    titles = " ".join(item["title"] for item in ITEMS)
    masters = [
        address for region in data["regions"].values() for listed in region["masters"].values() for address in listed
    ]
    hosts = [host for service in data["services"].values() for host in service.get("endpoints", ())]
    assert [name for name in (*masters, *hosts) if name not in titles] == []
