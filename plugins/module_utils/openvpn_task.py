# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole task of openvpn_endpoint: options to an endpoint, a plan, files and service, proof, and the way back."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .calicoctl_run import Run
from .calicoctl_task import find_openssl
from .openvpn_certificates import Facts, check_material, days_left, summary
from .openvpn_guard import check_networks, check_port, check_tun, read_routes
from .openvpn_log import cipher_of, reason_of
from .openvpn_management import status_of
from .openvpn_model import ClientSettings, Endpoint, VpnError, check_name, read_address, read_network, read_remote
from .openvpn_proof import Prover
from .openvpn_store import Store, mode_of
from .openvpn_text import (
    CA,
    CERT,
    CLIENTS,
    CONFIG,
    CRL,
    KEY,
    ROOT,
    SECRET,
    TLS_CRYPT,
    UNIT_FILE,
    UNIT_TEXT,
    render,
    socket_of,
    unit_of,
)

OPENVPN = "/usr/sbin/openvpn"
_MATERIAL = {"ca": CA, "cert": CERT, "key": KEY, "crl": CRL, "tls_crypt": TLS_CRYPT}
_VERSION = re.compile(r"^OpenVPN (\d+)\.(\d+)", re.MULTILINE)


class PutBackError(VpnError):
    """A new configuration did not work; the text says what stands now."""


@dataclass(frozen=True)
class Host:
    """What a task needs of the node it runs on."""

    run: Run
    tmpdir: str
    now: float
    root: str = ROOT
    openvpn: str = OPENVPN


@dataclass(frozen=True)
class Plan:
    """Files and service as they are and as they are wanted; keys among the files are never shown."""

    name: str
    have: Mapping[str, bytes]
    want: Mapping[str, bytes]
    was_active: bool
    active: bool
    unit_differs: bool = False
    endpoint: Optional[Endpoint] = None
    facts: Optional[Facts] = None
    notes: Tuple[str, ...] = field(default_factory=tuple)

    @property
    def files_differ(self) -> bool:
        return dict(self.have) != dict(self.want)

    @property
    def restarts(self) -> bool:
        """Whether the service must be restarted: it reads revocations and clients' settings at each connection."""
        paths = {path for path in (*self.have, *self.want) if self.have.get(path) != self.want.get(path)}
        kept = all(path == CRL or path.startswith(f"{CLIENTS}/") for path in paths)
        return self.unit_differs or not self.was_active or not kept

    @property
    def changed(self) -> bool:
        return self.files_differ or self.unit_differs or self.was_active != self.active


def read_endpoint(params: Mapping[str, Any]) -> Endpoint:
    """Options to an endpoint. Raises VpnError."""
    user = params["user"]
    try:
        group = grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    except KeyError:
        raise VpnError(f"user: {user} is no user of this node; make it first, or give nobody") from None
    return Endpoint(
        name=params["name"],
        role=params["role"] or "",
        protocol=params["protocol"],
        port=params["port"],
        listen=read_address("listen", params["listen"]) if params["listen"] else None,
        networks=tuple(read_network("network", item) for item in params["network"] or ()),
        routes=tuple(read_network("routes", item) for item in params["routes"] or ()),
        pushed=tuple(read_network("push_routes", item) for item in params["push_routes"] or ()),
        clients=tuple(_client(item) for item in params["clients"] or ()),
        only_listed=params["only_listed"],
        client_to_client=params["client_to_client"],
        remotes=tuple(read_remote(item, params["port"]) for item in params["remotes"] or ()),
        server_name=params["server_name"],
        has_crl=bool(params["crl"] or params["crl_content"]),
        ciphers=tuple(params["ciphers"]),
        tls_version=params["tls_version"],
        mtu=params["mtu"],
        mss=params["mss"],
        keepalive=(params["keepalive_interval"], params["keepalive_timeout"]),
        user=user,
        group=group,
        options=tuple((name, _words(value)) for name, value in sorted((params["options"] or {}).items())),
    )


def _words(value: Any) -> str:
    return "" if value is True or value is None else str(value)


