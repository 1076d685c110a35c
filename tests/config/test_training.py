"""The section for training: rates of rounds and steps, and values that are rejected."""

from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.config.training import TrainingConfig
from orchestrator.experiment.config import ExperimentConfig
from tests.support.errors import rejects


@pytest.mark.parametrize(
    "option", [{"momentum": 1.0}, {"lr_decay": 1.01}, {"rounds": 0}, {"stop": {"patience": 0}}]
)
def test_values_at_open_ends_of_a_range_are_rejected(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainingConfig.model_validate(option)


def test_rate_of_a_round() -> None:
    """0.5 x 0.5 in round 1; rates that were given replace it."""
    training = TrainingConfig.model_validate({"lr": 0.5, "lr_decay": 0.5})
    assert training.lr_at(1) == 0.25
    assert training.with_rates([0.5, 0.4]).lr_at(1) == 0.4
    assert training.lr_at(1) == 0.25


def test_rates_of_steps_depend_on_the_number_of_steps() -> None:
    training = TrainingConfig(rounds=2, lr=0.5).with_step_rates({1: [0.5], 2: [0.5, 0.1]})
    assert list(training.step_rates(2)) == [0.5, 0.1]
    assert list(training.step_rates(1)) == [0.5]
    assert training.lr_at(1) == 0.5


def test_smallest_increase_needs_a_patience() -> None:
    with rejects("training.stop.min_delta", 0.1):
        ExperimentConfig.parse({"training": {"stop": {"min_delta": 0.1}}})
    stop = ExperimentConfig.parse({"training": {"stop": {"min_delta": 0.1, "patience": 2}}}).training.stop
    assert (stop.patience, stop.min_delta) == (2, 0.1)
