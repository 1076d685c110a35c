"""The small experiment in which the checks run a method."""

from collections.abc import Sequence
from functools import cache

from orchestrator.config.overrides import apply_overrides
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare

#: eight clients with 74 to 299 images each, three clients per round
BASE = (
    "data.name=digits",
    "fleet.num_clients=8",
    "training.clients_per_round=3",
    "training.local_epochs=2",
    "training.rounds=4",
    "runtime.executor=inprocess",
    "tracking.enabled=false",
)


def contract_experiment(name: str, overrides: Sequence[str] = ()) -> Experiment:
    """Return an experiment of four rounds, with three of eight clients per round, on the digits.

    `name` is the `algorithm.name` of the method. Use `overrides` (`KEY=VALUE`) so that mask updates and similar events
    of the method happen within the four rounds. The same arguments return the same object. Raises a RequestError for a
    method or option that cannot be prepared.
    """
    return prepared(("data.test_fraction=0.7", *overrides, f"algorithm.name={name}"))


@cache
def prepared(overrides: tuple[str, ...]) -> Experiment:
    """Return the experiment of `BASE` with further overrides, from a cache."""
    return prepare(ExperimentConfig.parse(apply_overrides({}, [*BASE, *overrides])))
