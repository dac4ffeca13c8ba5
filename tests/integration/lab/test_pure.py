# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the lab is pure: addresses, recipes, texts. No root, no lab."""

from __future__ import annotations

import struct
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from tests.lab import dhcp, kube, kube_iptables, kube_nft, limits, vm
from tests.lab.cgroup import own_groups
from tests.lab.echo import greeting, original_destination
from tests.lab.probe import Outcome, Probe
from tests.lab.prober import checksum, verdict_of
from tests.lab.recipe import Recipe
from tests.lab.rootfs import host_mirror
from tests.lab.state import resolve_id
from tests.lab.system import LabError
from tests.lab.topology import networkd_file, topology


def test_the_agreed_addresses() -> None:
    lab = topology(7)
    seen = {(node.name, nic.name): (str(nic.ipv4), str(nic.ipv6)) for node in lab.nodes for nic in node.nics}
    assert seen["master", "eth0"] == ("203.0.113.10/24", "2001:db8:113::10/64")
    assert seen["worker1", "eth1"] == ("10.171.7.11/24", "fd00:171:7::11/64")
    assert seen["worker2", "eth0"] == ("10.171.7.12/24", "fd00:171:7::12/64")
    assert seen["gateway", "eth2"] == ("192.168.77.1/24", "fd00:77::1/64")
    assert seen["internet", "eth0"] == ("203.0.113.1/24", "2001:db8:113::1/64")
    assert seen["onprem", "eth0"] == ("192.168.77.10/24", "fd00:77::10/64")
    assert len(lab.node("worker2").nics) == 1


def test_a_lab_that_could_not_boot_is_refused_beforehand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting = tmp_path / "max_user_instances"
    monkeypatch.setattr(limits, "SETTING", setting)
    monkeypatch.setattr(limits, "existing_ids", list)
    setting.write_text("128\n")
    limits.check_room(18)
    with pytest.raises(LabError, match="max_user_instances = 128 leaves no room for 19: end a lab"):
        limits.check_room(19)


def test_two_labs_share_no_private_address() -> None:
    networks = [ip_network(bridge.ipv4) for lab_id in range(100) for bridge in topology(lab_id).bridges[1::2]]
    assert len(set(networks)) == len(networks)


def test_every_way_out_is_a_neighbour() -> None:
    for node in topology(99).nodes:
        for nic in node.nics:
            for route in nic.routes:
                own = nic.ipv6 if ":" in route.via else nic.ipv4
                assert ip_interface(route.via).ip in own.network, (node.name, nic.name, route)
                ip_network(route.destination)


@pytest.mark.parametrize("lab_id", [-1, 100])
def test_a_lab_id_out_of_range(lab_id: int) -> None:
    with pytest.raises(ValueError, match="out of range, allowed is 0 to 99"):
        topology(lab_id)


@pytest.mark.parametrize("word", ["100", "-1", "x", "1.5"])
def test_a_bad_id_on_the_command_line(word: str) -> None:
    with pytest.raises(LabError, match="must be a number from 0 to 99, or auto"):
        resolve_id(word)


def test_no_interface_name_is_too_long() -> None:
    assert max(len(node.host_interface(nic)) for node in topology(99).nodes for nic in node.nics) <= 15


def test_the_cache_key_follows_the_recipe() -> None:
    plain = Recipe(machine="x86_64")
    assert plain.key.startswith("bookworm-")
    assert plain.key == Recipe(machine="x86_64").key
    assert len({plain.key, Recipe(machine="arm64").key, Recipe(suite="trixie").key, Recipe(base=("systemd",)).key}) == 4
    with pytest.raises(ValueError, match="suite lenny: not known"):
        Recipe(suite="lenny")


@pytest.mark.parametrize(
    ("release", "sources", "expected"),
    [
        ("ID=debian", {"sources.list": "deb [arch=amd64] http://mirror.example/debian/ bookworm main"}, "http://mirror.example/debian/"),
        ("ID=debian", {"sources.list.d/d.sources": "Types: deb\nURIs: http://a.example/debian\nSuites: x"}, "http://a.example/debian"),
        ("ID=debian", {"sources.list": "deb https://other.example/apt stable main"}, None),
        ("ID=ubuntu", {"sources.list": "deb http://mirror.example/debian bookworm main"}, None),
    ],
)  # fmt: skip
def test_the_hosts_own_archive_is_used(
    tmp_path: Path, release: str, sources: dict[str, str], expected: str | None
) -> None:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    for name, text in sources.items():
        (tmp_path / "apt" / name).write_text(text)
    (tmp_path / "os-release").write_text(f'PRETTY_NAME="x"\n{release}\n')
    assert host_mirror(tmp_path / "apt", tmp_path / "os-release") == expected


UNIFIED = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "30 29 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    "31 29 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    "32 29 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 29 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
)


