"""Local training, compared with torch.optim on an ordinary module and with softmax regression in numpy."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.seeds import stream
from orchestrator.federation.setting import Setting
from orchestrator.models.parameters import FlatModule
from tests.support.fakes import (
    TensorData,
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (2, 6, 6)
FedAvg = Algorithm[ServerState, None]


def small_cnn() -> nn.Module:
    """Convolution, batch norm, two linear layers."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )


def batches_of(setting: Setting, data: TensorData, round_idx: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The mini-batches of client 0 in a round, computed without the class under test."""
    training, rng = setting.training, stream(setting.seed, "client", round_idx, 0, "batches")
    for _ in range(training.local_epochs):
        images, labels = data.epoch(rng)
        for start in range(0, len(labels), training.batch_size):
            stop = start + training.batch_size
            yield images[start:stop], labels[start:stop]


def train_here(flat: FlatModule, setting: Setting, data: TensorData, round_idx: int = 0) -> Tensor:
    run = make_run(setting, flat, data, round_idx=round_idx)
    algorithm = FedAvg(FedAvg.Config(name="fedavg"), setting)
    algorithm.client_update(run)
    return run.values.clone()


def train_with_torch(
    setting: Setting, data: TensorData, make: Callable[[nn.Module], torch.optim.Optimizer], round_idx: int
) -> Tensor:
    """Training in plain PyTorch: an ordinary module, torch.optim and `clip_grad_norm_`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = small_cnn()
    optimizer = make(module)
    for images, labels in batches_of(setting, data, round_idx):
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(module(images), labels))
        if setting.training.clip_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), setting.training.clip_norm)
        optimizer.step()
    return FlatModule(module).values


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-3])
@pytest.mark.parametrize("round_idx", [0, 3])
def test_sgd_training_equals_plain_pytorch_bit_for_bit(
    momentum: float, weight_decay: float, round_idx: int
) -> None:
    """Compares parameters and running statistics after two epochs with a short last batch."""
    options = {"momentum": momentum, "weight_decay": weight_decay, "lr": 0.1, "lr_decay": 0.9}
    flat = seeded(small_cnn)
    setting = make_setting(flat, SHAPE, training=options | {"batch_size": 8, "local_epochs": 2})
    data = random_data(21, SHAPE, 3)
    rate = 0.1 * 0.9**round_idx
    expected = train_with_torch(
        setting,
        data,
        lambda m: torch.optim.SGD(m.parameters(), lr=rate, momentum=momentum, weight_decay=weight_decay),
        round_idx,
    )
    assert torch.equal(train_here(flat, setting, data, round_idx), expected)


def test_clipping_equals_plain_pytorch() -> None:
    """torch computes the norm of the tensors' norms, this project the norm of the flat vector.

    They are equal up to rounding.
    """
    options = {"momentum": 0.9, "lr": 0.1, "batch_size": 8, "local_epochs": 2}
    data = random_data(21, SHAPE, 3)
    results = []
    for limit in (None, 0.5):
        flat = seeded(small_cnn)
        setting = make_setting(flat, SHAPE, training=options | {"clip_norm": limit})
        results.append(train_here(flat, setting, data))
        expected = train_with_torch(
            setting, data, lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9), 0
        )
        assert torch.allclose(results[-1], expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(results[0], results[1], rtol=1e-2)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_training_equals_plain_pytorch(name: str) -> None:
    flat = seeded(small_cnn)
    options = {"optimizer": name, "lr": 1e-3, "weight_decay": 1e-2, "batch_size": 8, "local_epochs": 2}
    setting = make_setting(flat, SHAPE, training=options)
    data = random_data(21, SHAPE, 3)
    method = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    expected = train_with_torch(
        setting, data, lambda m: method(m.parameters(), lr=1e-3, weight_decay=1e-2), 0
    )
    assert torch.allclose(train_here(flat, setting, data), expected, rtol=1e-5, atol=1e-6)


Float64 = NDArray[np.float64]


def softmax_gradient(
    weights: Float64, bias: Float64, x: Float64, y: NDArray[np.int64]
) -> tuple[Float64, Float64]:
    """Gradient of the mean cross-entropy of softmax(x W^T + b), by the formula (p - onehot) x / n."""
    logits = x @ weights.T + bias
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return p.T @ x / len(y), p.mean(axis=0)


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_masked_training_masks_gradients_and_weights(clip_norm: float | None) -> None:
    """Softmax regression in numpy.

    It masks the gradient, clips it, adds momentum and decay, and masks the weights.
    """
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 3)))
    options = {"momentum": 0.9, "weight_decay": 0.1, "lr": 0.2, "batch_size": 8, "local_epochs": 3}
    setting = make_setting(flat, (1, 3, 3), training=options | {"clip_norm": clip_norm})
    data = random_data(21, (1, 3, 3), 3)
    keep = np.random.default_rng(4).random((3, 9)) < 0.4
    mask = torch.cat([torch.from_numpy(keep.reshape(-1)), torch.ones(3, dtype=torch.bool)])
    start = flat.values.clone()

    run = make_run(setting, flat, data, received=ModelValues(start * mask, mask))
    FedAvg(FedAvg.Config(name="fedavg"), setting).client_update(run)

    weights = start[:27].view(3, 9).numpy().astype(np.float64) * keep
    bias = start[27:].numpy().astype(np.float64)
    v_weights, v_bias = np.zeros((3, 9)), np.zeros(3)
    for images, labels in batches_of(setting, data, 0):
        x, y = images.flatten(1).numpy().astype(np.float64), labels.numpy()
        g_weights, g_bias = softmax_gradient(weights, bias, x, y)
        g_weights *= keep
        if clip_norm is not None:
            scale = min(1.0, clip_norm / (np.sqrt((g_weights**2).sum() + (g_bias**2).sum()) + 1e-6))
            g_weights, g_bias = g_weights * scale, g_bias * scale
        v_weights = 0.9 * v_weights + g_weights + 0.1 * weights
        v_bias = 0.9 * v_bias + g_bias + 0.1 * bias
        weights, bias = (weights - 0.2 * v_weights) * keep, bias - 0.2 * v_bias

    assert np.allclose(run.values[:27].view(3, 9).numpy(), weights, rtol=1e-4, atol=1e-6)
    assert np.allclose(run.values[27:].numpy(), bias, rtol=1e-4, atol=1e-6)
    assert run.num_steps == 9
