"""The sparsity section: explicit densities and their allocation need each other."""

from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.config.sections import DataConfig, SparsityConfig
from orchestrator.experiment.config import ExperimentConfig
from tests.support.errors import rejects

DENSITIES = {"fc1.weight": 0.5}


def test_explicit_allocation_without_densities_is_rejected() -> None:
    with rejects("sparsity.allocation", "explicit"):
        ExperimentConfig.parse({"sparsity": {"allocation": "explicit"}})


@pytest.mark.parametrize("allocation", [None, "uniform", "erk"])
def test_densities_without_explicit_allocation_are_rejected(allocation: Any) -> None:
    with rejects("sparsity.layer_density", DENSITIES):
        ExperimentConfig.parse({"sparsity": {"allocation": allocation, "layer_density": DENSITIES}})


def test_tensor_and_profile_names_can_be_nested() -> None:
    config = SparsityConfig.model_validate(
        {
            "allocation": "explicit",
            "layer_density": {"fc1": {"weight": 0.5}},
            "device_levels": {"phone": {"old": 0.9}},
        }
    )
    assert config.layer_density == DENSITIES
    assert config.device_levels == {"phone.old": 0.9}


@pytest.mark.parametrize(
    ("section", "option"),
    [
        (SparsityConfig, {"level": 1.0}),
        (SparsityConfig, {"level": -0.1}),
        (SparsityConfig, {"allocation": "explicit", "layer_density": {"fc1.weight": 0.0}}),
        (SparsityConfig, {"allocation": "explicit", "layer_density": {"fc1.weight": True}}),
        (SparsityConfig, {"device_levels": {"phone": 1.0}}),
        (DataConfig, {"test_fraction": 0.0}),
        (DataConfig, {"validation_fraction": 1.0}),
        (DataConfig, {"mean": [0.5], "std": [0.0]}),
    ],
)
def test_values_at_open_ends_of_a_range_are_rejected(section: Any, option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        section.model_validate(option)


@pytest.mark.parametrize(
    ("mean", "std", "field"),
    [([0.5], None, "data.mean"), (None, [0.5], "data.std"), ([0.5], [0.2, 0.2], "data.mean")],
)
def test_mean_and_std_must_be_set_together(
    mean: list[float] | None, std: list[float] | None, field: str
) -> None:
    given = tuple(mean) if field == "data.mean" and mean is not None else tuple(std or ())
    with rejects(field, given):
        ExperimentConfig.parse({"data": {"mean": mean, "std": std}})
