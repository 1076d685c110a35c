"""The `chaos` section: the faults that are set, and shares that exclude each other."""

from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.config.faults import ChaosConfig
from orchestrator.experiment.config import ExperimentConfig
from tests.support.errors import rejects


def test_task_faults_are_the_shares_above_zero_without_faults_of_the_server() -> None:
    config = ChaosConfig(
        client_raises=0.25, update_stale=0.5, update_garbage=0.0, driver_dies=1.0, aggregator_dies=1.0
    )
    assert config.task_faults == {"client_raises": 0.25, "update_stale": 0.5}
    assert ChaosConfig().task_faults == {}


def test_every_fault_of_a_task_counts() -> None:
    others = ("seed", "tries", "aggregator_dies", "driver_dies")
    names = {name for name in ChaosConfig.model_fields if name not in others}
    config = ChaosConfig.model_validate(dict.fromkeys(names, 0.125))
    assert set(config.task_faults) == names
    assert len(names) == 8


def test_shares_of_one_in_sum_are_accepted_and_more_are_rejected() -> None:
    assert ChaosConfig(client_raises=0.5, client_dies=0.5, driver_dies=0.75).seed == 0
    with rejects("chaos", "1.25"):
        ExperimentConfig.parse({"chaos": {"client_raises": 0.5, "client_dies": 0.75}})


@pytest.mark.parametrize(
    "option", [{"client_raises": 1.5}, {"update_stale": -0.1}, {"tries": 0}, {"seed": 2**63}]
)
def test_values_out_of_range_are_rejected(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ChaosConfig.model_validate(option)
