"""Experiments on devices that a test makes up."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.experiment.experiment import Experiment
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.population import Population
from orchestrator.fleet.profiles import DeviceProfile
from tests.support.fakes import population_of


def with_profiles(
    experiment: Experiment, profiles: Sequence[DeviceProfile], assignment: Sequence[int] | None = None
) -> Experiment:
    """The experiment with other devices: client k has `profiles[assignment[k]]`; without it they take turns."""
    num_clients = experiment.setting.num_clients
    turns = [k % len(profiles) for k in range(num_clients)]
    return with_population(experiment, population_of(profiles, turns if assignment is None else assignment))


def with_population(experiment: Experiment, population: Population) -> Experiment:
    """The experiment with these devices."""
    assert len(population) == experiment.setting.num_clients
    setting = replace(experiment.setting, population=population)
    return replace(
        experiment,
        algorithm=type(experiment.algorithm)(experiment.config.algorithm, setting),
        fleet=Fleet("made-up", "", population.profiles, population.shares),
    )
