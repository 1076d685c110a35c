"""Ditto: personal training compared with plain PyTorch, and no effect on the global model."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from algorithms.ditto import Ditto, DittoConfig
from algorithms.fedavg import FedAvg
from orchestrator.config.sections import AlgorithmConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.setting import Setting
from orchestrator.models.parameters import FlatModule
from orchestrator.sparsity.payload import Dense
from tests.support.fakes import (
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.nets import batch_norm_mlp as net

SHAPE = (1, 3, 3)


def made(options: dict[str, object] | None = None, **training: float) -> tuple[Ditto, Setting, FlatModule]:
    flat = seeded(net)
    setting = make_setting(flat, SHAPE, training={"batch_size": 4, "local_epochs": 2, **training})
    return Ditto(DittoConfig.model_validate({"name": "ditto", **(options or {})}), setting), setting, flat


def moved(setting: Setting, by: float) -> Tensor:
    """A received model at some distance from w_0.

    Running statistics stay, so that variances stay positive.
    """
    values = torch.from_numpy(setting.initial.copy())
    values[: setting.layout.num_trainable] += by
    return values


def task(setting: Setting, flat: FlatModule, received: Tensor, round_idx: int, state: object) -> CheckedRun:
    data, model = random_data(8, SHAPE, 3), ModelValues(received, None)
    return make_run(setting, flat, data, received=model, round_idx=round_idx, state=state)


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_personal_training_equals_plain_pytorch_with_the_penalty(lam: float) -> None:
    """Two participations; lambda = 0 is local training on the same batches.

    The loss is cross-entropy + lambda / 2 ||v - w_r||^2, with a new SGD each time at the round's rate.
    """
    algorithm, setting, flat = made({"lam": lam, "personal_epochs": 3}, lr=0.1, lr_decay=0.5, momentum=0.9)
    oracle, state = seeded(net), algorithm.init_client(0)
    parameters, num_trainable = list(oracle.module.parameters()), setting.layout.num_trainable
    oracle.module.train()
    for round_idx, shift in ((0, 0.1), (2, -0.2)):
        received = moved(setting, shift)
        run = task(setting, flat, received, round_idx, state)
        batches = [batch for epoch in run.batches("personal", 3) for batch in epoch]
        state = algorithm.client_update(run).client_state
        optimizer = torch.optim.SGD(parameters, lr=0.1 * 0.5**round_idx, momentum=0.9)
        centre = FlatModule(net())
        centre.load(received)
        pulls = [p.detach() for p in centre.module.parameters()]
        for images, labels in batches:
            oracle.grad.zero_()
            distance = sum((p - w).square().sum() for p, w in zip(parameters, pulls, strict=True))
            torch.autograd.backward(cross_entropy(oracle.module(images), labels) + lam / 2 * distance)
            optimizer.step()
        assert torch.allclose(state.personal, oracle.values, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(state.personal[:num_trainable], received[:num_trainable], atol=1e-2)


def test_large_lambda_leads_to_the_global_model() -> None:
    """With eta lambda = .9 each step leaves a tenth of the distance.

    The rest is at most eta / .9 of a gradient of about 1.
    """
    algorithm, setting, flat = made({"lam": 900.0, "personal_epochs": 5}, lr=0.001, momentum=0.0)
    received, num_trainable = moved(setting, 1.0), setting.layout.num_trainable
    run = task(setting, flat, received, 0, algorithm.init_client(0))
    personal = algorithm.client_update(run).client_state.personal
    assert float((personal - received)[:num_trainable].abs().max()) < 0.01


def test_upload_loss_and_trained_model_equal_fedavgs() -> None:
    algorithm, setting, flat = made()
    received = moved(setting, 0.1)
    run = task(setting, flat, received, 1, algorithm.init_client(0))
    result = algorithm.client_update(run)
    other, plain = seeded(net), FedAvg(AlgorithmConfig(), setting)
    dense = task(setting, other, received, 1, None)
    expected = plain.client_update(dense)
    for payload in (result.payload, expected.payload):
        assert [item.name for item in payload] == ["theta"]
    sent, wanted = result.payload[0], expected.payload[0]
    assert isinstance(sent, Dense)
    assert isinstance(wanted, Dense)
    assert sent.values.tobytes() == wanted.values.tobytes()
    assert torch.equal(run.values, dense.values)
    assert run.metrics == dense.metrics
    assert not torch.equal(result.client_state.personal, run.values)


@pytest.mark.parametrize(("personal_epochs", "passes"), [(None, 2 + 2), (1, 2 + 1), (5, 2 + 5)])
def test_flops_of_both_passes_are_counted(personal_epochs: int | None, passes: int) -> None:
    algorithm, setting, flat = made({"personal_epochs": personal_epochs})
    run = task(setting, flat, moved(setting, 0.0), 0, algorithm.init_client(0))
    result = algorithm.client_update(run)
    assert result.train_flops == passes * 8 * setting.cost.training_flops()
    assert run.num_steps == passes * 2


def test_both_models_stay_inside_the_mask() -> None:
    """`CheckedRun` checks after every step. The start of v_k is masked too."""
    algorithm, setting, flat = made({"lam": 2.0})
    mask = setting.layout.full_mask()
    mask[:30] = False
    received = ModelValues(moved(setting, 0.1) * mask, mask)
    run = make_run(setting, flat, random_data(8, SHAPE, 3), received=received, state=algorithm.init_client(0))
    result = algorithm.client_update(run)
    assert run.num_steps == 8
    assert int(result.client_state.personal[:30].count_nonzero()) == 0
    assert int(run.values[:30].count_nonzero()) == 0
    algorithm.personal(run)
    assert torch.equal(run.values, result.client_state.personal)


def test_client_before_its_first_participation_scores_w_0() -> None:
    algorithm, setting, flat = made()
    run = task(setting, flat, moved(setting, 1.0), 0, algorithm.init_client(0))
    algorithm.personal(run)
    assert torch.equal(run.values, torch.from_numpy(setting.initial))
