# Copyright: Contributors to the iks.hardening collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of the module calicoctl: what is there, what is wanted, the difference, and its application.

Everything that can be refused is refused while planning, before anything is changed.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from .calico_cluster import Cluster, cluster_version, discover, find_kubeconfig, read_text, with_certificates
from .calico_discovery import check_plugins
from .calicoctl_certificates import Findings, check_certificates
from .calicoctl_config import Settings, read_settings, shown
from .calicoctl_download import DownloadError, Manner, check_url, digest_of, shown_url
from .calicoctl_install import (
    InstallError,
    Program,
    Wanted,
    check_link,
    check_mode,
    check_place,
    checksum_of,
    copy_from,
    fetch_from,
    install,
    look,
    remove,
    set_link,
    set_mode,
)
from .calicoctl_run import Run, Tool, check_connection
from .calicoctl_versions import (
    Download,
    VersionError,
    api_of,
    find_download,
    platform_of,
    read_checksum,
    read_version,
)
from .errors import HardeningError

_PROGRAMS = ("/usr/bin", "/usr/local/bin", "/bin", "/opt/homebrew/bin")


@dataclass(frozen=True)
class Host:
    """What the task needs of the host and of Ansible: `move` replaces a file by another in one step."""

    run: Run
    move: Callable[[str, str], None]
    tmpdir: str
    system: str
    machine: str
    environ: Mapping[str, str]
    now: float


@dataclass(frozen=True)
class File:
    """The configuration file: its text and mode, or None of both when there is none."""

    text: Optional[str] = None
    mode: Optional[str] = None


@dataclass(frozen=True)
class Plan:
    """What is there and what will be; `fill` puts the new program into a file, `source` says where it is from."""

    path: str
    config_path: str
    have: Program
    want: Program
    have_file: File
    want_file: File
    wanted: Optional[Wanted] = None
    fill: Optional[Callable[[str], None]] = None
    source: str = ""
    api: Optional[str] = None
    findings: Findings = field(default_factory=Findings)

    @property
    def changed(self) -> bool:
        """Whether anything has to be done."""
        return self.have != self.want or self.have_file != self.want_file


class PartlyError(HardeningError):
    """A task failed after it had changed something; the text says what."""


def make_plan(params: Mapping[str, Any], host: Host) -> Plan:
    """Compare what a host has with what is wanted. Changes nothing. Raises HardeningError for all that is refused."""
    path, config_path = params["path"], params["config_path"]
    check_place("path", path)
    check_place("config_path", config_path)
    if params["link"]:
        check_link(params["link"])
    if params["state"] == "absent":
        return _plan_absent(params, host)
    cluster = _Late(params, host)
    version = cluster_version(cluster.get()) if params["version"] == "auto" else params["version"]
    version = read_version(version) if version else None
    wanted = Wanted(path, check_mode(params["mode"]), None, version, params["link"])
    plan = _plan_program(params, host, wanted)
    api = _api(plan.want.version) or params["api"]
    if params["api"] and api != params["api"]:
        raise VersionError(f"api: calicoctl {plan.want.version} speaks {api}, not {params['api']}; leave api out")
    plan = replace(plan, api=api)
    options = _options(params, cluster)
    if options is None:
        return plan
    if api is None:
        raise VersionError(
            "config: its form depends on the version of calicoctl, which is not known before it is installed: "
            "give version"
        )
    settings = read_settings(api, options)
    findings = _look_at_files(params, host, settings)
    return replace(plan, want_file=File(settings.text(), settings.mode), findings=findings)


class _Late:
    """The cluster, looked for only when something has to be asked of it."""

    def __init__(self, params: Mapping[str, Any], host: Host) -> None:
        self.params, self.host = params, host

    def get(self) -> Cluster:
        params = self.params
        kubeconfig = find_kubeconfig(params["kubeconfig"], self.host.environ, params["allow_exec_plugin"])
        return Cluster(self.host.run, params["kubectl"], kubeconfig, params["timeout"])


def _api(version: Optional[str]) -> Optional[str]:
    return api_of(version) if version else None


def _plan_absent(params: Mapping[str, Any], host: Host) -> Plan:
    have = look(host.run, params["path"], "sha256", params["link"])
    ours = have.link_to == params["path"]
    file = read_file(params["config_path"])
    wanted = Wanted(params["path"], params["mode"], link=params["link"])
    want = Program(link_to=None if ours else have.link_to)
    return Plan(params["path"], params["config_path"], have, want, file, file, wanted)


