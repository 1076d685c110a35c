"""One client's task in progress: masks, clipping, FLOPs, gradients, batches and the reported loss."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.contract.checked_run import CheckedRun
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.exchange import ModelValues
from orchestrator.models.parameters import FlatModule
from tests.support.fakes import (
    TensorData,
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 4, 4)
FedAvg = Algorithm[ServerState, None]


def tiny_net() -> nn.Module:
    """18 weights used at 4 positions each, then 24 used once: 96 MACs."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))


def run_of(
    build: Callable[[], nn.Module] = tiny_net,
    *,
    mask: Tensor | None = None,
    num_images: int = 5,
    round_idx: int = 0,
    client_id: int = 0,
    **training: object,
) -> CheckedRun:
    flat = seeded(build)
    setting = make_setting(flat, SHAPE, training={"batch_size": 2, "local_epochs": 2, **training})
    values = flat.values.clone() if mask is None else flat.values * mask
    data = random_data(num_images, SHAPE, 3)
    return make_run(
        setting, flat, data, received=ModelValues(values, mask), round_idx=round_idx, client_id=client_id
    )


def finish(run: CheckedRun) -> None:
    FedAvg(FedAvg.Config(name="fedavg"), run.setting).client_update(run)


def five_and_seven() -> Tensor:
    """bool[47] for `tiny_net`: 5 of conv's 18 weights, 7 of linear's 24, and all biases."""
    mask = torch.zeros(47, dtype=torch.bool)
    mask[[0, 3, 8, 9, 17]] = True
    mask[18:20] = True
    mask[20:27] = True
    mask[44:] = True
    return mask


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_masked_weights_are_exactly_zero_after_every_step(optimizer: str) -> None:
    """`CheckedRun` checks after each step. Momentum and weight decay are on."""
    run = run_of(mask=five_and_seven(), optimizer=optimizer, momentum=0.9, weight_decay=0.1)
    finish(run)
    assert run.num_steps == 6
    assert bool(run.values[five_and_seven()].all())


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_masked_entries_have_no_momentum(optimizer: str) -> None:
    """After the mask is removed, a step with a zero gradient moves only trained entries."""
    mask = five_and_seven()
    run = run_of(mask=mask, optimizer=optimizer, momentum=0.9)
    finish(run)
    run.set_mask(None)
    before = run.values.clone()
    run.grad.zero_()
    run.apply_gradient()
    moved = run.values != before
    assert not bool(moved[~mask].any())
    assert bool(moved[mask].any())


def test_step_zeroes_weights_that_a_hook_wrote_outside_the_mask() -> None:
    mask = five_and_seven()
    run = run_of(mask=mask, momentum=0.0, lr=1.0)
    run.load(run.start, mask)
    run.values.add_(3.0)
    run.grad.zero_()
    expected = (run.values * mask).tolist()
    run.apply_gradient()
    assert run.values.tolist() == expected


def test_full_mask_trains_like_no_mask() -> None:
    dense, masked = run_of(), run_of(mask=torch.ones(47, dtype=torch.bool))
    finish(dense)
    finish(masked)
    assert torch.equal(dense.values, masked.values)
    assert masked.flops.total == masked.flops.total_dense == dense.flops.total


def test_received_weights_outside_the_mask_have_no_effect() -> None:
    """They are set to zero when the mask is set."""
    mask = five_and_seven()
    clean, dirty = run_of(mask=mask), run_of(mask=mask)
    dirty.start = torch.where(mask, dirty.start, 1e6)
    finish(clean)
    finish(dirty)
    assert torch.equal(clean.values, dirty.values)


def test_clipping_uses_the_norm_of_the_masked_gradient() -> None:
    """The gradient (3, 4) inside the mask has norm 5, and limit 2.5 halves it.

    The entries of 10^6 outside do not count.
    """
    mask = torch.zeros(47, dtype=torch.bool)
    mask[[0, 1]] = True
    run = run_of(mask=mask, clip_norm=2.5, momentum=0.0, lr=1.0)
    run.load(torch.zeros(47), mask)
    run.grad.fill_(1e6)
    run.grad[0], run.grad[1] = 3.0, 4.0
    run.apply_gradient()
    assert run.values[:2].tolist() == pytest.approx([-1.5, -2.0], rel=1e-6)
    assert int(run.values[2:].count_nonzero()) == 0


def test_gradient_below_the_limit_is_not_scaled() -> None:
    run = run_of(clip_norm=6.0, momentum=0.0, lr=1.0)
    run.load(torch.zeros(47), None)
    run.grad.zero_()
    run.grad[0], run.grad[1] = 3.0, 4.0
    run.apply_gradient()
    assert run.values[:2].tolist() == [-3.0, -4.0]


def test_flops_of_dense_training_by_hand() -> None:
    """96 MACs -> 192 FLOPs forward, 576 per sample and step; 5 images, 2 epochs."""
    run = run_of()
    finish(run)
    assert run.flops.total == run.flops.total_unmasked == run.flops.total_dense == 5 * 2 * 576


