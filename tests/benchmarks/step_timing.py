"""Time training steps of one client. The step benchmarks share these functions."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from orchestrator.contract.checked_run import CheckedRun
from orchestrator.models.parameters import FlatModule
from orchestrator.models.units.groups import UnitGroup
from tests.support.fakes import (
    TensorData,
    make_run,
    make_setting,
    random_data,
)

SHAPE, NUM_CLASSES, BATCH = (3, 32, 32), 10, 32


def run_of(flat: FlatModule, units: tuple[UnitGroup, ...] = ()) -> CheckedRun:
    """Return a client's task with one batch of generated images and SGD with momentum."""
    setting = make_setting(flat, SHAPE, training={"batch_size": BATCH, "lr": 0.01}, units=units)
    run = make_run(setting, flat, random_data(BATCH, SHAPE, NUM_CLASSES))
    run.flat.module.train()
    return run


def step_of(run: CheckedRun) -> Callable[[], None]:
    """Return a function that makes one optimiser step on the task's batch."""
    assert isinstance(run.data, TensorData)
    batch = run.data.images, run.data.labels

    def step() -> None:
        run.backward(batch)
        run.apply_gradient()

    return step


def medians(steps: Mapping[str, Callable[[], None]], repeats: int, warmup: int = 3) -> dict[str, float]:
    """Call the steps alternately, and return the median seconds of each step by name.

    The seconds are CPU time of this thread, which does all the work, so that other processes matter less.
    """
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(warmup + repeats):
        for name, step in steps.items():
            started = time.thread_time()
            step()
            if repeat >= warmup:
                seconds[name].append(time.thread_time() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}
