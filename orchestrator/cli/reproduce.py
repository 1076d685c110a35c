"""The command `reproduce`, which runs, resumes, estimates and reports studies."""

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.console import Console

from orchestrator.cli.options import (
    Overrides,
    Quiet,
    StorageOption,
    Verbose,
    chosen_storage,
    require_choice,
)
from orchestrator.commands import command_line
from orchestrator.errors import RequestError
from orchestrator.formatting import counted

if TYPE_CHECKING:
    from orchestrator.studies.execution.session import StudyRequest
    from orchestrator.studies.execution.stages import StudyEnd

REPRODUCE_HELP = """
Examine the claims of a paper: tune its methods, run them with several seeds, and decide about each claim by a rule.

STUDY is a name that `sparsefleet list studies` shows, or a .yaml file. The study runs as three sweeps on Ray Tune and \
writes its verdicts as HTML, Markdown and CSV. KEY=VALUE sets keys of runtime and tracking. With --resume and \
--report, STUDY is the study's folder, its id, or its name.

Examples:

  sparsefleet list studies

  sparsefleet reproduce feddst-upload-cap --data data --dry-run

  sparsefleet reproduce feddst-upload-cap --data data --seeds 5

  sparsefleet reproduce frontier --setting digits

  sparsefleet reproduce feddst-upload-cap --resume

  sparsefleet reproduce feddst-upload-cap --report
"""

_StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study's name or file.")]
_ScaleName = Annotated[
    str | None,
    typer.Option(
        "--scale",
        metavar="SCALE",
        help="quick (two cores) or paper (the published setting); quick if not given.",
    ),
]
_NumSeeds = Annotated[
    int | None,
    typer.Option("--seeds", metavar="N", min=1, help="Report the seeds 0 to N - 1; 3 if not given."),
]
_Settings = Annotated[
    list[str] | None,
    typer.Option("--setting", metavar="NAME", help="Run only this setting of the study; can be repeated."),
]
_DataFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        envvar="SPARSEFLEET_DATA",
        help="Folder of the data sets: MNIST/raw, cifar-10-batches-py, shakespeare; `data` if not given.",
    ),
]
_DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Check the study, and estimate bytes, FLOPs, emulated time and time here."
    ),
]
_Resume = Annotated[bool, typer.Option("--resume", help="Resume a study. Finished trials do not run again.")]
_Report = Annotated[bool, typer.Option("--report", help="Write the report again from the stored runs.")]
_MaxConcurrent = Annotated[
    int | None,
    typer.Option(metavar="N", help="Maximum number of parallel trials; one per core if not given."),
]


def reproduce_command(
    study: _StudyName,
    overrides: Overrides = None,
    scale: _ScaleName = None,
    seeds: _NumSeeds = None,
    setting: _Settings = None,
    data: _DataFolder = None,
    dry_run: _DryRun = False,
    resume: _Resume = False,
    report: _Report = False,
    max_concurrent: _MaxConcurrent = None,
    storage: StorageOption = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Implement `sparsefleet reproduce`; REPRODUCE_HELP is its help text."""
    modes = {"--dry-run": dry_run, "--resume": resume, "--report": report}
    if sum(modes.values()) > 1:
        chosen = [mode for mode, is_chosen in modes.items() if is_chosen]
        raise RequestError(chosen[0], True, f"{chosen[1]} is given too", "choose one of them")
    if resume or report:
        _require_no_options("--resume" if resume else "--report", scale, seeds, setting, overrides)
        _continue(study, chosen_storage(storage, None, None), report, max_concurrent, quiet, verbose)
        return
    request = replace(
        study_request(study, scale or "quick", seeds or 3, setting or [], data, overrides, storage),
        max_concurrent=max_concurrent,
        verbose=verbose,
    )
    if dry_run:
        from orchestrator.cli.views.study_tables import estimate_table

        Console().print(estimate_table(request))
        return
    from orchestrator.display.sweep_progress import SweepProgress
    from orchestrator.studies.execution.session import start_study

    _finish(start_study(request, SweepProgress(quiet)), quiet)


def _require_no_options(
    mode: str,
    scale: str | None,
    seeds: int | None,
    settings: list[str] | None,
    overrides: list[str] | None,
) -> None:
    """Raise RequestError for options that a study keeps from its start."""
    for option, value in (
        ("--scale", scale),
        ("--seeds", seeds),
        ("--setting", next(iter(settings or ()), None)),
        ("KEY=VALUE", next(iter(overrides or ()), None)),
    ):
        if value is not None:
            problem = f"a study keeps its options, and {mode} changes none of them"
            raise RequestError(option, value, problem, "leave it out, or start a new study")


def study_request(
    study: str,
    scale: str,
    num_seeds: int,
    settings: list[str],
    data: Path | None,
    overrides: list[str] | None,
    storage: Path | None,
) -> "StudyRequest":
    """Return the request of a command line. Raises RequestError for an unknown scale or key."""
    from orchestrator.config.overrides import parse_overrides
    from orchestrator.studies.data_needs import DEFAULT_FOLDER
    from orchestrator.studies.execution.session import StudyRequest
    from orchestrator.studies.schema import SCALES, Scale

    require_choice("--scale", scale, SCALES)
    values = parse_overrides(overrides or [])
    if storage is not None:
        values.setdefault("runtime.storage", str(storage))
    folder = data or DEFAULT_FOLDER
    # a reader runs the command elsewhere, so that it names neither this machine's program nor its folders
    named = DEFAULT_FOLDER if folder.is_absolute() else folder
    options = ["--scale", scale, "--seeds", str(num_seeds), "--data", str(named)]
    options += [part for name in settings for part in ("--setting", name)]
    return StudyRequest(
        spec=study,
        scale=next(name for name in get_args(Scale) if name == scale),
        num_seeds=num_seeds,
        data=folder,
        overrides=values,
        command=shlex.join(["sparsefleet", "reproduce", study, *options, *(overrides or [])]),
        settings=tuple(settings),
    )


def _continue(
    name: str, storage: Path, report: bool, max_concurrent: int | None, quiet: bool, verbose: bool
) -> None:
    """Resume a study, or write its report again."""
    from orchestrator.studies.execution.folder import find_study

    folder = find_study(name, storage)
    if report:
        from orchestrator.cli.views.study_tables import print_verdicts
        from orchestrator.studies.execution.stages import report_study

        print_verdicts(report_study(folder), folder, quiet)
        return
    from orchestrator.display.sweep_progress import SweepProgress
    from orchestrator.studies.execution.session import resume_study

    end = resume_study(folder, SweepProgress(quiet), max_concurrent=max_concurrent, verbose=verbose)
    _finish(end, quiet)


def _finish(end: "StudyEnd", quiet: bool) -> None:
    """Print the result; exit with 130 when the study was interrupted, and with 1 when trials or the tracking failed."""
    from orchestrator.cli.views.study_tables import print_verdicts

    resumption = command_line("reproduce", os.path.relpath(end.folder), "--resume")
    if end.results is not None:
        print_verdicts(end.results, end.folder, quiet)
    elif end.interrupted:
        print(f"stopped; resume with: {resumption}", file=sys.stderr)
        raise typer.Exit(130)
    else:
        failed = counted(end.num_failed, "trial")
        print(f"{failed} failed; retry with: {resumption}", file=sys.stderr)
        raise typer.Exit(1)
    if end.problem is not None:
        print(f"error: {end.problem}", file=sys.stderr)
        raise typer.Exit(1)
