"""A weight that a method grows is trained afterwards, or the run warns that it is not."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from algorithms.feddst import FedDST, FedDSTConfig
from algorithms.fedspa import FedSpa
from algorithms.prunefl import PruneFL
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.federation.exchange import ModelValues
from tests.support.fakes import (
    experiment,
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 3, 3)


def net() -> nn.Module:
    """27 weights at entries 0-26, biases 27-29."""
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 3))


def feddst(
    *, epochs: int = 1, rounds: int = 8, batch_size: int = 4, level: float = 0.5, **options: object
) -> FedDST:
    """FedDST that readjusts in round 1 with a constant alpha of .5."""
    training = {
        "local_epochs": epochs,
        "batch_size": batch_size,
        "rounds": rounds,
        "lr": 0.1,
        "momentum": 0.0,
    }
    setting = make_setting(
        seeded(net), SHAPE, training=training, sparsity={"level": level, "allocation": "uniform"}
    )
    return FedDST(
        FedDSTConfig.model_validate({"name": "feddst", "alpha": 0.5, "constant_alpha": True, **options}),
        setting,
    )


def trained(algorithm: FedDST, num_images: int) -> tuple[CheckedRun, torch.Tensor]:
    """A client's run of round 1, and the mask that it received."""
    state = algorithm.init(seeded(net).values)
    run = make_run(
        algorithm.setting,
        seeded(net),
        random_data(num_images, SHAPE, 3),
        received=ModelValues(state.params, state.mask),
        round_idx=1,
    )
    algorithm.client_update(run)
    assert state.mask is not None
    return run, state.mask


@pytest.mark.parametrize(("num_images", "num_before"), [(8, 1), (9, 1), (16, 2), (20, 2), (21, 3)])
def test_feddst_readjusts_after_half_of_a_single_epoch(num_images: int, num_before: int) -> None:
    """2 to 6 batches of 4.

    Of 13 of 27 weights, floor(.25 x 27) = 6 stay and 7 grow. Plain SGD and a gradient of all positions on the
    last batch give the expected values.
    """
    algorithm = feddst()
    run, mask = trained(algorithm, num_images)
    flat = seeded(net)
    flat.values.mul_(mask)
    assert int(mask[:27].sum()) == 13
    grown: list[int] = []
    for batches_done, (images, labels) in enumerate(next(run.batches()), start=1):
        flat.grad.zero_()
        torch.autograd.backward(cross_entropy(flat.module(images), labels))
        flat.values.sub_(0.1 * flat.grad * mask)
        if batches_done == num_before:
            flat.grad.zero_()
            torch.autograd.backward(cross_entropy(flat.module(images), labels))
            active = sorted(
                mask[:27].nonzero().flatten().tolist(), key=lambda i: -float(flat.values[i].abs())
            )
            free = [i for i in range(27) if i not in active[:6]]
            grown = sorted(free, key=lambda i: -float(flat.grad[i].abs()))[:7]
            mask = torch.tensor([i >= 27 or i in {*active[:6], *grown} for i in range(30)])
            flat.values.mul_(mask)
            flat.values[grown] = 0.0
    assert run.mask is not None
    assert torch.equal(run.mask, mask)
    assert torch.allclose(run.values, flat.values, atol=1e-6)
    assert len(grown) == 7
    assert int(run.values[grown].count_nonzero()) == 7


def test_feddst_readjusts_after_the_only_batch() -> None:
    run, before = trained(feddst(), num_images=4)
    assert run.mask is not None
    assert not torch.equal(run.mask, before)
    grown = run.mask & ~before
    assert int(grown.sum()) > 0
    assert int(run.values[grown].count_nonzero()) == 0


def new_survivors(rounds: list[RecordedRound]) -> list[tuple[int, int]]:
    """For each round that readjusts: new positions of the server's mask, and how many of them are not 0."""
    found = []
    for played in rounds:
        assert played.before.mask is not None
        assert played.after.mask is not None
        new = played.after.mask & ~played.before.mask
        if bool(new.any()):
            found.append((int(new.sum()), int(played.after.params[new].count_nonzero())))
    return found


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_every_new_weight_in_feddsts_mask_was_trained(epochs: int) -> None:
    options: Mapping[str, object] = {
        "algorithm.name": "feddst",
        "algorithm.alpha": 0.3,
        "algorithm.readjust_every": 2,
        "training.rounds": 8,
        "training.local_epochs": epochs,
    }
    found = new_survivors(play(experiment(options)))
    assert len(found) == 2
    assert all(0 < num_trained == num_new for num_new, num_trained in found)


