"""APFL: personal model and mixing share against plain PyTorch; the global branch is FedAvg's."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from algorithms.apfl import APFL, APFLClient, APFLConfig
from algorithms.fedavg import FedAvg
from orchestrator.config.sections import AlgorithmConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.local.environment import Batch
from tests.support.fakes import make_run, make_setting, random_data, seeded

SHAPE = (1, 3, 3)
LR = 0.2


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 3))


def made(**options: object) -> tuple[APFL, CheckedRun]:
    flat = seeded(net)
    training = {"batch_size": 4, "local_epochs": 2, "lr": LR, "lr_decay": 0.5, "momentum": 0.0}
    setting = make_setting(flat, SHAPE, training=training)
    algorithm = APFL(APFLConfig.model_validate({"name": "apfl", **options}), setting)
    start = algorithm.init_client(0)
    moved = APFLClient(personal=start.personal + 0.3, alpha=start.alpha)
    run = make_run(setting, flat, random_data(8, SHAPE, 3), state=moved, round_idx=1)
    return algorithm, run


def gradient_at(values: Tensor, batch: Batch) -> Tensor:
    oracle = seeded(net)
    oracle.load(values)
    oracle.grad.zero_()
    torch.autograd.backward(cross_entropy(oracle.module(batch[0]), batch[1]))
    return oracle.grad.clone()


@pytest.mark.parametrize("adaptive", [True, False])
def test_steps_equal_plain_pytorch(adaptive: bool) -> None:
    """The rate of round 1 is 0.2 * 0.5; alpha moves once, along <gradient at the mixture, v - w>."""
    algorithm, run = made(alpha=0.25, adaptive=adaptive)
    batches = [batch for epoch in run.batches() for batch in epoch]
    local, personal, alpha, rate = run.start.clone(), run.state.personal.clone(), 0.25, 0.1
    result = algorithm.client_update(run)
    for number, batch in enumerate(batches):
        gradient = gradient_at(alpha * personal + (1 - alpha) * local, batch)
        share = alpha
        if adaptive and number == 0:
            alpha -= rate * float(gradient @ (personal - local))
        personal = personal - rate * share * gradient
        local = local - rate * gradient_at(local, batch)
    assert result.client_state.alpha == pytest.approx(alpha, abs=1e-6)
    assert (result.client_state.alpha != 0.25) == adaptive
    assert torch.allclose(result.client_state.personal, personal, rtol=0, atol=1e-6)
    assert torch.allclose(run.values, local, rtol=0, atol=1e-6)


def test_global_branch_is_fedavg() -> None:
    algorithm, run = made()
    algorithm.client_update(run)
    plain = FedAvg(AlgorithmConfig(), algorithm.setting)
    dense = make_run(algorithm.setting, seeded(net), random_data(8, SHAPE, 3), round_idx=1)
    plain.client_update(dense)
    assert torch.equal(run.values, dense.values)
    assert run.metrics == dense.metrics


def test_share_stays_at_least_0() -> None:
    """alpha = 0: the mixture is w. With v = w + g the slope is |g|^2 > 0, and alpha would fall below 0."""
    algorithm, run = made(alpha=0.0)
    gradient = gradient_at(run.start, next(next(run.batches())))
    run.state = APFLClient(personal=run.start + gradient, alpha=0.0)
    assert algorithm.client_update(run).client_state.alpha == 0.0


def test_share_stays_at_most_1() -> None:
    """alpha = 1: the mixture is v. With w = v + g the slope is -|g|^2 < 0, and alpha would rise above 1."""
    algorithm, run = made(alpha=1.0)
    personal = run.start.clone()
    gradient = gradient_at(personal, next(next(run.batches())))
    ahead = make_run(
        algorithm.setting,
        seeded(net),
        random_data(8, SHAPE, 3),
        received=ModelValues(personal + gradient, None),
        state=APFLClient(personal=personal, alpha=1.0),
        round_idx=1,
    )
    assert algorithm.client_update(ahead).client_state.alpha == 1.0


def test_client_uses_the_mixture_with_the_received_model() -> None:
    algorithm, run = made(alpha=0.25)
    algorithm.personal(run)
    assert torch.allclose(run.values, 0.25 * run.state.personal + 0.75 * run.start, rtol=0, atol=1e-6)


def test_flops_of_both_models_count() -> None:
    algorithm, run = made()
    result = algorithm.client_update(run)
    assert result.train_flops == 2 * 2 * 8 * algorithm.setting.cost.training_flops()
