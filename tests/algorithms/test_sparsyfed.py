"""SparsyFed: the re-parameterisation, sparse uploads, and the server's mask."""

import pytest
import torch
from torch import nn

from algorithms.sparsyfed import SparsyFed, SparsyFedConfig
from orchestrator.contract.rounds import play
from orchestrator.sparsity.payload import Masked
from tests.support.fakes import experiment, make_run, make_setting, random_data, seeded
from tests.support.masks import gaps_bytes

SPARSYFED = {"algorithm.name": "sparsyfed"}
SHAPE = (1, 1, 2)


def method(**options: object) -> SparsyFed:
    """4 weights and 2 biases."""
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 2)))
    setting = make_setting(flat, SHAPE, sparsity={"level": 0.5}, training={"batch_size": 4})
    return SparsyFed(SparsyFedConfig.model_validate({"name": "sparsyfed", **options}), setting)


def test_power_keeps_the_sign_and_the_biases() -> None:
    algorithm = method(beta=2.0)
    weights = torch.tensor([9.0, -4, 0, 0.25, 5, -5])
    roots = algorithm.powered(weights, 0.5)
    assert roots.tolist() == [3, -2, 0, 0.5, 5, -5]
    assert torch.equal(algorithm.powered(roots, 2.0), weights)


def test_gradient_of_a_weight_is_scaled_by_its_size() -> None:
    """With w = v |v|: dL/dv = 2 |v| dL/dw."""
    algorithm, data = method(beta=2.0, sparse_activations=False), random_data(4, SHAPE, 2)
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 2)))
    plain = make_run(algorithm.setting, flat, data)
    plain.load(plain.start, None)
    by_weight = plain.dense_gradient((data.images, data.labels))
    run = make_run(algorithm.setting, flat, data)
    algorithm.load(run)
    run.flat.module.train()
    run.backward((data.images, data.labels))
    factor = torch.cat([2.0 * plain.start[:4].abs().sqrt(), torch.ones(2)])
    assert torch.allclose(run.grad, factor * by_weight, atol=1e-6)


def test_largest_weights_are_sent_and_zeros_stay() -> None:
    """.1 of 33,800 weights, 310 biases and the gaps. The server's mask is the union of the clients' masks."""
    run = experiment(SPARSYFED)
    for played in play(run):
        union = torch.zeros(run.setting.layout.size, dtype=torch.bool)
        for update, (item,), model in zip(played.updates, played.payloads, played.models, strict=True):
            assert isinstance(item, Masked)
            assert int(item.mask.sum()) == 3_380
            assert update.buffer.nbytes <= 12 + (16 + 8) + 4 * (3_380 + 310) + gaps_bytes(item.mask)
            assert model is not None
            assert model.mask is not None
            union |= model.mask
        assert played.after.mask is not None
        assert torch.equal(played.after.mask, union)
        if played.round_idx:
            assert played.before.mask is not None
            zeros = played.before.params == 0
            assert not bool(played.after.params[zeros & ~played.before.mask].any())


def test_plain_dense_weights_equal_fedavg() -> None:
    options = {"algorithm.beta": 1, "sparsity.level": 0}
    for activations in (True, False):
        ours = play(experiment({**SPARSYFED, **options, "algorithm.sparse_activations": activations}))
        for left, right in zip(ours, play(experiment()), strict=True):
            assert torch.allclose(left.after.params, right.after.params, rtol=0, atol=1e-6)


@pytest.mark.parametrize("beta", [1.25, 2.0])
def test_weights_survive_a_task_without_steps(beta: float) -> None:
    algorithm = method(beta=beta)
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 2)))
    run = make_run(algorithm.setting, flat, random_data(4, SHAPE, 2))
    algorithm.load(run)
    algorithm.after_train(run)
    assert run.mask is not None
    assert int(run.mask.sum()) == 4
    assert torch.allclose(run.values[run.mask], run.start[run.mask], atol=1e-6)
