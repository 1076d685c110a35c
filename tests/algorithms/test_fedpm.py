"""FedPM: constant weights, scores compared with plain PyTorch, the posterior by hand, and messages."""

from collections.abc import Sequence
from math import e, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from algorithms.fedpm import FedPM, FedPMConfig, FedPMScores, FedPMState
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.contract.rounds import play
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.seeds import forked_seeds
from orchestrator.models.shapes import InputShape
from orchestrator.sparsity.payload import Bits, Dense
from tests.support.fakes import (
    experiment,
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE: InputShape = (2, 4, 4)
Options = dict[str, object]


def net() -> nn.Module:
    """Weights 3 x 2 x 3 x 3 and 3 x 12 with biases: W = 90, D = 96."""
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))


def method(options: Options | None = None, *, seed: int = 0) -> FedPM:
    setting = make_setting(
        seeded(net), SHAPE, training={"batch_size": 5, "local_epochs": 2, "clip_norm": 0.1}, seed=seed
    )
    return FedPM(FedPMConfig.model_validate({"name": "fedpm", **(options or {})}), setting)


def initial(algorithm: FedPM) -> FedPMState:
    return algorithm.init(torch.from_numpy(algorithm.setting.initial.copy()))


def loaded(algorithm: FedPM, state: FedPMState) -> CheckedRun:
    """A client that has received this state."""
    run = make_run(
        algorithm.setting, seeded(net), random_data(12, SHAPE, 3), payload=algorithm.broadcast(state)
    )
    run.received = None
    algorithm.load(run)
    return run


def placed(algorithm: FedPM, maskable: Tensor) -> Tensor:
    """float32[D] with these float32[W] values, and 0 at entries that are not maskable."""
    layout, values = algorithm.setting.layout, torch.zeros(algorithm.setting.layout.size)
    values[~layout.expand(torch.zeros(layout.num_maskable, dtype=torch.bool))] = maskable
    return values


def test_weights_are_constants_with_random_signs_and_biases_are_initial() -> None:
    """fan_in is 2 * 3 * 3 for the convolution and 12 for the linear layer."""
    algorithm = method()
    fixed = algorithm.fixed_weights()
    assert torch.equal(fixed, method().fixed_weights())
    assert not torch.equal(fixed, method(seed=1).fixed_weights())
    views = algorithm.setting.layout.views(fixed)
    for name, fan_in in (("0.weight", 18), ("3.weight", 12)):
        sizes = views[name].abs()
        assert float(sizes.min()) == float(sizes.max()) == pytest.approx(e * sqrt(1 / fan_in))
        assert 0.3 < float((views[name] > 0).float().mean()) < 0.7
    start = algorithm.setting.layout.views(torch.from_numpy(algorithm.setting.initial))
    for name in ("0.bias", "3.bias"):
        assert torch.equal(views[name], start[name])


def test_weights_never_change_and_the_model_has_those_with_theta_above_a_half() -> None:
    run = experiment({"algorithm.name": "fedpm"})
    fixed, layout = run.algorithm.fixed_weights(), run.setting.layout  # type: ignore[attr-defined]
    masks = []
    for played in play(run):
        state = played.after
        assert isinstance(state, FedPMState)
        assert torch.equal(state.mask, layout.expand(state.probability > 0.5))  # type: ignore[arg-type]
        assert torch.equal(state.params[state.mask], fixed[state.mask])
        assert int(state.params[~state.mask].count_nonzero()) == 0  # type: ignore[operator]
        masks.append(layout.restrict(state.mask))  # type: ignore[arg-type]
    assert not torch.equal(masks[0], masks[1])


class Recorder:
    """An optimiser that only stores the gradients."""

    def __init__(self) -> None:
        self.gradients: list[Tensor] = []

    def step(self, values: Tensor, grad: Tensor) -> None:
        """See Optimizer."""
        self.gradients.append(grad.clone())

    def forget(self, entries: Tensor) -> None:
        """See Optimizer."""


