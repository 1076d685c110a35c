"""Writes all files of a report into one folder."""

from pathlib import Path

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.report.charts import curve_charts, pareto_chart
from orchestrator.analysis.report.draw_png import draw_charts
from orchestrator.analysis.report.export import to_csv, to_json
from orchestrator.analysis.report.page import report_page
from orchestrator.errors import RequestError


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Write report.html, curves.png, pareto.png, comparison.csv and comparison.json; return the paths in this order.

    The function creates the folder if necessary. Raises RequestError when a file cannot be written.
    """
    names = ("report.html", "curves.png", "pareto.png", "comparison.csv", "comparison.json")
    page, curves, pareto, csv_file, json_file = paths = [folder / name for name in names]
    charts = curve_charts(comparison)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page.write_text(report_page(comparison), encoding="utf-8")
        draw_charts([charts["upload"], charts["flops"], charts["time"]], curves)
        draw_charts([pareto_chart(comparison)], pareto)
        csv_file.write_text(to_csv(comparison), encoding="utf-8")
        json_file.write_text(to_json(comparison), encoding="utf-8")
    except OSError as error:
        problem = f"the report cannot be written to this folder ({error.strerror})"
        raise RequestError("--out", folder, problem, "choose a writable folder") from error
    return paths
