"""The command line. Exit codes: 0 done, 1 the run failed, 2 the request was wrong, 130 interrupted."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestrator.cli.cluster import (
    STATUS_EXAMPLES,
    STOP_EXAMPLES,
    SUBMIT_EXAMPLES,
    status_command,
    stop_command,
    submit_command,
)
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
from orchestrator.cli.sweep import (
    COMPARE_EXAMPLES,
    SWEEP_EXAMPLES,
    compare_command,
    sweep_command,
)
from orchestrator.errors import SparsefleetError

if TYPE_CHECKING:
    from orchestrator.storage.summary import RunSummary

app = typer.Typer(
    name="sparsefleet",
    help="Experiments in sparse, heterogeneous, personalised federated learning, on Ray.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)

RUN_EXAMPLES = """
Run one experiment and print what it came to.

Examples:

  sparsefleet run

  sparsefleet run algorithm.name=feddst sparsity.level=0.9 training.rounds=50

  sparsefleet run -c experiment.yaml seed=3 --summary result.json
"""

RETIME_EXAMPLES = """
Compute how long a run would have taken on another fleet, from its counted bytes and FLOPs: nothing is trained again.

Refused for runs whose result depends on the time (asynchronous, with a deadline) or on what their devices can hold.

Examples:

  sparsefleet retime RUN --fleet five-tier

  sparsefleet retime RUN --fleet five-tier --redraw --out rounds.csv
"""

CHECK_EXAMPLES = """
Check that a method keeps the promises of the contract, in a few rounds on the digits. Exits 1 when one is broken.

Examples:

  sparsefleet check path/to/file.py:Class

  sparsefleet check feddst sparsity.level=0.9
"""


@app.command("run", help=RUN_EXAMPLES)
def run_command(
    overrides: Overrides = None,
    config: ConfigFile = None,
    summary: SummaryFile = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """See RUN_EXAMPLES."""
    from orchestrator.display.run_progress import Progress
    from orchestrator.experiment.loading import load_config
    from orchestrator.runtime import session

    check_summary(summary)
    loaded = load_config(config, overrides or [])
    result = session.run(loaded, Progress(quiet=quiet), verbose=verbose)
    _write_summary(result, summary)
    _report([result], loaded.runtime.storage, where_to_look(loaded), quiet)


@app.command("resume")
def resume_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id or folder.")],
    overrides: Overrides = None,
    storage: Storage = Path("runs"),
    summary: SummaryFile = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Go on with a run from its last commit; with training.rounds=N also beyond its end.

    Example:  sparsefleet resume feddst-20260101-120000-ab12 training.rounds=100
    """
    from orchestrator.display.run_progress import Progress
    from orchestrator.runtime import session
    from orchestrator.storage.folders import find_run

    check_summary(summary)
    folder = find_run(run, storage)
    result = session.resume(folder, overrides or [], Progress(quiet=quiet), verbose=verbose)
    _write_summary(result, summary)
    ui_command = f"{program()} ui --storage {shlex.quote(str(session.storage_of(folder)))}"
    _report([result], folder.parent, ui_command, quiet)


app.command("sweep", help=SWEEP_EXAMPLES)(sweep_command)
app.command("compare", help=COMPARE_EXAMPLES)(compare_command)
app.command(
    "submit",
    help=SUBMIT_EXAMPLES,
    context_settings={"allow_interspersed_args": False},
)(submit_command)
app.command("status", help=STATUS_EXAMPLES)(status_command)
app.command("stop", help=STOP_EXAMPLES)(stop_command)


@app.command()
def demo(storage: Storage = Path("runs"), quiet: Quiet = False, verbose: Verbose = False) -> None:
    """FedDST at sparsity 0.8 against FedAvg, with the same seed and split, on real digits. About a minute."""
    from orchestrator.cli.demo import run_demo
    from orchestrator.display.run_progress import Progress

    results = run_demo(storage, Progress(quiet=quiet), verbose=verbose)
    _report(results, storage, f"{program()} ui --storage {shlex.quote(str(storage))}", quiet)


@app.command()
def ui(
    storage: Storage = Path("runs"),
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = 5000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own asks for a password.")
    ] = "127.0.0.1",
) -> None:
    """Open the MLflow UI on the runs in a folder (on this machine only; Ctrl-C ends it).

    Others see it with --host 0.0.0.0, as user `admin` with the password in MLFLOW_AUTH_ADMIN_PASSWORD.
    """
    from orchestrator.cli.inspection import serve_ui

    serve_ui(storage, port, host)


