"""Computes the contrasts of a study: paired differences over seeds, with intervals and corrected p-values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum

from orchestrator.analysis.configurations import Configuration
from orchestrator.analysis.pairing import paired_difference
from orchestrator.analysis.runs import ComparedRun
from orchestrator.analysis.statistics import Spread, holm, p_value
from orchestrator.studies.outcomes import cost_at_target, outcome_at_cap, outcome_at_end
from orchestrator.studies.plan import Cell, StudyPlan
from orchestrator.studies.schema import MeasuredMetric, StudyContrast, StudyMeasure

#: share of the lower of two final accuracies that `at: target` uses, because a curve does not stay above its own mean
TARGET_SHARE = 0.95

#: the runs of each cell, by seed
StudyRuns = Mapping[Cell, Mapping[int, ComparedRun]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastResult:
    """The result of one comparison of two arms in one setting.

    - `seeds`: the paired seeds, ascending; `values_a` and `values_b` have the outcomes in this order.
    - `difference`: the first arm's outcome minus the second's.
    - `p_value`: of the two-sided paired t test; `corrected`: after Holm's correction over all contrasts of the study.
      None without an interval.
    """

    contrast: str
    setting: str
    a: str
    b: str
    measure: str
    metric: MeasuredMetric
    higher_is_better: bool
    at: str
    seeds: tuple[int, ...]
    values_a: tuple[float | None, ...]
    values_b: tuple[float | None, ...]
    difference: Spread
    p_value: float | None
    corrected: float | None

    @property
    def title(self) -> str:
        """A name such as `feddst - fedavgm, accuracy at the cap (cifar10)`."""
        where = {"end": "at the end", "cap": "at the upload cap", "target": "to a common accuracy"}[self.at]
        return f"{self.a} - {self.b}, {self.measure} {where} ({self.setting})"


def compute_contrasts(plan: StudyPlan, runs: StudyRuns) -> tuple[list[ContrastResult], list[str]]:
    """Return the results of all contrasts in the order of the study, and a note about each pair that is left out."""
    results, notes = [], []
    for name, contrast in plan.study.contrasts.items():
        for setting, a, b in pairs_of(plan, contrast):
            result, pair_notes = _compute(plan, name, contrast, (setting, a, b), runs)
            results.append(result)
            notes += pair_notes
    tested = [idx for idx, result in enumerate(results) if result.p_value is not None]
    corrected = holm([results[idx].p_value or 0.0 for idx in tested])
    for idx, value in zip(tested, corrected, strict=True):
        results[idx] = replace(results[idx], corrected=value)
    return results, list(dict.fromkeys(notes))


def pairs_of(plan: StudyPlan, contrast: StudyContrast) -> Iterator[tuple[str, str, str]]:
    """Yield setting, first arm and second arm of every comparison of a contrast in the settings that run."""
    for setting in plan.settings:
        if contrast.settings is not None and setting not in contrast.settings:
            continue
        arms = plan.study.arms_in(setting)
        for a in contrast.a:
            for b in contrast.b:
                if a != b and a in arms and b in arms:
                    yield setting, a, b


def _compute(
    plan: StudyPlan, name: str, contrast: StudyContrast, pair: tuple[str, str, str], runs: StudyRuns
) -> tuple[ContrastResult, list[str]]:
    setting, a, b = pair
    measure = plan.study.measures[contrast.measure]
    first, second = (_configuration(Cell(setting, arm), runs) for arm in (a, b))
    ours, theirs = _values(plan, contrast, setting, first, second)
    by_folder = {run.folder: ours(run) for run in first.runs.values()}
    by_folder |= {run.folder: theirs(run) for run in second.runs.values()}
    paired, notes = paired_difference(first, second, lambda run: by_folder[run.folder])
    difference = paired.difference
    if first.runs and first.runs == second.runs:
        notes.append(f"{a} and {b} have the same config in {setting}, so that their difference is 0")
    known = [value for value in difference.values if value is not None]
    is_complete = difference.mean is not None
    return (
        ContrastResult(
            contrast=name,
            setting=setting,
            a=a,
            b=b,
            measure=contrast.measure,
            metric=measure.metric,
            higher_is_better=measure.direction == "higher",
            at=contrast.at,
            seeds=paired.seeds,
            values_a=tuple(ours(first.runs[seed]) for seed in paired.seeds),
            values_b=tuple(theirs(second.runs[seed]) for seed in paired.seeds),
            difference=difference,
            p_value=p_value(known) if is_complete else None,
            corrected=None,
        ),
        notes,
    )


def _configuration(cell: Cell, runs: StudyRuns) -> Configuration:
    return Configuration(
        label=f"{cell.arm} ({cell.setting})", method=cell.arm, key_values={}, runs=runs.get(cell, {})
    )


Outcome = Callable[[ComparedRun], float | None]


def _values(
    plan: StudyPlan, contrast: StudyContrast, setting: str, first: Configuration, second: Configuration
) -> tuple[Outcome, Outcome]:
    """Return the functions that give the outcomes of the two arms' runs."""
    measure = plan.study.measures[contrast.measure]
    if contrast.at == "target":
        assert contrast.target is not None
        accuracy = plan.study.measures[contrast.target]
        means = [_final_mean(arm, accuracy) for arm in (first, second)]
        known = [mean for mean in means if mean is not None]
        target = TARGET_SHARE * min(known) if len(known) == len(means) else float("inf")

        def reach(run: ComparedRun) -> float | None:
            return cost_at_target(run.records, measure, accuracy, target)

        return reach, reach
    cap = plan.upload_cap(setting)
    if contrast.at == "cap":
        # a second arm that did not use its cap up would favour the first arm
        return _at_cap(measure, cap, False), _at_cap(measure, cap and cap * contrast.cap_factor_b, True)

    def end(run: ComparedRun) -> float | None:
        return outcome_at_end(run.records, measure)

    return end, end


def _at_cap(measure: StudyMeasure, cap: float | None, used_up: bool) -> Outcome:
    return lambda run: None if cap is None else outcome_at_cap(run.records, measure, cap, used_up=used_up)


def _final_mean(configuration: Configuration, accuracy: StudyMeasure) -> float | None:
    values: Sequence[float | None] = [
        outcome_at_end(run.records, accuracy) for run in configuration.runs.values()
    ]
    known = [value for value in values if value is not None]
    return fsum(known) / len(known) if known and len(known) == len(values) else None
