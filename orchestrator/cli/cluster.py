"""The commands `submit`, `status` and `stop`."""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from orchestrator.cli.options import Quiet, Storage
from orchestrator.errors import RequestError

if TYPE_CHECKING:
    from orchestrator.cluster.arguments import ParsedCommand
    from orchestrator.cluster.follow import Choice
    from orchestrator.cluster.jobs import Jobs
    from orchestrator.cluster.view import Cluster, ClusterView

_MOST_RUNS = 20

SUBMIT_EXAMPLES = """
Run a command of sparsefleet on a Ray cluster, as a job there; follow its log, and end with its exit code.

COMMAND is run, resume, sweep, compare, retime, demo, check, partition, list or doctor, with its own words after it; \
options of `submit` come before it. Results must go to an absolute place that the cluster's machines share.

The package travels with the job: the cluster needs only what it depends on. So do files that the command names by a \
path relative to this folder: a method or model path/to/file.py:Class, a space, a fleet, -c FILE. Absolute paths are \
the cluster's own. To resume a run whose method is a file, ship that file's folder with --working-dir.

Examples:

  sparsefleet submit run runtime.storage=/shared/runs algorithm.name=feddst training.rounds=50

  sparsefleet submit --detach sweep sparsity --seeds 3 --storage /shared/runs

  sparsefleet submit resume /shared/runs/feddst-20260101-120000-ab12 training.rounds=100

  sparsefleet submit --follow run-20260101-120000-ab12
"""

STATUS_EXAMPLES = """
Show what is going on: the runs and sweeps of a folder, and the nodes, actors and jobs of a cluster.

Without --address it looks at the cluster that RAY_API_SERVER_ADDRESS or RAY_ADDRESS names, else on this machine.

Examples:

  sparsefleet status

  sparsefleet status --storage /shared/runs --address http://127.0.0.1:8265

  sparsefleet status --json
"""

STOP_EXAMPLES = """
End a run, a sweep or a job after the round in progress, so that it can go on later; wait until it has ended.

RUN is a run's or a sweep's id or folder, or the id of a job that was submitted. What runs on another machine is \
reached through the cluster.

Examples:

  sparsefleet stop feddst-20260101-120000-ab12

  sparsefleet stop sparsity-20260101-120000-ab12 --storage /shared/runs

  sparsefleet stop run-20260101-120000-ab12 --address http://127.0.0.1:8265 --now
"""

Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="The cluster's dashboard, http://host:port, or the cluster itself, `auto` or host:port. "
        "If not given: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, http://127.0.0.1:8265.",
    ),
]


