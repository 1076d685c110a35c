"""Trials of four short rounds, in this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.execution.executor import Executor, InProcessExecutor
from orchestrator.experiment.experiment import Experiment
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import VALUES_NOTE
from orchestrator.sweeping.trial import RunLabels, TrialRun, open_store
from tests.support.runs import prepared

#: evaluated after rounds 2 and 4; a method that keeps a state at its clients
OVERRIDES = ("model.name=mlp", "training.eval_every=2", "algorithm.name=feddst", "training.lr=0.1")


def experiment(*overrides: str) -> Experiment:
    """The trial's experiment; overrides come after OVERRIDES."""
    return prepared(*OVERRIDES, *overrides)


def labels(name: str = "feddst lr=0.1", **values: Any) -> RunLabels:
    """What a trial's run is called."""
    return RunLabels(
        name=name, tags={"sweep": "sw-1", "trial": "0"}, notes={VALUES_NOTE: values} if values else {}
    )


@contextmanager
def opened(
    folder: Path,
    of: Experiment | None = None,
    *,
    replay: bool = True,
    objective: str = "accuracy",
    make_executor: Callable[[Experiment], Executor] = InProcessExecutor,
) -> Iterator[TrialRun]:
    """A trial's run as a process that begins anew or goes on has it; closed at the end of the block."""
    of = of or experiment()
    store = open_store(of, folder, labels())
    trial = TrialRun(of, store, lambda: make_executor(of), Objective.parse(objective), replay=replay)
    try:
        yield trial
    finally:
        trial.close()


def finish(folder: Path, of: Experiment | None = None) -> RunSummary:
    """Take a trial to its end."""
    with opened(folder, of) as trial:
        while not trial.step()["done"]:
            pass
    return RunSummary.read(folder / "summary.json")
