"""Chooses the values of each arm from the runs of the tuning stages, by validation data."""

import math
from collections.abc import Mapping, Sequence

from orchestrator.studies.outcomes import validation_outcome
from orchestrator.studies.plan import NUM_FINALISTS, TUNING_SEEDS, Cell, Entry, StudyPlan, Values
from orchestrator.tracking.record import RoundRecord

#: the committed records of a configuration's runs, by seed
SeedRecords = Mapping[int, Sequence[RoundRecord]]


def choose_finalists(
    plan: StudyPlan, entries: Sequence[Entry], records: Sequence[SeedRecords]
) -> dict[Cell, list[Values]]:
    """Return the best values of each tuned cell for the first tuning seed, at most NUM_FINALISTS.

    `records` has the runs of every entry, in the same order. The first of equal values wins. A diverged or missing run
    counts as worse than any other.
    """
    ranked = _ranked(plan, entries, records, TUNING_SEEDS[:1])
    return {cell: values[:NUM_FINALISTS] for cell, values in ranked.items()}


def choose_values(
    plan: StudyPlan, entries: Sequence[Entry], records: Sequence[SeedRecords]
) -> dict[Cell, Values]:
    """Return the values of each cell whose mean over all tuning seeds is the highest; ties as in `choose_finalists`."""
    return {cell: values[0] for cell, values in _ranked(plan, entries, records, TUNING_SEEDS).items()}


def _ranked(
    plan: StudyPlan, entries: Sequence[Entry], records: Sequence[SeedRecords], seeds: Sequence[int]
) -> dict[Cell, list[Values]]:
    """Return the values of each cell, those with the highest mean outcome over the seeds first."""
    means: dict[Cell, list[tuple[float, Values]]] = {}
    for (cell, values, _), runs in zip(entries, records, strict=True):
        measure = plan.study.tuning_measure(cell.setting, cell.arm)
        outcomes = [validation_outcome(runs.get(seed, ()), measure) for seed in seeds]
        known = [value for value in outcomes if value is not None]
        mean = math.fsum(known) / len(known) if len(known) == len(outcomes) else -math.inf
        means.setdefault(cell, []).append((mean, values))
    return {
        cell: [values for _, values in sorted(each, key=lambda pair: pair[0], reverse=True)]
        for cell, each in means.items()
    }
