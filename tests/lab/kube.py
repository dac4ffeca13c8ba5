from __future__ import annotations

from .topology import Node


def uses_iptables(node: Node) -> bool:
    return node.name == "worker1"
