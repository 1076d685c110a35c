"""Exports a study's results as CSV, in fractions, bytes, FLOPs and seconds."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.analysis.runs import ComparedRun
from orchestrator.analysis.statistics import spread
from orchestrator.studies.execution.folder import StudyState
from orchestrator.studies.outcomes import outcome_at_cap
from orchestrator.studies.report.tables import verdict_table
from orchestrator.studies.report.text import values_text
from orchestrator.studies.results import StudyResults
from orchestrator.studies.schema import MeasuredMetric, StudyMeasure

#: costs of an arm that the outcomes contain
COST_COLUMNS: tuple[MeasuredMetric, ...] = ("upload_bytes", "train_flops", "emulated_s")

#: columns of the outcomes, which the board reads
OUTCOME_COLUMNS = (
    "study",
    "scale",
    "setting",
    "data",
    "arm",
    "label",
    "method",
    "sparsity",
    "tuned",
    "measure",
    "metric",
    "at",
    "num_seeds",
    "mean",
    "half_width",
    *COST_COLUMNS,
    "command",
    "version",
)
VERDICT_COLUMNS = (
    "study",
    "scale",
    "claim",
    "text",
    "published",
    "measured",
    "verdict",
    "num_seeds",
    "command",
)


def outcomes_csv(results: StudyResults, state: StudyState) -> str:
    """Return one line for each arm, setting, measure and place (end or cap). A missing value is empty."""
    return _csv(OUTCOME_COLUMNS, _outcome_rows(results, state))


def verdicts_csv(results: StudyResults, state: StudyState) -> str:
    """Return one line for each claim."""
    rows = zip(results.claims, verdict_table(results).rows, strict=True)
    return _csv(
        VERDICT_COLUMNS,
        (
            {
                "study": state.name,
                "scale": state.scale,
                "claim": each.name,
                "text": each.claim.text,
                "published": row[1],
                "measured": row[2],
                "verdict": each.verdict,
                "num_seeds": state.num_seeds,
                "command": state.command,
            }
            for each, row in rows
        ),
    )


def contrasts_csv(results: StudyResults) -> str:
    """Return one line for each contrast, with the outcomes of each seed."""
    columns = ("contrast", "setting", "a", "b", "measure", "metric", "at", "seeds", "values_a", "values_b")
    statistics = ("mean", "half_width", "p_value", "corrected_p_value")
    return _csv(
        (*columns, *statistics),
        (
            {
                **{name: getattr(each, name) for name in columns[:7]},
                **{name: _joined(getattr(each, name)) for name in columns[7:]},
                "mean": each.difference.mean,
                "half_width": each.difference.half_width,
                "p_value": each.p_value,
                "corrected_p_value": each.corrected,
            }
            for each in results.contrasts
        ),
    )


def _outcome_rows(results: StudyResults, state: StudyState) -> Iterator[dict[str, Any]]:
    study = results.plan.study
    for arm in results.arms:
        runs = results.runs.get(arm.cell, {})
        if not runs:
            continue
        first = next(iter(runs.values()))
        fixed = {
            "study": state.name,
            "scale": state.scale,
            "setting": arm.cell.setting,
            "data": study.settings[arm.cell.setting].data,
            "arm": arm.cell.arm,
            "label": study.arms[arm.cell.arm].label,
            "method": first.method,
            "sparsity": first.tags.get("sparsity", ""),
            "tuned": values_text(arm.values),
            "num_seeds": len(arm.seeds),
            "command": state.command,
            "version": state.packages.get("sparsefleet", ""),
        }
        cap = results.plan.upload_cap(arm.cell.setting)
        for at, outcomes, limit in (("end", arm.at_end, math.inf), ("cap", arm.at_cap, cap or 0.0)):
            costs = _costs(runs, limit)
            for name, found in outcomes.items():
                measure = study.measures[name]
                numbers = {"mean": found.mean, "half_width": found.half_width}
                yield {**fixed, "measure": name, "metric": measure.metric, "at": at, **numbers, **costs}


def _costs(runs: Mapping[int, ComparedRun], cap: float) -> dict[str, float | None]:
    """Return the means over the runs of the costs that COST_COLUMNS names, within `cap` uploaded bytes."""
    costs = {cost: StudyMeasure(metric=cost, direction="lower") for cost in COST_COLUMNS}
    return {
        name: spread(outcome_at_cap(run.records, measure, cap) for run in runs.values()).mean
        for name, measure in costs.items()
    }


def _joined(values: Sequence[object]) -> str:
    return " ".join("" if value is None else f"{value}" for value in values)


def _csv(columns: Sequence[str], rows: "Iterator[dict[str, Any]] | Any") -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