@pytest.mark.parametrize("estimator", ["authors", "straight_through"])
def test_gradient_of_a_score(estimator: str) -> None:
    """dL/dm by autograd at a sampled mask, times theta (1 - theta).

    The authors' estimator multiplies by theta too.
    """
    algorithm = method({"estimator": estimator})
    state = initial(algorithm)
    run = loaded(algorithm, state)
    algorithm.on_train_start(run)
    recorder = Recorder()
    run.optimizer = recorder
    batch = next(next(run.batches()))
    with forked_seeds(0, "here"):
        algorithm.step(run, batch)

    module, layout = net(), algorithm.setting.layout
    theta = placed(algorithm, state.probability)
    is_masked = theta > 0
    with forked_seeds(0, "here"):
        mask = torch.bernoulli(torch.where(is_masked, theta, 1.0)).requires_grad_()
    assert torch.equal(run.values, mask.detach() * algorithm.fixed_weights())
    logits = functional_call(module, layout.views(mask * algorithm.fixed_weights()), (batch[0],))
    (slope,) = torch.autograd.grad(cross_entropy(logits, batch[1]), mask)
    expected = slope * theta * (1 - theta) * (theta if estimator == "authors" else 1.0)
    (gradient,) = recorder.gradients
    assert torch.allclose(gradient, expected * is_masked, rtol=1e-4, atol=1e-7)
    assert int(gradient[~is_masked].count_nonzero()) == 0


def test_training_equals_adam_on_scores_with_straight_through_samples() -> None:
    """torch.optim.Adam at .1, with autograd through m = theta + stop(sample - theta).

    The optimiser options of `training` have no effect.
    """
    algorithm = method({"estimator": "straight_through"})
    state = initial(algorithm)
    run = loaded(algorithm, state)
    batches = [batch for epoch in run.batches() for batch in epoch]
    with forked_seeds(0, "here"):
        algorithm.client_update(run)

    module, layout, fixed = net(), algorithm.setting.layout, algorithm.fixed_weights()
    theta = placed(algorithm, state.probability)
    is_masked = theta > 0
    scores = torch.logit(theta[is_masked]).requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.1)
    with forked_seeds(0, "here"):
        for images, labels in batches:
            probability = torch.ones(layout.size).masked_scatter(is_masked, torch.sigmoid(scores))
            mask = probability + (torch.bernoulli(probability) - probability).detach()
            optimizer.zero_grad()
            logits = functional_call(module, layout.views(mask * fixed), (images,))
            torch.autograd.backward(cross_entropy(logits, labels))
            optimizer.step()
    assert len(batches) == 6
    assert torch.allclose(run.scratch(FedPMScores).values[is_masked], scores, atol=1e-3)
    assert float((scores.detach() - torch.logit(state.probability)).abs().max()) > 0.3
    kept = torch.ones(layout.size, dtype=torch.bool).masked_scatter(is_masked, scores.detach() > 0)
    assert torch.equal(run.values, fixed * kept)


def test_bits_are_unbiased() -> None:
    """The mean of 400 uploads equals theta within five standard deviations, for each of the 90 weights."""
    algorithm = method()
    state = initial(algorithm)
    run = loaded(algorithm, state)
    algorithm.on_train_start(run)
    drawn = []
    with forked_seeds(0, "here"):
        for _ in range(400):
            (item,) = algorithm.pack(run)
            assert isinstance(item, Bits)
            drawn.append(item.bits)
    theta = state.probability.numpy()
    away = np.abs(np.mean(drawn, axis=0) - theta) / np.sqrt(theta * (1 - theta) / 400)
    assert float(away.max()) < 5


def updated(algorithm: FedPM, state: FedPMState, bits: Sequence[Sequence[int]], round_idx: int) -> FedPMState:
    """The server's step on uploads that differ in their first weights and are 1 elsewhere."""
    aggregator = algorithm.aggregator()
    for k, first in enumerate(bits):
        mask = np.ones(90, np.bool_)
        mask[: len(first)] = first
        weight = algorithm.weight(10 * (k + 1))
        item = Bits("mask", mask)
        aggregator.add(
            Contribution(client_id=k, weight=weight, values=None, mask=None, start=None, items=(item,))
        )
    return algorithm.server_update(state, aggregator.finish(state.params), round_idx)


