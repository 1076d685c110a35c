"""Local optimisers, compared with torch.optim on the same gradients and with numbers computed by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.config.training import TrainingConfig
from orchestrator.federation.local.optimizers import SGD, Adam, Optimizer, make_optimizer

SIZE = 1003


def _one() -> int:
    """The number of steps of a task with one step."""
    return 1


def gradients(num_steps: int = 20) -> list[Tensor]:
    """Gradients of very different sizes; some are exactly 0."""
    rng = np.random.default_rng(0)
    scales = 10.0 ** rng.integers(-6, 3, SIZE)
    draws = rng.standard_normal((num_steps, SIZE)) * scales * (rng.random((num_steps, SIZE)) < 0.9)
    return [torch.from_numpy(row.astype(np.float32)) for row in draws]


def trajectory(optimizer: Optimizer) -> list[Tensor]:
    """The values after each step from a random start."""
    values = torch.from_numpy(np.random.default_rng(1).standard_normal(SIZE).astype(np.float32))
    steps = []
    for grad in gradients():
        optimizer.step(values, grad)
        steps.append(values.clone())
    return steps


def torch_trajectory(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> list[Tensor]:
    """The values after each step of torch.optim."""
    start = torch.from_numpy(np.random.default_rng(1).standard_normal(SIZE).astype(np.float32))
    parameter = nn.Parameter(start)
    optimizer, steps = make([parameter]), []
    for grad in gradients():
        parameter.grad = grad
        optimizer.step()
        steps.append(parameter.detach().clone())
    return steps


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_sgd_equals_torch_sgd_bit_for_bit(momentum: float, weight_decay: float) -> None:
    ours = trajectory(SGD(0.05, momentum, weight_decay))
    theirs = torch_trajectory(
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=momentum, weight_decay=weight_decay)
    )
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_equals_torch_adam(weight_decay: float, decoupled: bool) -> None:
    ours = trajectory(Adam(0.01, weight_decay, decoupled=decoupled))
    method = torch.optim.AdamW if decoupled else torch.optim.Adam
    theirs = torch_trajectory(lambda p: method(p, lr=0.01, weight_decay=weight_decay))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-6)


def test_kinds_of_weight_decay_differ() -> None:
    """Without a difference, the tests above could not detect the wrong kind."""
    coupled, decoupled = (trajectory(Adam(0.01, 1e-2, decoupled=d))[-1] for d in (False, True))
    assert not torch.allclose(coupled, decoupled, rtol=1e-6, atol=1e-6)


def test_sgd_with_momentum_by_hand() -> None:
    """w=1, lr=.5, momentum .5, decay 1: g = 1 + 1 = 2, v = 2, w = 0; then g = 1 + 0, v = 2, w = -1."""
    optimizer, values = SGD(0.5, 0.5, 1.0), torch.tensor([1.0])
    optimizer.step(values, torch.tensor([1.0]))
    assert values.tolist() == [0.0]
    optimizer.step(values, torch.tensor([1.0]))
    assert values.tolist() == [-1.0]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_forgotten_entries_lose_their_momentum(name: str) -> None:
    """After `forget`, a zero gradient moves only the entry that still has momentum."""
    optimizer = make_optimizer(TrainingConfig.model_validate({"optimizer": name, "momentum": 0.9}), 0, _one)
    values = torch.ones(2)
    optimizer.forget(torch.tensor([True, False]))
    optimizer.step(values, torch.tensor([1.0, 1.0]))
    optimizer.forget(torch.tensor([True, False]))
    before = values.clone()
    optimizer.step(values, torch.zeros(2))
    assert values[0] == before[0]
    assert values[1] < before[1]


@pytest.mark.parametrize(("round_idx", "expected"), [(0, 0.5), (1, 0.75), (2, 0.875)])
def test_learning_rate_decays_by_round(round_idx: int, expected: float) -> None:
    """1 - lr * decay ** r with lr = decay = 1/2 and a gradient of 1."""
    training = TrainingConfig.model_validate({"lr": 0.5, "lr_decay": 0.5, "momentum": 0.0})
    values = torch.tensor([1.0])
    make_optimizer(training, round_idx, _one).step(values, torch.tensor([1.0]))
    assert values.tolist() == [expected]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_first_step_of_adam_is_the_learning_rate(name: str) -> None:
    """Both moments are bias-corrected, so that the first step is lr * sign(g)."""
    training = TrainingConfig.model_validate({"optimizer": name, "lr": 0.25, "lr_decay": 0.5})
    values = torch.tensor([1.0, 1.0])
    make_optimizer(training, 1, _one).step(values, torch.tensor([3.0, -0.02]))
    assert values.tolist() == pytest.approx([0.875, 1.125], rel=1e-5)


def _scheduled(optimizer: str) -> TrainingConfig:
    section = {"optimizer": optimizer, "momentum": 0.5, "lr": 9.0}
    training = TrainingConfig.model_validate({**section, "lr_schedule": {"name": "a.py:f", "per": "step"}})
    return training.with_step_rates({3: [0.5, 0.25, 0.125], 2: [1.0, 0.0]})


def test_each_step_has_its_own_rate() -> None:
    """Momentum 0.5 and gradients of 1: velocities 1, 1.5, 1.75, 1.875; the fourth step keeps the last rate."""
    optimizer = make_optimizer(_scheduled("sgd"), 0, lambda: 3)
    values, found = torch.zeros(1), []
    for _ in range(4):
        optimizer.step(values, torch.ones(1))
        found.append(float(values))
    assert found == [-0.5, -0.875, -1.09375, -1.328125]
    assert optimizer.lr == 0.125


def test_rates_are_those_of_the_number_of_steps_of_the_task() -> None:
    optimizer, values = make_optimizer(_scheduled("sgd"), 0, lambda: 2), torch.zeros(1)
    optimizer.step(values, torch.ones(1))
    optimizer.step(values, torch.ones(1))
    assert float(values) == -1.0


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_constant_rates_of_steps_equal_one_rate(name: str) -> None:
    section = {"optimizer": name, "lr": 0.05, "weight_decay": 0.01}
    plain = TrainingConfig.model_validate(section)
    scheduled = TrainingConfig.model_validate({**section, "lr_schedule": {"name": "a.py:f", "per": "step"}})
    scheduled = scheduled.with_step_rates({20: [0.05] * 20})
    ours = trajectory(make_optimizer(scheduled, 0, lambda: 20))
    assert all(
        torch.equal(one, other)
        for one, other in zip(ours, trajectory(make_optimizer(plain, 0, _one)), strict=True)
    )


def test_scheduled_optimiser_forgets_entries() -> None:
    """Without its velocity the first entry moves by 0.25 in the second step, the other one by 0.25 * 1.5."""
    optimizer, values = make_optimizer(_scheduled("sgd"), 0, lambda: 3), torch.zeros(2)
    optimizer.step(values, torch.ones(2))
    optimizer.forget(torch.tensor([True, False]))
    optimizer.step(values, torch.ones(2))
    assert values.tolist() == [-0.75, -0.875]


def test_number_of_steps_is_read_at_the_first_step() -> None:
    """A task that only scores models does not load its training samples."""

    def unknown() -> int:
        raise AssertionError("no step was taken")

    assert make_optimizer(_scheduled("sgd"), 0, unknown).lr == 9.0
