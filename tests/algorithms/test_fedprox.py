"""FedProx: the proximal gradient by hand, and compared with the penalty in the loss."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from algorithms.fedprox import FedProx, FedProxConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.federation.exchange import ModelValues
from orchestrator.models.parameters import FlatModule
from tests.support.fakes import (
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.nets import batch_norm_mlp as net

SHAPE = (1, 3, 3)


def prepared(mu: float, mask: Tensor | None = None, **training: float) -> tuple[FedProx, CheckedRun]:
    flat = seeded(net)
    setting = make_setting(flat, SHAPE, training={"batch_size": 4, **training})
    values = flat.values.clone() if mask is None else flat.values * mask
    run = make_run(setting, flat, random_data(8, SHAPE, 3), received=ModelValues(values, mask))
    return FedProx(FedProxConfig(name="fedprox", mu=mu), setting), run


def test_proximal_gradient_is_mu_times_the_distance() -> None:
    """Running statistics, the last 8 of 67 + 8 entries, are no parameters and have no gradient."""
    algorithm, run = prepared(0.25)
    algorithm.load(run)
    distance = torch.arange(run.values.numel(), dtype=torch.float32) - 20
    run.values.add_(distance)
    run.grad.fill_(7.0)
    algorithm.grad_hook(run)
    num_trainable = run.setting.layout.num_trainable
    assert num_trainable == run.values.numel() - 8
    expected = 7.0 + 0.25 * (run.values - run.start)[:num_trainable]
    assert torch.equal(run.grad, expected)
    assert torch.allclose(run.grad, 7.0 + 0.25 * distance[:num_trainable], atol=1e-5)


def test_training_equals_plain_pytorch_with_the_penalty() -> None:
    """Cross-entropy + mu / 2 ||w - w_r||^2 through autograd, and SGD with momentum."""
    algorithm, run = prepared(0.5, local_epochs=3, lr=0.1, momentum=0.9)
    batches = [batch for epoch in run.batches() for batch in epoch]
    algorithm.client_update(run)

    flat = seeded(net)
    parameters = list(flat.module.parameters())
    received = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    for images, labels in batches:
        flat.grad.zero_()
        distance = sum((p - r).square().sum() for p, r in zip(parameters, received, strict=True))
        torch.autograd.backward(cross_entropy(flat.module(images), labels) + 0.25 * distance)
        optimizer.step()
    assert torch.allclose(run.values, flat.values, rtol=1e-4, atol=1e-6)


def test_proximal_term_stays_inside_the_mask() -> None:
    """`CheckedRun` checks after every step. Both weights are 0 outside the mask."""
    mask = FlatModule(net()).layout.full_mask()
    mask[:30] = False
    algorithm, run = prepared(10.0, mask, local_epochs=2)
    algorithm.client_update(run)
    assert run.num_steps == 4
    assert int(run.values[:30].count_nonzero()) == 0


@pytest.mark.parametrize("mu", [0.0, 1.0, 9.0])
def test_larger_mu_keeps_the_client_closer_to_the_received_model(mu: float) -> None:
    """lr (1 + mu) stays below 2. Plain gradient descent diverges above 2."""
    moved = []
    for strength in (mu, 2 * mu + 1):
        algorithm, run = prepared(strength, local_epochs=10, lr=0.05, momentum=0.0)
        algorithm.client_update(run)
        num_trainable = run.grad.numel()
        moved.append(float((run.values - run.start)[:num_trainable].norm()))
    assert moved[1] < moved[0]


def test_reported_loss_excludes_the_penalty() -> None:
    """One step: the loss is the cross-entropy of the received model for any mu."""
    losses = []
    for mu in (0.0, 100.0):
        algorithm, run = prepared(mu, batch_size=8, local_epochs=1)
        algorithm.client_update(run)
        losses.append(run.metrics["loss"])
    assert losses[0] == losses[1]
