# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading the catalogue: checksums, schema, defects with their place, and every version usable."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from ansible_collections.iks.hardening.plugins.plugin_utils.catalogue import (
    DIRECTORY,
    known_defects,
    load_catalogue,
    load_ranges,
    versions,
)
from ansible_collections.iks.hardening.plugins.plugin_utils.catalogue_model import CatalogueError
from ansible_collections.iks.hardening.plugins.plugin_utils.region_rules import provider_management_networks, rules_for

PAGE = "regions-2017-09-29.yml"
LIST = "ranges-2018-01-16.yml"
FIXTURES = Path(__file__).parent / "fixtures"


class Data:
    """A copy of the catalogue that a test may spoil."""

    def __init__(self, directory):
        self.directory = directory

    def replace(self, name, old, new, checksum=True):
        path = self.directory / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        path.write_text(text.replace(old, new), encoding="utf-8")
        if checksum:
            self.sign()

    def sign(self):
        lines = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
            for path in sorted(self.directory.glob("*.yml"))
        ]
        (self.directory / "CHECKSUMS").write_text("".join(lines), encoding="ascii")

    def load(self, version=None):
        return load_catalogue(version, directory=self.directory)

    def refused(self, version=None):
        with pytest.raises(CatalogueError) as caught:
            self.load(version)
        return str(caught.value)


@pytest.fixture(name="data")
def _data(tmp_path):
    directory = tmp_path / "catalogue"
    shutil.copytree(DIRECTORY, directory)
    return Data(directory)


# ---- every version


def test_versions():
    assert versions() == (
        "2017-09-29",
        "2017-10-12",
        "2018-04-23",
        "2019-07-26",
        "2021-11-01",
        "2023-09-25",
        "2026-08-20",
    )


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("point", ["worker", "gateway"])
def test_every_region_of_every_version_yields_rules(version, point):
    catalogue = load_catalogue(version)
    for region in catalogue.regions:
        options = {"regions": region.title, "catalogue": version, "worker_addresses": "192.0.2.1", "point": point}
        rules = rules_for({**options, "worker_private_addresses": "10.1.2.3"})
        names = [rule["name"] for rule in rules]
        assert len(set(names)) == len(names)
        # Nothing of what the catalogue prints for the region is left out, and no location of it.
        opened = {net for rule in rules if "-master-" in rule["name"] for net in rule["destinations"]}
        assert (
            opened >= {address for group in region.masters for address in group.addresses} or len(region.masters) == 1
        )
        assert {f"private-{place}-tcp" for place in region.locations} <= set(names)
        assert any(rule["reason"].startswith("registry for") for rule in rules)
        assert all(version in rule["reason"] for rule in rules)
        assert all(len(f"{rule['name']}: {rule['reason']}".encode()) <= 240 for rule in rules)


@pytest.mark.parametrize(
    ("version", "first"), [(version, "30000" if version > "2021-10-11" else "20000") for version in versions()]
)
def test_port_range_belongs_to_the_version(version, first):
    rules = rules_for(
        {"regions": "us-south", "catalogue": version, "services": "master", "worker_addresses": "192.0.2.1"}
    )
    assert {tuple(rule["ports"]) for rule in rules} == {("443", f"{first}-32767")}


def test_all_masters_of_2017_are_still_printed_in_2026():
    def masters(version):
        return {
            address
            for region in load_catalogue(version).regions
            for group in region.masters
            for address in group.addresses
        }

    assert masters("2017-09-29") <= masters("2026-08-20")


def test_the_2017_version_names_its_second_source():
    rules = rules_for({"regions": "us-south", "services": "private"})
    assert [rule["name"] for rule in rules] == [
        "private-dal10-tcp",
        "private-dal12-tcp",
        "private-dal01-tcp",
        "private-all-tcp",
    ]
    assert all("IP ranges 2018-01-16, page 2017-09-29 step 5" in rule["reason"] for rule in rules)


# ---- management systems