def test_weights_that_feddst_grows_after_the_last_epoch_stay_zero() -> None:
    """The public code readjusts there. The option selects it."""
    options = {
        "algorithm.name": "feddst",
        "algorithm.alpha": 0.3,
        "algorithm.readjust_every": 2,
        "algorithm.adjust_after_epoch": 1,
        "training.rounds": 8,
        "training.local_epochs": 1,
    }
    assert all(num_trained == 0 for _, num_trained in new_survivors(play(experiment(options))))


def test_prunefl_trains_new_weights_in_the_next_round() -> None:
    options = {
        "algorithm.name": "prunefl",
        "algorithm.initial_pruning": False,
        "algorithm.adjust_every": 2,
        "algorithm.prune_share": 0.9,
        "training.rounds": 6,
        "training.local_epochs": 1,
    }
    made = experiment(options)
    assert isinstance(made.algorithm, PruneFL)
    layout = made.setting.layout
    start = made.algorithm.init(torch.from_numpy(made.initial.copy()))
    half = layout.expand(torch.arange(layout.num_maskable) % 2 == 0)
    start = type(start)(params=start.params * half, mask=half, initialised=True, stale=None)
    rounds, num_grown = play(made, start=start), 0
    for played, following in pairwise(rounds):
        assert played.before.mask is not None
        assert played.after.mask is not None
        grown = played.after.mask & ~played.before.mask
        num_grown += int(grown.sum())
        assert int(played.after.params[grown].count_nonzero()) == 0
        kept = grown if following.after.mask is None else grown & following.after.mask
        moved = following.after.params[kept].count_nonzero()
        # a weight of a pixel that is always blank has no gradient
        assert int(moved) >= 0.5 * int(kept.sum())
    assert num_grown > 0


def test_fedspa_starts_a_grown_weight_from_the_dense_server_model() -> None:
    """A client grows weights after its last step.

    Its next participation trains them from a value that is not 0.
    """
    made = experiment({"algorithm.name": "fedspa", "training.local_epochs": 1})
    assert isinstance(made.algorithm, FedSpa)
    played = play(made, 1)[0]
    for before, result in zip(played.jobs, played.updates, strict=True):
        after = played.client_states[result.client_id]
        grown = after.mask & ~before.client_state.mask
        assert int(grown.sum()) > 0
        assert int(played.after.params[grown].count_nonzero()) == int(grown.sum())


SIZES = np.array([3, 4, 5, 9])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "after the only mini-batch, in clients with one mini-batch (2 of 4)"),
        ({"batch_size": 3}, "after the only mini-batch, in clients with one mini-batch (1 of 4)"),
        ({"batch_size": 2}, None),
        ({"epochs": 2}, None),
        ({"epochs": 2, "adjust_after_epoch": 2}, "after the last of 2 local epochs"),
        ({"adjust_after_epoch": 1}, "after the only local epoch"),
        ({"adjust_after_epoch": 1, "end_round": 1}, None),
        ({"end_round": 0}, None),
        ({"alpha": 0.0}, None),
    ],
)
def test_feddst_warns_if_no_step_follows_the_growth(options: dict[str, object], expected: str | None) -> None:
    found = feddst(**options).warnings(SIZES)  # type: ignore[arg-type]
    assert len(found) == (expected is not None)
    if expected is not None:
        assert f" {expected}:" in found[0]


@pytest.mark.parametrize(("rounds", "warns"), [(4, False), (5, True), (6, False), (7, True)])
def test_prunefl_warns_of_an_adjustment_in_the_last_round(rounds: int, warns: bool) -> None:
    """Rounds 2, 4 and 6 adjust, counted from 0."""
    options = {"algorithm.name": "prunefl", "algorithm.adjust_every": 2, "training.rounds": rounds}
    found = experiment(options).warnings
    assert [f"in round {rounds - 1}, the last" in line for line in found] == [True] * warns


@pytest.mark.parametrize("name", ["fedavg", "fedspa", "ssfl", "lotteryfl", "fedlps"])
def test_other_methods_have_no_warning(name: str) -> None:
    assert experiment({"algorithm.name": name, "training.local_epochs": 1}).warnings == ()
