# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of `bx cs workers` (the page's step 1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.iks.hardening.plugins.plugin_utils.worker_table import TableError, worker_addresses

TABLE = """\
Listing cluster workers...
OK
ID                                                 Public IP        Private IP       Machine Type   State      Status
kube-dal10-pa10c8f571c84d4ac3b52acbf50fd11788-w1   169.47.223.113   10.171.42.93     u1c.2x4        normal     Ready
kube-dal12-pa10c8f571c84d4ac3b52acbf50fd11788-w2   169.48.131.37    10.177.155.20    u1c.2x4        deploying  Deploy in progress
"""
LATER = """\
ID                        Public IP       Private IP     Flavor              State    Status   Zone    Version
kube-fra02-cr1-w1         159.122.77.1    10.144.1.2     u3c.2x4.encrypted   normal   Ready    fra02   1.10.11
"""


def test_columns():
    assert worker_addresses(TABLE) == ["169.47.223.113", "169.48.131.37"]
    assert worker_addresses(TABLE, "private") == ["10.171.42.93", "10.177.155.20"]
    assert worker_addresses(LATER) == ["159.122.77.1"]


def test_an_indented_copy_reads_the_same():
    assert worker_addresses("\n".join(f"    {line}" for line in TABLE.splitlines())) == worker_addresses(TABLE)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "no line with the columns ID and Public IP", id="empty"),
        pytest.param("FAILED\nCluster not found\n", "no line with the columns ID and Public IP", id="failed"),
        pytest.param(
            "\n".join(TABLE.splitlines()[:3]), "lists no worker; an empty list never means any", id="B14-no-worker"
        ),
        pytest.param(
            TABLE.replace("169.48.131.37", "-            "), "-w2 has no address under Public IP", id="B14-dash"
        ),
        pytest.param(
            TABLE.replace("169.48.131.37", "             "), "-w2 has no address under Public IP", id="B14-blank"
        ),
        pytest.param(TABLE.replace("169.47.223.113", "169.47.223.256"), "line 4: '169.47.223.256' is not", id="B10"),
        pytest.param(TABLE.replace("169.48.131.37 ", "169.48.131.037"), "leading zero", id="B17"),
        pytest.param(
            TABLE.replace("169.48.131.37 ", "169.47.223.113"), "169.47.223.113 stands under Public IP for", id="twice"
        ),
        pytest.param(TABLE.replace("-w2   ", "-w2-and-more "), "line 5", id="shifted"),
        pytest.param(None, "NoneType where the text", id="none"),
        pytest.param(["169.47.223.113"], "list where the text", id="list"),
    ],
)
def test_refused(text, why):
    with pytest.raises(TableError) as caught:
        worker_addresses(text)
    assert why in str(caught.value)


def test_unknown_column():
    with pytest.raises(TableError, match="column 'pubic' is not one of public, private"):
        worker_addresses(TABLE, "pubic")


@given(st.lists(st.ip_addresses(v=4, network="169.47.0.0/16"), min_size=1, max_size=20, unique=True))
def test_what_is_printed_is_read(addresses):
    rows = [
        f"{'kube-w' + str(number):<12}{address!s:<18}{'10.0.0.' + str(number):<15}normal"
        for number, address in enumerate(addresses)
    ]
    text = "\n".join([f"{'ID':<12}{'Public IP':<18}{'Private IP':<15}State", *rows])
    assert worker_addresses(text) == [str(address) for address in addresses]
    assert len(worker_addresses(text, "private")) == len(addresses)
