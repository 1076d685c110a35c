"""Whether trials wait for room on a node that has gone, for which Ray would let them wait for ever."""

import time
from collections import Counter
from collections.abc import Callable
from typing import final

from orchestrator.execution.placement import Capacity
from orchestrator.execution.ray_capacity import cluster_capacity
from orchestrator.sweeping.tune.not_pickled import NotPickled

#: how often the cluster is looked at while trials wait and none is at work, in seconds
EVERY_S = 5.0
#: Ray gives each node one of a resource `node:ADDRESS`, and the head one more
_NODE, _HEAD = "node:", "node:__internal_head__"


@final
class NodeMonitor(NotPickled):
    """The nodes that a pass was planned on. One that does not come back as it was within `patience_s` has gone."""

    def __init__(
        self,
        planned: Capacity,
        patience_s: float,
        *,
        capacity: Callable[[], Capacity] = cluster_capacity,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`capacity` says what the cluster has now; `clock` is in seconds."""
        self._planned, self._patience_s = _counted(planned), patience_s
        self._capacity, self._clock = capacity, clock
        self._looked_s: float | None = None
        self._missing_since_s: float | None = None

    def plan(self, capacity: Capacity) -> None:
        """Another pass is planned, on these nodes."""
        self._planned = _counted(capacity)
        self._looked_s = self._missing_since_s = None

    def gone(self, *, wanted: bool) -> list[str]:
        """Addresses of nodes that have gone, as far as that matters; to be asked again and again.

        `wanted`: whether trials wait for room, and none is at work. The patience begins with that.
        """
        if not wanted:
            self._looked_s = self._missing_since_s = None
            return []
        now_s = self._clock()
        if self._looked_s is not None and now_s - self._looked_s < EVERY_S:
            return []
        self._looked_s = now_s
        missing = self._planned - _counted(self._capacity())
        if not missing:
            self._missing_since_s = None
            return []
        if self._missing_since_s is None:
            self._missing_since_s = now_s
        over = now_s - self._missing_since_s >= self._patience_s
        return sorted(_address(node) for node in missing.elements()) if over else []


def _counted(capacity: Capacity) -> Counter[frozenset[tuple[str, float]]]:
    """How many nodes have these resources, their address among them. Ray keeps them as long as the node is there."""
    return Counter(frozenset(node.items()) for node in capacity.nodes)


def _address(node: frozenset[tuple[str, float]]) -> str:
    names = (name for name, _ in node if name.startswith(_NODE) and name != _HEAD)
    return next(names, _NODE).removeprefix(_NODE)