def _plan_program(params: Mapping[str, Any], host: Host, wanted: Wanted) -> Plan:
    """The program's part of a plan; without version, url and src only what is there is looked at."""
    checksum = read_checksum(params["checksum"]) if params["checksum"] else None
    download = _download(params, host, wanted.version)
    if download is not None:
        checksum = checksum or download.checksum
    elif params["src"]:
        checksum = _checksum_of_source(params["src"], checksum)
    kind = checksum.split(":")[0] if checksum else "sha256"
    have = look(host.run, wanted.path, kind, wanted.link)
    file = read_file(params["config_path"])
    plan = Plan(wanted.path, params["config_path"], have, have, file, file)
    if download is None and not params["src"]:
        return plan
    manner = _manner(params)
    if checksum is None and download is not None and (download.sums_url is None or have.version != wanted.version):
        check_url(download.sums_url or download.url, params["force"], params["validate_certs"])
        checksum = checksum_of(download, manner, host.tmpdir)
    wanted = replace(wanted, checksum=checksum)
    link_to = wanted.path if wanted.link else have.link_to
    if wanted.is_met(have):
        if wanted.version and have.version != wanted.version:
            raise InstallError(
                f"{wanted.path}: has the checksum that is wanted, and is calicoctl {have.version}, "
                f"not {wanted.version}; give the checksum of the version that is meant"
            )
        want = replace(have, mode=wanted.mode, link_to=link_to, owner=os.geteuid())
        return replace(plan, want=want, wanted=wanted)
    want = Program(checksum, wanted.version, wanted.mode, link_to, os.geteuid())
    if download is None:
        return replace(plan, want=want, wanted=wanted, fill=copy_from(params["src"]), source=params["src"])
    fill, source = fetch_from(download.url, manner), shown_url(download.url)
    return replace(plan, want=want, wanted=wanted, fill=fill, source=source)


def _download(params: Mapping[str, Any], host: Host, version: Optional[str]) -> Optional[Download]:
    """Where the program is to be fetched from, or None. Raises HardeningError for a URL that is refused."""
    if params["src"]:
        check_place("src", params["src"])
        return None
    url = params["url"]
    if url:
        download = Download(url, url.rsplit("/", 1)[-1], None, params["checksum"] and read_checksum(params["checksum"]))
        if not params["checksum"]:
            raise DownloadError(
                f"checksum: none is given for {shown_url(url)}; download it once yourself, make sure that it is the "
                "right one, and give its sha256"
            )
    elif version:
        platform = platform_of(host.system, host.machine)
        download = find_download(version, platform, params["mirror"], params["releases"])
    else:
        return None
    check_url(download.url, params["force"], params["validate_certs"])
    return download


def _checksum_of_source(source: str, checksum: Optional[str]) -> str:
    found = digest_of(source, checksum.split(":")[0] if checksum else "sha256")
    if found is None:
        raise InstallError(f"src: {source}: no such file on this host; copy it there first")
    if checksum and checksum != found:
        raise DownloadError(f"src: {source}: has the checksum {found}, not {checksum}; give the right file or checksum")
    return found


def _manner(params: Mapping[str, Any]) -> Manner:
    return Manner(
        tuple(params["allowed_hosts"]),
        params["validate_certs"],
        params["ca_path"],
        params["url_username"],
        params["url_password"],
        params["download_timeout"],
    )


def _options(params: Mapping[str, Any], cluster: _Late) -> Optional[Dict[str, Any]]:
    """The configuration's options, given and found; None when no configuration is wanted."""
    given = {name: value for name, value in (params["config"] or {}).items() if value is not None}
    if params["discover"]:
        return discover(cluster.get, given, params["certs_dir"], params["config_map"])
    if params["config"] is None:
        return None
    return with_certificates(given, params["certs_dir"]) if params["certs_dir"] else given


def _look_at_files(params: Mapping[str, Any], host: Host, settings: Settings) -> Findings:
    kubeconfig = settings.values.get("kubeconfig")
    if kubeconfig:
        check_plugins(kubeconfig, read_text(kubeconfig), params["allow_exec_plugin"])
    if not params["check_certificates"]:
        return Findings()
    return check_certificates(host.run, find_openssl(), settings.values, host.now, params["expiry_days"])


