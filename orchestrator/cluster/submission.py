"""Build the Ray Job that runs a command on a cluster."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from orchestrator.cluster.arguments import (
    COMMANDS,
    ParsedCommand,
    command_settings,
    job_arguments,
)
from orchestrator.cluster.jobs import JobRequest
from orchestrator.cluster.named_files import named_files
from orchestrator.cluster.shipping import WORKER_HOOK, staged_files, staged_folder, staged_modules
from orchestrator.cluster.variables import (
    KEY_VARIABLE,
    SentVariables,
    selected_variables,
    variable_of_file,
)
from orchestrator.errors import RequestError
from orchestrator.plugins.package_source import SOURCE_VARIABLE, package_source
from orchestrator.storage.folders import unique_name
from orchestrator.version import installed_version

#: seconds that a stopped job has to complete its round before Ray kills the job
STOP_WAIT_S = 3600


@contextmanager
def job_request(
    parsed: ParsedCommand,
    *,
    working_dir: Path | None,
    env_names: Sequence[str],
    env_file: str | None = None,
    environment: Mapping[str, str],
    columns: int,
) -> Iterator[JobRequest]:
    """Yield the job for a command. The files to upload exist until the block ends.

    `working_dir` is uploaded as a whole, and the command's relative paths start there. If it is None, only the
    files that the command names in the current folder are uploaded. The job gets the variables `env_names` with
    their values in `environment`, and the variables in `env_file`, a file on the cluster. `columns` is the width of
    its tables in characters.
    Raises RequestError for a command that cannot or must not run as a job.
    """
    if parsed.command not in COMMANDS:
        raise RequestError(
            "COMMAND", parsed.command, "it cannot run as a job", f"choose one of {', '.join(COMMANDS)}"
        )
    if working_dir is not None and not working_dir.is_dir():
        raise RequestError(
            "--working-dir", working_dir, "the folder does not exist", "give an existing folder"
        )
    base = working_dir or Path()
    settings = command_settings(parsed, base)
    arguments = job_arguments(parsed, settings)
    sent = SentVariables(selected_variables(env_names, environment)) if env_names else None
    runtime_env = _runtime_env(columns, env_file, sent)
    with ExitStack() as stack:
        runtime_env["py_modules"] = stack.enter_context(staged_modules())
        if working_dir is not None:
            runtime_env["working_dir"] = stack.enter_context(staged_folder(working_dir))
            shipped = f"the folder {working_dir.resolve()}"
        else:
            files = named_files(parsed, settings, base)
            if folder := stack.enter_context(staged_files(base, files)):
                runtime_env["working_dir"] = folder
            shipped = ", ".join(map(str, files))
        yield JobRequest(
            job_id=unique_name(parsed.command),
            # -P: modules in the job's folder do not replace the package
            entrypoint=shlex.join(["exec", "python", "-P", "-m", "orchestrator.cli.job_entry", *arguments]),
            runtime_env=runtime_env,
            metadata={"sparsefleet": installed_version()},
            shipped=shipped,
            variables=sent,
        )


def _runtime_env(columns: int, env_file: str | None, sent: SentVariables | None) -> dict[str, Any]:
    """Return Ray's runtime environment without files. Ray logs it, so that it contains no value of `sent`."""
    variables = {
        # a run ends in order at SIGINT, and a round may take longer than Ray's default of three seconds
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
        "COLUMNS": str(columns),
        SOURCE_VARIABLE: package_source().digest,
        **variable_of_file(env_file),
    }
    if sent is not None:
        variables[KEY_VARIABLE] = sent.key
    return {
        "env_vars": variables,
        "excludes": ["**/__pycache__"],
        "worker_process_setup_hook": WORKER_HOOK,
    }
