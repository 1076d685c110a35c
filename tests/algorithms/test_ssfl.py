"""SSFL: scores, the mask that they choose, sizes of messages, and rejected options."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, linear, relu

from algorithms.ssfl import SSFL, SSFLConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.errors import ConfigError
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import ModelValues, find_values
from orchestrator.models.registry import resolve_builder
from orchestrator.sparsity.payload import Dense, Float32, Payload
from orchestrator.sparsity.wire import encode, section_bytes
from tests.support.errors import rejects
from tests.support.fakes import (
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.nets import small_cnn as net
from tests.support.weight_scores import kept, random_scores

Options = Mapping[str, Any]
SHAPE = (1, 5, 5)


def flat_layer() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(25, 6, bias=False))


def normalised() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(25, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))


def make(
    build: Callable[[], nn.Module] = net, *, num_images: int = 11, level: float = 0.5, **options: Any
) -> tuple[SSFL, CheckedRun]:
    """A client that scores the model, with images in batches of 4."""
    flat = seeded(build)
    setting = make_setting(
        flat, SHAPE, training={"batch_size": 4, "weight_decay": 0.5, "rounds": 4}, sparsity={"level": level}
    )
    algorithm = SSFL(SSFLConfig.model_validate({"name": "ssfl", **options}), setting)
    return algorithm, make_run(setting, flat, random_data(num_images, SHAPE, 6), kind="probe")


def scores(algorithm: SSFL, run: CheckedRun) -> Float32:
    return find_values(algorithm.client_update(run).payload, "saliency")


def batches(run: CheckedRun, count: int) -> list[tuple[Tensor, Tensor]]:
    """The first mini-batch of each new order."""
    return [next(epoch) for epoch in run.batches("saliency", count)]


# Saliency


def test_scores_equal_gradients_of_gates_on_the_weights() -> None:
    """|dL/dc| at c = 1, where every weight is multiplied by its own c."""
    algorithm, run = make()
    found = scores(algorithm, run)
    (inputs, labels) = batches(run, 1)[0]
    flat = seeded(net)
    views = flat.layout.views(flat.values)
    gates = [torch.ones_like(views[n], requires_grad=True) for n in ("0.weight", "3.weight")]
    hidden = relu(conv2d(inputs, views["0.weight"] * gates[0], views["0.bias"])).flatten(1)
    logits = linear(hidden, views["3.weight"] * gates[1], views["3.bias"])
    slopes = torch.autograd.grad(cross_entropy(logits, labels), gates)
    expected = torch.cat([s.abs().flatten() for s in slopes]).numpy()
    assert found.dtype == np.float32
    assert found.shape == (36 + 216,)
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-7)
    assert found.min() >= 0
    assert found.max() > 0


def test_absolute_scores_are_averaged_over_batches() -> None:
    algorithm, run = make(saliency_batches=3)
    found = scores(algorithm, run)
    flat = seeded(net)
    parts = []
    for inputs, labels in batches(run, 3):
        flat.grad.zero_()
        torch.autograd.backward(cross_entropy(flat.module(inputs), labels))
        parts.append((flat.grad * flat.values).abs())
    mean = torch.stack(parts).mean(dim=0)
    assert np.allclose(found, torch.cat([mean[:36], mean[40:256]]).numpy(), rtol=1e-5, atol=1e-8)
    assert not np.allclose(found, scores(*make()), rtol=1e-2)


def test_scores_do_not_depend_on_the_signs_of_a_linear_layer() -> None:
    """With both signs of w x changed, |g w| is the same."""
    algorithm, run = make(flat_layer)
    found = scores(algorithm, run)
    flipped = make_run(
        algorithm.setting,
        run.flat,
        random_data(11, SHAPE, 6),
        kind="probe",
        received=ModelValues(-run.start, None),
    )
    data = flipped.data
    data.images.neg_()  # type: ignore[attr-defined]
    assert np.array_equal(found, scores(algorithm, flipped))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_scoring_uses_score_mode_and_keeps_the_model(mode: str) -> None:
    algorithm, run = make(normalised, score_mode=mode)
    before = run.flat.values.clone()
    found = scores(algorithm, run)
    assert torch.equal(run.flat.values, before)
    other = seeded(normalised)
    other.module.train(mode == "train")
    inputs, labels = batches(run, 1)[0]
    torch.autograd.backward(cross_entropy(other.module(inputs), labels))
    score = (other.grad * before[: other.grad.numel()]).abs()
    assert np.array_equal(found, torch.cat([score[:200], score[224:272]]).numpy())


def test_probe_costs_its_batches() -> None:
    """2 batches of 4 images at 6 x (36 x 9 + 216) FLOPs, dense."""
    algorithm, run = make(saliency_batches=2)
    result = algorithm.client_update(run)
    assert result.train_flops == result.train_flops_dense == 8 * 6 * 540


# The mask


def probed(algorithm: SSFL, uploads: list[tuple[int, Tensor]]) -> ServerState:
    """The server's state after uploads of (number of samples, float32[W] scores)."""
    initial = torch.from_numpy(algorithm.setting.initial.copy())
    aggregator = algorithm.aggregator()
    for n, score in uploads:
        items: Payload = (Dense("saliency", score.numpy()),)
        aggregator.add(
            Contribution(
                client_id=0, weight=algorithm.weight(n), values=None, mask=None, start=None, items=items
            )
        )
    return algorithm.probe_update(algorithm.init(initial), aggregator.finish(initial), 0)


