"""Writes all files of a report into one folder."""

import re
from collections.abc import Mapping
from pathlib import Path

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.report.charts import curve_charts, fairness_of, pareto_chart
from orchestrator.analysis.report.draw_figure import draw_charts, draw_fairness
from orchestrator.analysis.report.export import to_csv, to_json
from orchestrator.analysis.report.page import report_page
from orchestrator.errors import RequestError


def write_reports(comparisons: Mapping[str, Comparison], folder: Path) -> list[Path]:
    """Write the report of each data set, and return all paths; see `write_report`.

    A single report goes to `folder`. Several reports go to subfolders with the names of their data sets.
    """
    if len(comparisons) == 1:
        return write_report(next(iter(comparisons.values())), folder)
    places = {name: folder / re.sub(r"[^\w.-]+", "_", name) for name in comparisons}
    return [path for name, place in places.items() for path in write_report(comparisons[name], place)]


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Write report.html, comparison.csv, comparison.json, and the figures; return the paths in this order.

    The figures are curves and pareto, and fairness if the runs have recorded their clients' accuracies; each is
    written as PNG, PDF and SVG. The function creates the folder if necessary. Raises RequestError when a file cannot
    be written.
    """
    page, csv_file, json_file = paths = [
        folder / name for name in ("report.html", "comparison.csv", "comparison.json")
    ]
    charts = curve_charts(comparison)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page.write_text(report_page(comparison), encoding="utf-8")
        paths += draw_charts(
            [charts[name] for name in ("round", "upload", "flops", "time")], folder / "curves"
        )
        paths += draw_charts([pareto_chart(comparison)], folder / "pareto")
        if distributions := fairness_of(comparison):
            paths += draw_fairness(distributions, folder / "fairness")
        csv_file.write_text(to_csv(comparison), encoding="utf-8")
        json_file.write_text(to_json(comparison), encoding="utf-8")
    except OSError as error:
        problem = f"the report cannot be written to this folder ({error.strerror})"
        raise RequestError("--out", folder, problem, "choose a writable folder") from error
    return paths
