"""Finds the users' files that a sweep uses: its space, and the methods, models and fleets of its trials."""

from collections.abc import Iterator

from orchestrator.config.overrides import flatten
from orchestrator.experiment.own_parts.sources import FILE_KEYS, labelled, names_in
from orchestrator.plugins.loading import sources_of
from orchestrator.plugins.source_files import SourceFiles
from orchestrator.sweeping.plan import SweepPlan
from orchestrator.sweeping.space import is_grid, listed_configurations


def sweep_sources(plan: SweepPlan) -> dict[str, SourceFiles]:
    """Return the users' files of a sweep by label: `space`, and labels of `FILE_KEYS`, with a number after the first.

    Names that a space computes from other dimensions are not included.
    """
    found = {"space": None if plan.request.space is None else sources_of(plan.request.space)}
    for label, key in FILE_KEYS.items():
        found |= labelled(label, _names(plan, key))
    return {label: sources for label, sources in found.items() if sources is not None}


def _names(plan: SweepPlan, key: str) -> Iterator[str]:
    """Yield the values that the trials may have for a key of the config."""
    values = [flatten(plan.base).get(key)]
    for dimension, value in plan.dimensions.items():
        if dimension == key or key.startswith(f"{dimension}."):
            choices = value["grid_search"] if is_grid(value) else getattr(value, "categories", [value])
            values += [flatten({dimension: choice}).get(key) for choice in choices]
    values += [each.get(key) for each in listed_configurations(plan.dimensions)]
    for value in values:
        yield from names_in(value)
