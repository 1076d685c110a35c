"""A sweep's watch as tests call it in Tune's place, on a cluster of two nodes that they take away."""

from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.execution.placement import Capacity
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import SweepStore
from orchestrator.sweeping.tune.callback import SweepCallback, SweepStopper
from orchestrator.sweeping.tune.node_monitor import NodeMonitor
from orchestrator.sweeping.tune.tracker import SweepTracker

ACCURACY = Objective.parse("accuracy")
HERE, THERE = {"CPU": 2.0, "node:10.0.0.1": 1.0}, {"CPU": 2.0, "node:10.0.0.2": 1.0}
VALUES = {"algorithm.name": "feddst", "training.lr": 0.1}


class Hall:
    """A sweep's folder with a watch on it, whose tracker follows nothing."""

    def __init__(self, store: SweepStore, *, together: bool = False) -> None:
        self.nodes: list[dict[str, float]] = [HERE, THERE]
        room = NodeMonitor(
            Capacity((HERE, THERE)),
            1e-9,
            capacity=lambda: Capacity(tuple(self.nodes)),
            clock=count(0, 10).__next__,
        )
        self.store, self.interruption, self.printed = store, SweepStopper(), StringIO()
        display = SweepProgress(console=Console(file=self.printed, width=200))
        self.tracker = SweepTracker(store.sweep_id, None)
        self.watch = SweepCallback(
            store, ACCURACY, self.tracker, display, self.interruption, room, together=together
        )

    def begin_anew(self) -> bool:
        """Whether another pass was wanted; it has begun then."""
        wanted = self.watch.wants_another_pass
        if wanted:
            self.watch.begin_anew(Capacity(tuple(self.nodes)))
        return wanted

    def lines(self) -> list[str]:
        return self.printed.getvalue().splitlines()


class TuneSide:
    """A trial as Tune shows it to callbacks."""

    def __init__(self, number: int, last: dict[str, Any] | None = None) -> None:
        self.number, self.last_result, self.status = number, last or {}, "RUNNING"
        self.config = {"trial": {"number": number, "values": VALUES}}
        self.error_file: str | None = None

    def __str__(self) -> str:
        return f"{self.number:03d}"

    @classmethod
    def failed(cls, number: int, folder: Path, error: str) -> "TuneSide":
        """A trial with the file that Tune writes about its failure."""
        found = cls(number)
        file = folder / f"error-{number}.txt"
        file.write_text(f"Failure # 1 (occurred at 2026-01-01)\nTraceback:\n{error}\n")
        found.error_file = str(file)
        return found
