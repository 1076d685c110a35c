"""Measures what the driver and the clients spend the rounds' time on, for `runtime.profile`."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, final

#: what the driver does, in the order of a round; "other" is the rest, for example the time between two rounds
Activity = Literal["submit", "wait", "decode", "fold", "step", "evaluate", "checkpoint", "other"]


@final
class Stopwatch:
    """Attributes every moment of the driver to one activity, and sums the times that clients measure."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._current: Activity = "other"
        self._since_s = clock()
        self._driver_s: defaultdict[Activity, float] = defaultdict(float)
        self._clients_s: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, activity: Activity) -> Iterator[None]:
        """Attribute the time of the block to this activity, without that of blocks within it."""
        outer = self._current
        self._switch(activity)
        try:
            yield
        finally:
            self._switch(outer)

    def add_client(self, seconds: Mapping[str, float]) -> None:
        """Add the seconds that one client task took, by stage."""
        for stage, stage_s in seconds.items():
            self._clients_s[stage] += stage_s

    def lap(self, num_workers: int) -> dict[str, float]:
        """Return seconds since the last call as metrics; `num_workers` processes run client tasks.

        The times of the driver sum to the time since the last call. `time/client_idle_s` is the time in which the
        processes of the clients ran no task, summed over them; it includes the transport of messages.
        """
        self._switch(self._current)
        wall_s, busy_s = sum(self._driver_s.values()), sum(self._clients_s.values())
        metrics = {f"time/driver_{activity}_s": seconds for activity, seconds in self._driver_s.items()}
        metrics |= {f"time/client_{stage}_s": seconds for stage, seconds in self._clients_s.items()}
        metrics["time/client_idle_s"] = max(0.0, num_workers * wall_s - busy_s)
        self._driver_s.clear()
        self._clients_s.clear()
        return metrics

    def _switch(self, activity: Activity) -> None:
        now_s = self._clock()
        self._driver_s[self._current] += now_s - self._since_s
        self._current, self._since_s = activity, now_s
