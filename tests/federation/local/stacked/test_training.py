"""Epochs in lock-step against the epochs of single tasks."""

from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.local.stacked.training import train_together
from orchestrator.federation.local.training import train
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.allocation import allocate
from orchestrator.sparsity.masks import random_mask
from tests.support.runs import prepared

EQUAL = ("data.partition.kind=iid", "training.local_epochs=2")


def _run(
    experiment: Experiment, client_id: int, environment: DeviceEnvironment, *, masked: bool
) -> LocalRun[Any]:
    setting = experiment.setting
    values = torch.from_numpy(experiment.initial.copy())
    run: LocalRun[Any] = LocalRun(
        setting=setting,
        task=ClientTask(round_idx=1, position=client_id, client_id=client_id),
        environment=environment,
        received=ModelValues(values, None),
        payload=(),
        state=None,
    )
    mask = None
    if masked and client_id != 1:  # client 1 is dense among masked clients
        counts = allocate(setting.layout, 0.4, setting.sparsity)
        mask = random_mask(setting.layout, counts, np.random.default_rng(client_id))
    run.load(values, mask)
    return run


def _compare(*overrides: str, masked: bool, atol: float = 1e-6) -> None:
    experiment = prepared(*EQUAL, *overrides)
    environment = DeviceEnvironment(experiment, torch.device("cpu"))
    runs, rows = [], []
    for client_id in range(4):
        runs.append(_run(experiment, client_id, environment, masked=masked))
        rows.append(runs[-1].values.clone())
    trained = train_together(runs, rows)
    for client_id, together in enumerate(runs):
        alone = _run(experiment, client_id, environment, masked=masked)
        train(alone, experiment.algorithm)
        assert not torch.equal(alone.values, rows[client_id])
        torch.testing.assert_close(trained[client_id], alone.values, rtol=0.0, atol=atol)
        assert together.metrics["loss"] == pytest.approx(alone.metrics["loss"], abs=1e-6)
        assert together.statistics.accuracy() == pytest.approx(alone.statistics.accuracy(), abs=0.01)
        assert together.flops.total == alone.flops.total
        assert together.flops.total_dense == alone.flops.total_dense
        assert together.trained_models == alone.trained_models
        assert together.last_batch is not None
        assert alone.last_batch is not None
        assert torch.equal(together.last_batch[0], alone.last_batch[0])
        if together.mask is not None:
            assert not trained[client_id][~together.mask].any()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("training.momentum=0.9",),
        ("training.weight_decay=0.01",),
        ("training.clip_norm=0.3",),
        (
            "training.momentum=0.9",
            "training.weight_decay=0.01",
            "training.clip_norm=0.3",
            "training.drop_last=true",
        ),
    ],
)
def test_sgd_agrees_with_single_tasks(overrides: tuple[str, ...], masked: bool) -> None:
    _compare(*overrides, masked=masked)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_agrees_with_single_tasks(optimizer: str, masked: bool) -> None:
    """Adam divides by the size of the gradient. A weight whose gradient is near 0 turns rounding into part of a step.

    So the tolerance is a share of the steps' total length: 22 steps of at most about 0.001.
    """
    overrides = (f"training.optimizer={optimizer}", "training.lr=0.001", "training.weight_decay=0.01")
    _compare(*overrides, masked=masked, atol=22 * 0.001 * 0.01)


def test_clipping_uses_the_norm_of_each_client() -> None:
    """One step of SGD at rate 1 moves each client by the limit, because every gradient is longer."""
    limit = 0.01
    experiment = prepared(
        "data.partition.kind=iid", f"training.clip_norm={limit}", "training.lr=1", "training.batch_size=500"
    )
    environment = DeviceEnvironment(experiment, torch.device("cpu"))
    runs = [_run(experiment, client_id, environment, masked=False) for client_id in range(3)]
    start = runs[0].values.clone()
    moved = (train_together(runs, [start] * 3) - start).norm(dim=1)
    assert moved.tolist() == pytest.approx([limit] * 3, rel=1e-3)


def test_tasks_with_other_batch_sizes_are_rejected() -> None:
    experiment = prepared("data.partition.alpha=0.3")
    sizes = experiment.partition.train.sizes()
    few, many = int(sizes.argmin()), int(sizes.argmax())
    environment = DeviceEnvironment(experiment, torch.device("cpu"))
    runs = [_run(experiment, client_id, environment, masked=False) for client_id in (few, many)]
    with pytest.raises(RuntimeError, match="equal size"):
        train_together(runs, [runs[0].values.clone()] * 2)