def _client(item: Mapping[str, Any]) -> ClientSettings:
    subject = f"client {item['name']}"
    return ClientSettings(
        item["name"],
        read_address(subject, item["address"], 4) if item["address"] else None,
        read_address(subject, item["address6"], 6) if item["address6"] else None,
        tuple(read_network(subject, network) for network in item["networks"] or ()),
        bool(item["disabled"]),
    )


def read_material(params: Mapping[str, Any]) -> Tuple[Dict[str, bytes], Dict[str, str]]:
    """Keys and certificates by their name in the store, and what a user calls each. Raises VpnError."""
    found: Dict[str, bytes] = {}
    shown: Dict[str, str] = {}
    for option, name in _MATERIAL.items():
        path, content = params[option], params[f"{option}_content"]
        if path and "-----BEGIN" in path:
            raise VpnError(
                f"{option}: is the text of a key or certificate, not a path: it would stand in command lines and logs; "
                f"give it as {option}_content"
            )
        if content:
            found[name], shown[name] = content.strip().encode() + b"\n", f"{option}_content"
        elif path:
            found[name], shown[name] = _read_file(option, path, name in SECRET), f"{option}: {path}"
        elif option != "crl":
            raise VpnError(f"{option}: none is given; give {option} (a path on the node) or {option}_content")
    return found, shown


def _read_file(option: str, path: str, secret: bool) -> bytes:
    try:
        with open(path, "rb") as handle:
            about = os.fstat(handle.fileno())
            mode = stat.S_IMODE(about.st_mode)
            if not stat.S_ISREG(about.st_mode):
                raise VpnError(f"{option}: {path} is no file; give the path of a file on this node")
            if secret and mode & 0o077:
                raise VpnError(
                    f"{option}: {path} can be read by others (mode {mode:04o}); issue it anew, and chmod 600 {path}"
                )
            if mode & 0o002:
                raise VpnError(f"{option}: {path} can be changed by everybody (mode {mode:04o}): chmod o-w {path}")
            return handle.read()
    except OSError as error:
        raise VpnError(f"{option}: {path}: {error.strerror}; give the path of a file on this node") from None


def make_plan(params: Mapping[str, Any], host: Host) -> Plan:
    """Compare what is with what is wanted; everything that can be refused is refused here. Raises VpnError."""
    name = check_name(params["name"])
    store = Store(host.root, name)
    have, active = store.read(), is_active(host, name)
    if params["state"] == "absent":
        return Plan(name, have, {}, active, False)
    endpoint = read_endpoint(params)
    material, shown = read_material(params)
    version = installed_version(host)
    texts = {path: text.encode() for path, text in render(endpoint, version).items()}
    facts = _check(host, endpoint, material, shown, texts[CONFIG])
    routes = [
        route
        for family in ("-4", "-6")
        for route in read_routes(_checked(host, ["ip", family, "-json", "route", "show"]))
    ]
    check_networks(
        endpoint, routes, [read_network("reserved_networks", item) for item in params["reserved_networks"] or ()]
    )
    want = {**material, **texts}
    check_tun()
    same_port = active and _listens(have.get(CONFIG, b"")) == _listens(texts[CONFIG])
    if endpoint.role == "server" and not same_port:
        check_port(endpoint)
    differs = _read(UNIT_FILE) != UNIT_TEXT or not _enabled(host, name)
    return Plan(name, have, want, active, True, differs, endpoint, facts, summary(facts, params["expiry_days"]))


def _listens(config: bytes) -> List[bytes]:
    return [line for line in config.splitlines() if line.startswith((b"port ", b"local ", b"proto "))]


