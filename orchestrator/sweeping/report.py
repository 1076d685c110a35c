"""Writes the report of a sweep: the comparison of its trials, in the sweep's folder."""

from pathlib import Path

from orchestrator.analysis.compute import compare_by_data
from orchestrator.analysis.options import CompareOptions, Metric
from orchestrator.analysis.report.write import write_reports
from orchestrator.analysis.selection import select_runs
from orchestrator.errors import RequestError
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import SweepStore


def report_sweep(store: SweepStore, objective: Objective) -> list[Path]:
    """Compare the trials of a sweep, write the report, and return its files.

    The report shows test metrics, in the order of the validation metric by which the sweep chooses.
    Each data set has a report of its own. Writes nothing and returns no file when no trial has an evaluated round.
    """
    try:
        selected = select_runs(store.folder.parent, sweep=str(store.folder))
    except RequestError:
        return []
    is_personal = objective.kind == "personal_accuracy"
    metric: Metric = "personal_accuracy" if is_personal else "accuracy"
    validation: Metric = "validation_personal_accuracy" if is_personal else "validation_accuracy"
    targets = (objective.limit,) if objective.kind == "time_to_accuracy" and objective.limit else ()
    caps = (objective.limit,) if objective.kind == "accuracy_at_upload" and objective.limit else ()
    options = CompareOptions(
        metric=metric,
        order=validation if objective.data == "validation" else None,
        targets=targets,
        upload_caps=caps,
    )
    return write_reports(compare_by_data(selected.runs, options, selected.notes), store.report)
