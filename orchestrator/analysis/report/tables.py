"""Creates the text of a comparison's tables for the terminal and the HTML page."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.analysis.comparison import Comparison, ComparisonRow, TargetCost
from orchestrator.analysis.options import COST_TITLES, METRIC_TITLES, Cost, Metric
from orchestrator.analysis.statistics import Spread
from orchestrator.formatting import format_bytes, format_flops, format_seconds

_FORMATS: dict[Cost, Callable[[float], str]] = {
    "upload": format_bytes,
    "download": format_bytes,
    "flops": format_flops,
    "time": format_seconds,
}
#: headings of the metrics of unseen clients, which the table shows if a run has them
_HEADINGS: dict[Metric, str] = {"unseen_accuracy": "unseen", "unseen_personal_accuracy": "unseen personal"}
#: text of an empty cell
EMPTY = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Headings and cells of a table. Every row starts with a label; `caption` explains the columns.

    `values` has the number of each cell, by which readers sort; None for a cell without a number. A table that is not
    sorted has no values.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    values: tuple[tuple[float | None, ...], ...] = ()


def main_table(comparison: Comparison) -> TextTable:
    """Return the table of final values and costs, in the order of the comparison."""
    difference = ("difference",) if comparison.baseline is not None else ()
    further = tuple(_HEADINGS.get(metric, "validation") for metric in _further_metrics(comparison))
    headings = ("configuration", "", "n", "accuracy", "personal", *further, *difference)
    costs = ("upload", "download", "training", "emulated")
    return TextTable(
        headings=headings + costs,
        rows=tuple(_main_row(row, comparison) for row in comparison.rows),
        values=tuple(_main_values(row, comparison) for row in comparison.rows),
        caption=_caption(comparison),
    )


def cap_table(comparison: Comparison) -> TextTable:
    """Return the table of the metric at the upload caps, and of the costs to reach the targets."""
    caps = tuple(f"by {format_bytes(cap)}" for cap in comparison.upload_caps)
    targets = tuple(f"to {100 * target:g}%" for target in comparison.targets)
    metric = METRIC_TITLES[comparison.metric]
    return TextTable(
        headings=("configuration", *caps, *targets),
        rows=tuple(
            (
                row.configuration.label,
                *(share_text(spread) for spread in row.at_caps),
                *(_reached_text(reached) for reached in row.reached),
            )
            for row in comparison.rows
        ),
        values=tuple(
            (
                None,
                *(spread.mean for spread in row.at_caps),
                *(reached.emulated_s.mean for reached in row.reached),
            )
            for row in comparison.rows
        ),
        caption=f"by: {metric} in % at the last evaluation within this upload. to: mean emulated time and upload "
        f"until the {metric} stays at this level. k of n: only k of n seeds reached it.",
    )


def share_text(spread: Spread, *, sign: bool = False) -> str:
    """Return mean and half width in percent, such as `91.23±0.45`; `2 of 3` if one of three seeds has no value."""
    if spread.mean is None:
        return _incomplete(spread)
    mean = f"{100 * spread.mean:{'+' if sign else ''}.2f}"
    return mean if spread.half_width is None else f"{mean}±{100 * spread.half_width:.2f}"


def _main_row(row: ComparisonRow, comparison: Comparison) -> tuple[str, ...]:
    cells = [
        row.configuration.label,
        "*" if row.on_front else "",
        str(len(row.configuration.runs)),
        share_text(row.final["accuracy"]),
        share_text(row.final["personal_accuracy"]),
        *(share_text(row.final[metric]) for metric in _further_metrics(comparison)),
    ]
    if comparison.baseline is not None:
        cells.append(_difference_text(row))
    return (*cells, *(_mean_text(row.totals[cost], form) for cost, form in _FORMATS.items()))


def _main_values(row: ComparisonRow, comparison: Comparison) -> tuple[float | None, ...]:
    metrics: tuple[Metric, ...] = ("accuracy", "personal_accuracy", *_further_metrics(comparison))
    values = [None, None, None, *(row.final[metric].mean for metric in metrics)]
    if comparison.baseline is not None:
        values.append(None if row.difference is None else row.difference.difference.mean)
    return (*values, *(row.totals[cost].mean for cost in _FORMATS))


def _further_metrics(comparison: Comparison) -> tuple[Metric, ...]:
    """The validation metric that the comparison uses, at most one, and those of unseen clients if a run has them."""
    used = (comparison.order, comparison.metric)
    validation = tuple(metric for metric in used if metric.startswith("validation"))[:1]
    unseen = (
        metric for metric in _HEADINGS if any(row.final[metric].mean is not None for row in comparison.rows)
    )
    return (*validation, *unseen)


def _difference_text(row: ComparisonRow) -> str:
    if row.difference is None:
        return "baseline"
    if not row.difference.seeds:
        return EMPTY
    text = share_text(row.difference.difference, sign=True)
    num_pairs = len(row.difference.seeds)
    return text if num_pairs == len(row.configuration.runs) else f"{text} (n={num_pairs})"


def _reached_text(reached: TargetCost) -> str:
    if reached.emulated_s.mean is None or reached.upload_bytes.mean is None:
        return _incomplete(reached.emulated_s if reached.emulated_s.mean is None else reached.upload_bytes)
    both = format_seconds(reached.emulated_s.mean), format_bytes(reached.upload_bytes.mean)
    return ", ".join(text.replace(" ", "") for text in both)


def _mean_text(spread: Spread, form: Callable[[float], str]) -> str:
    return _incomplete(spread) if spread.mean is None else form(spread.mean)


def _incomplete(spread: Spread) -> str:
    return f"{spread.num_reached} of {spread.num_seeds}" if spread.num_reached else EMPTY


def _caption(comparison: Comparison) -> str:
    parts = ["Means over n seeds; accuracies in % ± half of the 95 % t interval."]
    if comparison.order != comparison.metric:
        parts.append(f"The rows are in the order of {METRIC_TITLES[comparison.order]}.")
    if comparison.baseline is not None:
        parts.append(
            f"difference: {METRIC_TITLES[comparison.metric]} minus the baseline {comparison.baseline}, in points, "
            "paired by seed."
        )
    parts.append(
        f"*: on the Pareto front of {METRIC_TITLES[comparison.metric]} and {COST_TITLES[comparison.cost]}."
    )
    return " ".join(parts)