def _check(
    host: Host, endpoint: Endpoint, material: Mapping[str, bytes], shown: Mapping[str, str], config: bytes
) -> Facts:
    openssl = find_openssl()
    if openssl is None:
        raise VpnError("openssl: is not installed on this node, so that no certificate can be checked; install it")
    with tempfile.TemporaryDirectory(dir=host.tmpdir) as folder:
        for name, content in {**material, CONFIG: config}.items():
            with os.fdopen(
                os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
            ) as file:
                file.write(content)
        # With --version behind it the file is read, and nothing else is done.
        argv = [host.openvpn, "--config", os.path.join(folder, CONFIG), "--version"]
        _status, output, errors = host.run(argv, "", 20.0)
        refused = next((line for line in (output + errors).splitlines() if "Options error" in line), None)
        if refused:
            said = refused.split("Options error: ")[-1].replace(f"{folder}/", "")
            raise VpnError(f"options: the installed OpenVPN does not know or accept one of them ({said}); leave it out")
        return check_material(host.run, openssl, folder, shown, endpoint, host.now)


def installed_version(host: Host) -> Tuple[int, int]:
    """Version of the installed OpenVPN. Raises VpnError."""
    _status, output, _errors = host.run([host.openvpn, "--version"], "", 20.0)
    found = _VERSION.search(output)
    if not found:
        raise VpnError(f"{host.openvpn}: is not there, or tells no version; install the package openvpn")
    return int(found.group(1)), int(found.group(2))


def is_active(host: Host, name: str) -> bool:
    """Whether the endpoint's service runs."""
    return _show(host, name, "ActiveState") in ("active", "activating", "reloading") and bool(
        int(_show(host, name, "MainPID") or 0)
    )


def _show(host: Host, name: str, what: str) -> str:
    _status, output, _errors = host.run(["systemctl", "show", "--value", "-p", what, unit_of(name)], "", 20.0)
    return output.strip()


def _enabled(host: Host, name: str) -> bool:
    return host.run(["systemctl", "is-enabled", unit_of(name)], "", 20.0)[1].strip() == "enabled"