ROUND_0, ROUND_1 = [[0, 0, 0], [0, 0, 1], [0, 1, 1]], [[0, 1, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    ("options", "after_0", "after_1"),
    [
        ({}, [0.01, 1 / 3, 2 / 3, 0.99], [0.01, 0.99, 1 / 2, 0.99]),
        ({"prior": 2}, [1 / 5, 2 / 5, 3 / 5, 4 / 5], [1 / 4, 3 / 4, 2 / 4, 3 / 4]),
        ({"reset_every": None}, [0.01, 1 / 3, 2 / 3, 0.99], [0.01, 3 / 5, 3 / 5, 0.99]),
        ({"reset_every": 2, "prior": 2}, [1 / 5, 2 / 5, 3 / 5, 4 / 5], [1 / 7, 4 / 7, 4 / 7, 6 / 7]),
    ],
)
def test_posterior_by_hand(options: Options, after_0: list[float], after_1: list[float]) -> None:
    """Three clients, then two. Samples do not count. (lambda - 1 + ones) / (2 lambda - 2 + bits), clamped."""
    algorithm = method(options)
    first = updated(algorithm, initial(algorithm), ROUND_0, 0)
    assert first.probability[:4].tolist() == pytest.approx(after_0)
    second = updated(algorithm, first, ROUND_1, 1)
    assert second.probability[:4].tolist() == pytest.approx(after_1)
    assert bool(torch.logit(second.probability).isfinite().all())
    third = updated(algorithm, second, ROUND_0, 2)
    if options.get("reset_every", 1) is None:
        assert third.probability[:4].tolist() == pytest.approx([0.01, 4 / 8, 5 / 8, 0.99])
        assert third.num_bits == 8
    else:
        assert third.probability[:4].tolist() == pytest.approx(after_0)
        assert third.num_bits == 3


def test_upload_has_one_bit_a_weight_and_download_has_probabilities() -> None:
    """W = 33,800.

    Headers: 12 bytes for the message; 16 bytes and the name, padded to a multiple of 4, for the item.
    """
    run = experiment({"algorithm.name": "fedpm"})
    for played in play(run):
        assert [item.name for item in played.broadcast.payload] == ["probability"]
        for update, payload, down in zip(played.updates, played.payloads, played.download_bytes, strict=True):
            assert [type(item) for item in payload] == [Bits]
            assert update.buffer.nbytes == 12 + (16 + 4) + 33_800 // 8
            assert down == 12 + (16 + 12) + 4 * 33_800


def test_running_statistics_are_sent_and_averaged() -> None:
    """They are the last 8 entries. Clients count equally, for any number of samples."""
    run = experiment({"algorithm.name": "fedpm", "model.name": "tests.support.fakes:normalised_net"})
    for played in play(run, 2):
        sent = []
        for payload in (played.broadcast.payload, *played.payloads):
            statistics = payload[1]
            assert isinstance(statistics, Dense)
            assert (statistics.name, statistics.values.shape) == ("statistics", (8,))
            sent.append(torch.from_numpy(statistics.values.copy()))
        assert torch.equal(sent[0], played.before.params[-8:])
        assert torch.allclose(played.after.params[-8:], torch.stack(sent[1:]).mean(0))
        assert not torch.equal(sent[0], sent[1])


def test_client_loads_the_server_s_model() -> None:
    algorithm = method()
    state = updated(algorithm, initial(algorithm), ROUND_0, 0)
    run = loaded(algorithm, state)
    assert torch.equal(run.values, state.params)
    assert torch.equal(run.mask, state.mask)  # type: ignore[arg-type]


def test_flops_are_those_of_dense_training() -> None:
    algorithm = method()
    run = loaded(algorithm, initial(algorithm))
    result = algorithm.client_update(run)
    assert result.train_flops == result.train_flops_dense == 2 * 12 * algorithm.setting.cost.training_flops()
    assert run.num_steps == 6


def test_scores_that_are_not_finite_are_an_error() -> None:
    algorithm = method()
    run = loaded(algorithm, initial(algorithm))
    algorithm.on_train_start(run)
    run.scratch(FedPMScores).values[0] = torch.nan
    with pytest.raises(FloatingPointError, match=r"algorithm\.score_lr"):
        algorithm.after_train(run)
