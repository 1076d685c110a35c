"""The command `compare`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.console import Console

from orchestrator.cli.options import (
    STDOUT,
    AsJson,
    StorageFile,
    StorageOption,
    chosen_storage,
    require_choice,
)
from orchestrator.cli.views.completions import run_names
from orchestrator.errors import RequestError

if TYPE_CHECKING:
    from orchestrator.analysis.comparison import Comparison

COMPARE_HELP = """
Compare runs by accuracy, bytes, FLOPs and time, with 95 % confidence intervals over seeds.

RUN is a run's id or folder, an MLflow run id, or a pattern such as 'feddst-*'. Without RUN and other criteria, the \
command compares all runs outside of sweeps. With --baseline it adds the paired differences from that configuration.

Examples:

  sparsefleet compare

  sparsefleet compare --sweep sparsity-20260101-120000-ab12 --baseline 'randommask level=0.8'

  sparsefleet compare 'fed*' --tag data=digits --at-upload 5MB --to-accuracy 0.9 --out comparison
"""


_Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="Runs to compare, or patterns; and runtime.storage=DIR.",
        autocompletion=run_names,
    ),
]
_SweepName = Annotated[
    str | None, typer.Option(metavar="SWEEP", help="Compare the trials of this sweep (id or folder).")
]
_DisplayName = Annotated[
    str | None,
    typer.Option(metavar="PATTERN", help="Compare runs whose display name matches, for example 'feddst*'."),
]
_Tags = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Compare runs with this tag. Can be repeated."),
]
_Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="CONFIGURATION",
        help="Show differences from this configuration: a label, a method, a run id or KEY=VALUE.",
    ),
]
_MetricName = Annotated[
    str,
    typer.Option(
        metavar="METRIC",
        help="accuracy or personal_accuracy; with the prefix validation_ or unseen_ on other samples.",
    ),
]
_CostName = Annotated[
    str, typer.Option(metavar="COST", help="Cost of the Pareto front: upload, download, flops or time.")
]
_UploadCaps = Annotated[
    list[str] | None,
    typer.Option(metavar="BYTES", help="Show the accuracy within this upload, such as 5MB. Can be repeated."),
]
_Targets = Annotated[
    list[float] | None,
    typer.Option(
        metavar="SHARE",
        help="Show the time until the mean of three evaluations reaches this accuracy and stays there. "
        "Can be repeated.",
    ),
]
_ReportFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write report.html, plots, CSV and JSON to this folder."),
]
_OutputFormat = Annotated[str, typer.Option("--format", metavar="FORMAT", help="Print a table, csv or json.")]


def compare_command(
    runs: _Runs = None,
    sweep: _SweepName = None,
    name: _DisplayName = None,
    tag: _Tags = None,
    baseline: _Baseline = None,
    metric: _MetricName = "accuracy",
    cost: _CostName = "upload",
    at_upload: _UploadCaps = None,
    to_accuracy: _Targets = None,
    out: _ReportFolder = None,
    output_format: _OutputFormat = "table",
    as_json: AsJson = False,
    config: StorageFile = None,
    storage: StorageOption = None,
) -> None:
    """Implement `sparsefleet compare`; COMPARE_HELP is its help text."""
    from orchestrator.analysis.options import Cost, Metric
    from orchestrator.analysis.report.write import write_reports
    from orchestrator.api import compare_each_data_set
    from orchestrator.storage.lookup import split_storage_key

    require_choice("--format", output_format, ("table", "csv", "json"))
    output_format = "json" if as_json else output_format
    require_choice("--metric", metric, get_args(Metric))
    require_choice("--cost", cost, get_args(Cost))
    names, storage_keys = split_storage_key(runs or [])
    place = chosen_storage(storage, storage_keys, config)
    comparisons = compare_each_data_set(
        names,
        storage=place,
        sweep=sweep,
        name=name,
        tags=_parse_tags(tag or []),
        metric=metric,
        cost=cost,
        baseline=baseline,
        upload_caps=_parse_upload_caps(at_upload or []),
        targets=tuple(to_accuracy or ()),
    )
    if out is not None:
        if out == STDOUT:
            problem = "a report is a folder, which standard output cannot contain"
            raise RequestError("--out", out, problem, "name a folder, or use --format json")
        if out.exists() and not out.is_dir():
            raise RequestError("--out", out, "this is a file", "name a folder")
        pages = [file for file in write_reports(comparisons, out) if file.name == "report.html"]
    _print_comparisons(comparisons, output_format)
    if out is not None:
        print("\n".join(f"report: {page}" for page in pages), file=sys.stderr)
    if sweep is not None and out is not None:
        _log_to_sweep(sweep, place, out)


def _parse_upload_caps(caps: list[str]) -> tuple[float, ...]:
    from orchestrator.formatting import parse_bytes

    try:
        return tuple(parse_bytes(cap) for cap in caps)
    except ValueError as error:
        problem = "this is not a number of bytes"
        raise RequestError("--at-upload", ", ".join(caps), problem, "write for example 5MB") from error


def _parse_tags(assignments: list[str]) -> dict[str, str]:
    tags = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not (key and equals):
            raise RequestError("--tag", assignment, "this is not KEY=VALUE", "write --tag method=feddst")
        tags[key] = value
    return tags


def _print_comparisons(comparisons: "Mapping[str, Comparison]", output_format: str) -> None:
    """Print the comparison of each data set, with a title if there are several."""
    from orchestrator.analysis.report.export import to_csv, to_json
    from orchestrator.analysis.report.terminal import terminal_tables

    if output_format == "json":
        single = [to_json(each) for each in comparisons.values()]
        several = {"data_sets": {name: json.loads(to_json(each)) for name, each in comparisons.items()}}
        print(single[0] if len(single) == 1 else json.dumps(several, indent=1))
        return
    if output_format == "csv" and len(comparisons) > 1:
        problem = f"the runs are on {len(comparisons)} data sets, and a CSV file has one table"
        raise RequestError("--format", "csv", problem, f"add --tag data={next(iter(comparisons))}")
    console = Console()
    for name, comparison in comparisons.items():
        if output_format == "csv":
            print(to_csv(comparison), end="")
            continue
        if len(comparisons) > 1:
            console.print(f"data.name={name}", style="bold", markup=False, highlight=False)
        console.print(terminal_tables(comparison))


def _log_to_sweep(sweep: str, storage: Path, out: Path) -> None:
    """Log the report to the sweep's MLflow run, next to the report that the sweep made itself."""
    from orchestrator.runtime.tracking.setup import tracking_uri
    from orchestrator.storage.lookup import find_sweep
    from orchestrator.sweeping.plan import plan_resumed_sweep
    from orchestrator.sweeping.store import SweepStore
    from orchestrator.tracking.mlflow.artifacts import log_folder

    store = SweepStore(find_sweep(sweep, storage))
    config = plan_resumed_sweep(store).config
    if config.tracking.enabled:
        log_folder(tracking_uri(config), store.folder, out, f"comparisons/{out.resolve().name}")
