"""What a run measures with its model: validation accuracy and the learning rate of an optimiser."""

import pytest
import torch
from torch import nn

from orchestrator.contract.checked_run import CheckedRun
from tests.support.errors import rejects
from tests.support.fakes import (
    TensorData,
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 4, 4)


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def constant_run(validation: TensorData | None) -> CheckedRun:
    """A model that always predicts class 1, with 4 training images of class 1 and 1 of class 2."""
    flat = seeded(net)
    data = TensorData(torch.zeros(5, *SHAPE), torch.tensor([1, 1, 2, 1, 1]))
    setting = make_setting(flat, SHAPE, training={"batch_size": 2, "local_epochs": 1})
    run = make_run(setting, flat, data, validation=validation)
    run.load(torch.tensor([0.0] * 49 + [1.0, 0.0]), None)
    return run


def test_validation_accuracy_is_the_share_of_correct_validation_samples() -> None:
    kept = TensorData(torch.zeros(8, *SHAPE), torch.tensor([1, 0, 2, 1, 0, 1, 0, 0]))
    run = constant_run(kept)
    run.flat.module.train()
    assert run.validation_accuracy() == 3 / 8
    assert run.flat.module.training


def test_client_without_validation_samples_is_rejected() -> None:
    with rejects("data.validation_fraction", 0):
        constant_run(None).validation_accuracy()


def test_new_optimiser_has_the_learning_rate_of_its_round() -> None:
    """The rate is 0.2 and halves in each round.

    From round 2: a step of 0.05, one of 0.2 for round 0, and one of 0.05.
    """
    flat = seeded(net)
    setting = make_setting(flat, SHAPE, training={"lr": 0.2, "lr_decay": 0.5, "momentum": 0.0})
    run = make_run(setting, flat, random_data(3, SHAPE, 3), round_idx=2)
    run.load(torch.zeros(51), None)
    run.grad.fill_(1.0)
    ends = []
    for renew in (lambda: None, lambda: run.reset_optimizer(0), run.reset_optimizer):
        renew()
        run.apply_gradient()
        ends.append(float(run.values[0]))
    assert ends == pytest.approx([-0.05, -0.25, -0.3], rel=1e-6)
