"""A task on a submodel: its entries in the full vector, its cost, and the full model afterwards."""

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.contract.checked_run import CheckedRun
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.training import train
from orchestrator.models.units.tracing import trace_units
from tests.support.fakes import (
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 4, 4)
#: of the hidden units 2 and 0, in that order: rows of the first layer, its biases, columns of the second
INDEX = [*range(32, 48), *range(16), 66, 64, 70, 68, 74, 72, 78, 76, 80, 81, 82]
UNITS = torch.tensor([2, 0])
NUM_IMAGES = 5


def net(num_hidden: int = 4) -> nn.Sequential:
    """16 inputs, 3 classes: with 4 hidden units 64 + 4 + 12 + 3 = 83 entries and 76 MACs, with 2 43 and 38."""
    return nn.Sequential(nn.Flatten(), nn.Linear(16, num_hidden), nn.ReLU(), nn.Linear(num_hidden, 3))


def whole_run(**training: object) -> CheckedRun:
    """A task that starts with 83 different values."""
    flat = seeded(net)
    setting = make_setting(
        flat,
        SHAPE,
        training={"batch_size": 2, "local_epochs": 2, **training},
        units=trace_units(flat.module, torch.zeros(1, *SHAPE)),
    )
    return make_run(setting, flat, random_data(NUM_IMAGES, SHAPE, 3))


def narrow_run(**training: object) -> CheckedRun:
    """The same task with the units 2 and 0 loaded."""
    run = whole_run(**training)
    (group,) = run.setting.units
    run.load_submodel(run.start, {group.name: UNITS})
    return run


def all_images(run: CheckedRun) -> Batch:
    return run.data.images, run.data.labels  # type: ignore[attr-defined]


class Plain:
    """FedAvg's hooks."""

    def step(self, run: CheckedRun, batch: Batch) -> None:
        run.backward(batch)
        run.apply_gradient()

    def on_batch(self, run: CheckedRun, batches_done: int) -> None:
        pass

    def on_epoch(self, run: CheckedRun, epochs_done: int) -> None:
        pass


def test_submodel_has_the_entries_of_the_kept_units() -> None:
    run = narrow_run()
    assert run.index is not None
    assert run.index.tolist() == INDEX
    assert run.values.tolist() == run.start[INDEX].tolist()
    assert run.layout.size == run.values.numel() == run.grad.numel() == 43
    assert run.mask is None
    assert [units.tolist() for units in run.kept.values()] == [[2, 0]]
    assert run.setting.layout.size == 83


def test_submodel_computes_the_function_of_the_masked_full_model() -> None:
    run = narrow_run()
    inputs, _ = all_images(run)
    w1, b1, w2, b2 = (t.numpy() for t in torch.split(run.start, [64, 4, 12, 3]))
    hidden = np.maximum(inputs.flatten(1).numpy() @ w1.reshape(4, 16).T + b1, 0) * [1, 0, 1, 0]
    with torch.no_grad():
        found = run.flat.module(inputs).numpy()
    assert np.allclose(found, hidden @ w2.reshape(3, 4).T + b2, rtol=1e-5, atol=1e-6)


def test_training_a_submodel_equals_training_the_smaller_model() -> None:
    run = narrow_run(momentum=0.9)
    train(run, Plain())
    other = seeded(lambda: net(2))
    alone = make_run(
        make_setting(other, SHAPE, training={"batch_size": 2, "local_epochs": 2, "momentum": 0.9}),
        other,
        random_data(NUM_IMAGES, SHAPE, 3),
        received=ModelValues(run.start[INDEX], None),
    )
    alone.load(alone.start, None)
    train(alone, Plain())
    assert torch.equal(run.values, alone.values)
    assert not torch.equal(run.values, run.start[INDEX])


def test_trained_submodel_in_full_coordinates_has_only_its_own_entries() -> None:
    run = narrow_run()
    train(run, Plain())
    full = run.in_full_coordinates()
    assert full.mask is not None
    assert torch.nonzero(full.mask).flatten().tolist() == sorted(INDEX)
    assert full.values[INDEX].tolist() == run.values.tolist()
    assert int(full.values[~full.mask].count_nonzero()) == 0


def test_mask_of_a_submodel_in_full_coordinates() -> None:
    """Entries 0 and 42 of the submodel are entries 32 and 82 of the full vector."""
    run = narrow_run()
    inner = torch.ones(43, dtype=torch.bool)
    inner[[0, 42]] = False
    run.set_mask(inner)
    full = run.in_full_coordinates()
    assert full.mask is not None
    assert torch.nonzero(full.mask).flatten().tolist() == sorted(set(INDEX) - {32, 82})
    assert full.values[[32, 82]].tolist() == [0.0, 0.0]


def test_full_model_in_full_coordinates_is_a_copy_under_its_mask() -> None:
    run = whole_run()
    mask = torch.ones(83, dtype=torch.bool)
    mask[:10] = False
    run.load(run.start, mask)
    full = run.in_full_coordinates()
    assert torch.equal(full.values, run.start * mask)
    assert full.mask is mask
    run.values.zero_()
    assert torch.equal(full.values, run.start * mask)


def test_flops_of_a_submodel_by_hand() -> None:
    """38 MACs -> 228 FLOPs a sample; dense is the full model, 76 MACs -> 456."""
    run = narrow_run()
    train(run, Plain())
    assert run.flops.total == run.flops.total_unmasked == 2 * NUM_IMAGES * 228
    assert run.flops.total_dense == 2 * NUM_IMAGES * 456


def test_flops_of_a_masked_submodel_by_hand() -> None:
    """Without 8 of the first layer's weights: 30 MACs -> 180 FLOPs."""
    run = narrow_run()
    inner = torch.ones(43, dtype=torch.bool)
    inner[:8] = False
    run.set_mask(inner)
    run.backward(all_images(run))
    assert run.flops.total == NUM_IMAGES * 180
    assert run.flops.total_unmasked == NUM_IMAGES * 228


def test_full_model_can_be_loaded_after_a_submodel() -> None:
    run = narrow_run()
    run.load(run.start, None)
    assert run.index is None
    assert run.kept == {}
    assert run.layout is run.setting.layout
    assert torch.equal(run.values, run.start)
    run.backward(all_images(run))
    assert run.flops.total == NUM_IMAGES * 456


def test_dense_gradient_of_a_submodel_costs_a_step_of_the_submodel() -> None:
    run = narrow_run()
    assert run.dense_gradient(all_images(run)).numel() == 43
    assert run.flops.total == run.flops.total_unmasked == NUM_IMAGES * 228
    assert run.flops.total_dense == NUM_IMAGES * 456


def test_proximal_gradient_of_a_submodel_uses_its_own_entries() -> None:
    run = narrow_run()
    run.grad.zero_()
    run.values.add_(torch.arange(43.0))
    expected = 0.5 * (run.values - run.start[INDEX])
    run.add_proximal_gradient(0.5)
    assert torch.equal(run.grad, expected)
    assert run.grad.tolist() == pytest.approx([0.5 * i for i in range(43)], abs=1e-5)


def test_task_without_a_model_is_an_error() -> None:
    run = whole_run()
    run.received = None
    with pytest.raises(ValueError, match="without a model"):
        _ = run.start
