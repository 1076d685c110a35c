"""The commands `sweep` and `compare`."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer
from rich.console import Console

from orchestrator.cli.options import (
    ConfigFile,
    Overrides,
    Quiet,
    Storage,
    SummaryFile,
    Verbose,
    check_summary,
    program,
    where_to_look,
    write_summary,
)
from orchestrator.errors import RequestError
from orchestrator.storage.folders import is_sweep

if TYPE_CHECKING:
    from orchestrator.sweeping.result import SweepResult

SWEEP_EXAMPLES = """
Run a search space's trials on Ray Tune, each a run of its own, and rank them.

SPACE is a name of `sparsefleet list spaces`, or a .py file. KEY=VALUE fixes a key for all trials, KEY=[A,B] makes it a
dimension. A sweep that was interrupted or killed goes on with `sparsefleet sweep SWEEP --resume`.

Examples:

  sparsefleet sweep smoke

  sparsefleet sweep sparsity --seeds 3 training.rounds=50

  sparsefleet sweep algorithms 'training.lr=[0.02, 0.1]' --scheduler asha

  sparsefleet sweep feddst --search tpe --num-samples 30 --objective accuracy_at_upload=5MB

  sparsefleet sweep feddst --search nsga2 --num-samples 40 --objective pareto

  sparsefleet sweep feddst --scheduler pbt --num-samples 6
"""

COMPARE_EXAMPLES = """
Compare runs: means with 95 % intervals over seeds, paired differences, accuracy against bytes, FLOPs and time.

RUN is a run's id or folder, an MLflow run id, or a pattern such as 'feddst-*'; with none, all runs outside of sweeps.

Examples:

  sparsefleet compare

  sparsefleet compare --sweep sparsity-20260101-120000-ab12 --baseline 'randommask level=0.8'

  sparsefleet compare 'fed*' --tag data=digits --at-upload 5MB --to-accuracy 0.9 --out comparison