def test_flops_of_masked_training_by_hand() -> None:
    """5 weights at 4 positions and 7 at one: 27 MACs -> 162 FLOPs per sample and step."""
    run = run_of(mask=five_and_seven())
    finish(run)
    assert run.flops.total == 5 * 2 * 162
    assert run.flops.total_unmasked == run.flops.total_dense == 5 * 2 * 576


def test_flops_follow_a_changed_mask() -> None:
    run = run_of(mask=five_and_seven())
    run.load(run.start, five_and_seven())
    batch = (run.data.images, run.data.labels)  # type: ignore[attr-defined]
    run.backward(batch)
    run.set_mask(None)
    run.backward(batch)
    assert run.flops.total == 5 * (162 + 576)
    assert run.flops.total_unmasked == 5 * (576 + 576)


def test_flops_of_the_growth_gradient_by_hand() -> None:
    """A forward pass under the mask costs 2 * 27 FLOPs a sample, a dense backward pass 2 * 192."""
    run = run_of(mask=five_and_seven())
    run.load(run.start, five_and_seven())
    run.dense_gradient((run.data.images[:2], run.data.labels[:2]))  # type: ignore[attr-defined]
    assert run.flops.total == 2 * (54 + 2 * 192)
    assert run.flops.total_unmasked == run.flops.total_dense == 2 * 576


def test_mask_that_cuts_units_counts_as_a_smaller_model() -> None:
    """162 FLOPs a sample; the mask of the next step is an ordinary one."""
    run = run_of()
    run.load(run.start, None)
    batch = (run.data.images, run.data.labels)  # type: ignore[attr-defined]
    for cuts_units in (True, False):
        run.flops.set_mask(run.layout, five_and_seven(), cuts_units=cuts_units)
        run.backward(batch)
    assert run.flops.total == 5 * (162 + 162)
    assert run.flops.total_unmasked == 5 * (162 + 576)
    run.flops.add_forward(5)
    assert run.flops.total_unmasked == 5 * (162 + 576 + 192)


def mlp_loss(parameters: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    """Mean cross-entropy of tanh(x W1^T + b1) W2^T + b2 in float64; 16 inputs, 4 hidden units, 3 classes."""
    w1, b1 = parameters[:64].reshape(4, 16), parameters[64:68]
    w2, b2 = parameters[68:80].reshape(3, 4), parameters[80:]
    logits = np.tanh(x @ w1.T + b1) @ w2.T + b2
    return float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]).mean())


def test_dense_gradient_equals_finite_differences_of_the_loss() -> None:
    """Checked for every weight, also masked ones, at the masked weights.

    The gradient buffer contained other values before.
    """
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 3)))
    setting = make_setting(flat, SHAPE, training={"weight_decay": 0.5})
    mask = torch.from_numpy(np.random.default_rng(0).random(83) < 0.5)
    mask[64:68] = mask[80:] = True
    data = random_data(7, SHAPE, 3)
    run = make_run(setting, flat, data, received=ModelValues(flat.values * mask, mask))
    run.load(run.start, mask)
    run.grad.fill_(1e3)
    found = run.dense_gradient((data.images, data.labels)).numpy()

    point = run.values.numpy().astype(np.float64)
    x, y = data.images.flatten(1).numpy().astype(np.float64), data.labels.numpy()
    step = 1e-5
    expected = np.array(
        [
            (mlp_loss(point + step * e, x, y) - mlp_loss(point - step * e, x, y)) / (2 * step)
            for e in np.eye(83)
        ]
    )
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert np.abs(found[~mask.numpy()]).min() > 0


def normalised_net(momentum: float | None = 0.1) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4, momentum=momentum), nn.Linear(4, 3)
    )


def test_dense_gradient_uses_train_mode_by_default() -> None:
    run = run_of(normalised_net)
    run.load(run.start, None)
    batch = (run.data.images, run.data.labels)  # type: ignore[attr-defined]
    run.flat.module.train()
    found = run.dense_gradient(batch)

    other = FlatModule(normalised_net())
    other.load(run.start)
    other.module.train()
    torch.autograd.backward(cross_entropy(other.module(batch[0]), batch[1]))
    assert torch.equal(found, other.grad)


def test_dense_gradient_can_use_evaluation_mode() -> None:
    """The running statistics are 0 and 1 here. The module is in train mode afterwards."""
    run = run_of(normalised_net)
    run.load(run.start, None)
    batch = (run.data.images, run.data.labels)  # type: ignore[attr-defined]
    run.flat.module.train()
    found = run.dense_gradient(batch, training=False)
    assert run.flat.module.training
    other = FlatModule(normalised_net())
    other.load(run.start)
    other.module.eval()
    torch.autograd.backward(cross_entropy(other.module(batch[0]), batch[1]))
    assert torch.equal(found, other.grad)
    assert not torch.equal(found, run.dense_gradient(batch))