def _read(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8") as handle:
        return handle.read()
    return ""


def _checked(host: Host, argv: List[str], seconds: float = 60.0) -> str:
    status, output, errors = host.run(argv, "", seconds)
    if status != 0:
        last = (errors.strip() or output.strip() or "no message").splitlines()[-1]
        raise VpnError(f"{' '.join(argv)}: status {status}: {last}")
    return output


def apply_plan(plan: Plan, host: Host) -> List[str]:
    """Do what a plan says, without proof; what was done, in words. Raises VpnError, the former files then in force."""
    store, unit, done = Store(host.root, plan.name), unit_of(plan.name), []
    if not plan.active:
        if plan.was_active or plan.have:
            _checked(host, ["systemctl", "disable", "--now", unit])
            store.lead(None)
            store.tidy()
            done.append(f"{unit} was stopped, its files were removed")
        return done
    if plan.files_differ:
        store.put(plan.want)
        done.append(f"{store.link} has new files")
    if _read(UNIT_FILE) != UNIT_TEXT:
        _write_unit()
        done.append(f"{UNIT_FILE} was written")
        _checked(host, ["systemctl", "daemon-reload"])
    return done


def _write_unit() -> None:
    folder = os.path.dirname(UNIT_FILE)
    handle, staged = tempfile.mkstemp(dir=folder, prefix=".iks-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(UNIT_TEXT)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(staged, 0o644)
        os.rename(staged, UNIT_FILE)
    except OSError as error:
        with suppress(FileNotFoundError):
            os.unlink(staged)
        raise VpnError(f"{UNIT_FILE}: {error.strerror}; make room, or let the task be root") from None


def put_in_force(plan: Plan, host: Host, wait: float, peers: List[str]) -> Tuple[List[str], Prover]:
    """Apply, restart, prove; go back when the tunnel does not come up. Raises PutBackError."""
    if plan.endpoint is None:
        raise ValueError("a plan without an endpoint puts nothing in force")
    store, unit, prover = Store(host.root, plan.name), unit_of(plan.name), Prover(host.run, plan.endpoint, peers)
    former = store.current()
    since = f"@{int(time.time())}"
    try:
        done = apply_plan(plan, host)
        if plan.changed:
            _checked(host, ["systemctl", "enable", unit])
        if plan.restarts:
            # Until the former daemon has ended its socket answers, and would be taken for the new one. Why a start
            # fails is in the log, not in this status.
            host.run(["systemctl", "restart", unit], "", 60.0)
            done.append(f"{unit} was restarted")
        if prover.wait(wait):
            store.tidy()
            return done, prover
        why = f"{reason_of(log_lines(host, plan.name, since))}; {prover.why}"
    except VpnError as error:
        why = str(error)
    if not plan.changed:
        raise VpnError(f"endpoint {plan.name}: the tunnel is not up: {why}. Nothing was changed")
    raise PutBackError(
        f"endpoint {plan.name}: the tunnel did not come up within {wait:g} s: {why}. {_go_back(plan, host, former)}"
    )


def _go_back(plan: Plan, host: Host, former: Optional[str]) -> str:
    store, unit = Store(host.root, plan.name), unit_of(plan.name)
    if former is None:
        host.run(["systemctl", "disable", "--now", unit], "", 60.0)
        store.lead(None)
        store.tidy()
        return "It was stopped and its files were removed, as there were none before: the former state was put back"
    store.lead(former)
    store.tidy()
    if not plan.was_active:
        host.run(["systemctl", "stop", unit], "", 60.0)
        return "The former files were put back; the service is stopped, as it was before"
    host.run(["systemctl", "restart", unit], "", 60.0)
    if is_active(host, plan.name):
        return "The former files were put back, and the service runs with them"
    return f"The former files were put back, and the service does NOT run with them: see `journalctl -u {unit}`"


def log_lines(host: Host, name: str, since: str) -> List[str]:
    """The service's log since a moment, as OpenVPN wrote it."""
    argv = ["journalctl", "--quiet", "--no-pager", "-o", "cat", "-u", unit_of(name), "--since", since]
    return host.run(argv, "", 20.0)[1].splitlines()


def result_of(plan: Plan, with_diff: bool) -> Dict[str, Any]:
    """before, after, diff; of a key only whether there is one."""
    states = [
        {"active": active, "files": _shown(files)}
        for active, files in ((plan.was_active, plan.have), (plan.active, plan.want))
    ]
    result: Dict[str, Any] = {
        "changed": plan.changed,
        "before": states[0],
        "after": states[1],
        "notes": list(plan.notes),
    }
    if plan.facts:
        result["common_name"] = plan.facts.common_name
        result["days_left"] = {
            "certificate": plan.facts.certificate_days,
            "ca": plan.facts.ca_days,
            "crl": plan.facts.crl_days,
        }
    if with_diff:
        before, after = (
            f"{'active' if state['active'] else 'inactive'}\n"
            + "".join(f"=== {path}\n{text}" for path, text in sorted(state["files"].items()))
            for state in states
        )
        keys = [path for path in SECRET if plan.have.get(path) != plan.want.get(path)]
        after += "".join(f"# {path} differs, which is not shown\n" for path in keys)
        result["diff"] = {"before": before, "after": after, "before_header": plan.name, "after_header": plan.name}
    return result


def _shown(files: Mapping[str, bytes]) -> Dict[str, str]:
    return {
        path: f"(mode {mode_of(path):04o}, not shown)\n" if path in SECRET else content.decode(errors="replace")
        for path, content in files.items()
    }


def gathered(name: str, host: Host) -> Dict[str, Any]:
    """What openvpn_info tells of an endpoint. Raises VpnError."""
    store = Store(host.root, check_name(name))
    status = status_of(socket_of(name))
    shown = status.shown()
    if not shown["cipher"]:
        # A client's management interface does not tell it; its log does.
        boot = log_lines(host, name, "-30d") if status.up else []
        shown["cipher"] = cipher_of(boot)
    openssl = find_openssl()
    left = {}
    for what, file in (("certificate", CERT), ("ca", CA), ("crl", CRL)):
        left[what] = days_left(host.run, openssl, f"{store.link}/{file}", what == "crl", host.now) if openssl else None
    return {
        "present": store.current() is not None,
        "active": is_active(host, name),
        "tunnel": shown,
        "days_left": left,
    }
