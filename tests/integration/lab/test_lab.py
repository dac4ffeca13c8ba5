# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab keeps its promises: real nodes, every address answers, nothing leaves it, nothing is left of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import cgroup, ssh
from tests.lab import lab as labs
from tests.lab.lab import Lab
from tests.lab.probe import Outcome, Probe, expecting, run_probes
from tests.lab.state import REPO_ROOT, lab_folder, load, resolve_id
from tests.lab.system import LabError, wait_until

MASTER = "169.46.7.238"
PACKAGE = REPO_ROOT / "tests" / "lab"


def cli(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(PACKAGE), *words], cwd=cwd, capture_output=True, text=True, check=False)


def failures(outcomes: list[Outcome]) -> list[str]:
    return [str(outcome) for outcome in outcomes if not outcome.matched]


def traces(lab_id: int, groups: list[Path]) -> list[str]:
    """Whatever would show that a lab has been here."""
    found = [str(path) for path in [lab_folder(lab_id), Path(labs.netns_path(lab_id)), *groups] if path.exists()]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/iks-lab/{lab_id}/" in line]
    found += [str(path) for path in Path("/run/systemd/nspawn").glob(f"*/iks{lab_id}-*")]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"/iks-lab/{lab_id}/" in command or f"--machine=iks{lab_id}-" in command:
            found.append(command)
    return found


@pytest.fixture
def other_id() -> Iterator[int]:
    """The id of a second, small lab; removed afterwards in any case."""
    lab_id = resolve_id("auto")
    yield lab_id
    labs.down(lab_id)