def test_sampled_gradients_use_the_first_batch_of_new_orders() -> None:
    """3 batches of 2 of 5 images, at 576 FLOPs an image."""
    run = run_of()
    run.load(run.start, None)
    found = list(run.sampled_gradients("scores", 3))
    assert run.flops.total == 6 * 576
    firsts = [next(epoch) for epoch in run.batches("scores", 3)]
    for gradient, batch in zip(found, firsts, strict=True):
        assert torch.equal(gradient, run.dense_gradient(batch))
    assert not torch.equal(found[0], found[1])


def changed_by_the_dense_gradient(momentum: float | None) -> list[str]:
    run = run_of(lambda: normalised_net(momentum))
    run.load(run.start, None)
    run.flat.module.train()
    before = {name: t.clone() for name, t in run.flat.module.state_dict().items()}
    run.dense_gradient((run.data.images, run.data.labels))  # type: ignore[attr-defined]
    after = run.flat.module.state_dict()
    return [name for name in before if not torch.equal(before[name], after[name])]


def test_dense_gradient_changes_no_weights_and_no_running_statistics() -> None:
    assert not {"2.running_mean", "2.running_var", "1.weight", "3.bias"} & set(
        changed_by_the_dense_gradient(0.1)
    )


def test_dense_gradient_does_not_count_for_a_cumulative_average() -> None:
    """With momentum None, batch norm weights the next batch by a counter, which must not change."""
    assert changed_by_the_dense_gradient(None) == []


def epochs_of(run: CheckedRun) -> list[list[list[int]]]:
    """The labels of each epoch and batch. In these tests the labels number the images."""
    return [[labels.tolist() for _, labels in epoch] for epoch in run.batches()]


def numbered(round_idx: int = 0, client_id: int = 0, reshuffle: bool = True) -> list[list[list[int]]]:
    run = run_of(round_idx=round_idx, client_id=client_id, batch_size=3, local_epochs=3, reshuffle=reshuffle)
    run.data = TensorData(torch.zeros(7, *SHAPE), torch.arange(7))
    return epochs_of(run)


def test_every_epoch_contains_every_image_once() -> None:
    for epoch in numbered():
        assert [len(batch) for batch in epoch] == [3, 3, 1]
        assert sorted(chain(*epoch)) == list(range(7))


@pytest.mark.parametrize(
    ("smallest", "drop_last", "sizes"),
    [(1, False, [3, 3, 1]), (2, False, [3, 4]), (1, True, [3, 3]), (2, True, [3, 3])],
)
def test_last_batch_of_one_sample_is_kept_merged_or_left_out(
    smallest: int, drop_last: bool, sizes: list[int]
) -> None:
    run = run_of(batch_size=3, local_epochs=1, drop_last=drop_last)
    run.setting = replace(run.setting, smallest_batch=smallest)
    run.data = TensorData(torch.zeros(7, *SHAPE), torch.arange(7))
    (epoch,) = epochs_of(run)
    assert [len(batch) for batch in epoch] == sizes
    assert list(chain(*epoch)) == list(chain(*numbered()[0]))[: sum(sizes)]


def test_skipped_samples_cost_nothing() -> None:
    run = run_of(num_images=5, batch_size=2, local_epochs=3, drop_last=True)
    finish(run)
    assert run.flops.total == 3 * 4 * run.setting.cost.training_flops()


def test_batches_are_reshuffled_by_epoch_round_and_client() -> None:
    first, second, third = numbered()
    assert first != second != third != first
    assert numbered() == [first, second, third]
    assert numbered(round_idx=1)[0] != first
    assert numbered(client_id=1)[0] != first


def test_batches_without_reshuffling_are_the_same_in_the_whole_run() -> None:
    first, second, third = numbered(reshuffle=False)
    assert first == second == third
    assert numbered(round_idx=5, reshuffle=False)[0] == first
    assert numbered(client_id=1, reshuffle=False)[0] != first
    assert sorted(chain(*first)) == list(range(7))


def test_loss_is_the_mean_over_images_and_not_over_batches() -> None:
    """With one epoch and a tiny learning rate, batches of 2, 2 and 1 give the loss of the received model."""
    run = run_of(lr=1e-12, momentum=0.0, local_epochs=1)
    with torch.no_grad():
        expected = cross_entropy(run.flat.module(run.data.images), run.data.labels)  # type: ignore[attr-defined]
    finish(run)
    assert run.metrics["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_new_task_starts_without_optimiser_state() -> None:
    """Two tasks in a row on the same model object end with the same values."""
    flat = seeded(tiny_net)
    setting = make_setting(flat, SHAPE, training={"momentum": 0.9, "batch_size": 2})
    data, start = random_data(5, SHAPE, 3), flat.values.clone()
    ends = []
    for _ in range(2):
        run = make_run(setting, flat, data, received=ModelValues(start, None))
        finish(run)
        ends.append(run.values.clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], start)


def test_received_model_does_not_change() -> None:
    run = run_of(mask=five_and_seven())
    start, mask = run.start.clone(), five_and_seven()
    finish(run)
    assert torch.equal(run.start, start)
    assert run.received is not None
    assert run.received.mask is not None
    assert torch.equal(run.received.mask, mask)
