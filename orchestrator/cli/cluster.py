"""The commands for a Ray cluster: `submit`, `status` and `stop`."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from orchestrator.cli.options import (
    AsJson,
    Quiet,
    StorageFile,
    StorageKey,
    StorageOption,
    chosen_storage,
    require_choice,
)
from orchestrator.errors import RequestError

if TYPE_CHECKING:
    from orchestrator.cluster.arguments import ParsedCommand
    from orchestrator.cluster.jobs import Jobs
    from orchestrator.cluster.view import Cluster, ClusterView

_MAX_RUNS_SHOWN = 20

SUBMIT_HELP = """
Submit a command as a job to a Ray cluster, follow its log, and exit with its exit code.

COMMAND is run, resume, sweep, compare, retime, demo, check, partition, list or doctor, followed by its own arguments. \
Options of `submit` must come before COMMAND. Results must go to an absolute path that all machines of the cluster \
share.

The job contains the package itself, so the cluster needs only the dependencies of the package. The job also \
contains files that the command names by a path relative to the current folder: a method or model \
path/to/file.py:Class with the modules of its folder that it imports, a space, a fleet, -c FILE. Absolute paths refer \
to the file system of the cluster. A resumed run finds these files in its own folder.

Examples:

  sparsefleet submit run runtime.storage=/shared/runs algorithm.name=feddst training.rounds=50

  sparsefleet submit --detach sweep sparsity --seeds 3 --storage /shared/runs

  sparsefleet submit resume /shared/runs/feddst-20260101-120000-ab12 training.rounds=100

  sparsefleet submit --follow run-20260101-120000-ab12
"""

STATUS_HELP = """
Show the runs and sweeps in a folder, and the nodes, actors and jobs of a Ray cluster.

Without --address, the command uses the cluster that RAY_API_SERVER_ADDRESS or RAY_ADDRESS names, else a cluster on \
this machine. If there is no cluster on this machine, the command shows only the runs.

Examples:

  sparsefleet status

  sparsefleet status --storage /shared/runs --address http://127.0.0.1:8265

  sparsefleet status --json
"""

STOP_HELP = """
Stop a run, a sweep or a job after the current round, and wait until it has ended. It can be resumed later.

RUN and SWEEP are an id or a folder; JOB is the id of a submitted job. If the process runs on another machine, the \
command stops it through the cluster.

Examples:

  sparsefleet stop feddst-20260101-120000-ab12

  sparsefleet stop sparsity-20260101-120000-ab12 --storage /shared/runs

  sparsefleet stop run-20260101-120000-ab12 --address http://127.0.0.1:8265 --now