def test_management_networks_are_the_59_of_the_observed_policy():
    found = dict(provider_management_networks(load_catalogue()))
    observed = (FIXTURES / "allow_sys_mgmt.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert set(found) == set(observed)
    assert len(found) == 59
    assert not {"158.176.118.0/23", "169.62.118.0/24"} & set(found)
    assert {"75.126.61.0/24", "5.10.118.0/23", "192.255.38.0/24"} <= set(found)
    assert (
        found["169.56.116.0/24"] == "provider management, dos mitigation kor, dos mitigation nor, IP ranges 2018-01-16"
    )


# ---- files


def test_checksum_mismatch_is_reported(data):
    data.replace(PAGE, "169.46.7.238", "169.46.7.239", checksum=False)
    text = data.refused()
    assert "catalogue/regions-2017-09-29.yml: sha256 is" in text
    assert "your own data in an overlay" in text


def test_a_file_without_a_checksum_is_refused(data):
    (data.directory / "CHECKSUMS").write_text("", encoding="ascii")
    assert "has no line in catalogue/CHECKSUMS" in data.refused()


def test_a_missing_address_list_is_named(data):
    (data.directory / LIST).unlink()
    assert f"catalogue/{LIST}: No such file" in data.refused()


def test_unknown_version_names_the_known_ones_nearest_first():
    with pytest.raises(CatalogueError, match="catalogue '2017-09-28' is not known; known, nearest first: 2017-09-29, "):
        load_catalogue("2017-09-28")


def test_the_committed_checksums_are_those_of_the_files():
    for line in (DIRECTORY / "CHECKSUMS").read_text(encoding="ascii").splitlines():
        digest, name = line.split()
        assert hashlib.sha256((DIRECTORY / name).read_bytes()).hexdigest() == digest


CASES = yaml.safe_load((FIXTURES / "catalogue_defects.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_a_defect_is_reported_with_its_place(data, case):
    data.replace(case["file"], case["old"], case["new"])
    found = data.refused()
    assert case["error"] in found
    assert found.startswith(f"catalogue/{case['file']}:")


def test_every_problem_is_reported_at_once(data):
    data.replace(PAGE, "dal10: [169.46.7.238]", "dal10: [10.0.0.5/8]", checksum=False)
    data.replace(PAGE, "ports: [80, 443]", "ports: [0]")
    assert len(data.refused().splitlines()) == 2


def test_b14_a_location_without_a_private_range_is_an_error_never_an_empty_rule(data):
    data.replace(LIST, "    dal12: [10.200.112.0/20]\n", "")
    catalogue = data.load()
    with pytest.raises(CatalogueError, match="location dal12 is in use, but has no private range in the address lists"):
        catalogue.private_ranges("dal12")


# ---- slips of the sources


def test_known_slips_are_listed_with_a_decision():
    found = {
        (defect.place, defect.value): defect.decision
        for version in versions()
        for defect in known_defects(load_catalogue(version))
    }
    registry = "services.registry.endpoints.jp.icr.io.networks"
    assert {(registry, net) for net in ("161.202.146.86/29", "128.168.71.70/29", "165.192.71.222/29")} <= set(found)
    assert found["tables.load_balancer.ams03", "159.8.197.0./24"] == "excluded"
    assert found["tables.service_network.fra05", "166.0.32.0/23"] == "excluded"
    assert found["tables.service_network.wdc07", "161.26.132.0/22"] == "kept"
    assert found["tables.frontend_public.sjc04", "169.62.118.0/24"] == "kept"
    assert found["tables.dos_mitigation.nor", "169.56.116.0/24"] == "kept"


def test_excluded_values_are_in_no_table():
    for version in ("2018-01-16", "2025-10-03"):
        source = load_ranges(version)
        held = {net for table in source.tables.values() for networks in table.values() for net in networks}
        assert not {defect.value for defect in source.defects if defect.decision == "excluded"} & held


def test_data_files_are_plain_and_complete():
    """What a reader of the file sees is what the loader keeps: as many values, none lost on the way."""
    for path in DIRECTORY.glob("ranges-*.yml"):
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))["tables"]
        tables = load_ranges(path.stem[len("ranges-") :]).tables
        assert {
            name: {place: list(map(_with_length, nets)) for place, nets in table.items()} for name, table in raw.items()
        } == {name: {place: list(nets) for place, nets in table.items()} for name, table in tables.items()}


def _with_length(net):
    return net if "/" in net else f"{net}/32"
