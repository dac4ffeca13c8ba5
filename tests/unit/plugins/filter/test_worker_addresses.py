# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters around the worker table and the lines of rules."""

from __future__ import annotations

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.iks.hardening.plugins.filter import rules_to_lines, worker_addresses
from ansible_collections.iks.hardening.plugins.plugin_utils.region_rules import rules_for

TABLE = """\
ID           Public IP      Private IP
kube-w1      192.0.2.1      10.0.0.1
"""


def test_worker_addresses():
    read = worker_addresses.FilterModule().filters()["worker_addresses"]
    assert read(TABLE) == ["192.0.2.1"]
    assert read(TABLE, column="private") == ["10.0.0.1"]
    with pytest.raises(AnsibleFilterError, match="no line with the columns ID and Public IP"):
        read("FAILED")


def test_rules_to_lines():
    read = rules_to_lines.FilterModule().filters()["rules_to_lines"]
    rules = rules_for({"regions": "us-south", "services": "registry"})
    assert read(rules) == [
        "accept out tcp to 169.46.9.0/27,169.55.39.112/28,169.55.211.0/27 port 443 family ipv4 "
        "name registry.ng.bluemix.net-tcp # registry for us-south, page 2017-09-29 step 3 (region column of 2018-04-23)"
    ]
    assert read(read(rules)) == read(rules)
    with pytest.raises(AnsibleFilterError, match="the name is given twice"):
        read([*rules, *rules])


@pytest.mark.parametrize("module", [rules_to_lines, worker_addresses])
def test_documentation_names_the_filter(module):
    documentation = yaml.safe_load(module.DOCUMENTATION)
    assert [documentation["name"]] == list(module.FilterModule().filters())
    assert yaml.safe_load(module.EXAMPLES)
    assert yaml.safe_load(module.RETURN)
