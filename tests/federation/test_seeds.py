"""Random streams are a stable function of their path."""

import random
from contextlib import suppress

import numpy as np
import pytest
import torch

from orchestrator.federation.seeds import derive, forked_seeds, stream


@pytest.mark.parametrize(
    ("seed", "path", "expected"),
    [
        # b2sum -l 64 of "7\x1fstr:client\x1fint:3\x1fint:12\x1fstr:batches" is 7cc53726ddf1f964, and so on;
        # the digest read as a little-endian integer
        (7, ("client", 3, 12, "batches"), 7276112605125002620),
        (7, ("client", "3"), 7643887589582268299),
        (0, (), 8493733112532773764),
    ],
)
def test_derivation_is_the_blake2b_digest_of_the_path(
    seed: int, path: tuple[str | int, ...], expected: int
) -> None:
    assert derive(seed, *path) == expected


def test_streams_do_not_change_between_releases() -> None:
    """Numbers of numpy's documented PCG64, seeded with the integer of the first case above."""
    direct = np.random.Generator(np.random.PCG64(7276112605125002620))
    numbers = stream(7, "client", 3, 12, "batches").integers(0, 1000, 8)
    assert numbers.tolist() == direct.integers(0, 1000, 8).tolist()


def test_number_and_text_of_the_same_digits_are_different_parts() -> None:
    assert derive(0, "client", 1) != derive(0, "client", "1")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((0, "client", 1), (1, "client", 1)),
        ((0, "client", 1, 2), (0, "client", 2, 1)),
        ((0, "client", 12), (0, "client", 1, 2)),
        ((0, "ab", "c"), (0, "a", "bc")),
        ((0, "client"), (0, "server")),
    ],
)
def test_different_paths_have_different_seeds(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    assert derive(*left) != derive(*right)


def test_stream_does_not_depend_on_earlier_streams() -> None:
    alone = stream(5, "b").random(4)
    other = stream(5, "a")
    other.random(100)
    assert np.array_equal(stream(5, "b").random(4), alone)


def _random_numbers() -> tuple[float, float, float]:
    """One number from each global generator."""
    return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002


def test_forked_seeds_seeds_every_global_generator() -> None:
    numbers = []
    for path in ("model", "model", "dropout"):
        with forked_seeds(3, path):
            numbers.append(_random_numbers())
    assert numbers[0] == numbers[1]
    assert all(a != b for a, b in zip(numbers[0], numbers[2], strict=True))


def test_forked_seeds_gives_torchs_numbers_of_that_seed() -> None:
    with forked_seeds(3, "model"):
        first = torch.rand(5)
    assert torch.equal(first, torch.rand(5, generator=torch.Generator().manual_seed(derive(3, "model"))))


@pytest.mark.parametrize("error", [False, True])
def test_forked_seeds_restores_every_generator(error: bool) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    expected = [_random_numbers(), _random_numbers()]
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    found = [_random_numbers()]
    with suppress(ZeroDivisionError), forked_seeds(3, "model"):
        _random_numbers()
        assert 1 / (0 if error else 1)
    assert [*found, _random_numbers()] == expected