"""


def sweep_command(
    space: Annotated[
        str, typer.Argument(metavar="SPACE", help="A search space; with --resume a sweep, or its space.")
    ],
    overrides: Overrides = None,
    config: ConfigFile = None,
    objective: Annotated[
        str,
        typer.Option(
            metavar="OBJECTIVE",
            help="accuracy, personal_accuracy, accuracy_at_upload=BYTES, time_to_accuracy=ACCURACY or pareto.",
        ),
    ] = "accuracy",
    search: Annotated[
        str, typer.Option(metavar="SEARCH", help="grid, random, tpe or nsga2 (the last two are Optuna's).")
    ] = "grid",
    scheduler: Annotated[str, typer.Option(metavar="SCHEDULER", help="fifo, asha, median or pbt.")] = "fifo",
    num_samples: Annotated[
        int | None, typer.Option(metavar="N", help="Draws, where the space has something to draw (10).")
    ] = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Run every configuration with the same N seeds and splits.")
    ] = 1,
    max_concurrent: Annotated[
        int | None, typer.Option(metavar="N", help="Trials at a time; one per core if not given.")
    ] = None,
    grace_rounds: Annotated[
        int | None, typer.Option(metavar="N", help="Rounds that every trial may run (asha, median).")
    ] = None,
    perturb_rounds: Annotated[
        int | None, typer.Option(metavar="N", help="Rounds from one perturbation to the next (pbt).")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Finish a sweep; trials that finished or were stopped are not run again."
        ),
    ] = False,
    storage: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the sweep (runtime.storage); with --resume, where it is looked for (runs).",
        ),
    ] = None,
    summary: SummaryFile = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """See SWEEP_EXAMPLES."""
    check_summary(summary)
    asked: dict[str, Any] = {
        "search": search,
        "scheduler": scheduler,
        "objective": objective,
        "num_samples": num_samples,
        "seeds": seeds,
        "grace_rounds": grace_rounds,
        "perturb_rounds": perturb_rounds,
    }
    if resume:
        result = _resume(
            space,
            storage or Path("runs"),
            max_concurrent,
            [*(overrides or []), *([config] if config else [])],
            asked,
            quiet,
            verbose,
        )
    else:
        from orchestrator.api import sweep
        from orchestrator.config.overrides import parse_overrides, read_yaml
        from orchestrator.display.sweep_progress import SweepProgress

        values = parse_overrides(overrides or [])
        if storage is not None:
            values.setdefault("runtime.storage", str(storage))
        result = sweep(
            space,
            values,
            config=read_yaml(config) if config else {},
            max_concurrent=max_concurrent,
            display=SweepProgress(quiet),
            verbose=verbose,
            **asked,
        )
    if summary is not None:
        write_summary(summary, result.to_json())
    _report(result, quiet)


def _resume(
    name: str,
    storage: Path,
    max_concurrent: int | None,
    changes: Sequence[object],
    asked: dict[str, Any],
    quiet: bool,
    verbose: bool,
) -> "SweepResult":
    from orchestrator.display.sweep_progress import SweepProgress
    from orchestrator.sweeping.request import SweepRequest
    from orchestrator.sweeping.store import find_sweep
    from orchestrator.sweeping.tune.session import resume_sweep

    changed = {key: value for key, value in asked.items() if value != SweepRequest.model_fields[key].default}
    options = [(f"--{key.replace('_', '-')}", value) for key, value in changed.items()]
    for what, value in [*(("KEY=VALUE", change) for change in changes), *options]:
        problem = "a sweep that goes on keeps what it was started with"
        raise RequestError(
            what, value, problem, "leave it out (--max-concurrent may change), or start a new sweep"
        )
    folder = find_sweep(name, storage)
    return resume_sweep(folder, SweepProgress(quiet), max_concurrent=max_concurrent, verbose=verbose)


def _report(result: "SweepResult", quiet: bool) -> None:
    """Print what the sweep came to; exits 130 when it was interrupted, 1 when a trial failed."""
    from orchestrator.sweeping.result import result_table

    if result.interrupted:
        ended = result.num_finished + result.num_stopped + result.num_failed
        words = f"{program()} sweep {shlex.quote(str(result.folder))} --resume"
        print(f"stopped after {ended} of {result.num_trials} trials; go on with: {words}", file=sys.stderr)
        raise typer.Exit(130)
    if not quiet:
        console = Console()
        console.print(result_table(result))
        lines = ["", f"{result.sweep_id}: {result.folder}", *_places(result)]
        console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    if result.num_failed:
        words = f"{program()} sweep {shlex.quote(str(result.folder))} --resume"
        print(
            f"{result.num_failed} of {result.num_trials} trials failed, see {result.folder / 'failures'}; "
            f"{words} tries them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _places(result: "SweepResult") -> list[str]:
    from orchestrator.sweeping.plan import plan_resumed_sweep
    from orchestrator.sweeping.store import SweepStore

    page = result.folder / "report" / "report.html"
    compared = [f"Compared: {page}"] if page.is_file() else []
    uri = where_to_look(plan_resumed_sweep(SweepStore(result.folder)).config)
    return compared + ([f"Open in the MLflow UI: {uri}"] if uri else [])


def compare_command(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs, or patterns.")] = None,
    sweep: Annotated[str | None, typer.Option(metavar="SWEEP", help="The trials of a sweep.")] = None,
    name: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Runs whose display name fits, as 'feddst*'.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Runs with this tag; may be repeated.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH", help="Differences to this configuration: label, method, run or KEY=VALUE."
        ),
    ] = None,
    metric: Annotated[
        str, typer.Option(metavar="METRIC", help="accuracy or personal_accuracy.")
    ] = "accuracy",
    cost: Annotated[
        str, typer.Option(metavar="COST", help="Of the Pareto front: upload, download, flops or time.")
    ] = "upload",
    at_upload: Annotated[
        list[str] | None, typer.Option(metavar="BYTES", help="Accuracy within this upload; may be repeated.")
    ] = None,
    to_accuracy: Annotated[
        list[float] | None,
        typer.Option(
            metavar="SHARE", help="Time until the mean of three evaluations stays there; may be repeated."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write report.html, pictures, CSV and JSON there.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="What is printed: table, csv or json.")
    ] = "table",
    storage: Storage = Path("runs"),
) -> None:
    """See COMPARE_EXAMPLES."""
    from orchestrator.analysis.compute import compare
    from orchestrator.analysis.picking import pick_runs
    from orchestrator.analysis.report.write import write_report

    _one_of("--format", form, ("table", "csv", "json"))
    options = _options(metric, cost, baseline, at_upload or [], to_accuracy or [])
    if sweep is not None and is_sweep(Path(sweep)):
        storage = Path(sweep).resolve().parent
    picked = pick_runs(storage, runs or [], sweep=sweep, name=name, tags=_tags(tag or []))
    comparison = compare(picked.runs, options, picked.notes)
    if out is not None:
        if out.exists() and not out.is_dir():
            raise RequestError("--out", out, "this is a file", "name a folder")
        write_report(comparison, out)
    _print_comparison(comparison, form)
    if out is not None:
        print(f"report: {out / 'report.html'}", file=sys.stderr)
    if sweep is not None and out is not None:
        _log_to_sweep(sweep, storage, out)


def _options(metric: str, cost: str, baseline: str | None, caps: list[str], targets: list[float]) -> Any:
    from orchestrator.analysis.options import CompareOptions, Cost, Metric
    from orchestrator.formatting import parse_bytes

    _one_of("--metric", metric, get_args(Metric))
    _one_of("--cost", cost, get_args(Cost))
    try:
        upload_caps = tuple(parse_bytes(cap) for cap in caps)
    except ValueError as error:
        raise RequestError(
            "--at-upload", ", ".join(caps), "this is no number of bytes", "write 5MB"
        ) from error
    return CompareOptions(
        metric=cast("Metric", metric),
        cost=cast("Cost", cost),
        baseline=baseline,
        upload_caps=upload_caps,
        targets=tuple(targets),
    )


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RequestError(option, value, "there is no such choice", f"choose one of {', '.join(choices)}")


def _tags(words: list[str]) -> dict[str, str]:
    tags = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise RequestError("--tag", word, "this is no KEY=VALUE", "write --tag method=feddst")
        tags[key] = value
    return tags


def _print_comparison(comparison: Any, form: str) -> None:
    from orchestrator.analysis.report.export import to_csv, to_json
    from orchestrator.analysis.report.terminal import terminal_tables

    if form == "table":
        Console().print(terminal_tables(comparison))
    else:
        print(
            to_json(comparison) if form == "json" else to_csv(comparison), end="\n" if form == "json" else ""
        )


def _log_to_sweep(sweep: str, storage: Path, out: Path) -> None:
    """Put a sweep's comparison into MLflow, beside the one that the sweep made itself."""
    from orchestrator.runtime.run_folder import tracking_uri
    from orchestrator.sweeping.plan import plan_resumed_sweep
    from orchestrator.sweeping.store import SweepStore, find_sweep
    from orchestrator.tracking.mlflow.artifacts import log_folder

    store = SweepStore(find_sweep(sweep, storage))
    config = plan_resumed_sweep(store).config
    if config.tracking.enabled:
        log_folder(tracking_uri(config), store.folder, out, f"comparisons/{out.resolve().name}")
