"""What a connected Ray cluster offers."""

from typing import Any

import ray

from orchestrator.execution.placement import Capacity


def cluster_capacity() -> Capacity:
    """What the alive nodes of the connected cluster offer."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return Capacity(tuple(node["Resources"] for node in nodes if node["Alive"]))
