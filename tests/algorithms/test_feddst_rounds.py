"""FedDST over whole rounds: invariants of masks, densities and new weights."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.execution.client import ClientRunner
from orchestrator.federation.algorithm import ServerState
from orchestrator.sparsity.allocation import allocate
from tests.support.fakes import experiment

#: R_end = 4, so that rounds 1 and 3 readjust
OPTIONS: Mapping[str, object] = {
    "algorithm.name": "feddst",
    "algorithm.alpha": 0.3,
    "algorithm.readjust_every": 2,
    "training.rounds": 8,
    "training.local_epochs": 4,
}
READJUSTED = {1, 3}


@pytest.fixture(scope="module")
def rounds() -> list[RecordedRound]:
    return play(experiment(OPTIONS))


def mask_of(state: ServerState) -> Tensor:
    assert state.mask is not None
    return state.mask


def test_every_layer_keeps_its_count_at_every_stage(rounds: list[RecordedRound]) -> None:
    layout = experiment(OPTIONS).setting.layout
    targets = allocate(layout, 1 - 0.8, experiment(OPTIONS).setting.sparsity)
    for played in rounds:
        masks = [mask_of(played.before), mask_of(played.after), *(m.mask for m in played.models)]
        assert all(layout.active(m) == targets for m in masks if m is not None)
        assert len(masks) == 5


def test_next_mask_is_within_the_union_of_the_clients_masks(rounds: list[RecordedRound]) -> None:
    for played in rounds:
        union = torch.stack([m.mask for m in played.models if m.mask is not None]).any(0)
        assert played.aggregate.union is not None
        assert torch.equal(played.aggregate.union, union)
        assert not bool((mask_of(played.after) & ~union).any())


def test_masks_change_only_in_readjustment_rounds(rounds: list[RecordedRound]) -> None:
    for played in rounds:
        before = mask_of(played.before)
        moved_at_client = [m.mask is not None and not torch.equal(m.mask, before) for m in played.models]
        moved_at_server = not torch.equal(mask_of(played.after), before)
        expected = played.round_idx in READJUSTED
        assert moved_at_client == [expected] * 3
        assert moved_at_server == expected


def test_weights_are_zero_outside_the_mask_at_server_and_clients(rounds: list[RecordedRound]) -> None:
    for played in rounds:
        for values, mask in [(m.values, m.mask) for m in played.models] + [
            (played.after.params, mask_of(played.after))
        ]:
            assert mask is not None
            assert int(values[~mask].count_nonzero()) == 0


def test_alpha_of_zero_freezes_the_mask() -> None:
    first, *later = play(experiment({**OPTIONS, "algorithm.alpha": 0}))
    assert all(torch.equal(mask_of(r.after), mask_of(first.before)) for r in [first, *later])


def contrast(after_epoch: int | None) -> RecordedRound:
    """The readjustment round of ten clients that all take part.

    By default they readjust after half of 4 epochs.
    """
    options = {
        "algorithm.alpha": 0.02,
        "fleet.num_clients": 10,
        "training.clients_per_round": 10,
        "data.partition.kind": "shards",
    }
    placed = {} if after_epoch is None else {"algorithm.adjust_after_epoch": after_epoch}
    return play(experiment({**OPTIONS, **options, **placed}), 2)[1]


def new_connections(played: RecordedRound) -> Tensor:
    return mask_of(played.after) & ~mask_of(played.before)


def test_new_connections_survive_the_server_if_clients_train_them() -> None:
    played = contrast(None)
    new = new_connections(played)
    assert int(new.sum()) > 0
    assert bool(played.after.params[new].all())


def test_no_new_connection_survives_a_readjustment_after_the_last_epoch() -> None:
    """The server receives new connections as exact zeros.

    The union has enough other weights, because no weight was dropped by all clients.
    """
    played = contrast(4)
    union = played.aggregate.union
    assert union is not None
    grown = union & ~mask_of(played.before)
    assert int(grown.sum()) > 0
    assert int(played.aggregate.values[grown].count_nonzero()) == 0
    assert not bool((mask_of(played.before) & ~union).any())
    assert int(new_connections(played).sum()) == 0


def test_increasing_level_prunes_to_its_target_in_every_round() -> None:
    """From .5 to .9 linearly over 4 rounds: .5, .6, .7, .8, .9, .9, ..."""
    schedule = {
        "sparsity.level": 0.5,
        "sparsity.schedule.kind": "linear",
        "sparsity.schedule.final_level": 0.9,
    }
    run = experiment({**OPTIONS, **schedule})
    layout = run.setting.layout
    for played in play(run):
        level = min(0.5 + 0.1 * played.round_idx, 0.9)
        targets = allocate(layout, 1 - level, run.setting.sparsity)
        assert layout.active(mask_of(played.after)) == targets
        if played.round_idx in READJUSTED:
            assert all(layout.active(m.mask) == targets for m in played.models if m.mask is not None)


def test_decreasing_level_is_followed_at_readjustments() -> None:
    """The server grows no weights.

    Clients grow to the targets of rounds 1 and 3, and between these rounds the density is constant.
    """
    schedule = {
        "sparsity.level": 0.9,
        "sparsity.schedule.kind": "linear",
        "sparsity.schedule.final_level": 0.5,
    }
    run = experiment({**OPTIONS, **schedule})
    layout = run.setting.layout
    reached = {0: 0.9, 1: 0.8, 2: 0.8, 3: 0.6}
    for played in play(run, 4):
        targets = allocate(layout, 1 - reached[played.round_idx], run.setting.sparsity)
        assert layout.active(mask_of(played.after)) == targets


def test_repeated_task_in_the_same_process_gives_the_same_update() -> None:
    """No optimiser state, mask or weight of a task affects the next task of any client."""
    run = experiment(OPTIONS)
    played = play(run, 2)[1]
    host = ClientRunner(run)
    for position in (2, 0, 2, 1):
        job = played.jobs[position]
        update = host.run(job.task, played.broadcast.message.buffer, job.unicast, None)
        assert bytes(update.buffer) == bytes(played.updates[position].buffer)  # type: ignore[union-attr]


def test_explicit_densities_are_kept_through_readjustments() -> None:
    """64 x 200, 200 x 100 and 100 x 10 weights. The last layer has no entry, so that it keeps all weights."""
    names = [s.name for s in experiment(OPTIONS).setting.layout.maskable]
    run = experiment(
        {
            **{key: value for key, value in OPTIONS.items() if key != "sparsity.level"},
            "sparsity.allocation": "explicit",
            f"sparsity.layer_density.{names[0]}": 0.2,
            f"sparsity.layer_density.{names[1]}": 0.1,
        }
    )
    layout = run.setting.layout
    rounds = play(run)
    for played in rounds:
        assert list(layout.active(mask_of(played.after)).values()) == [2560, 2000, 1000]
    assert any(not torch.equal(mask_of(p.after), mask_of(p.before)) for p in rounds)
