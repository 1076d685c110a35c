"""Device profiles, and experiments with the devices that a test defines."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator.experiment.experiment import Experiment
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.population import Population
from orchestrator.fleet.profiles import DeviceProfile
from tests.support.fakes import population_of


def profile(name: str, **options: Any) -> DeviceProfile:
    """A profile with round speeds."""
    return DeviceProfile(
        name=name, flops_per_s=1e9, uplink_bytes_per_s=1e6, downlink_bytes_per_s=1e6, **options
    )


def with_profiles(
    experiment: Experiment, profiles: Sequence[DeviceProfile], assignment: Sequence[int] | None = None
) -> Experiment:
    """Return the experiment with client k on `profiles[assignment[k]]`; by default profiles alternate over clients."""
    if assignment is None:
        assignment = [k % len(profiles) for k in range(experiment.setting.num_clients)]
    return with_population(experiment, population_of(profiles, assignment))


def with_population(experiment: Experiment, population: Population) -> Experiment:
    """Return the experiment with these devices."""
    assert len(population) == experiment.setting.num_clients
    setting = replace(experiment.setting, population=population)
    return replace(
        experiment,
        algorithm=type(experiment.algorithm)(experiment.config.algorithm, setting),
        fleet=Fleet("made-up", "", population.profiles, population.shares),
    )