def test_all_nodes_answer_to_ansible_over_ssh(lab: Lab) -> None:
    ansible = Path(sys.executable).with_name("ansible")
    done = subprocess.run(
        [str(ansible), "-i", str(lab.inventory_file), "all", "-m", "ansible.builtin.command", "-a", "id -u"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [line.split(" | ")[0] for line in done.stdout.splitlines() if " | CHANGED | rc=0" in line]
    assert sorted(answers) == sorted(["master", "worker1", "worker2", "gateway", "internet", "onprem"])
    assert done.stdout.splitlines().count("0") == 6, "ansible becomes root on each"


def test_every_service_of_every_node_has_started(lab: Lab) -> None:
    states = {
        name: lab.run(name, ["systemctl", "is-system-running"], check=False).stdout.strip() for name in lab.node_names
    }
    assert set(states.values()) == {"running"}, states


def test_up_again_leaves_running_nodes_alone(lab: Lab) -> None:
    before = {name: lab.leader(name) for name in lab.node_names}
    labs.up(lab.lab_id)
    assert {name: lab.leader(name) for name in lab.node_names} == before


def test_only_the_worker_with_kube_proxys_iptables_mode_has_iptables(lab: Lab) -> None:
    have = [name for name in lab.node_names if lab.run(name, ["which", "iptables"], check=False).returncode == 0]
    assert have == ["worker1"]


def test_packages_install_offline(fresh_nodes: Lab) -> None:
    fresh_nodes.run("master", ["sh", "-c", "apt-get -q update && apt-get -q -y install iptables ipset"])
    assert "ipset v" in fresh_nodes.run("master", ["ipset", "--version"]).stdout


@pytest.mark.parametrize("node", ["master", "worker1", "worker2", "gateway", "onprem", "worker1/pod", "worker2/pod"])
def test_every_address_answers_on_every_port(lab: Lab, node: str) -> None:
    wanted = [
        Probe(proto, dst, port, expected="open")
        for dst in (MASTER, "10.200.80.1", "1.0.0.1", "2001:db8:cafe::1", "2001:db8:cafe:ffff::9")
        for proto, port in [
            ("tcp", 1),
            ("udp", 1),
            ("tcp", 20000),
            ("udp", 32767),
            ("tcp", 65535),
            ("udp", 65535),
            ("tcp", 7),
            ("udp", 7),
            ("icmp", None),
        ]
    ]
    assert failures(run_probes(lab, node, wanted)) == []


def test_the_answer_comes_from_the_address_and_port_that_were_asked(lab: Lab) -> None:
    ask = f"import socket; print(socket.create_connection(('{MASTER}', 31234), 2).recv(99))"
    assert f"iks-echo {MASTER} 31234" in lab.run("worker2", ["python3", "-c", ask]).stdout


def test_a_whole_port_range_takes_seconds(lab: Lab) -> None:
    wanted = [Probe(proto, MASTER, port, expected="open") for proto in ("tcp", "udp") for port in range(20000, 32768)]
    started = time.monotonic()
    assert failures(run_probes(lab, "worker1", wanted)) == []
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("worker", "address"),
    [
        ("worker1", "203.0.113.11"),
        ("worker2", None),
        ("worker1", "2001:db8:113::11"),
        ("worker2", "v6"),
    ],
)
def test_node_ports_lead_to_pod_and_to_host_network(lab: Lab, worker: str, address: str | None) -> None:
    nic = lab.topology.node(worker).nics[0]
    target = {None: str(nic.ipv4.ip), "v6": str(nic.ipv6.ip)}.get(address, address)
    wanted = [
        Probe("tcp", str(target), port, expected=expected)
        for port, expected in [(30080, "open"), (30081, "open"), (30082, "refused"), (30999, "open"), (10250, "open")]
    ]
    assert failures(run_probes(lab, "internet", wanted)) == []
    assert failures(run_probes(lab, "worker1/pod", [Probe("tcp", "172.21.0.80", 80, expected="open")])) == []


def test_kube_proxy_can_take_the_first_places_again(lab: Lab) -> None:
    lab.run("worker1", ["iptables", "-I", "INPUT", "-p", "tcp", "--dport", "9", "-j", "DROP"])
    assert cli("kube", "--id", str(lab.lab_id), "worker1").returncode == 0
    rules = lab.run("worker1", ["iptables", "-S", "INPUT"]).stdout.splitlines()
    lab.run("worker1", ["iptables", "-D", "INPUT", "-p", "tcp", "--dport", "9", "-j", "DROP"])
    assert [rule.split()[-1] for rule in rules[1:]] == [
        "KUBE-PROXY-FIREWALL",
        "KUBE-NODEPORTS",
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-FIREWALL",
        "DROP",
    ]


FIREWALL = """
table inet judge {
    chain in { type filter hook input priority 0;
        tcp dport 1001 drop
        udp dport 30999 drop
        tcp dport 10250 reject with tcp reset
        meta l4proto 112 drop
        icmp type echo-request drop
    }
    chain out { type filter hook output priority 0;
        tcp dport 2001 drop
        udp dport 2001 drop
        tcp dport 2002 reject
        udp dport 2002 reject
    }
}
"""


def test_probes_tell_open_refused_and_filtered_apart(fresh_nodes: Lab) -> None:
    """Each proof twice: with the firewall, and without it, where it must fail."""
    inward = [
        Probe("tcp", "203.0.113.11", 1001, expected="filtered"),
        Probe("udp", "203.0.113.11", 30999, expected="filtered"),
        Probe("tcp", "203.0.113.11", 10250, expected="refused"),
        Probe("vrrp", "203.0.113.11", expected="filtered"),
        Probe("vrrp", "224.0.0.18", receiver="worker1", expected="filtered"),
        Probe("vrrp", "2001:db8:113::11", expected="filtered"),
        Probe("icmp", "203.0.113.11", expected="filtered"),
    ]
    outward = [
        Probe("tcp", MASTER, 2001, expected="filtered"),
        Probe("udp", MASTER, 2001, expected="filtered"),
        Probe("tcp", MASTER, 2002, expected="refused"),
        Probe("udp", MASTER, 2002, expected="closed"),
    ]
    open_ones = run_probes(fresh_nodes, "internet", inward) + run_probes(fresh_nodes, "worker1", outward)
    assert [str(outcome) for outcome in open_ones if outcome.matched] == []
    fresh_nodes.run("worker1", ["nft", "-f", "-"], stdin=FIREWALL)
    closed = run_probes(fresh_nodes, "internet", inward) + run_probes(fresh_nodes, "worker1", outward)
    assert failures(closed) == []


def test_what_could_not_be_sent_proves_nothing(lab: Lab) -> None:
    outcome = run_probes(lab, "controller", [Probe("tcp", MASTER, 443, expected="closed")])[0]
    assert (outcome.result, outcome.detail, outcome.matched) == ("error", "ENETUNREACH", False)


def test_the_lab_has_no_way_out(lab: Lab) -> None:
    inside = ["nsenter", f"--net={lab.netns}", "ip", "-json"]
    routes = json.loads(subprocess.run([*inside, "route"], capture_output=True, text=True, check=True).stdout)
    assert "default" not in [route["dst"] for route in routes]
    links = json.loads(subprocess.run([*inside, "link"], capture_output=True, text=True, check=True).stdout)
    nodes = {node.host_interface(nic) for node in lab.topology.nodes for nic in node.nics}
    assert {link["ifname"] for link in links} - nodes == {"lo", "pub", "priv", "onp", "sup"}


def test_probes_refuse_to_run_outside_a_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    request = json.dumps(
        {
            "lab": lab.lab_id,
            "mode": "probe",
            "probes": [["tcp", MASTER, 443, None, False]],
            "timeout": 1,
            "concurrency": 1,
            "deadline": 1,
        }
    )
    done = subprocess.run(
        [sys.executable, str(PACKAGE / "prober.py")], input=request, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "refuse to run here" in done.stderr
    monkeypatch.setattr(Lab, "node_netns", lambda self, node: "/proc/self/ns/net")
    with pytest.raises(LabError, match="refuse to run here"):
        run_probes(lab, "worker1", [Probe("tcp", MASTER, 443)])


def test_a_reboot_is_a_real_one(lab: Lab) -> None:
    lab.run("worker2", ["nft", "add", "table", "inet", "of_before"])
    lab.run("worker2", ["touch", "/root/on-disk", "/run/in-memory"])
    before = lab.leader("worker2")
    lab.reboot("worker2")
    assert lab.leader("worker2") != before
    assert "of_before" not in lab.run("worker2", ["nft", "list", "tables"]).stdout
    left = lab.run("worker2", ["ls", "/root/on-disk", "/run/in-memory"], check=False).stdout.split()
    assert left == ["/root/on-disk"]
    address = lab.topology.node("worker2").ssh_address
    wanted = [Probe("tcp", address, 30080, expected="open"), Probe("tcp", address, 30081, expected="open")]
    wait_until(lambda: not failures(run_probes(lab, "internet", wanted)), 10, "kube-proxy's rules are back")


def test_after_a_power_cut_the_disk_is_what_it_was(lab: Lab) -> None:
    lab.run("gateway", ["sh", "-c", "echo kept > /root/kept; sync"])
    lab.power_cut("gateway")
    assert lab.read("gateway", "/root/kept") == "kept\n"
    lab.reset("gateway")
    assert lab.run("gateway", ["test", "-e", "/root/kept"], check=False).returncode == 1


def test_a_short_dhcp_lease_is_renewed_by_unicast(fresh_nodes: Lab) -> None:
    fresh_nodes.enable_dhcp("worker2", lease_seconds=6)
    try:
        wait_until(
            lambda: sum(1 for entry in fresh_nodes.dhcp_log("worker2") if entry.get("unicast")) >= 2, 20, "two renewals"
        )
        fresh_nodes.wait_for_ssh(["worker2"])
        assert "dynamic" in fresh_nodes.run("worker2", ["ip", "-4", "address", "show", "eth0"]).stdout
    finally:
        fresh_nodes.disable_dhcp("worker2")


def test_two_labs_do_not_clash_and_one_leaves_no_trace(lab: Lab, other_id: int) -> None:
    other = labs.up(other_id, names=["worker1", "internet"])
    groups = [Path(group) for group in other.state.groups]
    assert other_id != lab.lab_id
    assert other.node_names == ["worker1", "internet"]
    assert failures(run_probes(other, "worker1", [Probe("tcp", MASTER, 443, expected="open")])) == []
    assert failures(run_probes(lab, "worker1", [Probe("tcp", MASTER, 443, expected="open")])) == []
    done = subprocess.run(
        [*ssh.command(other, "worker1", "iks"), "sudo", "hostname"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "worker1\n", done.stderr
    assert labs.down(other_id)
    assert traces(other_id, groups) == []
    assert not labs.down(other_id)


@pytest.mark.parametrize("moment", ["as it starts", "nodes are booting"])
def test_a_killed_up_is_cleaned_up(other_id: int, moment: str) -> None:
    process = subprocess.Popen(
        [sys.executable, str(PACKAGE), "up", "--id", str(other_id), "--nodes", "worker1,internet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def reached() -> bool:
        state = load(other_id)
        if moment == "as it starts":
            return state is not None
        return bool(state and cgroup.members([Path(group) for group in state.groups]))

    wait_until(reached, 30, "the lab is half made", step=0.002)
    process.kill()
    process.wait()
    state = load(other_id)
    assert state is not None
    assert not state.ready
    if moment == "as it starts":
        lab = labs.up(other_id, names=["worker1"])
        assert lab.run("worker1", ["hostname"]).stdout == "worker1\n"
    assert labs.down(other_id)
    assert traces(other_id, [Path(group) for group in state.groups]) == []


def test_the_command_line_works_from_any_directory(lab: Lab, tmp_path: Path) -> None:
    done = cli("inventory", "--id", str(lab.lab_id), "--format", "json", "--user", "root", cwd=tmp_path)
    inventory = json.loads(done.stdout)["all"]
    assert set(inventory["children"]) == {"iks_masters", "iks_workers", "iks_gateways", "lab_support"}
    assert inventory["vars"]["ansible_user"] == "root"
    assert cli("probe", "--id", str(lab.lab_id), "worker1", f"tcp/{MASTER}/443=open", cwd=tmp_path).returncode == 0
    assert cli("probe", "--id", str(lab.lab_id), "worker1", f"tcp/{MASTER}/443=closed", cwd=tmp_path).returncode == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["up", "--id", "100"], "lab id 100: must be a number from 0 to 99, or auto"),
        (["up", "--id", "99", "--nodes", "worker9"], "node worker9: not known; the lab can have master, worker1"),
        (["run", "--id", "98", "worker1"], "lab 98 is not up: start it with"),
        (["probe", "worker1"], "probe: nothing to try"),
    ],
)
def test_mistakes_are_explained(words: list[str], complaint: str) -> None:
    done = cli(*words)
    assert done.returncode != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("worker", ["worker1", "worker2"])
def test_a_worker_can_get_kube_proxy_later(other_id: int, worker: str) -> None:
    other = labs.up(other_id, names=[worker, "gateway", "internet"], kube=False)
    address = other.topology.node(worker).ssh_address
    closed = [Probe("tcp", address, port, expected="refused") for port in (30080, 30081)]
    assert failures(run_probes(other, "internet", closed)) == []
    done = cli("kube", "--id", str(other_id), worker)
    assert done.returncode == 0, done.stderr
    wanted = expecting(closed, "open")
    wait_until(lambda: not failures(run_probes(other, "internet", wanted)), 10, "the services answer")
