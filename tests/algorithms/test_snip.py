"""SNIP: the gradients that give the scores, the mask that they choose, and the messages."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from algorithms.snip import SNIP, SNIPConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.contract.rounds import RecordedRound, play
from orchestrator.errors import ConfigError
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import find_values
from orchestrator.sparsity.payload import Dense
from orchestrator.sparsity.wire import section_bytes
from tests.support.errors import rejects
from tests.support.fakes import (
    assert_same_params,
    experiment,
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.nets import small_cnn as net
from tests.support.weight_scores import kept, random_scores

Options = Mapping[str, Any]
SHAPE = (1, 5, 5)
SOURCES = ["one_client", "first_round", "all_clients"]
#: mlp on digits: 64 x 200 + 200 x 100 + 100 x 10 weights, 310 biases
NUM_WEIGHTS, NUM_BIASES = 33_800, 310


def make(
    build: Callable[[], nn.Module] = net,
    *,
    shape: tuple[int, int, int] = SHAPE,
    level: float = 0.75,
    **options: Any,
) -> tuple[SNIP, CheckedRun]:
    """A client with 11 images in batches of 4, and a task for scores."""
    flat = seeded(build)
    setting = make_setting(flat, shape, training={"batch_size": 4}, sparsity={"level": level})
    algorithm = SNIP(SNIPConfig.model_validate({"name": "snip", **options}), setting)
    return algorithm, make_run(setting, flat, random_data(11, shape, 6), kind="probe")


def snip(options: Options | None = None, num_rounds: int | None = None) -> list[RecordedRound]:
    return play(experiment({"algorithm.name": "snip", **(options or {})}), num_rounds)


def probed(algorithm: SNIP, *uploads: tuple[int, Tensor]) -> ServerState:
    """The server's state after uploads of (number of samples, float32[P] scores)."""
    initial = torch.from_numpy(algorithm.setting.initial.copy())
    aggregator = algorithm.aggregator()
    for n, score in uploads:
        items = (Dense("scores", score.numpy()),)
        weight = algorithm.weight(n)
        aggregator.add(
            Contribution(client_id=0, weight=weight, values=None, mask=None, start=None, items=items)
        )
    return algorithm.probe_update(algorithm.init(initial), aggregator.finish(initial), 0)


@pytest.mark.parametrize("count", [1, 3])
def test_score_is_the_absolute_value_of_mean_gradient_times_weight(count: int) -> None:
    algorithm, run = make(batches=count)
    found = find_values(algorithm.client_update(run).payload, "scores")
    flat = seeded(net)
    for epoch in run.batches("sensitivity", count):
        inputs, labels = next(epoch)
        torch.autograd.backward(cross_entropy(flat.module(inputs), labels) / count)
    score = (flat.grad * flat.values).abs()
    assert np.allclose(found, torch.cat([score[:36], score[40:256]]).numpy(), rtol=1e-5, atol=1e-8)


def test_larger_weights_with_smaller_gradients_score_the_same() -> None:
    """Doubling a layer before a ReLU and halving the next layer doubles w and halves g, and the reverse."""
    algorithm, run = make()
    expected = find_values(algorithm.client_update(run).payload, "scores").copy()
    algorithm, run = make()
    run.start[:40] *= 2
    run.start[40:256] /= 2
    scaled = find_values(algorithm.client_update(run).payload, "scores")
    assert np.allclose(scaled, expected, rtol=1e-5, atol=1e-8)


def test_gradient_uses_train_mode() -> None:
    def normalised() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(25, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))

    algorithm, run = make(normalised)
    found = find_values(algorithm.client_update(run).payload, "scores")
    flat = seeded(normalised)
    inputs, labels = next(next(run.batches("sensitivity", 1)))
    initial = flat.values.clone()
    torch.autograd.backward(cross_entropy(flat.module(inputs), labels))
    score = (flat.grad * initial[: flat.grad.numel()]).abs()
    assert np.array_equal(found, torch.cat([score[:200], score[224:272]]).numpy())


