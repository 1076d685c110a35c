"""Explicit densities by layer: exact at the implied density, proportional at any other density."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from orchestrator.config.sections import SparsityConfig
from orchestrator.errors import ConfigError
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.allocation import allocate, implied_density, smallest_density
from tests.support.errors import rejects

# 100, 50 and 10 weights
LAYOUT = ParameterLayout.of(nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 5), nn.Linear(5, 2)))


def explicit(**densities: float) -> SparsityConfig:
    """A config with densities of the layers `first`, `second` and `third`."""
    names = {"first": "0.weight", "second": "1.weight", "third": "2.weight"}
    return SparsityConfig(allocation="explicit", layer_density={names[k]: d for k, d in densities.items()})


def counts(density: float | Fraction, sparsity: SparsityConfig) -> list[int]:
    return list(allocate(LAYOUT, float(density), sparsity).values())


def test_implied_density_counts_all_weights() -> None:
    """The densities keep 10 + 25 + 10 of 160 weights."""
    sparsity = explicit(first=0.1, second=0.5)
    assert implied_density(LAYOUT, sparsity.layer_density) == Fraction(45, 160)
    assert implied_density(LAYOUT, {}) == 1
    assert implied_density(ParameterLayout.of(nn.BatchNorm1d(4)), {}) == 1


@pytest.mark.parametrize(
    ("densities", "expected"),
    [
        ({"first": 0.1, "second": 0.5}, [10, 25, 10]),
        # in floating point 0.29 * 100 is below 29, but the count is 29; 14.5 and 2.9 are floored
        ({"first": 0.29, "second": 0.29, "third": 0.29}, [29, 14, 2]),
        ({"third": 0.1}, [100, 50, 1]),
        ({"first": 1.0, "second": 1.0, "third": 1.0}, [100, 50, 10]),
    ],
)
def test_counts_at_the_implied_density_follow_the_densities(
    densities: dict[str, float], expected: list[int]
) -> None:
    sparsity = explicit(**densities)
    assert counts(implied_density(LAYOUT, sparsity.layer_density), sparsity) == expected


@given(st.tuples(*[st.floats(0.11, 1.0)] * 3))
def test_counts_at_the_implied_density_are_exact_for_any_density(
    densities: tuple[float, float, float],
) -> None:
    """The densities have three digits, so that the expected counts can be computed with integers."""
    thousandths = [round(1000 * d) for d in densities]
    sparsity = explicit(
        **dict(zip(["first", "second", "third"], (t / 1000 for t in thousandths), strict=True))
    )
    expected = [t * size // 1000 for t, size in zip(thousandths, (100, 50, 10), strict=True)]
    assert counts(implied_density(LAYOUT, sparsity.layer_density), sparsity) == expected


def test_counts_of_large_layers_are_exact() -> None:
    """10^7 weights and densities with many digits, which a float does not represent exactly."""
    layout = ParameterLayout.of(
        nn.Sequential(nn.Linear(3163, 3001, bias=False), nn.Linear(997, 1009, bias=False))
    )
    densities = {"0.weight": 0.123457, "1.weight": 0.7654321}
    sparsity = SparsityConfig(allocation="explicit", layer_density=densities)
    budget = allocate(layout, float(implied_density(layout, densities)), sparsity)
    assert budget == {
        "0.weight": 123457 * 3163 * 3001 // 10**6,
        "1.weight": 7654321 * 997 * 1009 // 10**7,
    }


def test_lower_density_keeps_the_proportions() -> None:
    """32 weights remain for 0.2 * 100 and 0.4 * 50: eps = 32 / 40."""
    assert counts(42 / 160, explicit(first=0.2, second=0.4)) == [16, 16, 10]


def test_only_named_layers_are_scaled() -> None:
    """Densities (0.6, 0.8, 1) keep 110, and half is 30, 20 and 5. An unnamed third layer keeps 10: eps = 45 / 100."""
    density = 55 / 160
    assert counts(density, explicit(first=0.6, second=0.8, third=1.0)) == [30, 20, 5]
    assert counts(density, explicit(first=0.6, second=0.8)) == [27, 18, 10]


def test_higher_density_saturates_layers() -> None:
    """110 remain for 0.2 * 100 and 0.8 * 50. With eps = 11/6 the second density is 1.47: it is dense, and 60 remain."""
    assert counts(120 / 160, explicit(first=0.2, second=0.8)) == [60, 50, 10]
    assert counts(1.0, explicit(first=0.2, second=0.8)) == [100, 50, 10]


def test_density_that_leaves_no_weight_for_a_named_layer_is_rejected() -> None:
    """The unnamed layers have 110 of 160 weights, so that the named layer keeps none at density 0.6."""
    sparsity = explicit(second=0.5)
    with rejects("sparsity.level", 0.4):
        counts(0.6, sparsity)
    lowest = smallest_density(LAYOUT, sparsity)
    assert lowest == pytest.approx(111 / 160, abs=1e-6)
    assert counts(lowest, sparsity) == [100, 1, 10]


def test_density_that_leaves_no_weight_is_rejected() -> None:
    sparsity = explicit(third=0.09)
    with rejects("sparsity.level", pytest.approx(9.1 / 160)):
        counts(implied_density(LAYOUT, sparsity.layer_density), sparsity)


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("1.weigth", "'1.weight'?"),
        ("zzz", "0.weight, 1.weight, 2.weight"),
        ("0.bias", "0.weight, 1.weight, 2.weight"),
    ],
)
def test_unknown_tensor_is_rejected_with_a_suggestion(name: str, suggested: str) -> None:
    """A bias is not maskable, so that it has no density."""
    densities = {name: 0.5}
    with pytest.raises(ConfigError) as caught:
        implied_density(LAYOUT, densities)
    assert (caught.value.field, caught.value.value) == (f"sparsity.layer_density.{name}", 0.5)
    assert suggested in caught.value.remedy
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigError) as caught:
        allocate(LAYOUT, 0.5, SparsityConfig(allocation="explicit", layer_density=densities))
    assert caught.value.field == f"sparsity.layer_density.{name}"
