"""pFedMe: the inner and outer steps against plain PyTorch, and the server's step by hand."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from algorithms.pfedme import PFedMe, PFedMeConfig
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import ServerState
from tests.support.fakes import make_run, make_setting, random_data, seeded

SHAPE = (1, 3, 3)
LR, LAM, STEPS, PERSONAL_LR = 0.05, 4.0, 3, 0.1


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 3))


def made(**options: object) -> tuple[PFedMe, object]:
    flat = seeded(net)
    training = {"batch_size": 4, "local_epochs": 2, "lr": LR, "momentum": 0.0}
    setting = make_setting(flat, SHAPE, training=training)
    config = {"name": "pfedme", "lam": LAM, "personal_steps": STEPS, "personal_lr": PERSONAL_LR, **options}
    algorithm = PFedMe(PFedMeConfig.model_validate(config), setting)
    return algorithm, make_run(setting, flat, random_data(8, SHAPE, 3), state=algorithm.init_client(0))


def test_client_follows_the_moreau_envelope() -> None:
    """For each batch: K steps of theta on f + (lambda / 2) ||theta - w||^2, then w - eta lambda (w - theta)."""
    algorithm, run = made()
    batches = [batch for epoch in run.batches() for batch in epoch]
    result = algorithm.client_update(run)
    oracle = seeded(net)
    local = oracle.values.clone()
    for images, labels in batches:
        for _ in range(STEPS):
            oracle.grad.zero_()
            torch.autograd.backward(cross_entropy(oracle.module(images), labels))
            oracle.values.sub_(PERSONAL_LR * (oracle.grad + LAM * (oracle.values - local)))
        local = local - LR * LAM * (local - oracle.values)
    assert torch.allclose(run.values, local, rtol=0, atol=1e-6)
    assert torch.allclose(result.client_state.personal, oracle.values, rtol=0, atol=1e-6)
    assert not torch.allclose(local, oracle.values, rtol=0, atol=1e-3)


def test_client_uses_its_personal_model() -> None:
    algorithm, run = made()
    state = algorithm.client_update(run).client_state
    later = make_run(run.setting, run.flat, random_data(8, SHAPE, 3), state=state)
    algorithm.personal(later)
    assert torch.equal(later.values, state.personal)


def test_flops_count_every_inner_step() -> None:
    algorithm, run = made()
    result = algorithm.client_update(run)
    assert result.train_flops == STEPS * 2 * 8 * algorithm.setting.cost.training_flops()


def test_server_steps_towards_the_mean() -> None:
    """(1 - 0.25) * 2 + 0.25 * 4 = 2.5."""
    algorithm, run = made(server_lr=0.25)
    size = run.values.numel()
    state = ServerState(params=torch.full((size,), 2.0))
    mean = Aggregate(torch.full((size,), 4.0, dtype=torch.float64), None, 1.0)
    assert algorithm.server_update(state, mean, 0).params.tolist() == [2.5] * size