@pytest.mark.parametrize(("level", "count"), [(0.75, 63), (0.9, 25), (0.95, 13), (0.0, 252)])
def test_rounded_share_of_all_weights_is_kept(level: float, count: int) -> None:
    score = random_scores()
    state = probed(make(level=level)[0], (5, score))
    assert kept(state) == sorted(sorted(range(252), key=lambda i: -float(score[i]))[:count])
    assert state.mask is not None
    assert bool(state.mask[36:40].all())
    assert torch.equal(state.params, seeded(net).values * state.mask)


@pytest.mark.parametrize(
    ("level", "size", "count"),
    [(0.9, 15, 2), (0.9, 35, 4), (0.9, 25, 2), (0.7, 5, 2), (0.7, 35, 10), (0.3, 45, 32)],
)
def test_half_a_weight_rounds_to_the_even_number(level: float, size: int, count: int) -> None:
    """1.5, 3.5, 2.5, 1.5, 10.5 and 31.5: 1 - .9 is below .1 in floating point, 1 - .7 above .3."""
    algorithm, _ = make(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(size, 1)), shape=(1, 1, size), level=level
    )
    assert algorithm.num_kept == count


def test_scale_of_the_scores_does_not_matter() -> None:
    algorithm, score = make()[0], random_scores()
    assert kept(probed(algorithm, (1, score))) == kept(probed(algorithm, (1, score / score.sum())))


def test_clients_scores_are_averaged_by_samples() -> None:
    algorithm, (one, other) = make(score_from="all_clients")[0], (random_scores(1), random_scores(2))
    mean = (1 * one.double() + 3 * other.double()) / 4
    by_hand = sorted(sorted(range(252), key=lambda i: -float(mean[i]))[:63])
    assert kept(probed(algorithm, (1, one), (3, other))) == by_hand


def test_every_layer_keeps_its_least_number_of_weights() -> None:
    """All 36 scores of the first layer are below the others.

    It keeps its best 2, and 61 weights remain for the rest.
    """
    score = random_scores() + 1
    score[:36] -= 1
    best = sorted(sorted(range(36), key=lambda i: -float(score[i]))[:2])
    found = kept(probed(make(least_per_layer=2)[0], (1, score)))
    assert found[:2] == best
    assert len(found) == 63
    assert set(found[2:]) == set(sorted(range(36, 252), key=lambda i: -float(score[i]))[:61])


def test_empty_layer_is_rejected_without_a_least_number() -> None:
    score = random_scores() + 1
    score[:36] = 0
    with pytest.raises(ConfigError, match=r"layer 0\.weight") as caught:
        probed(make(least_per_layer=0)[0], (1, score))
    assert (caught.value.field, caught.value.value) == ("sparsity.level", 0.75)


# Whole runs


def test_probe_tasks_follow_score_from() -> None:
    asked = {}
    for source in SOURCES:
        rounds = snip({"algorithm.score_from": source, "algorithm.probe_client": 5})
        assert all(not played.probes for played in rounds[1:])
        asked[source] = [u.client_id for probe in rounds[0].probes for u in probe.updates]
    assert asked == {"one_client": [5], "first_round": [], "all_clients": list(range(8))}


@pytest.mark.parametrize("source", SOURCES)
def test_mask_is_constant_after_it_is_chosen(source: str) -> None:
    first = 1 if source == "first_round" else 0
    rounds = snip({"algorithm.score_from": source})
    mask = rounds[first].before.mask
    assert mask is not None
    assert int(mask.sum()) == 6760 + NUM_BIASES
    assert all(n >= 1 for n in experiment().setting.layout.active(mask).values())
    for played in rounds[first:]:
        assert torch.equal(played.after.mask, mask)  # type: ignore[arg-type]
        assert int(played.after.params[~mask].count_nonzero()) == 0
        for update in played.updates:
            (sections,) = section_bytes(update.buffer)
            assert (sections.value_bytes, sections.mask_bytes) == (4 * int(mask.sum()), 0)


