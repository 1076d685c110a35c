"""Plots the curves and the front of each setting of a study, with the arms' names."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.compute import compare
from orchestrator.analysis.options import CompareOptions, Metric
from orchestrator.analysis.report.charts import curve_charts, pareto_chart
from orchestrator.analysis.report.draw_figure import draw_charts
from orchestrator.analysis.runs import ComparedRun
from orchestrator.studies.plan import Cell
from orchestrator.studies.results import StudyResults


def plot_settings(results: StudyResults, folder: Path) -> dict[str, Path]:
    """Write `<setting>.png`, `.pdf` and `.svg` for each setting with runs, and return the PNG files by setting."""
    plots = {}
    for setting in results.plan.settings:
        runs = {cell: found for cell, found in results.runs.items() if cell.setting == setting and found}
        if runs:
            comparison = _comparison(results, setting, runs)
            charts = curve_charts(comparison)
            plots[setting] = folder / f"{setting}.png"
            draw_charts([charts["round"], charts["upload"], pareto_chart(comparison)], plots[setting])
    return plots


def _comparison(
    results: StudyResults, setting: str, runs: Mapping[Cell, Mapping[int, ComparedRun]]
) -> Comparison:
    study = results.plan.study
    is_personal = study.measures[study.settings[setting].tuned_by].metric == "personal_accuracy"
    metric: Metric = "personal_accuracy" if is_personal else "accuracy"
    every = {run.folder: run for found in runs.values() for run in found.values()}
    comparison = compare(list(every.values()), CompareOptions(metric=metric))
    names: dict[Path, str] = {}
    for cell, found in runs.items():
        for run in found.values():
            names.setdefault(run.folder, cell.arm)
    rows = tuple(
        replace(row, configuration=replace(row.configuration, label=names[first.folder]))
        for row in comparison.rows
        for first in [next(iter(row.configuration.runs.values()))]
    )
    return replace(comparison, rows=rows)
