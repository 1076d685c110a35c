"""The small experiment that a method is checked in."""

from collections.abc import Sequence
from functools import cache

from orchestrator.config.overrides import apply_overrides
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare

#: eight clients with 74 to 299 images each, three a round
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
    """Four rounds of three out of eight unequal clients on the digits, with the method of that `algorithm.name`.

    Readjustments and the like must happen within these rounds; `overrides` are `KEY=VALUE` that see to it. The
    same words give the same object. Raises a RequestError for what cannot be prepared as asked.
    """
    return prepared(("data.test_fraction=0.7", *overrides, f"algorithm.name={name}"))


@cache
def prepared(overrides: tuple[str, ...]) -> Experiment:
    """The experiment of `BASE` under further overrides, made once for each."""
    return prepare(ExperimentConfig.parse(apply_overrides({}, [*BASE, *overrides])))