@pytest.mark.parametrize(("level", "count"), [(0.5, 126), (0.7, 75), (0.9, 25), (0.95, 12), (0.0, 252)])
def test_floor_of_density_times_all_weights_are_kept(level: float, count: int) -> None:
    score = random_scores()
    state = probed(make(level=level)[0], [(5, score)])
    assert kept(state) == sorted(sorted(range(252), key=lambda i: -float(score[i]))[:count])
    assert state.mask is not None
    assert bool(state.mask[36:40].all())
    assert bool(state.mask[256:].all())
    initial = seeded(net).values
    assert torch.equal(state.params, initial * state.mask)


def test_sparser_mask_is_within_a_denser_mask() -> None:
    masks = [set(kept(probed(make(level=level)[0], [(1, random_scores())]))) for level in (0.9, 0.5, 0.1)]
    assert masks[0] < masks[1] < masks[2]


def test_scale_of_scores_and_order_of_clients_do_not_matter() -> None:
    algorithm, _ = make()
    uploads = [(n, random_scores(n)) for n in (1, 5, 3)]
    expected = kept(probed(algorithm, uploads))
    assert kept(probed(algorithm, uploads[::-1])) == expected
    assert kept(probed(algorithm, [(n, 8 * score) for n, score in uploads])) == expected


def test_clients_count_by_their_samples() -> None:
    algorithm, _ = make()
    one, other = random_scores(1), random_scores(2)
    mean = (1 * one.double() + 3 * other.double()) / 4
    by_hand = sorted(sorted(range(252), key=lambda i: -float(mean[i]))[:126])
    assert kept(probed(algorithm, [(1, one), (3, other)])) == by_hand
    assert kept(probed(algorithm, [(1, one), (1, other)])) == kept(probed(algorithm, [(7, one), (7, other)]))
    assert kept(probed(algorithm, [(1, one), (1, other)])) != by_hand


def test_uniform_weights_rank_by_the_plain_mean() -> None:
    """Two clients with 5 and 11 images. Weighting by samples gives another mask."""
    plain, uniform = [], []
    for num_images in (5, 11):
        algorithm, run = make(num_images=num_images)
        plain.append((num_images, torch.from_numpy(scores(algorithm, run).copy())))
        algorithm, run = make(num_images=num_images, score_weight="uniform")
        uniform.append((num_images, torch.from_numpy(scores(algorithm, run).copy())))
    mean = (plain[0][1].double() + plain[1][1].double()) / 2
    by_hand = sorted(sorted(range(252), key=lambda i: -float(mean[i]))[:126])
    assert kept(probed(algorithm, uniform)) == by_hand
    assert kept(probed(algorithm, plain)) != by_hand


def test_ties_go_to_the_lower_index() -> None:
    assert kept(probed(make()[0], [(1, torch.zeros(252))])) == list(range(126))


def test_mask_that_empties_a_layer_is_rejected_with_its_name() -> None:
    score = random_scores()
    score[:36] = 0
    with pytest.raises(ConfigError, match=r"layer 0\.weight") as caught:
        probed(make()[0], [(1, score)])
    assert (caught.value.field, caught.value.value) == ("sparsity.level", 0.5)


@pytest.mark.parametrize(
    ("classes", "num_kept", "dense_bytes", "sparse_bytes", "score_bytes", "bitmap_bytes"),
    [
        (10, 5_582_176, 44_695_848, 22_367_144, 44_657_408, 1_395_544),
        (100, 5_605_216, 44_880_528, 22_459_664, 44_841_728, 1_401_304),
    ],
)
def test_sizes_of_resnet18_at_half_density(
    classes: int, num_kept: int, dense_bytes: int, sparse_bytes: int, score_bytes: int, bitmap_bytes: int
) -> None:
    """11,164,352 and 11,210,432 weights, 9,610 and 9,700 other entries. Sizes exclude headers."""
    flat = seeded(lambda: resolve_builder("resnet18")((3, 32, 32), classes))
    setting = make_setting(flat, (3, 32, 32), sparsity={"level": 0.5})
    algorithm = SSFL(SSFLConfig(name="ssfl"), setting)
    dense = algorithm.init(flat.values.clone())
    assert values_and_masks(algorithm.broadcast(dense)) == (dense_bytes, 0)
    score = np.random.default_rng(0).random(flat.layout.num_maskable, dtype=np.float32)
    upload = Dense("saliency", score)
    assert values_and_masks((upload,)) == (score_bytes, 0)
    aggregator = algorithm.aggregator()
    contribution = Contribution(client_id=0, weight=1.0, values=None, mask=None, start=None, items=(upload,))
    aggregator.add(contribution)
    state = algorithm.probe_update(dense, aggregator.finish(dense.params), 0)
    assert algorithm.num_kept == num_kept
    assert flat.layout.density(state.mask) == num_kept / flat.layout.num_maskable
    assert values_and_masks(algorithm.broadcast(state)) == (sparse_bytes, bitmap_bytes)
    assert round(sparse_bytes / dense_bytes, 5) == 0.50043


def values_and_masks(payload: Payload) -> tuple[int, int]:
    (sections,) = section_bytes(encode(payload))
    return sections.value_bytes, sections.mask_bytes


# Rejected options


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"warmup_rounds": 4}, "algorithm.warmup_rounds", 4),
        ({"variant": "random_clientwise", "warmup_rounds": 1}, "algorithm.warmup_rounds", 1),
        ({"variant": "random_layerwise", "level": 0.99}, "sparsity.level", 0.99),
    ],
)
def test_options_that_do_not_fit_are_rejected(options: Options, field: str, value: object) -> None:
    with rejects(field, value):
        make(**options)


def test_explicit_densities_are_rejected() -> None:
    flat = seeded(net)
    sparsity = {"allocation": "explicit", "layer_density": {"0.weight": 0.5}}
    with rejects("sparsity.allocation", "explicit"):
        SSFL(SSFLConfig(name="ssfl"), make_setting(flat, SHAPE, sparsity=sparsity))
