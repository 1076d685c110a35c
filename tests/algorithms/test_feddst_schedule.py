"""FedDST: rounds of readjustment, their share, and options that are rejected."""

from math import cos, pi

import pytest
from torch import nn

from algorithms.feddst import FedDST, FedDSTConfig
from orchestrator.errors import ConfigError
from tests.support.errors import rejects
from tests.support.fakes import make_setting, seeded

SHAPE = (1, 2, 3)


def method(
    *, rounds: int = 400, epochs: int = 10, sparsity: dict[str, object] | None = None, **options: object
) -> FedDST:
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 5)))
    sparsity = {"allocation": "uniform", **(sparsity or {})}
    setting = make_setting(
        flat, SHAPE, training={"rounds": rounds, "local_epochs": epochs}, sparsity=sparsity
    )
    return FedDST(FedDSTConfig.model_validate({"name": "feddst", **options}), setting)


@pytest.mark.parametrize(
    ("rounds", "every", "end", "expected"),
    [
        (400, 10, None, list(range(1, 200, 10))),
        (400, 15, None, list(range(1, 200, 15))),
        (12, 2, 12, [1, 3, 5, 7, 9, 11]),
        (12, 2, 5, [1, 3]),
        (12, 3, 8, [1, 4, 7]),
        (12, 5, 2, [1]),
        (12, 5, 1, []),
        (12, 5, 0, []),
        (6, 1, 4, [1, 2, 3]),
    ],
)
def test_readjustment_rounds(rounds: int, every: int, end: int | None, expected: list[int]) -> None:
    """Rounds 1, 1 + Delta R, 1 + 2 Delta R, ... below R_end; R_end is R / 2 unless set."""
    algorithm = method(rounds=rounds, readjust_every=every, end_round=end)
    assert [r for r in range(rounds) if algorithm.alpha_at(r) > 0] == expected


def test_number_of_readjustments_in_400_rounds() -> None:
    for every, count in ((10, 20), (15, 14)):
        algorithm = method(readjust_every=every)
        assert sum(algorithm.alpha_at(r) > 0 for r in range(400)) == count


@pytest.mark.parametrize(("round_idx", "expected"), [(1, 0.0099994), (16, 0.0098429), (100, 0.005), (200, 0)])
def test_alpha_is_annealed_by_the_cosine(round_idx: int, expected: float) -> None:
    """alpha = .01 over R_end = 200. A period of 15 includes rounds 1 and 16, a period of 9 round 100."""
    every = 9 if round_idx == 100 else 15
    algorithm = method(alpha=0.01, readjust_every=every)
    assert algorithm.alpha_at(round_idx) == pytest.approx(expected, abs=1e-7)


def test_alpha_never_increases() -> None:
    algorithm = method(alpha=0.3, rounds=40)
    found = [a for r in range(40) if (a := algorithm.alpha_at(r)) > 0]
    assert found == pytest.approx([0.15 * (1 + cos(pi * r / 20)) for r in (1, 11)])
    assert found == sorted(found, reverse=True)


def test_constant_alpha_is_not_annealed() -> None:
    algorithm = method(alpha=0.3, rounds=40, constant_alpha=True)
    assert [(r, a) for r in range(40) if (a := algorithm.alpha_at(r)) > 0] == [(1, 0.3), (11, 0.3)]


def test_alpha_of_zero_never_readjusts() -> None:
    for constant in (False, True):
        algorithm = method(alpha=0, constant_alpha=constant)
        assert {algorithm.alpha_at(r) for r in range(400)} == {0.0}


@pytest.mark.parametrize(
    ("epochs", "option", "expected"),
    [(10, None, 5), (5, None, 2), (2, None, 1), (1, None, 0), (5, 5, 5), (5, 1, 1)],
)
def test_readjustment_comes_after_half_of_the_epochs(epochs: int, option: int | None, expected: int) -> None:
    assert method(epochs=epochs, adjust_after_epoch=option).adjust_after_epoch == expected


def test_readjustment_after_more_than_the_local_epochs_is_rejected() -> None:
    with rejects("algorithm.adjust_after_epoch", 4):
        method(epochs=3, adjust_after_epoch=4)


def test_alpha_that_would_empty_a_layer_is_rejected_before_the_run() -> None:
    """30 weights at level .9 keep 3. Dropping .9 of them leaves floor(.3) = 0."""
    with pytest.raises(ConfigError, match=r"sparsity.level"):
        method(alpha=0.9, sparsity={"level": 0.9})
    assert method(alpha=0.3, sparsity={"level": 0.9}).targets(0.1) == {"1.weight": 3}


def test_default_density_is_one_fifth() -> None:
    assert method().density(0) == pytest.approx(0.2, abs=1e-15)
    assert method().targets(method().density(0)) == {"1.weight": 6}
