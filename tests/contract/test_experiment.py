"""The experiment of the checks: small, from a cache, and with the options of the caller."""

from orchestrator.contract.experiment import contract_experiment
from tests.support.errors import rejects


def test_experiment_has_three_of_eight_clients_and_four_rounds_in_this_process() -> None:
    config = contract_experiment("fedavg").config
    assert (config.fleet.num_clients, config.training.clients_per_round, config.training.rounds) == (8, 3, 4)
    assert (config.data.name, config.runtime.executor, config.tracking.enabled) == (
        "digits",
        "inprocess",
        False,
    )


def test_same_arguments_return_the_same_object() -> None:
    first = contract_experiment("fedprox", ["algorithm.mu=0.5"])
    assert contract_experiment("fedprox", ["algorithm.mu=0.5"]) is first
    assert contract_experiment("fedprox", ["algorithm.mu=0.25"]) is not first


def test_overrides_win_over_the_base_but_not_over_the_method() -> None:
    config = contract_experiment("fedavg", ["training.rounds=2", "algorithm.name=fedprox"]).config
    assert (config.training.rounds, config.algorithm.name) == (2, "fedavg")


def test_unknown_method_is_rejected() -> None:
    with rejects("algorithm.name", "fedavgg"):
        contract_experiment("fedavgg")