"""

Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="The cluster: its dashboard http://host:port, or `auto` or host:port of Ray itself. "
        "If not given: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, http://127.0.0.1:8265.",
    ),
]


_Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="COMMAND [ARGS]", help="The command and its arguments, as without `submit`."),
]
_WorkingDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Send this whole folder, without the files that .gitignore names. Relative paths of the command "
        "refer to this folder. If not given: send only the files that the command names.",
    ),
]
_Env = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Pass this environment variable to all processes of the job. Can be repeated. The value is in the head's "
        "memory until the job ends, and in no log.",
    ),
]
_EnvFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Set the variables in this file for the job's own process: one NAME=VALUE a line. FILE is an absolute "
        "path on the cluster, with mode 600. The values do not leave the machine.",
    ),
]
_Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the job.")]
_Follow = Annotated[str | None, typer.Option(metavar="JOB", help="Follow a job that was submitted before.")]
_OnInterrupt = Annotated[
    str | None,
    typer.Option(
        metavar="CHOICE",
        help="What Ctrl-C, SIGTERM and SIGHUP do: ask, detach (the job continues) or stop (the job ends after the "
        "current round and can be resumed). If not given: ask at a terminal, else stop, so that a script leaves no job "
        "running. With ask, a closed terminal detaches.",
    ),
]


def submit_command(
    context: typer.Context,
    arguments: _Arguments = None,
    address: Address = None,
    working_dir: _WorkingDir = None,
    env: _Env = None,
    env_file: _EnvFile = None,
    detach: _Detach = False,
    follow: _Follow = None,
    on_interrupt: _OnInterrupt = None,
    quiet: Quiet = False,
) -> None:
    """Implement `sparsefleet submit`; SUBMIT_HELP is its help text."""
    from orchestrator.cluster.address import cluster_address

    if on_interrupt is not None:
        require_choice("--on-interrupt", on_interrupt, ("ask", "detach", "stop"))
    if (follow is None) == (not arguments):
        problem = "there is no command" if follow is None else "--follow takes no command"
        remedy = "give either a command or --follow JOB"
        raise RequestError("COMMAND", " ".join(arguments or []) or "-", problem, remedy)
    cluster = cluster_address(address)
    if follow is not None:
        from orchestrator.cluster.ray_jobs import RayJobs

        jobs: Jobs = RayJobs(cluster)
        jobs.job(follow)
        raise typer.Exit(_follow(jobs, follow, on_interrupt))
    parsed = _parse(context, arguments or [])
    jobs, job_id = _submit(parsed, cluster, working_dir, env or [], env_file, quiet)
    if detach:
        from orchestrator.cluster.follow import follow_command

        print(job_id if quiet else f"submitted {job_id}; follow it with: {follow_command(jobs, job_id)}")
        return
    raise typer.Exit(_follow(jobs, job_id, on_interrupt))


def _parse(context: typer.Context, arguments: list[str]) -> "ParsedCommand":
    """Parse a command's arguments with the command's own parser, which exits with a usage error if they are wrong."""
    from orchestrator.cluster.arguments import COMMANDS, ParsedCommand
    from orchestrator.config.overrides import split_name

    name, *rest = arguments
    commands = context.parent.command.commands if context.parent else {}  # type: ignore[attr-defined]
    if name not in commands or name not in COMMANDS:
        raise RequestError("COMMAND", name, "it cannot run as a job", f"choose one of {', '.join(COMMANDS)}")
    with commands[name].make_context(name, list(rest), parent=context.parent) as parsed:
        options = dict(parsed.params)
    if name == "sweep":
        options["space"], options["overrides"] = split_name(options["space"], options["overrides"] or ())
    return ParsedCommand(name, tuple(arguments), options)


def _submit(
    parsed: "ParsedCommand",
    address: str,
    working_dir: Path | None,
    env: list[str],
    env_file: str | None,
    quiet: bool,
) -> "tuple[Jobs, str]":
    from orchestrator.cluster.submission import job_request

    columns = shutil.get_terminal_size((100, 24)).columns
    with job_request(
        parsed,
        working_dir=working_dir,
        env_names=env,
        env_file=env_file,
        environment=os.environ,
        columns=columns,
    ) as request:
        from orchestrator.cluster.ray_jobs import RayJobs

        jobs = RayJobs(address)
        jobs.submit(request)
    if not quiet:
        _note(f"{request.job_id} on {jobs.address}")
        if request.shipped:
            _note(f"with {request.shipped}")
    return jobs, request.job_id


def _follow(jobs: "Jobs", job_id: str, on_interrupt: str | None) -> int:
    from orchestrator.cluster.follow import JobLogFollower
    from orchestrator.cluster.interrupts import interrupt_choice
    from orchestrator.processes.signals import handling_signals

    with handling_signals() as signals:
        choose = interrupt_choice(on_interrupt, forget=signals.forget)
        return JobLogFollower(jobs, job_id, write=_write, note=_note, choose=choose).follow()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def status_command(
    overrides: StorageKey = None,
    address: Address = None,
    config: StorageFile = None,
    storage: StorageOption = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show all runs, not only the running ones and the newest 20.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Implement `sparsefleet status`; STATUS_HELP is its help text."""
    from orchestrator.cli.views.status_tables import cluster_tables, runs_tables, status_json
    from orchestrator.cluster.runs import run_statuses
    from orchestrator.storage.lookup import only_storage_key

    place = chosen_storage(storage, only_storage_key(overrides or ()), config)
    runs = run_statuses(place, None if show_all or as_json else _MAX_RUNS_SHOWN)
    view = _cluster_view(address)
    if as_json:
        print(json.dumps(status_json(str(place.resolve()), runs, view), indent=2))
        return
    console = Console()
    for table in runs_tables(runs) if runs else ():
        console.print(table, soft_wrap=isinstance(table, Text))
    if not runs:
        console.print(f"No runs in {place}.", markup=False, highlight=False, soft_wrap=True)
    for part in cluster_tables(view) if view else ():
        console.print(part)


def _cluster_view(address: str | None) -> "ClusterView | None":
    """The state of the cluster; None when the user named no cluster and none runs on this machine.

    Raises RequestError or ClusterError when the cluster that the user named does not answer.
    """
    from orchestrator.cluster.address import cluster_address, is_configured, listens

    cluster = cluster_address(address)
    if not is_configured(address) and not listens(cluster):
        return None
    from orchestrator.cluster.ray_cluster import RayCluster

    return RayCluster(cluster).view()


def stop_command(
    name: Annotated[str, typer.Argument(metavar="RUN|SWEEP|JOB", help="The run, sweep or job to stop.")],
    overrides: StorageKey = None,
    address: Address = None,
    config: StorageFile = None,
    storage: StorageOption = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="Do not wait for the current round; it is repeated when the run resumes."),
    ] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.0, help="How long to wait for the end.")
    ] = 600.0,
) -> None:
    """Implement `sparsefleet stop`; STOP_HELP is its help text."""
    from orchestrator.cluster.address import cluster_address
    from orchestrator.cluster.stopping import RunStopper
    from orchestrator.storage.lookup import only_storage_key

    place = chosen_storage(storage, only_storage_key(overrides or ()), config)

    def connect() -> "Cluster":
        from orchestrator.cluster.ray_cluster import RayCluster

        return RayCluster(cluster_address(address))

    RunStopper(place, connect, _note, timeout_s=timeout_s, at_once=now).stop(name)
