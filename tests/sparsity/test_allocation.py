"""Layer budgets against published counts and counts computed by hand."""

from fractions import Fraction
from math import floor, prod
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from orchestrator.config.sections import AllocationKind, SparsityConfig
from orchestrator.errors import ConfigError
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.allocation import allocate, share_out
from tests.support.errors import rejects

#: the rules that know a layer by its shape alone
KINDS: tuple[AllocationKind, ...] = tuple(k for k in get_args(AllocationKind) if k != "explicit")

# The networks of FedDST (arXiv 2112.09824): 5x5 convolutions, then linear layers.
MNIST = ParameterLayout.of(
    nn.Sequential(nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5), nn.Linear(5120, 50), nn.Linear(50, 10))
)
CIFAR10 = ParameterLayout.of(
    nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5), nn.Linear(6400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
    )
)
CIFAR100 = ParameterLayout.of(
    nn.Sequential(nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5), nn.Linear(6400, 120), nn.Linear(120, 100))
)
# The CNN of DisPFL's public code.
WIDE_CNN = ParameterLayout.of(
    nn.Sequential(
        nn.Conv2d(3, 64, 5),
        nn.Conv2d(64, 64, 5),
        nn.Linear(1600, 384),
        nn.Linear(384, 192),
        nn.Linear(192, 10),
    )
)


def budget_of(layout: ParameterLayout, density: float, kind: AllocationKind) -> dict[str, int]:
    return allocate(layout, density, SparsityConfig(allocation=kind))


def counts(layout: ParameterLayout, level: float, kind: AllocationKind) -> list[int]:
    return list(budget_of(layout, 1 - level, kind).values())


@pytest.mark.parametrize(
    ("layout", "num_weights", "level", "expected", "total"),
    [
        (MNIST, 261750, 0.5, [138, 2478, 128021, 280], 130917),
        (MNIST, 261750, 0.8, [65, 953, 51204, 143], 52365),
        (MNIST, 261750, 0.9, [41, 445, 25599, 97], 26182),
        (CIFAR10, 781770, 0.5, [235, 1213, 383943, 5140, 469], 391000),
        (CIFAR10, 781770, 0.8, [103, 492, 153438, 2126, 240], 156399),
        (CIFAR10, 781770, 0.9, [59, 251, 76602, 1122, 164], 78198),
        (CIFAR10, 781770, 0.95, [37, 131, 38185, 619, 126], 39098),
        (CIFAR100, 782850, 0.5, [235, 1213, 383987, 6108], 391543),
    ],
)
def test_erk_rescaled_gives_feddsts_counts(
    layout: ParameterLayout, num_weights: int, level: float, expected: list[int], total: int
) -> None:
    result = counts(layout, level, "erk_rescaled")
    assert result == expected
    assert sum(result) == total
    assert layout.num_maskable == num_weights


@pytest.mark.parametrize(
    ("layout", "level", "share", "dropped"),
    [
        (CIFAR10, 0.8, 0.01, [1, 5, 1537, 20, 1]),
        (MNIST, 0.8, 0.05, [2, 50, 2560, 5]),
        (MNIST, 0.8, 0.01, [0, 10, 512, 1]),
        (CIFAR10, 0.5, 0.01, [2, 12, 3841, 50, 4]),
    ],
)
def test_erk_rescaled_gives_feddsts_drop_counts(
    layout: ParameterLayout, level: float, share: float, dropped: list[int]
) -> None:
    higher = level + (1 - level) * share
    before, after = counts(layout, level, "erk_rescaled"), counts(layout, higher, "erk_rescaled")
    assert [b - a for b, a in zip(before, after, strict=True)] == dropped


