"""Formats the numbers of a study's report."""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.analysis.labels import short_text
from orchestrator.analysis.report.tables import EMPTY, share_text
from orchestrator.analysis.statistics import Spread
from orchestrator.formatting import format_bytes, format_flops, format_seconds
from orchestrator.studies.rules import (
    CostRatioRule,
    DifferenceRule,
    ErrorReductionRule,
    NonInferiorityRule,
    Rule,
)
from orchestrator.studies.schema import MeasuredMetric, Study
from orchestrator.studies.verdicts import Evidence

_COST_FORMATS: dict[str, Callable[[float], str]] = {
    "upload_bytes": format_bytes,
    "download_bytes": format_bytes,
    "train_flops": format_flops,
    "emulated_s": format_seconds,
}


def spread_text(found: Spread, metric: MeasuredMetric, *, sign: bool = False) -> str:
    """Return mean and half width of the interval; accuracies in %, costs with their unit."""
    if metric in ("accuracy", "personal_accuracy"):
        return share_text(found, sign=sign)
    if found.mean is None:
        return f"{found.num_reached} of {found.num_seeds}" if found.num_reached else EMPTY
    mean = f"{'-' if found.mean < 0 else '+' if sign else ''}{number_text(abs(found.mean), metric)}"
    return mean if found.half_width is None else f"{mean} ± {number_text(found.half_width, metric)}"


def number_text(value: float, metric: str) -> str:
    """Return a cost with its unit, and any other number with four digits."""
    form = _COST_FORMATS.get(metric)
    return f"{value:.4g}" if form is None else form(value)


def evidence_text(evidence: Evidence, rule: Rule, study: Study) -> str:
    """Return the estimate of one comparison with its 95 % interval."""
    if evidence.estimate is None:
        return f"no result ({evidence.num_seeds} seeds)"
    form = _estimate_format(rule, study)
    text = form(evidence.estimate)
    if evidence.low is not None and evidence.high is not None:
        text += f" [{form(evidence.low)}, {form(evidence.high)}]"
    return f"{text}, n={evidence.num_seeds}"


def _estimate_format(rule: Rule, study: Study) -> Callable[[float], str]:
    if isinstance(rule, ErrorReductionRule):
        return lambda value: f"{100 * value:.1f} %"
    if isinstance(rule, CostRatioRule):
        return lambda value: f"{value:.3g}x"
    if isinstance(rule, DifferenceRule | NonInferiorityRule) and _compares_accuracies(rule, study):
        return lambda value: f"{100 * value:+.2f}"
    return lambda value: f"{value:+.3g}"


def _compares_accuracies(rule: DifferenceRule | NonInferiorityRule, study: Study) -> bool:
    measures = (study.measures[study.contrasts[name].measure] for name in rule.contrasts)
    return all(measure.metric in ("accuracy", "personal_accuracy") for measure in measures)


def rule_text(rule: Rule) -> str:
    """Return the rule of a claim in one sentence."""
    where = "" if rule.kind == "untested" else f" in {rule.need} comparisons"
    if rule.kind == "difference":
        margin = f"at least {100 * rule.margin:g} points" if rule.margin else "above 0"
        return (
            f"the difference is {margin}, its interval is above 0 and its corrected p-value below 0.05{where}"
        )
    if rule.kind == "non_inferiority":
        return f"the interval of the difference is at or above -{100 * rule.margin:g} points{where}"
    if rule.kind == "error_reduction":
        return (
            f"the interval of the error reduction is at or above {100 * rule.at_least:g} %{where}, "
            "and the corrected p-values are below 0.05"
        )
    if rule.kind == "cost_ratio":
        p_values = ", and the corrected p-values are below 0.05" if rule.at_most < 1.0 else ""
        return f"the interval of the ratio of costs is at or below {rule.at_most:g}{where}{p_values}"
    if rule.kind == "slope":
        low, high = ("none" if bound is None else f"{bound:g}" for bound in (rule.low, rule.high))
        return f"the interval of the slope is within the bounds {low} and {high}{where}"
    return "no run of this study tests the claim"


def values_text(values: Mapping[str, Any]) -> str:
    """Return the tuned values of an arm, such as `lr=0.05 alpha=0.2`."""
    return " ".join(f"{key.rpartition('.')[2]}={short_text(value)}" for key, value in values.items())
