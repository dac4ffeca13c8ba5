# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup as Ansible calls it: options, errors, warnings; and templated as a task does."""

from __future__ import annotations

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.utils.display import Display

from ansible_collections.iks.hardening.plugins.lookup import region_rules as plugin
from ansible_collections.iks.hardening.plugins.plugin_utils.region_request import RegionRequest

WORKERS = ["169.46.1.2", "169.47.1.3"]


@pytest.fixture(name="lookup")
def _lookup(tmp_path):
    loader = DataLoader()
    loader.set_basedir(str(tmp_path))
    return plugin.LookupModule(loader=loader)


def test_terms_are_regions(lookup):
    one = lookup.run(["us-south"], {}, worker_addresses=WORKERS)
    assert one == lookup.run([["US South"]], {}, worker_addresses=WORKERS)
    assert {rule["name"] for rule in lookup.run(["us-south", "us-east"], {}, worker_addresses=WORKERS)} > {
        rule["name"] for rule in one
    }


@pytest.mark.parametrize(
    ("terms", "options", "text"),
    [
        pytest.param(["us-sout"], {}, "'us-sout' is not known; known, nearest first: us-south, ", id="B42-region"),
        pytest.param(
            ["us-south"],
            {"servces": []},
            "option 'servces' is not known; known, nearest first: services",
            id="B42-option",
        ),
        pytest.param(
            ["us-south"], {"regions": ["us-east"]}, "option 'regions' is not known", id="B42-regions-are-terms"
        ),
        pytest.param([], {}, "option regions: an empty list", id="B14-no-region"),
        pytest.param(["us-south"], {}, "option worker_addresses is missing", id="B14-no-workers"),
        pytest.param(
            ["us-south"], {"overlay": "missing.yml"}, "missing.yml cannot be read: No such file", id="no-overlay"
        ),
    ],
)
def test_refused(lookup, terms, options, text):
    with pytest.raises(AnsibleError) as caught:
        lookup.run(terms, {}, **options)
    assert text in str(caught.value)


def test_an_overlay_is_found_beside_the_playbook(lookup, tmp_path):
    (tmp_path / "own.yml").write_text("regions: {us-south: {masters: {dal10: [192.0.2.9]}}}", encoding="utf-8")
    rules = lookup.run(["us-south"], {}, services=["master"], worker_addresses=WORKERS, overlay="own.yml")
    assert rules[-4]["name"] == "us-south-master-dal10-tcp"
    assert rules[-4]["destinations"] == ["192.0.2.9/32"]


def test_slips_of_the_source_are_warnings(lookup, monkeypatch):
    told = []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: told.append(text))
    lookup.run(["ap-north"], {}, services=["registry"], catalogue="2019-07-26")
    assert len(told) == 3
    assert (
        "services.registry.endpoints.jp.icr.io.networks: 161.202.146.86/29: host bits set; replaced by 161.202.146.80/29"
        in told[0]
    )


def test_documented_options_are_those_that_are_read():
    documented = set(yaml.safe_load(plugin.DOCUMENTATION)["options"]) - {"_terms"}
    assert documented == set(plugin.OPTIONS)
    assert documented == set(RegionRequest.__dataclass_fields__) - {"regions"}
