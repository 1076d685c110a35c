"""ZeroFL: what is uploaded, the sparse steps, and the averages."""

from itertools import pairwise

import pytest
import torch

from algorithms.zerofl import ZeroFL
from orchestrator.contract.checked_run import checked_run
from orchestrator.contract.rounds import play
from orchestrator.sparsity.payload import Masked
from tests.support.fakes import experiment
from tests.support.masks import gaps_bytes

ZEROFL = {"algorithm.name": "zerofl"}


def test_density_1_equals_fedavg() -> None:
    """Equal to 1e-6: the server adds the mean change."""
    ours = play(experiment({**ZEROFL, "sparsity.level": 0}))
    for left, right in zip(ours, play(experiment()), strict=True):
        assert torch.allclose(left.after.params, right.after.params, rtol=0, atol=1e-6)


def test_upload_has_the_share_of_the_weights_and_r_mask() -> None:
    """(.1 + .05) of 33,800 weights, 310 biases, and the gaps between the positions."""
    for played in play(experiment({**ZEROFL, "algorithm.mask_ratio": 0.05}), 2):
        for update, (item,) in zip(played.updates, played.payloads, strict=True):
            assert isinstance(item, Masked)
            assert int(item.mask.sum()) == 5_070
            assert update.buffer.nbytes == 12 + (16 + 8) + 4 * (5_070 + 310) + gaps_bytes(item.mask)


@pytest.mark.parametrize("rank", ["weights", "changes"])
def test_largest_weights_or_changes_are_sent(rank: str) -> None:
    run = experiment({**ZEROFL, "algorithm.rank": rank})
    played = play(run, 1)[0]
    layout = run.setting.layout
    for position, model in enumerate(played.models):
        task = checked_run(run, played, position)
        run.algorithm.client_update(task)
        trained = task.values.detach()
        score = layout.restrict((trained if rank == "weights" else trained - task.start).abs())
        assert model is not None
        assert model.mask is not None
        kept = layout.restrict(model.mask)
        biases = {s.name for s in layout.segments} - {s.name for s in layout.maskable}
        assert float(score[kept].median()) > float(score[~kept].max()) or rank == "changes"
        assert int((score > score[kept].min()).sum()) <= int(kept.sum()) + len(biases)
        assert torch.equal(model.values[model.mask], trained[model.mask])


def test_more_weights_are_trained_than_used() -> None:
    """A step uses .1 of the weights. Neurons that are never active give no gradient."""
    run = experiment(ZEROFL)
    played = play(run, 1)[0]
    task = checked_run(run, played, 0)
    run.algorithm.client_update(task)
    view = run.setting.layout.views(task.values.detach() - task.start)["fc2.weight"]
    assert float((view != 0).float().mean()) > 0.3


def test_unsent_weights_keep_the_servers_value_unless_zeros_are_averaged() -> None:
    for average in ("change", "covered", "all"):
        rounds = play(experiment({**ZEROFL, "algorithm.average": average, "algorithm.rank": "changes"}), 2)
        for played in rounds:
            union = played.aggregate.union
            assert union is not None
            assert torch.equal(played.after.params[~union], played.before.params[~union])
        assert all(not torch.equal(a.after.params, b.after.params) for a, b in pairwise(rounds))


def test_first_layer_uses_all_weights() -> None:
    algorithm = experiment(ZEROFL).algorithm
    assert isinstance(algorithm, ZeroFL)
    assert algorithm.used_counts(0.1) == {"fc1.weight": 12_800, "fc2.weight": 2_000, "fc3.weight": 100}
