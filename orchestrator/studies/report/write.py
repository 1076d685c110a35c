"""Writes all files of a study's report into one folder."""

from pathlib import Path

from orchestrator.atomic_write import explained_write
from orchestrator.studies.execution.folder import StudyState
from orchestrator.studies.report.export import contrasts_csv, outcomes_csv, verdicts_csv
from orchestrator.studies.report.markdown import markdown_report
from orchestrator.studies.report.page import study_page
from orchestrator.studies.report.plots import plot_settings
from orchestrator.studies.results import StudyResults


def write_study_report(results: StudyResults, state: StudyState, folder: Path) -> list[Path]:
    """Write report.html, report.md, verdicts.csv, contrasts.csv, outcomes.csv and a plot for each setting.

    Returns the paths in this order. Raises CheckpointError when a file cannot be written.
    """
    with explained_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        plots = plot_settings(results, folder)
        texts = {
            "report.html": study_page(results, state, plots),
            "report.md": markdown_report(results, state),
            "verdicts.csv": verdicts_csv(results, state),
            "contrasts.csv": contrasts_csv(results),
            "outcomes.csv": outcomes_csv(results, state),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    return [*(folder / name for name in texts), *plots.values()]
