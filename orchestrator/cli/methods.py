"""The commands `check`, `cite` and `retime`.

`check` tests a method against the contract, `cite` prints publications, and `retime` moves a run to another fleet.
"""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import (
    STDOUT,
    ConfigSources,
    Overrides,
    RunName,
    StorageFile,
    StorageKey,
    StorageOption,
    chosen_storage,
    result_console,
)

RETIME_HELP = """
Compute how long a run would have taken on another fleet, without training again.

The command uses the bytes and FLOPs that the run counted for each client. It rejects runs whose results depend on \
device speed, availability or memory, such as asynchronous runs, and runs with a deadline, over-selection, \
selection.kind=available, oort or refl, or device-dependent sparsity.

Examples:

  sparsefleet retime RUN --fleet five-tier

  sparsefleet retime RUN --fleet five-tier --redraw --out rounds.csv

  sparsefleet retime RUN --fleet uniform --sparse-efficiency 1
"""

CHECK_HELP = """
Check a method against the contract, in a few rounds on the bundled digits.

The command prints one line for each check, and exits with 1 when a check fails. From a config file or preset it takes \
the sections algorithm and sparsity. docs/write-a-method.md explains the \
contract.

Examples:

  sparsefleet check path/to/file.py:Class

  sparsefleet check feddst sparsity.level=0.9

  sparsefleet check feddst -c preset:feddst-cifar10-code algorithm.adjust_after_epoch=1
"""

CITE_HELP = """
Print the publications to cite for methods as BibTeX; without a method, how to cite Sparsefleet.

For a method that is only a baseline, the command prints the publications that use it. docs/algorithms.md lists the \
publications of all methods.

Examples:

  sparsefleet cite

  sparsefleet cite feddst fedavg

  sparsefleet cite path/to/file.py:Class --json
"""


def check_command(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD", help="A registered name, path/to/file.py:Class or package.module:Class."
        ),
    ],
    overrides: Overrides = None,
    config: ConfigSources = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks.")] = False,
) -> None:
    """Implement `sparsefleet check`; CHECK_HELP is its help text."""
    from orchestrator.config.overrides import method_options
    from orchestrator.contract.report import report

    options = [*method_options(config or ()), *(overrides or [])]
    if not report(method, options, verbose=verbose):
        raise typer.Exit(1)


def cite_command(
    methods: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METHOD", help="Registered names, path/to/file.py:Class or package.module:Class."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of BibTeX.")] = False,
) -> None:
    """Implement `sparsefleet cite`; CITE_HELP is its help text."""
    from orchestrator.cli.views.citations import bibtex_text, cited_publications, json_text

    citations = cited_publications(methods or ())
    print(json_text(citations) if as_json else bibtex_text(citations))


def retime_command(
    run: Annotated[str, RunName],
    fleet: Annotated[str, typer.Option(metavar="FLEET", help="A built-in fleet, or a fleet file.")],
    redraw: Annotated[
        bool | None,
        typer.Option(
            "--redraw/--no-redraw",
            help="Whether each client gets a new device in every round. If not given: as in the run.",
        ),
    ] = None,
    sparse_efficiency: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the masked FLOPs whose time the devices save, 0 to 1. If not given: as in the run.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Write the times of all rounds on both fleets to this file; - is standard output.",
        ),
    ] = None,
    overrides: StorageKey = None,
    config: StorageFile = None,
    storage: StorageOption = None,
) -> None:
    """Implement `sparsefleet retime`; RETIME_HELP is its help text."""
    from orchestrator.retiming import csv_text, print_report, retime, write_csv
    from orchestrator.storage.lookup import find_run, only_storage_key

    folder = find_run(run, chosen_storage(storage, only_storage_key(overrides or ()), config))
    retimed_run = retime(folder, fleet, redraw=redraw, sparse_efficiency=sparse_efficiency)
    if out == STDOUT:
        print(csv_text(retimed_run), end="")
    elif out is not None:
        write_csv(retimed_run, out)
    print_report(result_console(out), retimed_run)
