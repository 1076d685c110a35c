"""Every registered method gives the same bits in other processes as in this process."""

import pytest

from orchestrator.contract import contract_experiment
from orchestrator.experiment.methods import algorithm_names
from tests.support.ray_contract_suite import check_same_in_other_processes


@pytest.mark.ray
@pytest.mark.parametrize("name", sorted(algorithm_names()))
def test_method_gives_the_same_bits_in_other_processes(name: str, local_ray: None) -> None:
    check_same_in_other_processes(contract_experiment(name, ["training.rounds=2"]))


@pytest.mark.ray
def test_int8_values_are_rounded_alike_in_other_processes(local_ray: None) -> None:
    options = ["training.rounds=2", "wire.value_dtype=int8"]
    check_same_in_other_processes(contract_experiment("feddst", options))
