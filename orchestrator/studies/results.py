"""The results of a study, computed from the runs of its folder: outcomes, contrasts and verdicts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.runs import ComparedRun
from orchestrator.analysis.statistics import Spread, spread
from orchestrator.studies.contrasts import ContrastResult, StudyRuns, compute_contrasts
from orchestrator.studies.outcomes import outcome_at_cap, outcome_at_end
from orchestrator.studies.plan import Cell, StudyPlan, Values
from orchestrator.studies.rules import (
    CostRatioRule,
    DifferenceRule,
    NonInferiorityRule,
    SlopeRule,
    UntestedRule,
)
from orchestrator.studies.schema import LOGGED, Claim
from orchestrator.studies.slopes import fitted_slope
from orchestrator.studies.verdicts import (
    UNTESTED,
    Evidence,
    Verdict,
    cost_ratio_evidence,
    difference_evidence,
    error_reduction_evidence,
    non_inferiority_evidence,
    slope_evidence,
    verdict_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """The verdict on a claim, with the evidence of each comparison; `reason` says why a claim was not tested."""

    name: str
    claim: Claim
    verdict: Verdict
    evidence: tuple[Evidence, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """The outcomes of an arm in a setting, over its seeds.

    - `values`: the tuned values with which the arm ran.
    - `at_end`, `at_cap`: outcome of each measure of the study; `at_cap` is empty without an upload cap.
    """

    cell: Cell
    values: Values
    seeds: tuple[int, ...]
    run_ids: tuple[str, ...]
    at_end: Mapping[str, Spread]
    at_cap: Mapping[str, Spread]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResults:
    """Everything that a report of a study shows. `notes` are lines about runs that are missing or not paired."""

    plan: StudyPlan
    runs: StudyRuns
    arms: tuple[ArmResult, ...]
    contrasts: tuple[ContrastResult, ...]
    claims: tuple[ClaimResult, ...]
    notes: tuple[str, ...]


def compute_results(plan: StudyPlan, runs: StudyRuns, chosen: Mapping[Cell, Values]) -> StudyResults:
    """Compute all results. `chosen` has the values that tuning chose for each tuned cell."""
    contrasts, notes = compute_contrasts(plan, runs)
    missing = [
        f"{cell.arm} ({cell.setting}) has {len(runs.get(cell, {}))} of {plan.num_seeds} runs"
        for cell in plan.cells
        if len(runs.get(cell, {})) < plan.num_seeds
    ]
    return StudyResults(
        plan=plan,
        runs=runs,
        arms=tuple(_arm_result(plan, cell, runs.get(cell, {}), chosen) for cell in plan.cells),
        contrasts=tuple(contrasts),
        claims=tuple(judge(plan, name, claim, contrasts, runs) for name, claim in plan.study.claims.items()),
        notes=(*missing, *notes),
    )


def judge(
    plan: StudyPlan, name: str, claim: Claim, contrasts: Sequence[ContrastResult], runs: StudyRuns
) -> ClaimResult:
    """Apply the rule of a claim."""
    reason = ""
    if plan.scale not in claim.scales:
        reason = f"this claim is tested at --scale {' or '.join(claim.scales)}"
    elif isinstance(claim.rule, UntestedRule):
        reason = claim.rule.reason
    if reason:
        return ClaimResult(name=name, claim=claim, verdict=UNTESTED, evidence=(), reason=reason)
    evidence = tuple(_evidence(plan, claim, contrasts, runs))
    need = "all" if isinstance(claim.rule, UntestedRule) else claim.rule.need
    verdict = verdict_of([each.finding for each in evidence], need)
    if verdict == UNTESTED:
        reason = "the intervals are too wide to decide" if evidence else "no comparison of the rule has run"
    return ClaimResult(name=name, claim=claim, verdict=verdict, evidence=evidence, reason=reason)


def _evidence(
    plan: StudyPlan, claim: Claim, contrasts: Sequence[ContrastResult], runs: StudyRuns
) -> Iterator[Evidence]:
    rule = claim.rule
    if isinstance(rule, UntestedRule):
        return
    if isinstance(rule, SlopeRule):
        yield from _slopes(plan, rule, runs)
        return
    for result in (result for result in contrasts if result.contrast in rule.contrasts):
        if isinstance(rule, DifferenceRule):
            yield difference_evidence(rule, result)
        elif isinstance(rule, NonInferiorityRule):
            yield non_inferiority_evidence(rule, result)
        elif isinstance(rule, CostRatioRule):
            yield cost_ratio_evidence(rule, result)
        else:
            yield error_reduction_evidence(rule, result)


def _slopes(plan: StudyPlan, rule: SlopeRule, runs: StudyRuns) -> Iterator[Evidence]:
    name = LOGGED[plan.study.measures[rule.measure].metric]
    for cell in plan.cells:
        if cell.arm in rule.arms and cell.setting in rule.settings:
            slopes = [fitted_slope(run.records, name, rule.skip) for run in runs.get(cell, {}).values()]
            yield slope_evidence(rule, f"slope of {rule.measure}, {cell.arm} ({cell.setting})", slopes)


def _arm_result(
    plan: StudyPlan, cell: Cell, runs: Mapping[int, ComparedRun], chosen: Mapping[Cell, Values]
) -> ArmResult:
    cap = plan.upload_cap(cell.setting)
    ordered = [runs[seed] for seed in sorted(runs)]
    measures = plan.study.measures.items()
    return ArmResult(
        cell=cell,
        values=plan.values_for(cell, chosen),
        seeds=tuple(sorted(runs)),
        run_ids=tuple(run.run_id for run in ordered),
        at_end={
            name: spread(outcome_at_end(run.records, measure) for run in ordered)
            for name, measure in measures
        },
        at_cap={}
        if cap is None
        else {
            name: spread(outcome_at_cap(run.records, measure, cap) for run in ordered)
            for name, measure in measures
        },
    )
