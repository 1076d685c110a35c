"""The commands that run single experiments: `run`, `resume` and `demo`."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestrator.cli.options import (
    AcceptChangedCode,
    ConfigSources,
    Overrides,
    Profile,
    Quiet,
    RunName,
    Storage,
    StorageFile,
    StorageOption,
    SummaryFile,
    Verbose,
    check_summary,
    chosen_storage,
    result_console,
    run_ui_hint,
    write_summary,
)
from orchestrator.commands import resume_line
from orchestrator.formatting import counted, format_seconds

if TYPE_CHECKING:
    from orchestrator.experiment.config import ExperimentConfig
    from orchestrator.storage.summary import RunSummary

_NumSeeds = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Run with N seeds (seed, seed + 1, ...) as trials of a sweep on Ray, and print a table of the seeds.",
    ),
]

_DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Do not run: print what the run of one seed would cost, and which numbers are exact. Trains one task.",
    ),
]

RUN_HELP = """
Run one experiment and print its results.

KEY=VALUE sets a config key and takes precedence over the config file. `sparsefleet list keys` shows all keys. \
Ctrl-C stops the run after the current round; `sparsefleet resume` continues it.

Examples:

  sparsefleet run

  sparsefleet run algorithm.name=feddst sparsity.level=0.9 training.rounds=50

  sparsefleet run -c experiment.yaml seed=3 --summary result.json

  sparsefleet run -c preset:feddst-cifar10-code -c my-machine.yaml

  sparsefleet run training.rounds=500 --dry-run

  sparsefleet run algorithm.name=feddst --seeds 3

  sparsefleet run algorithm.name=feddst --profile
"""

RESUME_HELP = """
Resume a run from its last checkpoint.

A larger training.rounds extends a finished run, and a larger training.stop.patience a run that has stopped early. \
Keys of runtime and tracking may change too, and data.max_gib; all \
other keys keep their values. The command looks for the run in runtime.storage. A run stores the user's files of its \
method and model, and is not resumed if they have changed.

Examples:

  sparsefleet resume feddst-20260101-120000-ab12

  sparsefleet resume runs/feddst-20260101-120000-ab12 training.rounds=100
"""

DEMO_HELP = """
Compare FedDST at sparsity 0.8 with FedAvg on the bundled digits. Takes about a minute.

Both runs have the same seed and the same partition. They appear in the storage folder and in MLflow.

Examples:

  sparsefleet demo

  sparsefleet demo --storage /tmp/runs
"""


def run_command(
    overrides: Overrides = None,
    config: ConfigSources = None,
    summary: SummaryFile = None,
    profile: Profile = False,
    seeds: _NumSeeds = 1,
    dry_run: _DryRun = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Implement `sparsefleet run`; RUN_HELP is its help text."""
    from orchestrator.display.run_progress import Progress
    from orchestrator.experiment.loading import load_config
    from orchestrator.runtime import session

    began_s = time.perf_counter()
    check_summary(summary)
    loaded = load_config(config, _profiled(overrides, profile))
    if dry_run:
        _forecast(loaded, summary, quiet=quiet)
        return
    if seeds > 1:
        _run_seeds(config or (), _profiled(overrides, profile), seeds, summary, quiet=quiet, verbose=verbose)
        return
    result = session.run(loaded, Progress(quiet=quiet), verbose=verbose)
    _write_run_summary(result, summary)
    _report([result], loaded.runtime.storage, None if quiet else result_console(summary), began_s)


