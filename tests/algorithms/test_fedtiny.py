"""FedTiny: candidates, their statistics and losses, progressive pruning, and bytes."""

from math import ceil

import pytest
import torch

from algorithms.fedtiny import FedTiny
from orchestrator.contract.checked_run import checked_run
from orchestrator.contract.rounds import play
from orchestrator.federation.aggregate import Aggregate
from orchestrator.sparsity.payload import Masked
from tests.support.fakes import experiment

FEDTINY = {"algorithm.name": "fedtiny"}
STATISTICS = {**FEDTINY, "model.name": "tests.support.fakes:normalised_net"}


def method(**options: object) -> FedTiny:
    algorithm = experiment({**FEDTINY, **options}).algorithm
    assert isinstance(algorithm, FedTiny)
    return algorithm


def test_candidates_have_equally_many_weights_in_other_layers() -> None:
    algorithm = method()
    counts = [algorithm.counts(c) for c in range(5)]
    assert len({sum(c.values()) for c in counts}) == 1
    assert len({tuple(c.values()) for c in counts}) == 5
    plain = method(**{"algorithm.spread": 0}).counts(3)
    assert plain == counts[0]


@pytest.mark.parametrize(("options", "num_probes"), [(FEDTINY, 1), (STATISTICS, 2)])
def test_candidate_with_the_smallest_mean_loss_is_trained(
    options: dict[str, object], num_probes: int
) -> None:
    run = experiment(options)
    algorithm = run.algorithm
    assert isinstance(algorithm, FedTiny)
    rounds = play(run, 2)
    assert len(rounds[0].probes) == num_probes
    last = rounds[0].probes[-1]
    best = int(last.aggregate.extras["losses"].argmin())
    assert last.after.mask is not None
    assert run.setting.layout.active(last.after.mask) == algorithm.counts(best)
    start = torch.from_numpy(run.initial.copy())
    trained = slice(0, run.setting.layout.num_trainable)
    assert torch.equal(last.after.params[trained], (start * last.after.mask)[trained])
    assert not rounds[1].probes


def test_statistics_are_averaged_and_adopted() -> None:
    """The first probe refreshes them in train mode; the mean is weighted by samples, as updates are."""
    run = experiment(STATISTICS)
    first, second = play(run, 1)[0].probes
    num_trainable = run.setting.layout.num_trainable
    values = [torch.tensor(p[0].values, dtype=torch.float64) for p in first.payloads]  # type: ignore[union-attr]
    weights = torch.tensor([u.num_examples for u in first.updates], dtype=torch.float64)
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / weights.sum()
    best = int(second.aggregate.extras["losses"].argmin())
    adopted = second.after.params[num_trainable:]
    assert torch.allclose(adopted.double(), mean.view(5, -1)[best], rtol=0, atol=1e-6)
    assert not torch.equal(adopted, torch.from_numpy(run.initial.copy())[num_trainable:])


def test_changes_follow_the_cosine_and_the_interval() -> None:
    """alpha = .2, R_stop = 4: .2 / 2 (1 + cos(pi r / 4)) of 100 weights in rounds 0 to 5; none in round 0."""
    options = {"algorithm.interval": 1, "algorithm.stop_round": 4}
    active = {"fc1.weight": 100, "fc2.weight": 100, "fc3.weight": 1000}
    found = [method(**options).changes(r, active)["fc1.weight"] for r in range(6)]
    assert found == [0, 17, 10, 2, 0, 0]
    assert method(**options).changes(1, active)["fc3.weight"] == 0  # no weight of this layer is pruned
    layers = method(**options, **{"algorithm.unit": "layer"})
    assert [sum(n > 0 for n in layers.changes(r, active).values()) for r in (1, 2, 3)] == [1, 0, 1]
    assert layers.changes(1, active)["fc2.weight"] == 17


def test_server_moves_weights_to_the_largest_gradients() -> None:
    """In each layer k_l of the smallest weights go, and the positions of the largest mean gradients come, with 0."""
    run = experiment({**FEDTINY, "algorithm.interval": 1})
    layout = run.setting.layout
    for played in play(run):
        before, after = played.before.mask, played.after.mask
        assert before is not None
        assert after is not None
        assert layout.active(after) == layout.active(before)
        algorithm = method(**{"algorithm.interval": 1})
        changes = algorithm.changes(played.round_idx, layout.active(before))
        grown = layout.active(after & ~before)
        assert grown == changes
        assert not bool(played.after.params[after & ~before].any())
        removed, sizes = before & ~after, played.aggregate.values.abs()
        for segment in layout.maskable:
            if changes[segment.name]:
                part = segment.slice
                assert sizes[part][removed[part]].max() <= sizes[part][(before & after)[part]].min()


def test_upload_has_the_largest_gradients_alone() -> None:
    """4 bytes for each of sum k_l gradients, and their positions; nothing in rounds without a change."""
    run = experiment({**FEDTINY, "algorithm.interval": 2})
    layout = run.setting.layout
    for played in play(run):
        assert played.before.mask is not None
        kept = sum(layout.active(played.before.mask).values()) + layout.num_dense
        for update, payload in zip(played.updates, played.payloads, strict=True):
            if played.round_idx != 2:
                assert len(payload) == 1
                assert update.buffer.nbytes == 12 + 24 + 4 * kept
                continue
            growth = payload[1]
            assert isinstance(growth, Masked)
            changes = method(**{"algorithm.interval": 2}).changes(2, layout.active(played.before.mask))
            assert growth.values.size == sum(changes.values())
            positions = update.buffer.nbytes - (12 + 24 + 24 + 4 * (kept + growth.values.size))
            assert 0 < positions <= ceil(layout.num_maskable / 8)


def test_one_candidate_without_changes_equals_randommask_by_magnitude() -> None:
    fixed = {"sparsity.level": 0.5, "sparsity.allocation": "erk"}
    ours = play(experiment({**FEDTINY, **fixed, "algorithm.candidates": 1, "algorithm.stop_round": 0}))
    theirs = play(experiment({"algorithm.name": "randommask", **fixed}))
    for left, right in zip(ours, theirs, strict=True):
        assert torch.equal(left.after.params, right.after.params)


def test_losses_do_not_change_the_statistics() -> None:
    run = experiment(STATISTICS)
    probe = play(run, 1)[0].probes[1]
    task = checked_run(run, probe, 0)
    first, second = (run.algorithm.client_update(task).payload[0].values for _ in range(2))  # type: ignore[union-attr]
    assert first.tolist() == pytest.approx(second.tolist(), abs=1e-6)


def test_mask_without_gradients_is_kept() -> None:
    algorithm = method(**{"algorithm.candidates": 1})
    state = algorithm.init(torch.from_numpy(algorithm.setting.initial.copy()))
    after = algorithm.server_update(state, Aggregate(state.params.double(), None, 1.0), 10)
    assert after.mask is not None
    assert state.mask is not None
    assert torch.equal(after.mask, state.mask)