def test_probe_sends_the_model_down_and_a_score_for_each_weight_up() -> None:
    (probe,) = snip({"algorithm.score_from": "all_clients"}, 1)[0].probes
    for update, down in zip(probe.updates, probe.download_bytes, strict=True):
        (sections,) = section_bytes(update.buffer)
        assert (sections.value_bytes, sections.mask_bytes) == (4 * NUM_WEIGHTS, 0)
        assert down == 36 + 4 * (NUM_WEIGHTS + NUM_BIASES)


def test_first_round_is_dense_fedavg_and_its_step_gives_the_scores() -> None:
    """The largest fifth of |(w_0 - mean) w_0| over all layers is kept.

    Training continues from the mean inside the mask.
    """
    rounds, plain = snip({"algorithm.score_from": "first_round"}), play(experiment(), 1)
    mean, initial = rounds[0].aggregate.values, rounds[0].before.params
    assert torch.equal(mean, plain[0].aggregate.values)
    layout, mask = experiment().setting.layout, rounds[0].after.mask
    assert mask is not None
    score = torch.cat([((initial.double() - mean) * initial)[s.slice].abs() for s in layout.maskable])
    chosen = layout.restrict(mask)
    assert int(chosen.sum()) == 6760
    assert float(score[chosen].min()) >= float(score[~chosen].max())
    assert torch.equal(rounds[0].after.params, plain[0].after.params * mask)


def test_sources_agree_for_a_population_of_one_client() -> None:
    options = {"fleet.num_clients": 1, "training.clients_per_round": 1, "training.rounds": 2}
    one, everyone = (snip({"algorithm.score_from": s, **options}) for s in ("one_client", "all_clients"))
    assert_same_params(one, everyone)
    assert torch.equal(one[-1].after.mask, everyone[-1].after.mask)  # type: ignore[arg-type]


def test_scores_of_all_clients_with_one_batch_agree_with_ssfl() -> None:
    """Formula and average are the same.

    Without normalisation layers the mode of the model makes no difference.
    """
    options = {"fleet.num_clients": 1, "training.clients_per_round": 1, "training.batch_size": 10_000}
    ours = snip({"algorithm.score_from": "all_clients", "sparsity.level": 0.5, **options}, 1)
    theirs = play(experiment({"algorithm.name": "ssfl", "sparsity.level": 0.5, **options}), 1)
    changed = torch.logical_xor(ours[0].after.mask, theirs[0].after.mask)  # type: ignore[arg-type]
    assert (
        int(torch.count_nonzero(changed)) <= 4
    )  # the orders of the images differ, so that the last bits may differ


@pytest.mark.parametrize("source", SOURCES)
def test_dense_snip_equals_fedavg(source: str) -> None:
    assert_same_params(snip({"algorithm.score_from": source, "sparsity.level": 0}), play(experiment()))
    sparse = snip({"algorithm.score_from": source})
    assert not torch.equal(sparse[-1].after.params, play(experiment())[-1].after.params)


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"probe_client": 10}, "algorithm.probe_client", 10),
        ({"least_per_layer": 40}, "sparsity.level", 0.75),
    ],
)
def test_options_that_do_not_fit_are_rejected(options: Options, field: str, value: object) -> None:
    with rejects(field, value):
        make(**options)
    assert make(score_from="all_clients", probe_client=10)


def test_explicit_densities_are_rejected() -> None:
    sparsity = {"allocation": "explicit", "layer_density": {"0.weight": 0.5}}
    with rejects("sparsity.allocation", "explicit"):
        SNIP(SNIPConfig(name="snip"), make_setting(seeded(net), SHAPE, sparsity=sparsity))
