"""The global random generators inside and after a block."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
import torch

from orchestrator.models.seeding import forked_generators, preserved_generators

Block = Callable[[], AbstractContextManager[None]]


def _draw() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.random()), random.random()  # noqa: NPY002


@pytest.mark.parametrize("block", [preserved_generators, lambda: forked_generators(3)])
def test_block_does_not_change_later_numbers(block: Block) -> None:
    def later(inner: Block) -> tuple[float, float, float]:
        with forked_generators(5):
            with inner():
                if inner is not nullcontext:
                    _draw()
            return _draw()

    assert later(block) == later(nullcontext)


def test_error_in_a_block_restores_the_generators() -> None:
    with forked_generators(5):
        expected = _draw()
    with forked_generators(5):
        with pytest.raises(ZeroDivisionError), preserved_generators():
            _draw()[0] / 0.0
        assert _draw() == expected


def test_preserved_block_continues_the_numbers() -> None:
    with forked_generators(5):
        first = _draw()
    with forked_generators(5), preserved_generators():
        assert _draw() == first


def test_forked_block_has_the_numbers_of_its_seed() -> None:
    drawn = []
    for before in (1, 2):
        with forked_generators(before), forked_generators(7):
            drawn.append(_draw())
    assert drawn[0] == drawn[1]
