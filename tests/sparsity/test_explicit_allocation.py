"""Densities given layer by layer: exact as they are, in proportion at any other level."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from orchestrator.config.sections import SparsityConfig
from orchestrator.errors import ConfigError
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.allocation import allocate, implied_level, largest_level

# 100, 50 and 10 weights
LAYOUT = ParameterLayout.of(nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 5), nn.Linear(5, 2)))


def explicit(**densities: float) -> SparsityConfig:
    """`first`, `second`, `third`: densities of the three layers."""
    names = {"first": "0.weight", "second": "1.weight", "third": "2.weight"}
    return SparsityConfig(allocation="explicit", layer_density={names[k]: d for k, d in densities.items()})


def counts(level: float, sparsity: SparsityConfig) -> list[int]:
    return list(allocate(LAYOUT, 1.0 - level, sparsity).values())


def test_the_implied_level_is_that_of_all_weights() -> None:
    """10 + 25 + 10 of 160 weights."""
    sparsity = explicit(first=0.1, second=0.5)
    assert implied_level(LAYOUT, sparsity.layer_density) == 1 - 45 / 160
    assert implied_level(LAYOUT, {}) == 0.0
    assert implied_level(ParameterLayout.of(nn.BatchNorm1d(4)), {}) == 0.0


@pytest.mark.parametrize(
    ("densities", "expected"),
    [
        ({"first": 0.1, "second": 0.5}, [10, 25, 10]),
        # 29 hundredths are 29 of 100 though 0.29 * 100 is below it in floating point; 14.5 and 2.9 are floored
        ({"first": 0.29, "second": 0.29, "third": 0.29}, [29, 14, 2]),
        ({"third": 0.1}, [100, 50, 1]),
        ({"first": 1.0, "second": 1.0, "third": 1.0}, [100, 50, 10]),
    ],
)
def test_at_the_implied_level_counts_are_as_given(densities: dict[str, float], expected: list[int]) -> None:
    sparsity = explicit(**densities)
    assert counts(implied_level(LAYOUT, sparsity.layer_density), sparsity) == expected


@given(st.tuples(*[st.floats(0.11, 1.0)] * 3))
def test_any_density_survives_the_trip_through_the_level(densities: tuple[float, float, float]) -> None:
    """Rounded to three digits, so that the product can be taken in whole numbers."""
    thousandths = [round(1000 * d) for d in densities]
    sparsity = explicit(
        **dict(zip(["first", "second", "third"], (t / 1000 for t in thousandths), strict=True))
    )
    wanted = [t * size // 1000 for t, size in zip(thousandths, (100, 50, 10), strict=True)]
    assert counts(implied_level(LAYOUT, sparsity.layer_density), sparsity) == wanted


def test_large_layers_lose_no_weight_to_the_level() -> None:
    """10^7 weights at awkward densities: the level alone, a float, does not name the densities."""
    layout = ParameterLayout.of(
        nn.Sequential(nn.Linear(3163, 3001, bias=False), nn.Linear(997, 1009, bias=False))
    )
    densities = {"0.weight": 0.123457, "1.weight": 0.7654321}
    sparsity = SparsityConfig(allocation="explicit", layer_density=densities)
    budget = allocate(layout, 1.0 - implied_level(layout, densities), sparsity)
    assert budget == {
        "0.weight": 123457 * 3163 * 3001 // 10**6,
        "1.weight": 7654321 * 997 * 1009 // 10**7,
    }


def test_a_lower_density_keeps_the_proportions() -> None:
    """32 weights left for 0.2 * 100 and 0.4 * 50: eps = 32 / 40."""
    assert counts(1 - 42 / 160, explicit(first=0.2, second=0.4)) == [16, 16, 10]


def test_a_layer_that_is_not_named_stays_dense_and_a_named_one_does_not() -> None:
    """Half of the 110 that (0.6, 0.8, 1) come to: 30, 20 and 5. Unnamed, the third keeps 10; eps = 45 / 100."""
    level = 1 - 55 / 160
    assert counts(level, explicit(first=0.6, second=0.8, third=1.0)) == [30, 20, 5]
    assert counts(level, explicit(first=0.6, second=0.8)) == [27, 18, 10]


def test_a_higher_density_fills_layers_up() -> None:
    """110 left for 0.2 * 100 and 0.8 * 50: eps = 11/6 would give 1.47 to the second; it is full, 60 remain."""
    assert counts(1 - 120 / 160, explicit(first=0.2, second=0.8)) == [60, 50, 10]
    assert counts(0.0, explicit(first=0.2, second=0.8)) == [100, 50, 10]


def test_a_level_below_what_the_dense_layers_hold_is_refused() -> None:
    """The unnamed 110 weights leave 50 of 160: at that level the named layer has nothing left."""
    sparsity = explicit(second=0.5)
    with pytest.raises(
        ConfigError, match=r"sparsity\.level=0\.4: .*none of the 50 weights of layer 1\.weight"
    ):
        counts(0.4, sparsity)
    highest = largest_level(LAYOUT, sparsity)
    assert highest == pytest.approx(1 - 111 / 160, abs=1e-6)
    assert counts(highest, sparsity) == [100, 1, 10]


def test_a_density_that_leaves_nothing_is_refused() -> None:
    sparsity = explicit(third=0.09)
    with pytest.raises(ConfigError, match=r"none of the 10 weights of layer 2\.weight"):
        counts(implied_level(LAYOUT, sparsity.layer_density), sparsity)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("1.weigth", r"did you mean '1\.weight'\?"), ("zzz", r"choose from 0\.weight, 1\.weight, 2\.weight")],
)
def test_an_unknown_tensor_is_refused_by_name(name: str, hint: str) -> None:
    densities = {name: 0.5}
    with pytest.raises(ConfigError, match=rf"sparsity\.layer_density\.{name}=0.5: .*{hint}") as caught:
        implied_level(LAYOUT, densities)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigError, match=hint):
        allocate(LAYOUT, 0.5, SparsityConfig(allocation="explicit", layer_density=densities))


def test_a_bias_cannot_be_given_a_density() -> None:
    with pytest.raises(ConfigError, match="no weight tensor of that name"):
        implied_level(LAYOUT, {"0.bias": 0.5})