@pytest.mark.parametrize(
    ("table", "mounts", "expected"),
    [
        ("0::/user.slice/session-1.scope\n", UNIFIED, ["/sys/fs/cgroup/user.slice/session-1.scope"]),
        ("0::/docker/abc/x\n", UNIFIED.replace(" / /sys", " /docker/abc /sys"), ["/sys/fs/cgroup/x"]),
        (
            "4:memory:/m\n3:cpu,cpuacct:/\n2:name=systemd:/\n0::/\n",
            HYBRID,
            ["/sys/fs/cgroup/memory/m", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"],
        ),
        ("2:cpu:/\n", HYBRID, []),
    ],
)
def test_where_the_control_groups_go(table: str, mounts: str, expected: list[str]) -> None:
    assert [str(path) for path in own_groups(table, mounts)] == expected


def test_networkd_files() -> None:
    text = networkd_file(topology(5).node("worker2").nics[0])
    assert "Name=eth0\n" in text
    assert "Address=10.171.5.12/24\nDuplicateAddressDetection=none\n" in text
    assert "Destination=0.0.0.0/0\nGateway=10.171.5.3\n" in text


def test_with_dhcp_the_fixed_address_and_default_route_are_gone() -> None:
    text = dhcp.networkd_dhcp_file(topology(5).node("worker2").nics[0])
    assert "DHCP=ipv4" in text
    assert "10.171.5.12" not in text
    assert "0.0.0.0/0" not in text
    assert "Address=fd00:171:5::12/64" in text
    assert "Destination=172.30.11.0/24" in text


def _dhcp_message(kind: int) -> bytes:
    header = dhcp.HEADER.pack(
        1, 1, 6, 0, 0x1234, 0, 0x8000, bytes(4), bytes(4), bytes(4), bytes(4), b"\x02" * 16, dhcp.COOKIE
    )
    return header + bytes([0, 53, 1, kind, 255])


@pytest.mark.parametrize(("kind", "answer"), [(1, 2), (3, 5), (7, None), (8, None)])
def test_dhcp_answers(kind: int, answer: int | None) -> None:
    reply = dhcp.reply(_dhcp_message(kind), dhcp.Lease("10.171.5.12", "255.255.255.0", None, "10.171.5.1", 20))
    if answer is None:
        assert reply is None
        return
    assert reply is not None
    options = dhcp.options_of(reply)
    assert options[53] == bytes([answer])
    assert struct.unpack("!I", options[51]) == (20,)
    assert 3 not in options
    assert reply[16:20] == bytes([10, 171, 5, 12])


def test_kube_proxys_chains_are_named_as_it_names_them() -> None:
    # The example of kube-proxy's own tests: service ns1/svc1:p80, tcp, end point 10.180.0.1:80.
    assert kube.digest("ns1/svc1:p80tcp", 16) == "XPGD46QRK7WJZT7O"
    assert kube.digest("ns1/svc1:p80tcp10.180.0.1:80", 16) == "SXIVWICOYRO3J4NJ"


def test_each_jump_of_kube_proxy_leads_to_a_chain_it_makes() -> None:
    services = kube.services(topology(5).node("worker1"), 4)
    text = kube_iptables.restore_text(4, services, "172.30.0.0/16")
    made = {line.split()[0][1:] for line in text.splitlines() if line.startswith(":")}
    jumps = {line.split(" -j ")[1].split()[0] for line in text.splitlines() if " -j " in line}
    jumps |= {rule.split(" -j ")[-1].removeprefix("-j ") for _, _, rule in kube_iptables.JUMPS}
    assert {name for name in jumps if name.startswith("KUBE-")} <= made
    assert "--dport 30080" in text
    assert "--to-destination 10.171.5.11:8081" in text


def test_no_placeholder_is_left_in_kube_proxys_table() -> None:
    text = kube_nft.table_text(6, kube.services(topology(5).node("worker2"), 6), "fd00:30::/32", "fd00:171:5::12")
    assert not [word for word in ("FAMILY", "ADDR", "NODE-IPS", "CLUSTER-IPS", " IP ") if word in text]
    assert "dnat to [fd00:30:12::2]:8080" in text


@pytest.mark.parametrize(
    ("result", "matches"),
    [
        ("open", {None, "open"}),
        ("refused", {None, "closed", "refused"}),
        ("filtered", {None, "closed", "filtered"}),
        ("error", {None}),
    ],
)
def test_which_result_matches_which_expectation(result: str, matches: set[str | None]) -> None:
    expectations = [None, "open", "closed", "refused", "filtered"]
    got = {word for word in expectations if Outcome(Probe("tcp", "192.0.2.1", 1, expected=word), result).matched}
    assert got == matches


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (("tcp", "192.0.2.1"), "a port goes with tcp and udp"),
        (("icmp", "192.0.2.1", 80), "a port goes with tcp and udp"),
        (("gre", "192.0.2.1"), "protocol gre is not known"),
        (("tcp", "192.0.2.300", 80), "192.0.2.300"),
        (("tcp", "192.0.2.1", 80, None, "shut"), "not open, closed, refused or filtered"),
    ],
)
def test_a_probe_that_makes_no_sense(fields: tuple[object, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Probe(*fields)  # type: ignore[arg-type]


def test_small_things_of_the_prober() -> None:
    assert checksum(b"\x08\x00\x00\x00\x00\x01\x00\x01") == 0xF7FD
    assert [verdict_of(number)[0] for number in (111, 113, 1, 101)] == ["refused", "refused", "filtered", "error"]


def test_small_things_of_the_listener() -> None:
    assert greeting("::ffff:192.0.2.1", 80) == b"iks-echo 192.0.2.1 80\n"
    assert original_destination(struct.pack("=H", 2) + struct.pack("!H4s8x", 443, bytes([192, 0, 2, 9]))) == (
        "192.0.2.9",
        443,
    )


def test_where_no_virtual_machine_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm.shutil, "which", lambda tool, path: None if tool.startswith("qemu") else f"/usr/bin/{tool}")
    monkeypatch.setattr(vm.platform, "machine", lambda: "x86_64")
    assert vm.why_not() == "qemu-system-x86_64 missing; VM=1 make setup installs what is needed"
    monkeypatch.setattr(vm.shutil, "which", lambda tool, path: f"/usr/bin/{tool}")
    assert vm.why_not() == ""
    monkeypatch.setattr(vm.platform, "machine", lambda: "aarch64")
    assert vm.why_not() == "virtual machines are made for x86_64 only; this machine is aarch64"
