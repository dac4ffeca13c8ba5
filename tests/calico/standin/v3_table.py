# A stand-in for calicoctl, for tests only: it is not the real tool.
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of calicoctl 3.x."""

from __future__ import annotations

from . import v3_model
from .golang import shown, table

_DEFAULT_AS = "(64512)"


def _joined(values) -> str:
    return ",".join(str(value) for value in values or ())


def _labels(resource: dict) -> str:
    applied = resource["spec"].get("labelsToApply", {})
    return ",".join(f"{key}={value}" for key, value in applied.items())


def _as_number(resource: dict) -> str:
    spec = resource["spec"]
    if resource["kind"] == "BGPPeer":
        return str(spec.get("asNumber", ""))
    return str((spec.get("bgp") or {}).get("asNumber") or _DEFAULT_AS)


_CELLS = {
    "NAME": lambda r: r["metadata"]["name"],
    "NAMESPACE": lambda r: r["metadata"].get("namespace", ""),
    "NODE": lambda r: r["spec"].get("node", "(global)" if r["kind"] == "BGPPeer" else ""),
    "ORDER": lambda r: shown(r["spec"].get("order")),
    "SELECTOR": lambda r: r["spec"].get("nodeSelector" if r["kind"] == "IPPool" else "selector", ""),
    "INTERFACE": lambda r: r["spec"].get("interfaceName", ""),
    "IPS": lambda r: _joined(r["spec"].get("expectedIPs")),
    "PROFILES": lambda r: _joined(r["spec"].get("profiles")),
    "NETS": lambda r: _joined(r["spec"].get("nets")),
    "LABELS": _labels,
    "ASN": _as_number,
    "IPV4": lambda r: (r["spec"].get("bgp") or {}).get("ipv4Address", ""),
    "IPV6": lambda r: (r["spec"].get("bgp") or {}).get("ipv6Address", ""),
    "CIDR": lambda r: r["spec"].get("cidr", ""),
    "NAT": lambda r: shown(bool(r["spec"].get("natOutgoing"))),
    "IPIPMODE": lambda r: r["spec"].get("ipipMode", ""),
    "VXLANMODE": lambda r: r["spec"].get("vxlanMode", ""),
    "DISABLED": lambda r: shown(bool(r["spec"].get("disabled"))),
    "DISABLEBGPEXPORT": lambda r: shown(bool(r["spec"].get("disableBGPExport"))),
    "PEERIP": lambda r: r["spec"].get("peerIP", ""),
    "LOGSEVERITY": lambda r: r["spec"].get("logSeverityScreen", "Info"),
    "MESHENABLED": lambda r: shown(r["spec"].get("nodeToNodeMeshEnabled")),
    "ASNUMBER": lambda r: str(r["spec"].get("asNumber", "-")),
    "CLUSTERTYPE": lambda r: r["spec"].get("clusterType", ""),
    "CALICOVERSION": lambda r: r["spec"].get("calicoVersion", ""),
}


def rendered(kind: v3_model.Kind, resources: list, wide: bool, namespaces: bool) -> str:
    """One table; `namespaces` adds their column, as -n and -A do."""
    headings = kind.wide if wide else kind.headings
    if namespaces and kind.namespaced:
        headings = ("NAMESPACE", *headings)
    return table(headings, [[_CELLS[heading](resource) for heading in headings] for resource in resources])
