"""From the words of a command to the job that runs them on a cluster."""

import secrets
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.cluster.arguments import (
    COMMANDS,
    ParsedCommand,
    completed,
    settings_of,
)
from orchestrator.cluster.jobs import JobRequest
from orchestrator.cluster.named_files import named_files
from orchestrator.cluster.shipping import staged_files, staged_modules
from orchestrator.errors import RequestError
from orchestrator.version import installed_version

#: how long a job that is asked to stop has for the round in progress before Ray kills it
STOP_WAIT_S = 3600


@contextmanager
def job_request(
    asked: ParsedCommand,
    *,
    working_dir: Path | None,
    env_names: Sequence[str],
    environment: Mapping[str, str],
    columns: int,
) -> Iterator[JobRequest]:
    """The job for a command; what it ships lies ready while the block lasts.

    `working_dir` is shipped whole and is where the command's relative paths are meant; None: only the files that it
    names, in the present folder. The variables `env_names` are taken from `environment`. `columns` is how wide its
    tables may be. Raises RequestError for what cannot or should not run as a job.
    """
    if asked.command not in COMMANDS:
        raise RequestError(
            "COMMAND", asked.command, "it cannot run as a job", f"choose one of {', '.join(COMMANDS)}"
        )
    if working_dir is not None and not working_dir.is_dir():
        raise RequestError("--working-dir", working_dir, "there is no such folder", "name one")
    base = working_dir or Path()
    settings = settings_of(asked, base)
    words = completed(asked, settings)
    runtime_env: dict[str, Any] = {
        "env_vars": {
            # Ctrl-C is what a run ends well at, and Ray's three seconds are less than a round
            "RAY_JOB_STOP_SIGNAL": "SIGINT",
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
            "COLUMNS": str(columns),
            **_chosen(env_names, environment),
        },
        "excludes": ["**/__pycache__"],
    }
    with ExitStack() as stack:
        runtime_env["py_modules"] = stack.enter_context(staged_modules())
        if working_dir is not None:
            runtime_env["working_dir"] = str(working_dir.resolve())
            shipped = f"the folder {working_dir.resolve()}"
        else:
            files = named_files(asked, settings, base)
            if folder := stack.enter_context(staged_files(base, files)):
                runtime_env["working_dir"] = folder
            shipped = ", ".join(map(str, files))
        yield JobRequest(
            job_id=_job_id(asked.command),
            entrypoint=shlex.join(["exec", "python", "-m", "orchestrator.cluster.job_entry", *words]),
            runtime_env=runtime_env,
            metadata={"sparsefleet": installed_version()},
            shipped=shipped,
        )


def _chosen(names: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    for name in names:
        if "=" in name:
            problem = "a value on a command line can be read by others"
            name = name.partition("=")[0]
            raise RequestError(
                "--env", f"{name}=***", problem, f"set {name} in your shell and write --env {name}"
            )
        if name not in environment:
            raise RequestError("--env", name, "there is no such variable here", f"set it: export {name}=...")
    return {name: environment[name] for name in names}


def _job_id(command: str) -> str:
    return f"{command}-{datetime.now().strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
