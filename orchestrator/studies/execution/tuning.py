"""Chooses the values of each arm from the runs of the tuning stage, by validation data."""

import math
from collections.abc import Mapping, Sequence

from orchestrator.studies.outcomes import validation_outcome
from orchestrator.studies.plan import TUNING_SEEDS, Cell, StudyPlan, Values
from orchestrator.tracking.record import RoundRecord

#: the committed records of a configuration's runs, by seed
SeedRecords = Mapping[int, Sequence[RoundRecord]]


def choose_values(plan: StudyPlan, records: Sequence[SeedRecords]) -> dict[Cell, Values]:
    """Return the values of each tuned cell whose mean over the tuning seeds is the highest.

    `records` has the runs of every entry of `plan.tuning_entries()`, in the same order. The first of equal values wins.
    A diverged or missing run counts as worse than any other.
    """
    best: dict[Cell, tuple[float, Values]] = {}
    for (cell, values, _), runs in zip(plan.tuning_entries(), records, strict=True):
        measure = plan.study.measures[plan.study.settings[cell.setting].tuned_by]
        outcomes = [validation_outcome(runs.get(seed, ()), measure) for seed in TUNING_SEEDS]
        known = [value for value in outcomes if value is not None]
        mean = math.fsum(known) / len(known) if len(known) == len(outcomes) else -math.inf
        if cell not in best or mean > best[cell][0]:
            best[cell] = mean, values
    return {cell: values for cell, (_, values) in best.items()}
