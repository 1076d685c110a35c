"""What `sparsefleet reproduce` prints: the estimated cost of a study, and its verdicts."""

import os
from pathlib import Path

from rich.console import Console, Group, RenderableType

from orchestrator.cli.views.tables import PlainTable
from orchestrator.errors import DataError
from orchestrator.formatting import format_bytes, format_flops, format_seconds
from orchestrator.studies.data_needs import data_config
from orchestrator.studies.estimate import StepTimer, estimate_study, measured_step_s
from orchestrator.studies.execution.session import StudyRequest, unchecked_plan
from orchestrator.studies.plan import StudyPlan
from orchestrator.studies.report.tables import verdict_table
from orchestrator.studies.results import StudyResults


def estimate_table(request: StudyRequest, step_s: StepTimer = measured_step_s) -> RenderableType:
    """Check a study and return its estimated cost, with a line for each data set that is missing.

    `step_s` measures the time of a training step on this machine. Raises RequestError for an invalid study.
    """
    plan = unchecked_plan(request, None)
    plan.check()
    table = PlainTable("", "runs", "upload", "download", "training", "emulated", "this machine")
    num_cores = len(os.sched_getaffinity(0))
    for name, cost in estimate_study(plan, step_s).items():
        table.add(
            name,
            str(cost.num_runs),
            format_bytes(cost.upload_bytes),
            format_bytes(cost.download_bytes),
            format_flops(cost.train_flops),
            format_seconds(cost.emulated_s),
            format_seconds(cost.core_s / num_cores),
        )
    table.caption = (
        f"estimated; this machine: {num_cores} cores with one thread each, and nothing else running"
    )
    return Group(f"{plan.study.title} ({request.scale})", table, *missing_data(plan, request.data))


def missing_data(plan: StudyPlan, folder: Path) -> list[str]:
    """Return a line for each data set of the plan that `folder` does not contain."""
    lines = []
    for need in dict.fromkeys(plan.study.settings[cell.setting].data for cell in plan.cells):
        try:
            data_config(need, folder)
        except DataError as error:
            lines.append(f"Missing: {error}")
    return lines


def print_verdicts(results: StudyResults, folder: Path, quiet: bool) -> None:
    """Print the verdicts and the place of the report."""
    if quiet:
        return
    console = Console()
    text = verdict_table(results)
    table = PlainTable(*text.headings)
    for row in text.rows:
        table.add(*row)
    console.print(table)
    console.print(
        f"Report: {folder / 'report' / 'report.html'}", highlight=False, markup=False, soft_wrap=True
    )
