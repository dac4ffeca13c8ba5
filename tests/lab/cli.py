# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command line: python -m tests.lab up|down|status|ssh|run|reboot|inventory|probe|build."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from . import kube, ssh
from . import lab as labs
from . import node as nodes
from .lab import Lab
from .probe import Probe, outcomes_as_json, probes_from_json, run_probes
from .recipe import SUITES, Recipe
from .rootfs import image_for
from .state import existing_ids, load, resolve_id
from .system import LabError, say


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options) or 0)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except (KeyError, ValueError) as error:
        print(f"lab: {error.args[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lab: interrupted; python -m tests.lab down removes what is there", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    def verb(name: str, function: object, summary: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=summary, description=summary)
        sub.add_argument(
            "--id", help="lab id, 0 to 99, or auto for a free one (default: IKS_LAB_ID, else this checkout's own)"
        )
        sub.set_defaults(run=function)
        return sub

    sub = verb("up", _up, "start a lab, or what is missing of it")
    sub.add_argument("--nodes", help="only these, separated by commas (default: all six)")
    sub.add_argument(
        "--suite", choices=SUITES, default=os.environ.get("IKS_LAB_SUITE", "bookworm"), help="Debian release"
    )
    sub.add_argument("--no-kube", action="store_true", help="no pods and no kube-proxy rules on the workers")
    sub = verb("down", _down, "end a lab and remove every trace of it")
    sub.add_argument("--all", action="store_true", help="every lab of this machine")
    sub = verb("status", _status, "show what runs")
    sub.add_argument("--json", action="store_true", help="for programs")
    sub = verb("ssh", _ssh, "log in on a node, or run a command there, over SSH")
    sub.add_argument("--user", default="root")
    sub.add_argument("node")
    sub.add_argument("command", nargs=argparse.REMAINDER)
    sub = verb("run", _run, "run a command as root in a node, past its network")
    sub.add_argument("node", help="a node, or controller for the lab's own namespace")
    sub.add_argument("command", nargs=argparse.REMAINDER)
    sub = verb("reboot", _reboot, "reboot a node and wait for it")
    sub.add_argument("--power-cut", action="store_true", help="without shutting down")
    sub.add_argument("node")
    sub = verb("kube", _kube, "pods and kube-proxy's rules on a running worker; on one that has them, write them anew")
    sub.add_argument("node")
    sub = verb("calico", _calico, "etcd on the running master and what programs Calico's policies on the workers")
    sub.add_argument("--tools", action="store_true", help="iptables and ipset on the workers too")
    sub.add_argument("--output", type=Path, help="write the collection's variables to this file, as JSON")
    sub = verb("dhcp", _dhcp, "let a node take its private address from DHCP, or show what its server heard")
    sub.add_argument("node")
    sub.add_argument("action", choices=("on", "off", "log"))
    sub.add_argument("--lease", type=int, default=20, help="seconds")
    sub = verb("reset", _reset, "fresh disks for these nodes")
    sub.add_argument("nodes", nargs="*", help="default: all")
    sub = verb("inventory", _inventory, "print an Ansible inventory of the running lab")
    sub.add_argument("--format", choices=("yaml", "json"), default="yaml")
    sub.add_argument("--user", default="iks", help="iks (with become) or root")
    sub.add_argument("--output", type=Path, help="write to this file instead")
    sub = verb("probe", _probe, "send probes from a node; the outcome of each on standard output")
    sub.add_argument("--file", type=argparse.FileType("r"), help="JSON list of objects like Probe; - is input")
    sub.add_argument("--json", action="store_true", help="for programs")
    sub.add_argument("node", help="a node, worker1/pod, or controller")
    sub.add_argument("probes", nargs="*", help="tcp/169.46.7.238/20000 or icmp/203.0.113.11; =open expects it")
    sub = verb("build", _build, "make the root file system now and print where it lies")
    sub.add_argument("--suite", choices=SUITES, default="bookworm")
    return parser


def _up(options: argparse.Namespace) -> None:
    names = [name for name in (options.nodes or "").split(",") if name] or None
    lab = labs.up(resolve_id(options.id), names=names, suite=options.suite, kube=not options.no_kube)
    print(lab.lab_id)


def _down(options: argparse.Namespace) -> None:
    if options.all:
        ended = labs.down_all()
        say(f"ended: {', '.join(map(str, ended)) or 'nothing was there'}")
        return
    lab_id = resolve_id(options.id)
    say(f"lab {lab_id} is gone" if labs.down(lab_id) else f"lab {lab_id}: nothing was there")


def _status(options: argparse.Namespace) -> int:
    found = []
    for lab_id in [resolve_id(options.id)] if options.id else existing_ids():
        state = load(lab_id)
        running = {name: nodes.leader(state, name) for name in state.nodes} if state else {}
        found.append(
            {
                "id": lab_id,
                "ready": bool(state and state.ready),
                "owner": state.owner if state else None,
                "suite": state.suite if state else None,
                "nodes": running,
            }
        )
    if options.json:
        print(json.dumps(found, indent=1))
    for entry in [] if options.json else found:
        print(f"lab {entry['id']}: {'up' if entry['ready'] else 'half made'}, {entry['suite']}, of {entry['owner']}")
        for name, pid in dict(entry["nodes"]).items():
            address = labs.topology(int(str(entry["id"]))).node(name).ssh_address
            print(f"  {name:9} {f'pid {pid}' if pid else 'not running':14} {address}")
    return 0 if found else 1


def _words(command: list[str]) -> list[str]:
    return command[1:] if command[:1] == ["--"] else command


def _ssh(options: argparse.Namespace) -> None:
    lab = Lab(resolve_id(options.id))
    argv = [*ssh.command(lab, options.node, options.user), *_words(options.command)]
    os.execvp(argv[0], argv)


def _run(options: argparse.Namespace) -> None:
    lab = Lab(resolve_id(options.id))
    words = _words(options.command) or ["/bin/bash"]
    if options.node != "controller" and lab.topology.node(options.node).virtual:
        words = [shlex.join(words)]  # ssh joins its words with blanks
    argv = [
        *([*("nsenter", f"--net={lab.netns}")] if options.node == "controller" else lab.enter_command(options.node)),
        *words,
    ]
    os.execvp(argv[0], argv)


def _reboot(options: argparse.Namespace) -> None:
    lab = Lab(resolve_id(options.id))
    (lab.power_cut if options.power_cut else lab.reboot)(options.node)


def _kube(options: argparse.Namespace) -> None:
    lab = Lab(resolve_id(options.id))
    if lab.state.kube:
        kube.reassert(lab, options.node)
    else:
        kube.provision(lab, options.node)


def _calico(options: argparse.Namespace) -> None:
    # Late: it wants what no other command does.
    from tests.calico import lab as calico

    lab = Lab(resolve_id(options.id))
    calico.provision(lab, tools=options.tools)
    text = json.dumps(calico.variables(lab.topology), indent=2) + "\n"
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


def _dhcp(options: argparse.Namespace) -> None:
    lab = Lab(resolve_id(options.id))
    if options.action == "on":
        lab.enable_dhcp(options.node, lease_seconds=options.lease)
    elif options.action == "off":
        lab.disable_dhcp(options.node)
    else:
        for entry in lab.dhcp_log(options.node):
            print(json.dumps(entry))


def _reset(options: argparse.Namespace) -> None:
    Lab(resolve_id(options.id)).reset(*options.nodes)


def _inventory(options: argparse.Namespace) -> None:
    data = ssh.inventory(Lab(resolve_id(options.id)), user=options.user)
    text = (
        json.dumps(data, indent=2) + "\n"
        if options.format == "json"
        else yaml.safe_dump(data, sort_keys=False, width=200)
    )
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


def _probe(options: argparse.Namespace) -> int:
    wanted = [_probe_from_word(word) for word in options.probes]
    if options.file:
        wanted += probes_from_json(options.file.read())
    if not wanted:
        raise LabError("probe: nothing to try; give tcp/ADDRESS/PORT or --file")
    outcomes = run_probes(Lab(resolve_id(options.id)), options.node, wanted)
    if options.json:
        print(json.dumps(outcomes_as_json(outcomes), indent=1))
    for outcome in [] if options.json else outcomes:
        print(outcome)
    return 0 if all(outcome.matched for outcome in outcomes) else 1


def _probe_from_word(word: str) -> Probe:
    what, _, expected = word.partition("=")
    proto, dst, *port = what.split("/")
    return Probe(proto, dst, int(port[0]) if port else None, expected=expected or None)


def _build(options: argparse.Namespace) -> None:
    print(image_for(Recipe(suite=options.suite)).folder)
