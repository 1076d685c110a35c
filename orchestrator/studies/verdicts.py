"""Decides about claims: a rule of the study file turns contrasts and slopes into a verdict."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.analysis.statistics import Spread, spread
from orchestrator.studies.contrasts import ContrastResult
from orchestrator.studies.rules import (
    CostRatioRule,
    DifferenceRule,
    ErrorReductionRule,
    Need,
    NonInferiorityRule,
    SlopeRule,
)

Verdict = Literal["holds", "holds in part", "does not hold", "cannot be tested at this scale"]
UNTESTED: Verdict = "cannot be tested at this scale"
#: what one comparison says about a claim
Finding = Literal["shown", "smaller", "not shown", "undecided"]
#: largest corrected p-value at which a difference counts as shown
SIGNIFICANCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one comparison measured, and what it says about the claim.

    `estimate` is a difference in favour of the first arm, an error reduction, a ratio of costs or a slope. `low` and
    `high` are the ends of its 95 % interval. None without a result or an interval.
    """

    title: str
    finding: Finding
    estimate: float | None
    low: float | None
    high: float | None
    num_seeds: int


def difference_evidence(rule: DifferenceRule, result: ContrastResult) -> Evidence:
    """Judge a difference in favour of the first arm.

    - shown: the interval is above 0, the corrected p-value is below 0.05, and the mean is at least the margin.
    - smaller: the same, with a mean below the margin.
    - not shown: the interval excludes the margin and every difference from `smallest` on.
    - undecided: anything else, such as an interval that contains 0 and the margin.
    """

    def judge(mean: float, low: float, high: float) -> Finding:
        if low > 0.0 and _is_significant(result):
            return "shown" if mean >= rule.margin else "smaller"
        return "not shown" if high < max(rule.margin, rule.smallest) else "undecided"

    return _judged_difference(result, judge)


def non_inferiority_evidence(rule: NonInferiorityRule, result: ContrastResult) -> Evidence:
    """Judge whether the first arm is worse by at most the margin.

    - shown: the interval of the difference is at or above the negative margin.
    - not shown: the interval is below the negative margin.
    - undecided: the interval contains the negative margin.
    """

    def judge(mean: float, low: float, high: float) -> Finding:
        if low >= -rule.margin:
            return "shown"
        return "not shown" if high < -rule.margin else "undecided"

    return _judged_difference(result, judge)


def _judged_difference(result: ContrastResult, judge: Callable[[float, float, float], Finding]) -> Evidence:
    """The evidence of a difference in favour of the first arm; `judge` gets its mean and the ends of its interval."""
    sign = 1.0 if result.higher_is_better else -1.0
    mean, half = result.difference.mean, result.difference.half_width
    if mean is None or half is None:
        return _without_interval(result, None if mean is None else sign * mean)
    low, high = sign * mean - half, sign * mean + half
    return Evidence(
        title=result.title,
        finding=judge(sign * mean, low, high),
        estimate=sign * mean,
        low=low,
        high=high,
        num_seeds=len(result.seeds),
    )


def cost_ratio_evidence(rule: CostRatioRule, result: ContrastResult) -> Evidence:
    """Judge the ratio of the first arm's cost to the second's, as geometric mean over the paired seeds."""
    return _ratio_evidence(result, _log_ratios(result.values_a, result.values_b), rule.at_most)


def error_reduction_evidence(rule: ErrorReductionRule, result: ContrastResult) -> Evidence:
    """Judge the reduction of the error 1 - accuracy: 1 - the ratio of errors, as geometric mean over the seeds."""
    errors_a, errors_b = (
        [None if value is None else 1.0 - value for value in values]
        for values in (result.values_a, result.values_b)
    )
    found = _ratio_evidence(result, _log_ratios(errors_a, errors_b), 1.0 - rule.at_least)
    if found.estimate is None:
        return found
    return Evidence(
        title=found.title,
        finding=found.finding,
        estimate=1.0 - found.estimate,
        low=None if found.high is None else 1.0 - found.high,
        high=None if found.low is None else 1.0 - found.low,
        num_seeds=found.num_seeds,
    )


def slope_evidence(rule: SlopeRule, title: str, slopes: Sequence[float | None]) -> Evidence:
    """Judge a slope, with one value for each seed.

    - shown: the interval is within the bounds.
    - smaller: only the mean is within the bounds.
    - not shown: the interval is outside the bounds.
    - undecided: the mean is outside, and the interval crosses a bound.
    """
    found = spread(slopes)
    bounds = (-math.inf if rule.low is None else rule.low, math.inf if rule.high is None else rule.high)
    mean, half = found.mean, found.half_width
    if mean is None or half is None:
        return Evidence(
            title=title, finding="undecided", estimate=mean, low=None, high=None, num_seeds=found.num_seeds
        )
    low, high = mean - half, mean + half
    finding: Finding
    if bounds[0] <= low and high <= bounds[1]:
        finding = "shown"
    elif bounds[0] <= mean <= bounds[1]:
        finding = "smaller"
    else:
        finding = "not shown" if high < bounds[0] or low > bounds[1] else "undecided"
    return Evidence(
        title=title, finding=finding, estimate=mean, low=low, high=high, num_seeds=found.num_seeds
    )


def verdict_of(findings: Sequence[Finding], need: Need) -> Verdict:
    """Combine the findings of all comparisons.

    - holds: all comparisons (need=some: at least one) are shown.
    - holds in part: another comparison is shown, or shown with a smaller effect than claimed.
    - does not hold: no comparison is shown, and at least one excludes the claimed effect.
    - cannot be tested at this scale: the intervals exclude nothing, or there is no comparison.
    """
    num_shown = sum(finding == "shown" for finding in findings)
    if (findings and num_shown == len(findings)) or (need == "some" and num_shown):
        return "holds"
    if num_shown or "smaller" in findings:
        return "holds in part"
    return "does not hold" if "not shown" in findings else UNTESTED


def _ratio_evidence(result: ContrastResult, logs: Spread, limit: float) -> Evidence:
    """Judge a ratio whose claim is that it is at most `limit`.

    - shown: the interval is at or below the limit.
    - smaller: the interval is below 1, but not at or below the limit.
    - not shown: the interval is above the limit.
    """
    mean, half = logs.mean, logs.half_width
    if mean is None or half is None:
        return _without_interval(result, None if mean is None else math.exp(mean))
    low, high = math.exp(mean - half), math.exp(mean + half)
    finding: Finding
    if high <= limit and (limit >= 1.0 or _is_significant(result)):
        finding = "shown"
    elif high < 1.0 and _is_significant(result):
        finding = "smaller"
    else:
        finding = "not shown" if low > limit else "undecided"
    return Evidence(
        title=result.title,
        finding=finding,
        estimate=math.exp(mean),
        low=low,
        high=high,
        num_seeds=len(result.seeds),
    )


def _log_ratios(first: Sequence[float | None], second: Sequence[float | None]) -> Spread:
    return spread(
        math.log(a / b) if a is not None and b is not None and a > 0.0 and b > 0.0 else None
        for a, b in zip(first, second, strict=True)
    )


def _without_interval(result: ContrastResult, estimate: float | None) -> Evidence:
    return Evidence(
        title=result.title,
        finding="undecided",
        estimate=estimate,
        low=None,
        high=None,
        num_seeds=len(result.seeds),
    )


def _is_significant(result: ContrastResult) -> bool:
    return result.corrected is not None and result.corrected < SIGNIFICANCE
