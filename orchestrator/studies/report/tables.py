"""Creates the tables of a study's report as text."""

from collections.abc import Iterator

from orchestrator.analysis.report.tables import EMPTY, TextTable
from orchestrator.analysis.statistics import spread
from orchestrator.studies.contrasts import ContrastResult
from orchestrator.studies.report.text import evidence_text, rule_text, spread_text, values_text
from orchestrator.studies.results import ArmResult, ClaimResult, StudyResults

#: comparisons that the verdict table lists in full
_MAX_LISTED = 4


def verdict_table(results: StudyResults) -> TextTable:
    """Return the table of claims: published figure, measured effects with intervals, verdict."""
    return TextTable(
        headings=("claim", "published", "measured", "verdict"),
        rows=tuple(
            (
                each.claim.text,
                f"{each.claim.published} ({each.claim.source})",
                f"{measured}{part}",
                each.verdict,
            )
            for part in [_part(results)]
            for each in results.claims
            for measured in [_measured(each, results)]
        ),
        caption="measured: estimate [95 % t interval over paired seeds], n seeds. Differences of accuracies are in "
        "points, in favour of the first arm.",
    )


def evidence_table(results: StudyResults) -> TextTable:
    """Return the table of all comparisons behind the verdicts, with the rule of each claim."""
    return TextTable(
        headings=("claim", "rule", "comparison", "measured", "finding"),
        rows=tuple(
            (
                each.name,
                rule_text(each.claim.rule),
                evidence.title,
                evidence_text(evidence, each.claim.rule, results.plan.study),
                evidence.finding,
            )
            for each in results.claims
            for evidence in each.evidence
        ),
        caption="shown: the comparison satisfies the rule. smaller: the effect is smaller than the rule wants. "
        "not shown: the interval excludes the claimed effect. undecided: the interval is too wide.",
    )


def outcome_table(results: StudyResults, setting: str) -> TextTable:
    """Return the table of the arms' outcomes in a setting."""
    measures = results.plan.study.measures
    arms = [arm for arm in results.arms if arm.cell.setting == setting]
    has_cap = any(arm.at_cap for arm in arms)
    caps = tuple(f"{name} at cap" for name in measures) if has_cap else ()
    return TextTable(
        headings=("arm", "n", "tuned", *measures, *caps),
        rows=tuple(_outcome_row(arm, results) for arm in arms),
        caption="Means of the last five evaluations over n seeds ± half of the 95 % t interval, on test data; costs "
        "are totals. The tuned values were chosen on validation data with other seeds.",
    )


def contrast_table(results: StudyResults) -> TextTable:
    """Return the table of all contrasts, including those without a difference."""
    return TextTable(
        headings=("contrast", "comparison", "n", "first arm", "second arm", "difference", "p", "p (Holm)"),
        rows=tuple(_contrast_row(result) for result in results.contrasts),
        caption=f"Paired differences with 95 % t intervals; Holm's correction over {len(results.contrasts)} contrasts. "
        "Accuracies are in %.",
    )


def _part(results: StudyResults) -> str:
    """Say which settings a verdict is about, if not all settings of the study ran."""
    return f" (only {', '.join(results.plan.settings)})" if results.plan.is_part else ""


def _measured(result: ClaimResult, results: StudyResults) -> str:
    if not result.evidence:
        return result.reason
    if len(result.evidence) <= _MAX_LISTED:
        parts = [
            f"{evidence.title}: {evidence_text(evidence, result.claim.rule, results.plan.study)}"
            for evidence in result.evidence
        ]
        return "; ".join(parts)
    counts = _counts(result)
    ordered = sorted((e for e in result.evidence if e.estimate is not None), key=lambda e: e.estimate or 0.0)
    ends = (
        [evidence_text(each, result.claim.rule, results.plan.study) for each in (ordered[0], ordered[-1])]
        if ordered
        else []
    )
    return f"{counts} of {len(result.evidence)} comparisons" + (
        f"; from {ends[0]} to {ends[1]}" if ends else ""
    )


def _counts(result: ClaimResult) -> str:
    def parts() -> Iterator[str]:
        for finding in ("shown", "smaller", "not shown", "undecided"):
            if count := sum(each.finding == finding for each in result.evidence):
                yield f"{count} {finding}"

    return ", ".join(parts())


def _outcome_row(arm: ArmResult, results: StudyResults) -> tuple[str, ...]:
    measures = results.plan.study.measures
    ends = [spread_text(arm.at_end[name], measure.metric) for name, measure in measures.items()]
    caps = [spread_text(arm.at_cap[name], measures[name].metric) for name in arm.at_cap]
    label = results.plan.study.arms[arm.cell.arm].label
    return (f"{arm.cell.arm}: {label}", str(len(arm.seeds)), values_text(arm.values), *ends, *caps)


def _contrast_row(result: ContrastResult) -> tuple[str, ...]:
    first, second = (spread(values) for values in (result.values_a, result.values_b))
    metric = result.metric
    p_values = [EMPTY if value is None else f"{value:.3g}" for value in (result.p_value, result.corrected)]
    return (
        result.contrast,
        result.title,
        str(len(result.seeds)),
        spread_text(first, metric),
        spread_text(second, metric),
        spread_text(result.difference, metric, sign=True),
        *p_values,
    )