@pytest.mark.parametrize(
    ("layout", "level", "expected", "total"),
    [
        (CIFAR10, 0.8, [436, 734, 149660, 4682, 840], 156352),
        (MNIST, 0.8, [208, 396, 51245, 500], 52349),
        (WIDE_CNN, 0.5, [4800, 20691, 297484, 73728, 1920], 398623),
        (WIDE_CNN, 0.8, [4371, 7833, 112626, 32698, 1920], 159448),
    ],
)
def test_erk_saturates_small_layers(
    layout: ParameterLayout, level: float, expected: list[int], total: int
) -> None:
    result = counts(layout, level, "erk")
    assert result == expected
    assert sum(result) == total


def test_erk_densities_of_the_wide_cnn() -> None:
    """At density 0.5 three layers are dense."""
    kept = counts(WIDE_CNN, 0.5, "erk")
    shares = [n / segment.size for n, segment in zip(kept, WIDE_CNN.maskable, strict=True)]
    assert [round(share, 4) for share in shares] == [1.0, 0.2021, 0.4842, 1.0, 1.0]
    assert WIDE_CNN.num_maskable == 797_248


def test_er_ignores_the_kernel() -> None:
    """Raw densities are 6/8 and 12/32, so eps * (6/8 * 32 + 12/32 * 32) = 64/4 and eps = 4/9."""
    layout = ParameterLayout.of(nn.Sequential(nn.Conv2d(4, 2, 2), nn.Linear(8, 4)))
    assert budget_of(layout, 0.25, "er") == {"0.weight": 10, "1.weight": 5}
    # erk: 10/32 and 12/32 share 16 weights as 10 : 12, i.e. 7.27 and 8.73
    assert budget_of(layout, 0.25, "erk") == {"0.weight": 7, "1.weight": 8}


def test_uniform_floors_each_layer() -> None:
    layout = ParameterLayout.of(nn.Sequential(nn.Linear(7, 3), nn.Linear(3, 5)))
    assert budget_of(layout, 0.3, "uniform") == {"0.weight": 6, "1.weight": 4}


@pytest.mark.parametrize("level", [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
def test_exact_products_are_not_rounded_down(level: float) -> None:
    """As a float, 1 - 0.9 is slightly below 1/10. At this density 10 of 100 weights are kept, not 9."""
    layout = ParameterLayout.of(nn.Linear(10, 10))
    assert budget_of(layout, 1 - level, "uniform") == {"weight": 100 - round(100 * level)}


def test_biases_count_only_with_their_weight() -> None:
    """Raw sparsities 1 - 8/16 and 1 - 6/8: with 16 + 4 and 8 entries, the factor is 0.5 * 28 / (10 + 2)."""
    layout = ParameterLayout.of(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2, bias=False)))
    # (1 - 0.5 * 7/6) * 20 = 8.33 and (1 - 0.25 * 7/6) * 8 = 5.67
    assert budget_of(layout, 0.5, "erk_rescaled") == {"0.weight": 8, "1.weight": 5}


def test_erk_rescaled_keeps_at_most_all_weights_of_a_layer() -> None:
    """A 2x1 layer has raw sparsity 1 - 3/2, so that its target is above its number of weights."""
    layout = ParameterLayout.of(nn.Sequential(nn.Linear(2, 1), nn.Linear(8, 8)))
    assert budget_of(layout, 0.5, "erk_rescaled")["0.weight"] == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", [MNIST, CIFAR10, CIFAR100, WIDE_CNN])
def test_density_one_keeps_all_weights(layout: ParameterLayout, kind: AllocationKind) -> None:
    assert budget_of(layout, 1.0, kind) == {s.name: s.size for s in layout.maskable}


@pytest.mark.parametrize("kind", KINDS)
def test_model_without_maskable_layers_gives_an_empty_budget(kind: AllocationKind) -> None:
    assert budget_of(ParameterLayout.of(nn.BatchNorm1d(4)), 0.1, kind) == {}