def find_openssl() -> Optional[str]:
    """The path of openssl, or None."""
    paths = (f"{folder}/openssl" for folder in _PROGRAMS)
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def read_file(path: str) -> File:
    """A configuration file as it is. Raises InstallError when it is there and cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as content:
            return File(content.read(), f"{stat.S_IMODE(os.fstat(content.fileno()).st_mode):04o}")
    except FileNotFoundError:
        return File()
    except OSError as error:
        raise InstallError(f"config_path: {path}: {error.strerror}; run the task with become: true") from None


def apply_plan(plan: Plan, host: Host, absent: bool) -> Tuple[Plan, List[str]]:
    """Do what a plan says; the plan with the version that was installed, and what was done, in words.

    Raises PartlyError if something had been done before it failed.
    """
    done: List[str] = []
    try:
        version = _apply(plan, host, absent, done)
    except HardeningError as error:
        raise partly(error, done) from None
    except OSError as error:
        said = InstallError(f"{error.filename or plan.path}: {error.strerror}; run the task with become: true")
        raise partly(said, done) from None
    if version is None:
        return plan, done
    return replace(plan, want=replace(plan.want, version=version), api=api_of(version)), done


def partly(error: HardeningError, done: List[str]) -> HardeningError:
    """An error that tells what had been done before it, if anything was."""
    return PartlyError(f"{str(error).rstrip('.')}. Before that: {'; '.join(done)}") if done else error


def _apply(plan: Plan, host: Host, absent: bool, done: List[str]) -> Optional[str]:
    """Do it, and tell step by step in `done` what was done; the version of a new program."""
    wanted, version = plan.wanted, None
    if absent and wanted:
        if plan.changed:
            remove(wanted)
            done.append(f"{plan.path} was removed")
        return None
    if wanted and plan.fill:
        version = install(host.run, wanted, plan.fill, plan.source, host.move)
        done.append(f"{plan.path} is calicoctl {version} now")
    elif wanted and (plan.have.mode, plan.have.owner) != (plan.want.mode, plan.want.owner):
        set_mode(plan.path, wanted.mode)
        done.append(f"{plan.path} has the mode {wanted.mode} now")
    if wanted and wanted.link and plan.have.link_to != plan.want.link_to:
        set_link(wanted.link, plan.path)
        done.append(f"{wanted.link} leads to {plan.path} now")
    if plan.have_file != plan.want_file:
        write_file(plan.config_path, plan.want_file, host)
        done.append(f"{plan.config_path} was written")
    return version


def write_file(path: str, file: File, host: Host) -> None:
    """Replace a configuration file in one step; a secret in it is at no time readable by others."""
    mode = int(file.mode or "0600", 8)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    handle, staged = tempfile.mkstemp(dir=host.tmpdir)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as content:
            content.write(file.text or "")
        with suppress(FileNotFoundError):
            # The mode of the former file lives on in the new one until it is set.
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & mode)
        host.move(staged, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(staged)
    os.chown(path, os.geteuid(), os.getegid())
    os.chmod(path, mode)


def verify(plan: Plan, params: Mapping[str, Any], host: Host) -> List[str]:
    """Prove that calicoctl reaches its datastore; the names of the nodes. Raises DatastoreError."""
    if plan.api is None:
        raise InstallError(f"verify: {plan.path} is no calicoctl that tells its version; give version, url or src")
    tool = Tool(plan.path, plan.config_path, plan.api, params["timeout"], params["allow_version_mismatch"])
    return check_connection(host.run, tool)


def result_of(plan: Plan, with_diff: bool) -> Dict[str, Any]:
    """before, after, diff and what else a task tells; no secret in any."""
    states = [
        {
            "path": plan.path,
            **program.shown(),
            "config": {"path": plan.config_path, "mode": file.mode, "text": shown(file.text)},
        }
        for program, file in ((plan.have, plan.have_file), (plan.want, plan.want_file))
    ]
    result: Dict[str, Any] = {
        "changed": plan.changed,
        "before": states[0],
        "after": states[1],
        "version": plan.want.version,
        "api": plan.api,
        "certificates": plan.findings.certificates,
        "notes": list(plan.findings.notes),
    }
    if with_diff:
        result["diff"] = _diff(plan)
    return result


def _diff(plan: Plan) -> List[Dict[str, str]]:
    parts: List[Dict[str, str]] = []
    if plan.have != plan.want:
        parts.append(_part(plan.path, _lines(plan.have), _lines(plan.want)))
    if plan.have_file != plan.want_file:
        before, then = (
            f"mode {file.mode}\n{shown(file.text)}" if file.text is not None else ""
            for file in (plan.have_file, plan.want_file)
        )
        parts.append(_part(plan.config_path, before, then if then != before else f"{then}# a hidden value differs\n"))
    return parts


def _part(path: str, before: str, after: str) -> Dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}


def _lines(program: Program) -> str:
    return "".join(f"{name} {value}\n" for name, value in program.shown().items() if value is not None)
