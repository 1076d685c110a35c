"""The outcomes of a study's runs: what a measure gives for one run, at its end or at an upload cap."""

from collections.abc import Sequence

from orchestrator.analysis.measures import cost_to_reach, mean_of_last, sum_of, total, value_at_cap
from orchestrator.studies.plan import NUM_AVERAGED
from orchestrator.studies.schema import COST_METRICS, LOGGED, SUMMED_METRICS, VALIDATION, StudyMeasure
from orchestrator.tracking.record import RoundRecord

_UPLOAD = LOGGED["upload_bytes"]


def outcome_at_end(records: Sequence[RoundRecord], measure: StudyMeasure) -> float | None:
    """Return the mean of the last five evaluations; of a cost or a summed metric, its total."""
    name = LOGGED[measure.metric]
    if measure.metric in SUMMED_METRICS:
        return sum_of(records, name)
    if measure.metric in COST_METRICS:
        return total(records, name)
    return mean_of_last(records, name, NUM_AVERAGED)


def outcome_at_cap(
    records: Sequence[RoundRecord], measure: StudyMeasure, cap: float, *, used_up: bool = False
) -> float | None:
    """Return the mean of the last five evaluations within `cap` uploaded bytes; of a cost or a summed metric, its value
    there.

    None if no evaluation is within the cap. With `used_up`, also None for a run that ended with less than 95 % of the
    cap, because it might have become better with the rest.
    """
    uploaded = total(records, _UPLOAD)
    if used_up and (uploaded is None or uploaded < 0.95 * cap):
        return None
    name = LOGGED[measure.metric]
    if measure.metric in SUMMED_METRICS:
        return sum_of(records, name, cost=_UPLOAD, cap=cap)
    if measure.metric in COST_METRICS:
        return value_at_cap(records, name, _UPLOAD, cap)
    return mean_of_last(records, name, NUM_AVERAGED, cost=_UPLOAD, cap=cap)


def cost_at_target(
    records: Sequence[RoundRecord], measure: StudyMeasure, accuracy: StudyMeasure, target: float
) -> float | None:
    """Return the cost at the first evaluation that reaches the accuracy `target` (`measures.cost_to_reach`)."""
    return cost_to_reach(records, LOGGED[accuracy.metric], LOGGED[measure.metric], target)


def validation_outcome(records: Sequence[RoundRecord], measure: StudyMeasure) -> float | None:
    """Return the number by which tuning chooses: the mean of the last five evaluations on validation data."""
    return mean_of_last(records, VALIDATION[measure.metric], NUM_AVERAGED)
