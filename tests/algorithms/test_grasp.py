"""GraSP: the score by hand and by finite differences, the kept weights, and bytes."""

from collections.abc import Callable
from math import log

import pytest
import torch
from torch import nn

from algorithms.grasp import GraSP, GraSPConfig
from orchestrator.contract.rounds import play
from orchestrator.federation.exchange import find_values
from orchestrator.models.parameters import FlatModule
from tests.support.errors import rejects
from tests.support.fakes import TensorData, experiment, make_run, make_setting, random_data, seeded


def classifier() -> nn.Module:
    """Two logits w_1 x and w_2 x."""
    return nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))


def smooth_net() -> nn.Module:
    """Without kinks, so that finite differences are exact to second order."""
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 6))


class Attention(nn.Module):
    """Fused attention over the rows of an image, or a gated recurrent layer over them."""

    def __init__(self, *, recurrent: bool) -> None:
        super().__init__()
        self.rows = nn.GRU(5, 5, batch_first=True) if recurrent else None
        self.values, self.classes = nn.Linear(5, 5), nn.Linear(25, 6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits float32[B, 6] of images float32[B, 1, 5, 5]."""
        rows = images[:, 0]
        if self.rows is not None:
            mixed: torch.Tensor = self.rows(rows)[0]
        else:
            mixed = nn.functional.scaled_dot_product_attention(rows, self.values(rows), self.values(rows))
        logits: torch.Tensor = self.classes(mixed.flatten(1))
        return logits


def attention_net() -> nn.Module:
    return Attention(recurrent=False)


def recurrent_net() -> nn.Module:
    return Attention(recurrent=True)


def method(flat: FlatModule, shape: tuple[int, int, int], **options: object) -> GraSP:
    setting = make_setting(flat, shape, sparsity={"level": 0.5}, training={"batch_size": 4})
    return GraSP(GraSPConfig.model_validate({"name": "grasp", **options}), setting)


def test_score_is_the_weight_times_hessian_times_gradient() -> None:
    """T = x = 2 and w = (ln 3, 0) give p = (3/4, 1/4). With label 0, g = (-1/4, 1/4) and H = 3/16 [[1, -1], [-1, 1]].

    H g = 3/32 (-1, 1), so that the scores are -3/32 ln 3 and 0.
    """
    flat = seeded(classifier)
    flat.values.copy_(torch.tensor([log(3.0), 0.0]))
    data = TensorData(torch.full((4, 1, 1, 1), 2.0), torch.zeros(4, dtype=torch.int64))
    algorithm = method(flat, (1, 1, 1), temperature=2.0)
    run = make_run(algorithm.setting, flat, data, kind="probe")
    scores = find_values(algorithm.client_update(run).payload, "scores")
    assert scores.tolist() == pytest.approx([-3 / 32 * log(3.0), 0.0])


@pytest.mark.parametrize("net", [smooth_net, attention_net, recurrent_net])
def test_score_agrees_with_finite_differences(net: Callable[[], nn.Module]) -> None:
    """H g = (grad(theta + e g) - grad(theta - e g)) / 2e; both are means over the same two mini-batches.

    The fused kernels of attention have no second derivatives.
    """
    shape = (1, 5, 5)
    flat = seeded(net)
    algorithm = method(flat, shape, batches=2, temperature=1.0)
    run = make_run(algorithm.setting, flat, random_data(12, shape, 3), kind="probe")
    algorithm.load(run)
    start = run.values.clone()
    scores = algorithm.scores(run)
    batches = [next(epoch) for epoch in run.batches("grasp", 2, repeats=False)]

    def mean_gradient() -> torch.Tensor:
        return torch.stack([algorithm.gradient(run, batch).detach() for batch in batches]).mean(0)

    slope = mean_gradient()
    ends = []
    for sign in (1.0, -1.0):
        run.values[: slope.numel()] = start[: slope.numel()] + sign * 1e-2 * slope
        ends.append(mean_gradient())
    expected = start[: slope.numel()] * (ends[0] - ends[1]) / 2e-2
    assert torch.allclose(scores, expected, rtol=0.02, atol=1e-3 * float(expected.abs().max()))
    assert torch.count_nonzero(scores) > scores.numel() // 2


@pytest.mark.parametrize("score_from", ["one_client", "all_clients"])
def test_weights_with_the_largest_scores_are_kept_for_the_whole_run(score_from: str) -> None:
    rounds = play(experiment({"algorithm.name": "grasp", "algorithm.score_from": score_from}))
    (probe,) = rounds[0].probes
    assert len(probe.jobs) == (1 if score_from == "one_client" else 8)
    mask, scores = probe.after.mask, probe.aggregate.extras["scores"]
    assert mask is not None
    kept = experiment({"algorithm.name": "grasp"}).setting.layout.restrict(mask)
    assert int(kept.sum()) == round(0.2 * kept.numel())
    assert float(scores[kept].min()) >= float(scores[~kept].max())
    for played in rounds:
        assert played.after.mask is not None
        assert torch.equal(played.after.mask, mask)
        assert played is not rounds[1] or not played.probes


def test_bytes_of_a_probe_and_of_training() -> None:
    """P = 33,800 weights and U = 310 biases: 4 P up once; then 4 (P / 5 + U), without the mask from round 1 on."""
    rounds = play(experiment({"algorithm.name": "grasp"}), 2)
    (probe,) = rounds[0].probes
    assert probe.updates[0].buffer.nbytes == 12 + (16 + 8) + 4 * 33_800
    for played in rounds:
        for update in played.updates:
            assert update.buffer.nbytes == 12 + (16 + 8) + 4 * (6_760 + 310)


def test_density_1_equals_fedavg() -> None:
    ours = play(experiment({"algorithm.name": "grasp", "sparsity.level": 0}))
    for left, right in zip(ours, play(experiment()), strict=True):
        assert torch.equal(left.after.params, right.after.params)


def test_unknown_client_is_rejected() -> None:
    with rejects("algorithm.probe_client", 10):
        method(seeded(classifier), (1, 1, 1), probe_client=10, least_per_layer=0)
