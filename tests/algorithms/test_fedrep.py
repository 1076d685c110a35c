"""FedRep: its two phases, compared with plain PyTorch."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from algorithms.fedrep import FedRep, FedRepConfig
from orchestrator.models.parameters import FlatModule
from tests.support.fakes import make_run, make_setting, random_data, seeded
from tests.support.nets import batch_norm_mlp as net

SHAPE = (1, 3, 3)


def made(
    kind: type[Any], options: dict[str, object] | None = None, **training: float
) -> tuple[Any, FlatModule]:
    flat = seeded(net)
    setting = make_setting(flat, SHAPE, training={"batch_size": 4, "local_epochs": 2, **training})
    return kind(kind.Config.model_validate({"name": "head", **(options or {})}), setting), flat


def test_head_is_trained_before_the_body() -> None:
    """Plain PyTorch: SGD with momentum and weight decay on one part at a time, a new optimiser for each part."""
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    algorithm, flat = made(FedRep, {"head_epochs": 3}, **options)
    oracle = seeded(net)
    start = flat.values.clone()
    run = make_run(algorithm.setting, flat, random_data(8, SHAPE, 3), state=algorithm.init_client(0))
    phases = [
        [batch for epoch in run.batches("head", 3) for batch in epoch],
        [batch for epoch in run.batches() for batch in epoch],
    ]
    algorithm.client_update(run)
    layers = list(oracle.module)
    oracle.module.train()
    parts = (list(layers[3].parameters()), [p for layer in layers[:3] for p in layer.parameters()])
    for part, batches in zip(parts, phases, strict=True):
        optimizer = torch.optim.SGD(part, **options)
        for images, labels in batches:
            oracle.grad.zero_()
            torch.autograd.backward(cross_entropy(oracle.module(images), labels))
            optimizer.step()
    assert torch.allclose(run.values, oracle.values, rtol=1e-4, atol=1e-6)
    assert not torch.equal(run.values[algorithm.head], start[algorithm.head])


def test_each_phase_changes_only_its_part() -> None:
    algorithm, flat = made(FedRep, {"head_epochs": 0}, momentum=0.9, weight_decay=0.1)
    own = algorithm.init_client(0)
    run = make_run(algorithm.setting, flat, random_data(8, SHAPE, 3), state=own)
    assert torch.equal(algorithm.client_update(run).client_state.values, own.values)
    run = make_run(algorithm.setting, flat, random_data(8, SHAPE, 3), state=own)
    algorithm.load(run)
    before = run.values.clone()
    FedRep(FedRepConfig(name="fedrep", head_epochs=2), algorithm.setting).on_train_start(run)
    body = slice(0, algorithm.head.start)
    assert torch.equal(run.values[body], before[body])
    assert not torch.equal(run.values[algorithm.head], before[algorithm.head])
