"""Exports a comparison as CSV and as JSON, in bytes, FLOPs, seconds and fractions."""

import csv
import io
import json
import math
from collections.abc import Mapping
from typing import Any

from orchestrator.analysis.comparison import Comparison, ComparisonRow
from orchestrator.analysis.options import COST_COLUMNS, METRICS
from orchestrator.analysis.statistics import Spread


def to_csv(comparison: Comparison) -> str:
    """Return one line per configuration, in the order of the comparison. A missing value is empty.

    Every key that differs between configurations has a column with its dotted name.
    """
    rows = table_rows(comparison)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def table_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the columns of each configuration by name, in the order of the comparison. A missing value is None.

    All rows have the same columns in the same order.
    """
    keys = sorted({key for row in comparison.rows for key in row.configuration.key_values})
    rows = []
    for row in comparison.rows:
        columns = list(_line(row, comparison).items())
        values = {key: row.configuration.key_values.get(key) for key in keys}
        rows.append({**dict(columns[:4]), **values, **dict(columns[4:])})
    return rows


def to_json(comparison: Comparison) -> str:
    """Return one JSON object with all results, the values of each run and the points of each curve."""
    content = {
        "metric": comparison.metric,
        "order": comparison.order,
        "cost": comparison.cost,
        "baseline": comparison.baseline,
        "upload_caps_bytes": comparison.upload_caps,
        "targets": comparison.targets,
        "notes": comparison.notes,
        "configurations": [_row_object(row, comparison) for row in comparison.rows],
    }
    return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"


def _line(row: ComparisonRow, comparison: Comparison) -> dict[str, Any]:
    line: dict[str, Any] = {
        "configuration": row.configuration.label,
        "method": row.configuration.method,
        "num_seeds": len(row.configuration.runs),
        "seeds": " ".join(map(str, row.configuration.runs)),
    }
    for metric in METRICS:
        line |= _columns(metric, row.final[metric])
    for cost, column in COST_COLUMNS.items():
        line |= _columns(f"{column}_total", row.totals[cost])
    if comparison.baseline is not None:
        line |= _difference_columns(row, comparison)
    line["on_pareto_front"] = row.on_front
    for cap, spread in zip(comparison.upload_caps, row.at_caps, strict=True):
        line |= _columns(f"{comparison.metric}_by_{cap:.12g}_upload_bytes", spread)
    for target, reached in zip(comparison.targets, row.reached, strict=True):
        line |= _columns(f"emulated_s_to_{target:g}", reached.emulated_s)
        line |= _columns(f"upload_bytes_to_{target:g}", reached.upload_bytes)
    return line


def _difference_columns(row: ComparisonRow, comparison: Comparison) -> dict[str, Any]:
    name = f"{comparison.metric}_difference"
    if row.difference is None:
        return {f"{name}_mean": None, f"{name}_half_width": None, f"{name}_num_pairs": None}
    difference = row.difference.difference
    return {
        f"{name}_mean": difference.mean,
        f"{name}_half_width": difference.half_width,
        f"{name}_num_pairs": len(row.difference.seeds),
    }


def _columns(name: str, spread: Spread) -> dict[str, Any]:
    return {
        f"{name}_mean": spread.mean,
        f"{name}_half_width": spread.half_width,
        f"{name}_num_reached": spread.num_reached,
    }


def _row_object(row: ComparisonRow, comparison: Comparison) -> dict[str, Any]:
    configuration = row.configuration
    difference = row.difference
    return {
        "label": configuration.label,
        "method": configuration.method,
        "key_values": configuration.key_values,
        "on_pareto_front": row.on_front,
        "seeds": list(configuration.runs),
        "runs": [
            {
                "run_id": run.run_id,
                "name": run.name,
                "sweep": run.sweep,
                "seed": seed,
                "status": run.status,
                "num_rounds": run.records[-1].round_idx + 1,
                "folder": str(run.folder),
            }
            for seed, run in configuration.runs.items()
        ],
        **{metric: _spread_object(spread) for metric, spread in row.final.items()},
        **{f"{COST_COLUMNS[cost]}_total": _spread_object(spread) for cost, spread in row.totals.items()},
        "difference": None
        if difference is None
        else {"seeds": difference.seeds, **_spread_object(difference.difference)},
        "at_upload_caps": [
            {"cap_bytes": cap, **_spread_object(spread)}
            for cap, spread in zip(comparison.upload_caps, row.at_caps, strict=True)
        ],
        "to_targets": [
            {
                "target": target,
                "emulated_s": _spread_object(reached.emulated_s),
                "upload_bytes": _spread_object(reached.upload_bytes),
            }
            for target, reached in zip(comparison.targets, row.reached, strict=True)
        ],
        "curve": [
            {
                "round_idx": point.round_idx,
                "mean": point.mean,
                "half_width": point.half_width,
                **{COST_COLUMNS[cost]: value for cost, value in point.costs.items()},
            }
            for point in row.curve
        ],
    }


def _spread_object(spread: Spread) -> dict[str, Any]:
    return {"values": spread.values, "mean": spread.mean, "half_width": spread.half_width}


def _plain(value: Any) -> Any:
    """Convert to JSON types; an infinite number of a config becomes text, because JSON has no such number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
