"""A harness that calls `SweepCallback` as Tune does, on a fake cluster of two nodes."""

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


class CallbackHarness:
    """A sweep's folder with a callback; MLflow is off. Tests change `nodes` to change the cluster."""

    def __init__(self, store: SweepStore, *, is_population: bool = False) -> None:
        self.nodes: list[dict[str, float]] = [HERE, THERE]
        node_monitor = NodeMonitor(
            Capacity((HERE, THERE)),
            1e-9,
            capacity=lambda: Capacity(tuple(self.nodes)),
            clock=count(0, 10).__next__,
        )
        self.store, self.stopper, self.printed = store, SweepStopper(), StringIO()
        display = SweepProgress(console=Console(file=self.printed, width=200))
        self.tracker = SweepTracker(store.sweep_id, None)
        self.callback = SweepCallback(
            store, ACCURACY, self.tracker, display, self.stopper, node_monitor, is_population=is_population
        )

    def start_pass(self) -> bool:
        """Start another pass if the callback needs one; return whether it did."""
        is_needed = self.callback.needs_another_pass
        if is_needed:
            self.callback.start_pass(Capacity(tuple(self.nodes)))
        return is_needed

    def lines(self) -> list[str]:
        """Return the lines that the display has printed."""
        return self.printed.getvalue().splitlines()


class FakeTuneTrial:
    """A trial as Tune passes it to callbacks."""

    def __init__(self, number: int, last: dict[str, Any] | None = None) -> None:
        self.number, self.last_result, self.status = number, last or {}, "RUNNING"
        self.config = {"trial": {"number": number, "values": VALUES}}
        self.error_file: str | None = None

    def __str__(self) -> str:
        return f"{self.number:03d}"

    @classmethod
    def failed(cls, number: int, folder: Path, error: str) -> "FakeTuneTrial":
        """Return a failed trial with the error file that Tune writes."""
        trial = cls(number)
        file = folder / f"error-{number}.txt"
        file.write_text(f"Failure # 1 (occurred at 2026-01-01)\nTraceback:\n{error}\n")
        trial.error_file = str(file)
        return trial
