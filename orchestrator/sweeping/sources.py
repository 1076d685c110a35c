"""Finds the users' files that a sweep uses: its space, and the methods, models and fleets of its trials."""

from collections.abc import Iterator, Mapping

from orchestrator.config.overrides import flatten
from orchestrator.fleet.registry import fleet_sources
from orchestrator.plugins.loading import sources_of
from orchestrator.plugins.source_files import SourceFiles
from orchestrator.sweeping.plan import SweepPlan
from orchestrator.sweeping.space import is_grid, listed_configurations


def sweep_sources(plan: SweepPlan) -> dict[str, SourceFiles]:
    """Return the users' files of a sweep by label: `space`, and sections of the config, with a number after the first.

    Names that a space computes from other dimensions are not included.
    """
    found = {"space": None if plan.request.space is None else sources_of(plan.request.space)}
    for section, read in (("algorithm", sources_of), ("model", sources_of), ("fleet", _fleet_sources)):
        own = [sources for name in dict.fromkeys(_names(plan, section)) if (sources := read(name))]
        for number, sources in enumerate(own, 1):
            found[section if number == 1 else f"{section}-{number}"] = sources
    return {label: sources for label, sources in found.items() if sources is not None}


def _fleet_sources(name: str) -> SourceFiles | None:
    """Return the files of a fleet; None for a fleet that cannot be read, which the check of the trials reports."""
    try:
        return fleet_sources(name)
    except (OSError, ValueError):
        return None


def _names(plan: SweepPlan, section: str) -> Iterator[str]:
    """Yield the values that the trials may have for the name in a section of the config."""
    key = f"{section}.name"
    values = [flatten(plan.base).get(key)]
    for dimension, value in plan.dimensions.items():
        if dimension in (section, key):
            values += value["grid_search"] if is_grid(value) else getattr(value, "categories", [value])
    values += [each.get(key) for each in listed_configurations(plan.dimensions)]
    for value in values:
        name = value.get("name") if isinstance(value, Mapping) else value
        if isinstance(name, str):
            yield name
