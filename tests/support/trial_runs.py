"""Builders for trials of four short rounds that train in this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.execution.executor import Executor, InProcessExecutor
from orchestrator.experiment.experiment import Experiment
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import VALUES_NOTE
from orchestrator.sweeping.trial_run import RunLabels, TrialRun, open_store
from tests.support.runs import prepared

#: evaluations after rounds 2 and 4, and a method with client states
OVERRIDES = ("model.name=mlp", "training.eval_every=2", "algorithm.name=feddst", "training.lr=0.1")


def experiment(*overrides: str) -> Experiment:
    """Return the trial's experiment; `overrides` are applied after OVERRIDES."""
    return prepared(*OVERRIDES, *overrides)


def labels(name: str = "feddst lr=0.1", **values: Any) -> RunLabels:
    """Return the labels of a trial's run."""
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
    """Open the run of a trial, new or resumed, and close the run at the end of the block."""
    of = of or experiment()
    store = open_store(of, folder, labels())
    measure = Objective.parse(objective).measure
    trial = TrialRun(of, store, lambda: make_executor(of), measure, num_reported=0 if replay else None)
    try:
        yield trial
    finally:
        trial.close()


def finish(folder: Path, of: Experiment | None = None) -> RunSummary:
    """Run a trial to its end and return its summary."""
    with opened(folder, of) as trial:
        while not trial.step()["done"]:
            pass
    return RunSummary.read(folder / "summary.json")
