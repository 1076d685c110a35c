"""Fine-tuning, compared with plain PyTorch."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.local.training import fine_tune
from orchestrator.federation.seeds import stream
from orchestrator.models.parameters import FlatModule
from tests.support.fakes import (
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 4, 4)
OPTIONS = {"batch_size": 3, "lr": 0.2, "lr_decay": 0.5, "momentum": 0.9, "local_epochs": 5}


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def tuned_with_torch(start: Tensor, keep: Tensor, epochs: int, round_idx: int) -> Tensor:
    """Plain PyTorch at the learning rate of round 0. Weights outside `keep` are set to 0 after each step."""
    data, rng = random_data(7, SHAPE, 3), stream(0, "client", round_idx, 4, "fine-tuning")
    other = FlatModule(net())
    other.load(start * keep)
    optimizer = torch.optim.SGD(other.module.parameters(), lr=0.2, momentum=0.9)
    for _ in range(epochs):
        images, labels = data.epoch(rng)
        for first in range(0, 7, 3):
            other.grad.zero_()
            logits = other.module(images[first : first + 3])
            torch.autograd.backward(cross_entropy(logits, labels[first : first + 3]))
            other.grad.mul_(keep)
            optimizer.step()
            other.values.mul_(keep)
    return other.values.clone()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("epochs", "round_idx"), [(1, 0), (2, 3)])
def test_fine_tuning_equals_plain_sgd_from_the_loaded_model(
    masked: bool, epochs: int, round_idx: int
) -> None:
    """The number of epochs is that of the call, and the momentum of training is not used."""
    flat = seeded(net)
    mask = torch.ones(51, dtype=torch.bool)
    mask[torch.arange(0, 48, 2)] = not masked
    setting = make_setting(flat, SHAPE, training=OPTIONS)
    start = flat.values.clone()
    run = make_run(
        setting,
        flat,
        random_data(7, SHAPE, 3),
        received=ModelValues(start, None),
        round_idx=round_idx,
        client_id=4,
    )
    run.load(start, None)
    run.grad.fill_(5.0)
    run.apply_gradient()
    run.load(start, mask if masked else None)
    fine_tune(run, epochs)
    expected = tuned_with_torch(start, mask.float(), epochs, round_idx)
    assert torch.equal(run.values, expected)
    assert not torch.equal(run.values, start * mask)


def test_fine_tuning_uses_train_mode() -> None:
    """Batch norm normalises with the batch's statistics, and updates its running statistics."""
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 3)))
    run = make_run(make_setting(flat, SHAPE), flat, random_data(7, SHAPE, 3))
    run.load(run.start, None)
    flat.module.eval()
    fine_tune(run, 1)
    assert flat.module.training
    assert not torch.equal(run.values[-32:], run.start[-32:])