@given(level=st.floats(0.0, 0.9), kind=st.sampled_from(KINDS))
def test_budgets_are_between_one_and_the_layers_size(level: float, kind: AllocationKind) -> None:
    budget = budget_of(CIFAR100, 1 - level, kind)
    assert list(budget) == [s.name for s in CIFAR100.maskable]
    assert all(1 <= budget[s.name] <= s.size for s in CIFAR100.maskable)
    if kind != "erk_rescaled":
        budget_size = (1 - level) * CIFAR100.num_maskable
        # the exact fraction differs from the density by at most 1e-9, times 782,850 weights
        assert budget_size - len(budget) - 1e-3 <= sum(budget.values()) <= budget_size + 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_layer_without_weights_is_rejected_with_the_highest_valid_level(kind: AllocationKind) -> None:
    with pytest.raises(ConfigError) as caught:
        budget_of(MNIST, 1 - 0.9999, kind)
    error = caught.value
    assert (error.field, error.value) == ("sparsity.level", 0.9999)
    layer = error.problem.rsplit(" ", 1)[-1]
    assert layer in {s.name for s in MNIST.maskable}
    level = float(error.remedy.split()[3])
    assert min(counts(MNIST, level, kind)) == 1
    with pytest.raises(ConfigError):
        counts(MNIST, level + 1e-6, kind)


def rescaled_targets(level: Fraction) -> list[int]:
    """FedDST's floor((1 - s_l) n_l) for its MNIST model; a target may be below 0."""
    shapes = [segment.shape for segment in MNIST.maskable]
    entries = [prod(shape) + shape[0] for shape in shapes]
    raw = [1 - Fraction(sum(shape), prod(shape)) for shape in shapes]
    factor = level * sum(entries) / sum(u * n for u, n in zip(raw, entries, strict=True))
    return [floor((1 - u * factor) * n) for u, n in zip(raw, entries, strict=True)]


def test_feddsts_layer_without_weights_at_99_percent() -> None:
    """The target of the second convolution is -12. The public code keeps it dense, which gives a density of 2.9 %."""
    assert rescaled_targets(Fraction(8, 10)) == counts(MNIST, 0.8, "erk_rescaled")
    targets = rescaled_targets(Fraction(99, 100))
    assert targets[1] == -12
    assert round(100 * (sum(targets) + 12 + 5000) / 261_750, 1) == 2.9
    with rejects("sparsity.level", 0.99):
        counts(MNIST, 0.99, "erk_rescaled")


@pytest.mark.parametrize("density", [0.0, -0.5, 1.1, float("nan")])
def test_density_out_of_range_is_rejected(density: float) -> None:
    with pytest.raises(ConfigError) as caught:
        budget_of(MNIST, density, "uniform")
    assert caught.value.field == "sparsity.level"


def test_erk_rescaled_rejects_layers_that_are_too_small() -> None:
    with pytest.raises(ConfigError) as caught:
        budget_of(ParameterLayout.of(nn.Linear(2, 2)), 0.5, "erk_rescaled")
    assert (caught.value.field, caught.value.value) == ("sparsity.allocation", "erk_rescaled")


@pytest.mark.parametrize(
    ("total", "weights", "limits", "expected"),
    [
        (10, {"a": 1.0, "b": 4.0}, {"a": 10, "b": 10}, {"a": 2, "b": 8}),
        (10, {"a": 1.0, "b": 4.0}, {"a": 10, "b": 5}, {"a": 5, "b": 5}),
        (5, {"a": 1.0, "b": 2.0}, {"a": 10, "b": 10}, {"a": 1, "b": 4}),
        (20, {"a": 1.0, "b": 1.0}, {"a": 4, "b": 5}, {"a": 4, "b": 5}),
        (3, {"a": 0.0, "b": 1.0}, {"a": 4, "b": 5}, {"a": 0, "b": 3}),
    ],
)
def test_total_is_shared_by_weight_up_to_the_limits(
    total: int, weights: dict[str, float], limits: dict[str, int], expected: dict[str, int]
) -> None:
    assert share_out(total, weights, limits) == expected
