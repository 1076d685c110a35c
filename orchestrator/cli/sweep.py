"""The command `sweep`, which starts and resumes sweeps."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from orchestrator.cli.options import (
    AcceptChangedCode,
    ConfigSources,
    Overrides,
    Quiet,
    SummaryFile,
    Verbose,
    check_summary,
    chosen_storage,
    experiment_of,
    mlflow_ui_hint,
    result_console,
    write_summary,
)
from orchestrator.commands import resume_sweep_line
from orchestrator.errors import RequestError
from orchestrator.formatting import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.sweeping.result import SweepResult

SWEEP_HELP = """
Run the trials of a search space on Ray Tune and rank them. Each trial is a run.

SPACE is a name that `sparsefleet list spaces` shows, or a .py file. KEY=VALUE sets a key for all trials. KEY=[A,B] \
and ranges such as 'KEY=loguniform(0.01, 0.1)' add a dimension; with such a key, SPACE is not needed. \
`sparsefleet sweep SWEEP --resume` continues an interrupted sweep and retries failed trials.

Examples:

  sparsefleet sweep smoke

  sparsefleet sweep 'training.lr=[0.01, 0.1]' 'algorithm.name=[fedavg, feddst]'

  sparsefleet sweep sparsity --seeds 3 training.rounds=50

  sparsefleet sweep algorithms 'training.lr=[0.02, 0.1]' --scheduler asha

  sparsefleet sweep feddst --search tpe --num-samples 30 --objective accuracy_at_upload=5MB

  sparsefleet sweep feddst --search nsga2 --num-samples 40 --objective pareto

  sparsefleet sweep feddst --scheduler pbt --num-samples 6

  sparsefleet sweep runs/sparsity-20260101-120000-ab12 --resume
"""


_Space = Annotated[
    str | None,
    typer.Argument(
        metavar="[SPACE]",
        help="The search space; not needed with KEY=[A,B]. With --resume: the sweep's folder, id or space.",
    ),
]
_Objective = Annotated[
    str,
    typer.Option(
        metavar="OBJECTIVE",
        help="accuracy, personal_accuracy, accuracy_at_upload=BYTES, time_to_accuracy=ACCURACY or pareto, on "
        "validation data. The prefix test_ ranks by test data.",
    ),
]
_Search = Annotated[
    str, typer.Option(metavar="SEARCH", help="grid, random, tpe or nsga2 (tpe and nsga2 use Optuna).")
]
_Scheduler = Annotated[str, typer.Option(metavar="SCHEDULER", help="fifo, asha, median or pbt.")]
_NumSamples = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Number of samples of the dimensions that have a distribution; 10 if not given."
    ),
]
_NumSeeds = Annotated[
    int,
    typer.Option(metavar="N", help="Run each configuration with the same N seeds and partitions."),
]
_MaxConcurrent = Annotated[
    int | None,
    typer.Option(metavar="N", help="Maximum number of parallel trials; one per core if not given."),
]
_GraceRounds = Annotated[
    int | None,
    typer.Option(metavar="N", help="Rounds before a trial can be stopped early (asha, median)."),
]
_PerturbRounds = Annotated[
    int | None, typer.Option(metavar="N", help="Rounds between two perturbations (pbt).")
]
_Resume = Annotated[
    bool,
    typer.Option("--resume", help="Resume a sweep. Trials that finished or were stopped do not run again."),
]
_SweepStorage = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder for the sweep (runtime.storage). With --resume: folder that contains the sweep.",
    ),
]


def sweep_command(
    space: _Space = None,
    overrides: Overrides = None,
    config: ConfigSources = None,
    objective: _Objective = "accuracy",
    search: _Search = "grid",
    scheduler: _Scheduler = "fifo",
    num_samples: _NumSamples = None,
    seeds: _NumSeeds = 1,
    max_concurrent: _MaxConcurrent = None,
    grace_rounds: _GraceRounds = None,
    perturb_rounds: _PerturbRounds = None,
    resume: _Resume = False,
    accept_changed_code: AcceptChangedCode = False,
    storage: _SweepStorage = None,
    summary: SummaryFile = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Implement `sparsefleet sweep`; SWEEP_HELP is its help text."""
    from orchestrator.cli.views.sweep_table import sweep_table
    from orchestrator.config.overrides import parse_overrides, read_configs, split_name

    check_summary(summary)
    space, overrides = split_name(space, overrides or ())
    if accept_changed_code and not resume:
        problem = "a new sweep has no earlier code"
        raise RequestError("--accept-changed-code", True, problem, "leave it out, or add --resume")
    options: dict[str, Any] = {
        "search": search,
        "scheduler": scheduler,
        "objective": objective,
        "num_samples": num_samples,
        "seeds": seeds,
        "grace_rounds": grace_rounds,
        "perturb_rounds": perturb_rounds,
    }
    if resume:
        from orchestrator.storage.lookup import split_storage_key

        if space is None:
            raise RequestError("SWEEP", "", "--resume needs a sweep", "name its folder, id or space")
        changes, storage_keys = split_storage_key(overrides)
        _require_no_changes(changes, config or [], options)
        folder = chosen_storage(storage, storage_keys, None)
        result = _resume(space, folder, max_concurrent, quiet, verbose, accept_changed_code)
    else:
        options |= {"config": read_configs(config or ()), "max_concurrent": max_concurrent}
        result = _start(space, parse_overrides(overrides), storage, quiet, verbose, options)
    if summary is not None:
        write_summary(summary, result.to_json())
    report_sweep(result, None if quiet else result_console(summary), sweep_table)