def submit_command(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND [ARGS]", help="A command, as without `submit`.")
    ] = None,
    address: Address = None,
    working_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Ship this whole folder, in which the command's relative paths are then meant; what .gitignore "
            "names stays behind. If not given, only the files that the command names travel.",
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Pass on this variable's value; may be repeated. Ray keeps it with the job, and shows it to whoever "
            "has the cluster's token.",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the job.")] = False,
    follow: Annotated[
        str | None, typer.Option(metavar="JOB", help="Follow a job that was submitted before.")
    ] = None,
    on_interrupt: Annotated[
        str | None,
        typer.Option(
            metavar="CHOICE",
            help="What Ctrl-C means: ask, detach (the job goes on) or stop (it ends after the round in progress and "
            "can be resumed). If not given: ask at a terminal, else stop, so that a script leaves nothing running.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """See SUBMIT_EXAMPLES."""
    from orchestrator.cluster.address import cluster_address

    if on_interrupt not in (None, "ask", "detach", "stop"):
        raise RequestError(
            "--on-interrupt", on_interrupt, "there is no such choice", "choose ask, detach or stop"
        )
    if (follow is None) == (not words):
        problem = "there is nothing to run" if follow is None else "a job to follow runs its own command"
        raise RequestError(
            "COMMAND", " ".join(words or []) or "-", problem, "give a command, or --follow JOB"
        )
    at = cluster_address(address)
    if follow is not None:
        from orchestrator.cluster.ray_jobs import RayJobs

        jobs: Jobs = RayJobs(at)
        jobs.job(follow)
        raise typer.Exit(_follow(jobs, follow, on_interrupt))
    asked = _parse(context, words or [])
    jobs, job_id = _submit(asked, at, working_dir, env or [], quiet)
    if detach:
        from orchestrator.cluster.follow import follow_command

        print(job_id if quiet else f"{job_id} is submitted; follow it with: {follow_command(jobs, job_id)}")
        return
    raise typer.Exit(_follow(jobs, job_id, on_interrupt))


def _parse(context: typer.Context, words: list[str]) -> "ParsedCommand":
    """A command's words as that command itself reads them; ends with its own usage error where it cannot."""
    from orchestrator.cluster.arguments import COMMANDS, ParsedCommand

    name, *rest = words
    commands = context.parent.command.commands if context.parent else {}  # type: ignore[attr-defined]
    if name not in commands or name not in COMMANDS:
        raise RequestError("COMMAND", name, "it cannot run as a job", f"choose one of {', '.join(COMMANDS)}")
    with commands[name].make_context(name, list(rest), parent=context.parent) as parsed:
        return ParsedCommand(name, tuple(words), dict(parsed.params))


def _submit(
    asked: "ParsedCommand", address: str, working_dir: Path | None, env: list[str], quiet: bool
) -> "tuple[Jobs, str]":
    from orchestrator.cluster.submission import job_request

    columns = shutil.get_terminal_size((100, 24)).columns
    with job_request(
        asked, working_dir=working_dir, env_names=env, environment=os.environ, columns=columns
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
    from orchestrator.cluster.follow import JobLogFollower, ask_choice
    from orchestrator.cluster.signals import termination_as_interrupt

    def choose() -> "Choice":
        choice = on_interrupt or ("ask" if sys.stdin.isatty() else "stop")
        return ask_choice() if choice == "ask" else ("stop" if choice == "stop" else "detach")

    with termination_as_interrupt():
        return JobLogFollower(jobs, job_id, write=_write, note=_note, choose=choose).follow()


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def status_command(
    address: Address = None,
    storage: Storage = Path("runs"),
    everything: Annotated[
        bool, typer.Option("--all", help="Show all runs, not just those at work and the newest 20.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """See STATUS_EXAMPLES."""
    import json

    from orchestrator.cli.status_tables import cluster_tables, runs_tables, status_json
    from orchestrator.cluster.runs import run_statuses

    known = run_statuses(storage, None if everything or as_json else _MOST_RUNS)
    view = _cluster_view(address)
    if as_json:
        print(json.dumps(status_json(str(storage.resolve()), known, view), indent=2))
        return
    console = Console()
    for table in runs_tables(known) if known else ():
        console.print(table, soft_wrap=isinstance(table, Text))
    if not known:
        console.print(f"No runs in {storage}.", markup=False, highlight=False, soft_wrap=True)
    for part in cluster_tables(view) if view else ():
        console.print(part)


def _cluster_view(address: str | None) -> "ClusterView | None":
    """How the cluster stands; None where none was named and none is on this machine.

    Raises RequestError or ClusterError when one was named that does not answer.
    """
    from orchestrator.cluster.address import cluster_address, is_configured, listens

    at = cluster_address(address)
    if not is_configured(address) and not listens(at):
        return None
    from orchestrator.cluster.ray_cluster import RayCluster

    return RayCluster(at).view()


def stop_command(
    name: Annotated[str, typer.Argument(metavar="RUN|SWEEP|JOB", help="What to end.")],
    address: Address = None,
    storage: Storage = Path("runs"),
    now: Annotated[
        bool,
        typer.Option(
            "--now", help="Do not wait for the round in progress: go back to the last commit later."
        ),
    ] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.0, help="How long to wait for its end.")
    ] = 600.0,
) -> None:
    """See STOP_EXAMPLES."""
    from orchestrator.cluster.address import cluster_address
    from orchestrator.cluster.stopping import RunStopper

    def connect() -> "Cluster":
        from orchestrator.cluster.ray_cluster import RayCluster

        return RayCluster(cluster_address(address))

    RunStopper(storage, connect, _note, timeout_s=timeout_s, at_once=now).stop(name)
