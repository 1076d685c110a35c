"""Per-FedAvg: both meta-gradients against automatic differentiation, and the adaptation of a client."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from algorithms.perfedavg import PerFedAvg, PerFedAvgConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.federation.local.environment import Batch
from orchestrator.models.parameters import FlatModule
from tests.support.fakes import make_run, make_setting, random_data, seeded

SHAPE = (1, 3, 3)
LR, ALPHA = 0.1, 0.5


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 3))


def prepared(**options: object) -> tuple[PerFedAvg, CheckedRun]:
    flat = seeded(net)
    training = {"batch_size": 4, "local_epochs": 1, "lr": LR, "momentum": 0.0}
    setting = make_setting(flat, SHAPE, training=training)
    run = make_run(setting, flat, random_data(8, SHAPE, 3))
    return PerFedAvg(PerFedAvgConfig.model_validate({"name": "perfedavg", **options}), setting), run


def loss(flat: FlatModule, values: Tensor, batch: Batch) -> Tensor:
    logits = functional_call(flat.module, dict(flat.layout.views(values)), (batch[0],))
    return cross_entropy(logits, batch[1])


def gradient(flat: FlatModule, values: Tensor, batch: Batch) -> Tensor:
    return torch.func.grad(lambda v: loss(flat, v, batch))(values)


def batches_of(run: CheckedRun, purpose: str) -> list[Batch]:
    return [batch for epoch in run.batches(purpose, 1, repeats=False) for batch in epoch]


@pytest.mark.parametrize("meta_gradient", ["first_order", "hessian_free"])
def test_steps_follow_the_meta_gradient(meta_gradient: str) -> None:
    """w <- w - beta (I - alpha H'') g with g at u = w - alpha grad f(w; B); first order leaves H'' out.

    The Hessian of B'' at w comes from automatic differentiation, the method's from a difference.
    """
    algorithm, run = prepared(inner_lr=ALPHA, meta_gradient=meta_gradient)
    supports = [batch for epoch in run.batches() for batch in epoch]
    queries, curvatures = batches_of(run, "query"), batches_of(run, "curvature")
    oracle = seeded(net)
    values = oracle.values.clone()
    for support, query, curvature in zip(supports, queries, curvatures, strict=True):
        adapted = values - ALPHA * gradient(oracle, values, support)
        step = gradient(oracle, adapted, query)
        if meta_gradient == "hessian_free":
            product = torch.autograd.functional.vhp(
                lambda v, batch=curvature: loss(oracle, v, batch), values, step
            )[1]
            assert float(product.norm()) > 0.01
            step = step - ALPHA * product
        values = values - LR * step
    algorithm.client_update(run)
    assert torch.allclose(run.values, values, rtol=0, atol=2e-4 if meta_gradient == "hessian_free" else 1e-6)


def test_without_adaptation_a_step_is_plain_sgd_on_the_query_batch() -> None:
    algorithm, run = prepared(inner_lr=0.0)
    queries, oracle = batches_of(run, "query"), seeded(net)
    values = oracle.values.clone()
    for query in queries:
        values = values - LR * gradient(oracle, values, query)
    algorithm.client_update(run)
    assert torch.allclose(run.values, values, rtol=0, atol=1e-6)


def test_client_uses_the_adapted_model() -> None:
    algorithm, run = prepared(inner_lr=ALPHA, adaptation_steps=2)
    oracle = seeded(net)
    values = oracle.values.clone()
    for epoch in run.batches("adaptation", 2, repeats=False):
        values = values - ALPHA * gradient(oracle, values, next(epoch))
    algorithm.personal(run)
    assert torch.allclose(run.values, values, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("meta_gradient", "passes"), [("first_order", 2), ("hessian_free", 4)])
def test_flops_count_every_gradient(meta_gradient: str, passes: int) -> None:
    algorithm, run = prepared(meta_gradient=meta_gradient)
    result = algorithm.client_update(run)
    assert result.train_flops == passes * 8 * algorithm.setting.cost.training_flops()