def _start(
    space: str | None,
    values: dict[str, Any],
    storage: Path | None,
    quiet: bool,
    verbose: bool,
    options: dict[str, Any],
) -> "SweepResult":
    from orchestrator.api import sweep
    from orchestrator.display.sweep_progress import SweepProgress

    if storage is not None:
        values.setdefault("runtime.storage", str(storage))
    return sweep(
        {} if space is None else space, values, display=SweepProgress(quiet), verbose=verbose, **options
    )


def _require_no_changes(overrides: Sequence[str], files: Sequence[str], options: dict[str, Any]) -> None:
    """Raise RequestError when the user gives a resumed sweep other config values or options."""
    from orchestrator.sweeping.request import SweepRequest

    changed = {
        key: value for key, value in options.items() if value != SweepRequest.model_fields[key].default
    }
    changed_options = [(f"--{key.replace('_', '-')}", value) for key, value in changed.items()]
    changed_config = [*(("KEY=VALUE", text) for text in overrides), *(("--config", file) for file in files)]
    for field, value in [*changed_config, *changed_options]:
        problem = "a resumed sweep keeps its config and options, except --max-concurrent"
        raise RequestError(field, value, problem, "leave it out, or start a new sweep")


def _resume(
    name: str,
    storage: Path,
    max_concurrent: int | None,
    quiet: bool,
    verbose: bool,
    accept_changed_code: bool,
) -> "SweepResult":
    from orchestrator.display.sweep_progress import SweepProgress
    from orchestrator.storage.lookup import find_sweep
    from orchestrator.sweeping.tune.session import resume_sweep

    folder = find_sweep(name, storage)
    return resume_sweep(
        folder,
        SweepProgress(quiet),
        max_concurrent=max_concurrent,
        verbose=verbose,
        accept_changed_code=accept_changed_code,
    )


def report_sweep(
    result: "SweepResult", console: Console | None, table: "Callable[[SweepResult], RenderableType]"
) -> None:
    """Print a sweep's result as this table, and where its files are (console None: print nothing of both).

    Exits with 130 when the sweep was interrupted, and with 1 when a trial failed.
    """
    resume_command = resume_sweep_line(result.folder)
    if result.interrupted:
        num_ended = result.num_finished + result.num_stopped + result.num_failed
        line = f"stopped after {num_ended} of {counted(result.num_trials, 'trial')}; resume with: {resume_command}"
        print(line, file=sys.stderr)
        raise typer.Exit(130)
    if console is not None:
        console.print(table(result))
        notes = [f"Note: {note}" for note in result.notes]
        lines = ["", *notes, f"{result.sweep_id}: {result.folder}", *_report_places(result)]
        console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    if result.num_failed:
        print(
            f"{result.num_failed} of {counted(result.num_trials, 'trial')} failed, see {result.folder / 'failures'}; "
            f"retry them with: {resume_command}",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _report_places(result: "SweepResult") -> list[str]:
    """Lines that name the comparison page and the MLflow UI, if they exist."""
    from orchestrator.sweeping.plan import plan_resumed_sweep
    from orchestrator.sweeping.store import SweepStore

    page = result.folder / "report" / "report.html"
    lines = [f"Report: {page}"] if page.is_file() else []
    config = plan_resumed_sweep(SweepStore(result.folder)).config
    ui_hint = mlflow_ui_hint(config.tracking, config.runtime.storage, experiment_of(result.folder))
    return lines + ([f"Open in the MLflow UI: {ui_hint}"] if ui_hint else [])