@app.command("list")
def list_command(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="algorithms, models, datasets, fleets, spaces or keys.")
    ],
    fleet: Annotated[
        str | None, typer.Argument(metavar="FLEET", help="Of the fleets only this one, or the one in a file.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Reckon fleets against this Ray cluster, `auto` or host:port.")
    ] = None,
) -> None:
    """Show what a config key can name, or all config keys with their defaults.

    Example:  sparsefleet list algorithms
    """
    from orchestrator.cli.inspection import listing

    Console().print(listing(what, fleet, address))


@app.command()
def partition(overrides: Overrides = None, config: ConfigFile = None) -> None:
    """Show how a config deals the samples to clients, without running it.

    Example:  sparsefleet partition data.partition.kind=shards fleet.num_clients=10
    """
    from orchestrator.cli.inspection import partition_table
    from orchestrator.experiment.loading import load_config

    Console().print(partition_table(load_config(config, overrides or [])))


@app.command("retime", help=RETIME_EXAMPLES)
def retime_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id or folder.")],
    fleet: Annotated[str, typer.Option(metavar="FLEET", help="A built-in fleet, or a fleet file.")],
    redraw: Annotated[
        bool | None,
        typer.Option(
            "--redraw/--no-redraw", help="A new device for every client in every round; else as in the run."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write all rounds, in both fleets' seconds.")
    ] = None,
    storage: Storage = Path("runs"),
) -> None:
    """See RETIME_EXAMPLES."""
    from orchestrator.retiming import print_report, retime, write_csv
    from orchestrator.storage.folders import find_run

    retiming = retime(find_run(run, storage), fleet, redraw=redraw)
    if out is not None:
        write_csv(retiming, out)
    print_report(Console(), retiming)


@app.command("check", help=CHECK_EXAMPLES)
def check_command(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD", help="Registry name, path/to/file.py:Class or package.module:Class."
        ),
    ],
    overrides: Overrides = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks.")] = False,
) -> None:
    """See CHECK_EXAMPLES."""
    from orchestrator.contract.report import report

    if not report(method, overrides or [], verbose=verbose):
        raise typer.Exit(1)


@app.command()
def doctor(storage: Storage = Path("runs")) -> None:
    """Check this machine: packages, cores, memory, storage, Ray, MLflow. Exits 1 when something is wrong."""
    from orchestrator.cli.inspection import checkup

    table, healthy = checkup(storage)
    Console().print(table)
    if not healthy:
        raise typer.Exit(1)


def _report(results: "Sequence[RunSummary]", storage: Path, uri: str | None, quiet: bool) -> None:
    """Say what the runs came to; exits 130 when the last was interrupted."""
    last = results[-1]
    if last.interrupted:
        words = f"{program()} resume {shlex.quote(str(storage / last.run_id))}"
        print(f"stopped after {last.num_rounds} rounds; go on with: {words}", file=sys.stderr)
        raise typer.Exit(130)
    if quiet:
        return
    from orchestrator.display.run_progress import summary_table

    console = Console()
    console.print(summary_table([result.to_dict() for result in results]))
    lines = ["", *(f"{result.algorithm}: {storage / result.run_id}" for result in results)]
    if uri is not None:
        lines.append(f"Open in the MLflow UI: {uri}")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _write_summary(result: "RunSummary", summary: Path | None) -> None:
    if summary is not None:
        write_summary(summary, result.to_json())


def main() -> None:
    """Entry point: run a command and end with its exit code."""
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: Sequence[str]) -> int:
    verbose = any(re.fullmatch("--verbose|-[a-z]*v[a-z]*", argument) for argument in arguments)
    try:
        app(args=list(arguments), prog_name="sparsefleet")
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except SystemExit as ended:  # Typer has said what was wrong with the words themselves
        return ended.code if isinstance(ended.code, int) else 0
    except SparsefleetError as error:
        return _fail(error, error.exit_code, verbose)
    except Exception as error:
        return _fail(error, 1, verbose)
    return 0


def _fail(error: Exception, code: int, verbose: bool) -> int:
    if verbose:
        print("".join(format_exception(error)), file=sys.stderr, end="")
    known = isinstance(error, SparsefleetError)
    line = str(error).splitlines()[0] if known else f"unexpected {type(error).__name__}: {error}"
    print(f"error: {line}" + ("" if verbose or known else " (--verbose shows where)"), file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
