"""A task on a smaller submodel within the loaded submodel, and on a separate copy of the module."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.contract.checked_run import CheckedRun
from orchestrator.models.units.tracing import trace_units
from tests.support.fakes import (
    TensorData,
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 4, 4)


def net(num_hidden: int = 4) -> nn.Sequential:
    """16 inputs, 3 classes; 16 h + h + 2 h + 3 h + 3 trainable entries, then 2 h running statistics."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(16, num_hidden),
        nn.BatchNorm1d(num_hidden),
        nn.ReLU(),
        nn.Linear(num_hidden, 3),
    )


def narrow_run(kept: list[int]) -> CheckedRun:
    flat = seeded(net)
    flat.values.copy_(torch.rand(flat.values.numel(), generator=torch.Generator().manual_seed(1)) + 0.1)
    units = trace_units(flat.module, torch.zeros(2, *SHAPE))
    setting = make_setting(flat, SHAPE, training={"batch_size": 6}, units=units)
    run = make_run(setting, flat, random_data(6, SHAPE, 3))
    run.load_submodel(run.start, units_of(run, kept))
    return run


def units_of(run: CheckedRun, kept: list[int]) -> dict[str, Tensor]:
    (group,) = run.setting.units
    return {group.name: torch.tensor(kept)}


def batch_of(run: CheckedRun) -> tuple[Tensor, Tensor]:
    assert isinstance(run.data, TensorData)
    return run.data.images, run.data.labels


def entries(units: list[int]) -> list[int]:
    """Trainable entries of hidden units in the net of 4 units.

    They are rows, biases, norm, columns and the classes' biases.
    """
    rows = [16 * u + i for u in units for i in range(16)]
    per_unit = [start + u for start in (64, 68, 72) for u in units]
    return [*rows, *per_unit, *(76 + 4 * c + u for c in range(3) for u in units), 88, 89, 90]


def test_gradient_is_that_of_the_smaller_submodel_and_0_elsewhere() -> None:
    """The submodel has units 3, 1 and 0 of 4. The smaller submodel has 1 and 3."""
    run = narrow_run([3, 1, 0])
    run.grad.fill_(5.0)
    run.backward_submodel(batch_of(run), units_of(run, [1, 3]))

    alone = seeded(lambda: net(2))
    where = entries([1, 3])
    alone.values[:-4].copy_(run.start[where])
    inputs, labels = batch_of(run)
    cross_entropy(alone.module.train()(inputs), labels).backward()  # type: ignore[no-untyped-call]
    expected = torch.zeros(91)
    expected[where] = alone.grad
    assert torch.equal(run.grad, expected[entries([3, 1, 0])])
    assert bool(expected[where].any())


def test_running_statistics_change_only_for_units_of_the_smaller_submodel() -> None:
    run = narrow_run([3, 1, 0])
    before = run.values.clone()
    run.backward_submodel(batch_of(run), units_of(run, [1]))
    moved = (run.values != before).nonzero().flatten().tolist()
    num_trainable = run.grad.numel()
    assert moved == [num_trainable + 1, num_trainable + 3 + 1]  # unit 1 is the second of three
    hidden = batch_of(run)[0].flatten(1) @ run.start[16:32] + run.start[65]
    expected = 0.9 * run.start[91 + 1] + 0.1 * hidden.mean()
    assert float(run.values[moved[0]]) == pytest.approx(float(expected), rel=1e-5)


def test_flops_are_those_of_the_smaller_submodel() -> None:
    """One hidden unit: 16 + 3 MACs, 6 FLOPs each, 6 samples. The full model has four times as many."""
    run = narrow_run([3, 1, 0])
    run.backward_submodel(batch_of(run), units_of(run, [1]))
    assert run.flops.total == run.flops.total_unmasked == 6 * 6 * 19
    assert run.flops.total_dense == 6 * 6 * 76


def test_smaller_submodel_with_all_units_is_an_ordinary_step() -> None:
    run, plain = narrow_run([2, 0]), narrow_run([2, 0])
    run.backward_submodel(batch_of(run), units_of(run, [2, 0]))
    plain.backward(batch_of(plain))
    assert torch.equal(run.grad, plain.grad)
    assert torch.equal(run.values, plain.values)
    assert run.flops.total == plain.flops.total


def test_positions_depend_on_the_loaded_submodel() -> None:
    """The positions of the same units differ after another submodel is loaded."""
    run = narrow_run([3, 1, 0])
    run.backward_submodel(batch_of(run), units_of(run, [1]))
    run.load_submodel(run.start, units_of(run, [1, 2]))
    fresh = narrow_run([1, 2])
    for each in (run, fresh):
        each.backward_submodel(batch_of(each), units_of(each, [1]))
    assert torch.equal(run.grad, fresh.grad)
    assert torch.equal(run.values, fresh.values)


def test_units_outside_the_loaded_submodel_are_rejected() -> None:
    run = narrow_run([3, 1, 0])
    with pytest.raises(AssertionError, match="units"):
        run.backward_submodel(batch_of(run), units_of(run, [2]))


def test_own_module_trains_equally_and_does_not_change_the_shared_module() -> None:
    run, plain = narrow_run([3, 1]), narrow_run([3, 1])
    shared, before = run.flat, run.values.clone()
    module = run.own_module()
    assert module is run.flat.module is not shared.module
    for each in (run, plain):
        each.backward(batch_of(each))
        each.apply_gradient()
    assert torch.equal(run.values, plain.values)
    assert torch.equal(shared.values, before)
    assert run.flops.total == plain.flops.total
    assert torch.equal(run.in_full_coordinates().values, plain.in_full_coordinates().values)
