"""Detects that trials wait for the resources of a node that has left the cluster.

Ray would let such trials wait forever.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import final

from orchestrator.execution.placement import Capacity
from orchestrator.execution.ray_capacity import cluster_capacity
from orchestrator.sweeping.tune.stateless_pickle import StatelessPickle

#: seconds between two checks of the cluster while trials wait and no trial runs
CHECK_EVERY_S = 5.0
#: Ray gives every node one unit of the resource `node:ADDRESS`, and the head node a second such resource
_NODE, _HEAD = "node:", "node:__internal_head__"


@final
class NodeMonitor(StatelessPickle):
    """Compares the cluster with the nodes for which a pass was planned.

    A node counts as missing when it is absent, or has other resources, for `patience_s` seconds.
    """

    def __init__(
        self,
        planned: Capacity,
        patience_s: float,
        *,
        capacity: Callable[[], Capacity] = cluster_capacity,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`capacity` returns the present resources of the cluster; `clock` returns seconds."""
        self._planned, self._patience_s = _count_nodes(planned), patience_s
        self._capacity, self._clock = capacity, clock
        self._last_check_s: float | None = None
        self._missing_since_s: float | None = None

    def plan(self, capacity: Capacity) -> None:
        """Start to monitor the nodes of a new pass."""
        self._planned = _count_nodes(capacity)
        self._last_check_s = self._missing_since_s = None

    def missing_nodes(self, *, all_waiting: bool) -> list[str]:
        """Return the addresses of the missing nodes. The caller calls this repeatedly.

        `all_waiting`: whether trials wait for resources and no trial runs. Otherwise the result is empty, and the
        time for which nodes are missing restarts at 0.
        """
        if not all_waiting:
            self._last_check_s = self._missing_since_s = None
            return []
        now_s = self._clock()
        if self._last_check_s is not None and now_s - self._last_check_s < CHECK_EVERY_S:
            return []
        self._last_check_s = now_s
        missing = self._planned - _count_nodes(self._capacity())
        if not missing:
            self._missing_since_s = None
            return []
        if self._missing_since_s is None:
            self._missing_since_s = now_s
        is_over = now_s - self._missing_since_s >= self._patience_s
        return sorted(_address(node) for node in missing.elements()) if is_over else []


def _count_nodes(capacity: Capacity) -> Counter[frozenset[tuple[str, float]]]:
    """Count the nodes by their resources, which include the address. The resources of a living node never change."""
    return Counter(frozenset(node.items()) for node in capacity.nodes)


def _address(node: frozenset[tuple[str, float]]) -> str:
    names = (name for name, _ in node if name.startswith(_NODE) and name != _HEAD)
    return next(names, _NODE).removeprefix(_NODE)