def resume_command(
    run: Annotated[str, RunName],
    overrides: Overrides = None,
    config: StorageFile = None,
    accept_changed_code: AcceptChangedCode = False,
    storage: StorageOption = None,
    summary: SummaryFile = None,
    profile: Profile = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Implement `sparsefleet resume`; RESUME_HELP is its help text."""
    from orchestrator.display.run_progress import Progress
    from orchestrator.runtime import session
    from orchestrator.storage.lookup import find_run

    began_s = time.perf_counter()
    check_summary(summary)
    folder = find_run(run, chosen_storage(storage, overrides, config))
    result = session.resume(
        folder,
        _profiled(overrides, profile),
        Progress(quiet=quiet),
        verbose=verbose,
        accept_changed_code=accept_changed_code,
    )
    _write_run_summary(result, summary)
    _report([result], folder.parent, None if quiet else result_console(summary), began_s)


def demo_command(storage: Storage = Path("runs"), quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Implement `sparsefleet demo`; DEMO_HELP is its help text."""
    from orchestrator.cli.demo import run_demo
    from orchestrator.display.run_progress import Progress

    began_s = time.perf_counter()
    results = run_demo(storage, Progress(quiet=quiet), verbose=verbose)
    _report(results, storage, None if quiet else Console(), began_s)


def _forecast(config: "ExperimentConfig", summary: Path | None, *, quiet: bool) -> None:
    """Print what a run would cost on this machine, without starting Ray."""
    from orchestrator.cli.views.fleet_table import this_machine
    from orchestrator.cli.views.forecast_table import forecast_table
    from orchestrator.execution.placement import Capacity
    from orchestrator.experiment.prepare import prepare
    from orchestrator.forecast.forecast import forecast

    found = forecast(prepare(config), Capacity((this_machine(),)))
    if summary is not None:
        write_summary(summary, found.to_json())
    if not quiet:
        result_console(summary).print(forecast_table(found, config))


def _run_seeds(
    config: Sequence[str],
    overrides: Sequence[str],
    seeds: int,
    summary: Path | None,
    *,
    quiet: bool,
    verbose: bool,
) -> None:
    """Run the experiment with several seeds as the trials of a sweep, and print a row for each seed and the means."""
    from orchestrator.api import sweep
    from orchestrator.cli.sweep import report_sweep
    from orchestrator.cli.views.seed_table import seed_table
    from orchestrator.config.overrides import apply_overrides, read_configs
    from orchestrator.display.sweep_progress import SweepProgress
    from orchestrator.experiment.config import ExperimentConfig

    tree = apply_overrides(read_configs(config), overrides)
    has_validation = ExperimentConfig.parse(tree).data.validation_fraction > 0
    result = sweep(
        {},
        config=tree,
        seeds=seeds,
        objective="accuracy" if has_validation else "test_accuracy",
        display=SweepProgress(quiet),
        verbose=verbose,
    )
    if summary is not None:
        write_summary(summary, result.to_json())
    report_sweep(
        result,
        None if quiet else result_console(summary),
        lambda finished: seed_table({run.config.seed: run.to_dict() for run in finished.runs}),
    )


def _profiled(overrides: list[str] | None, profile: bool) -> list[str]:
    """Return the overrides, with `runtime.profile` for `--profile`."""
    return [*(overrides or []), *(["runtime.profile=true"] if profile else [])]


def _report(results: "Sequence[RunSummary]", storage: Path, console: Console | None, began_s: float) -> None:
    """Print the results of runs (None: do not); exit with 130 when the last run was interrupted.

    `began_s` is the value of `time.perf_counter` when the command began.
    """
    last = results[-1]
    if last.interrupted:
        command = resume_line(storage / last.run_id)
        print(f"stopped after {counted(last.num_rounds, 'round')}; resume with: {command}", file=sys.stderr)
        raise typer.Exit(130)
    if console is None:
        return
    from orchestrator.cli.views.profile_table import profile_table
    from orchestrator.display.run_progress import summary_table
    from orchestrator.tracking.record import read_records

    console.print(summary_table([result.to_dict() for result in results]))
    records = read_records(storage / last.run_id / "metrics.jsonl")
    if (table := profile_table(record.metrics for record in records)) is not None:
        console.print("", table)
    total_s = format_seconds(time.perf_counter() - began_s)
    lines = ["", f"Total wall time: {total_s}, with the start of all processes and the delivery to MLflow"]
    lines += [*(f"{result.algorithm}: {storage / result.run_id}" for result in results)]
    if (ui_hint := run_ui_hint(storage / last.run_id)) is not None:
        lines.append(f"Open in the MLflow UI: {ui_hint}")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _write_run_summary(result: "RunSummary", summary: Path | None) -> None:
    if summary is not None:
        write_summary(summary, result.to_json())
