"""A sweep's own report: its trials compared, in the sweep's folder, from where it goes to MLflow too."""

from pathlib import Path

from orchestrator.analysis.compute import compare
from orchestrator.analysis.options import CompareOptions, Metric
from orchestrator.analysis.picking import pick_runs
from orchestrator.analysis.report.write import write_report
from orchestrator.errors import RequestError
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import SweepStore


def report_sweep(store: SweepStore, objective: Objective) -> list[Path]:
    """Write the comparison of the sweep's trials; nothing where no round was evaluated. Returns the files."""
    try:
        picked = pick_runs(store.folder.parent, sweep=str(store.folder))
    except RequestError:
        return []
    metric: Metric = "personal_accuracy" if objective.kind == "personal_accuracy" else "accuracy"
    targets = (objective.limit,) if objective.kind == "time_to_accuracy" and objective.limit else ()
    caps = (objective.limit,) if objective.kind == "accuracy_at_upload" and objective.limit else ()
    options = CompareOptions(metric=metric, targets=targets, upload_caps=caps)
    return write_report(compare(picked.runs, options, picked.notes), store.report)
