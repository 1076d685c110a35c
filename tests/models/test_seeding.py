"""The global random generators are seeded for a block, and restored after it."""

import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from orchestrator.models.seeding import (
    GeneratorStates,
    forked_generators,
    preserved_generators,
    resumed_generators,
)


def _random_numbers() -> tuple[float, float, float]:
    """One number of each global generator."""
    return float(torch.rand(())), float(np.random.random()), random.random()  # noqa: NPY002


@pytest.fixture
def _frequent_switches() -> Iterator[None]:
    """Let Python switch between threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def _sequence(seed: int, num_blocks: int) -> list[tuple[float, float, float]]:
    numbers = []
    for _ in range(num_blocks):
        with forked_generators(seed):
            numbers += [_random_numbers() for _ in range(5)]
            with preserved_generators():
                numbers += [_random_numbers()]
            numbers += [_random_numbers()]
    return numbers


@pytest.mark.usefixtures("_frequent_switches")
def test_threads_do_not_use_each_others_numbers() -> None:
    expected = [_sequence(seed, 1) * 50 for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(_sequence, range(4), [50] * 4))
    assert found == expected


def test_same_seed_gives_the_same_numbers() -> None:
    with forked_generators(5):
        first = _random_numbers()
    with forked_generators(5):
        second = _random_numbers()
    with forked_generators(6):
        other = _random_numbers()
    assert first == second
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_upper_32_bits_of_the_seed_reach_numpy_and_python() -> None:
    """torch's generator for the CPU reads the lower 32 bits only."""
    with forked_generators(5):
        low = _random_numbers()
    with forked_generators(5 + 2**32):
        high = _random_numbers()
    assert low[0] == high[0]
    assert low[1] != high[1]
    assert low[2] != high[2]


def test_generators_continue_as_if_the_block_had_not_run() -> None:
    with forked_generators(1):
        expected = [_random_numbers(), _random_numbers()]
    with forked_generators(1):
        found = [_random_numbers()]
        with forked_generators(2):
            _random_numbers()
        found.append(_random_numbers())
    assert found == expected


def test_generators_are_restored_after_an_error() -> None:
    with forked_generators(1):
        expected = [_random_numbers(), _random_numbers()]
    with forked_generators(1):
        found = [_random_numbers()]
        with pytest.raises(KeyError), forked_generators(2):
            raise KeyError("in the block")
        found.append(_random_numbers())
    assert found == expected


def test_preserved_block_uses_the_same_numbers_as_the_code_after_it() -> None:
    """The block continues the sequences, and the code after it draws the numbers of the block again."""
    with forked_generators(1):
        expected = [_random_numbers(), _random_numbers()]
    with forked_generators(1):
        first = _random_numbers()
        with preserved_generators():
            inside = _random_numbers()
        assert [first, inside] == [first, _random_numbers()] == expected


def test_preserved_generators_are_restored_after_an_error() -> None:
    with forked_generators(1):
        expected = _random_numbers()
    with forked_generators(1):
        with pytest.raises(ZeroDivisionError), preserved_generators():
            _random_numbers()[0] / 0.0
        assert _random_numbers() == expected


def test_resumed_generators_continue_and_leave_no_trace() -> None:
    with forked_generators(3):
        states = GeneratorStates()
        assert states.equal_now()
        first = _random_numbers()
        assert not states.equal_now()
    with forked_generators(5):
        expected = _random_numbers()
    with forked_generators(5):
        with resumed_generators(states):
            assert _random_numbers() == first
        assert _random_numbers() == expected


@pytest.mark.parametrize(
    "draw",
    [lambda: torch.rand(()), lambda: np.random.random(), lambda: random.random()],  # noqa: NPY002
    ids=["torch", "numpy", "python"],
)
def test_use_of_any_generator_is_noticed(draw: Callable[[], object]) -> None:
    with forked_generators(3):
        states = GeneratorStates()
        draw()
        assert not states.equal_now()
