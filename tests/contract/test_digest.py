"""The hash of a state changes with every property of every leaf."""

import pytest
import torch

from orchestrator.contract.digest import digest

STATE = {"w": torch.tensor([1.0, -0.0]), "n": 1}


def test_equal_states_have_equal_digests() -> None:
    assert digest(STATE) == digest({"w": torch.tensor([1.0, -0.0]), "n": 1})
    strided = torch.tensor([[1.0, 5.0], [-0.0, 5.0]])[:, 0]
    assert digest(STATE) == digest({"w": strided, "n": 1})


@pytest.mark.parametrize(
    "other",
    [
        {"w": torch.tensor([1.0, 0.0]), "n": 1},
        {"w": torch.tensor([1.0, -0.0], dtype=torch.float64), "n": 1},
        {"w": torch.tensor([[1.0, -0.0]]), "n": 1},
        {"w": torch.tensor([1.0, -0.0]), "n": 2},
        {"w": torch.tensor([1.0, -0.0]), "n": 1.0},
        {"w": torch.tensor([1.0, -0.0]), "n": True},
        {"w": torch.tensor([1.0, -0.0]), "m": 1},
        {"w": torch.tensor([1.0, -0.0])},
    ],
)
def test_any_difference_changes_the_digest(other: object) -> None:
    assert digest(other) != digest(STATE)


def test_unsupported_types_are_rejected() -> None:
    with pytest.raises(TypeError):
        digest({"w": [1.0]})
