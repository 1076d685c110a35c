"""The environment variables of a job: by name from this shell, or from a file on the cluster.

Ray writes a job's runtime environment to its logs and shows it to every user with the token. So the runtime
environment contains only the path of the file, and the key of the values from this shell. These values are in the
memory of the head until the job ends.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from orchestrator.errors import ClusterError, RequestError

#: variable of the job that contains the key of its values
KEY_VARIABLE = "SPARSEFLEET_VARIABLES"
#: Ray stores whatever it gets for an address of this form. It deletes only entries that a runtime environment names.
_PROTOCOL = "gcs"
#: Ray writes the first 15 bytes to its log when it cannot store them
_BEGINNING = b'{"variables of a job": '

#: variable of the job that contains the path of the file
FILE_VARIABLE = "SPARSEFLEET_ENV_FILE"
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class SentVariables:
    """Values on their way to a job, by name, under a key that nobody can guess."""

    values: Mapping[str, str] = field(repr=False)
    name: str = field(default_factory=lambda: f"sparsefleet-variables-{token_hex(16)}")

    @property
    def key(self) -> str:
        """The key in the store."""
        return f"{_PROTOCOL}://{self.name}"

    @property
    def path(self) -> str:
        """The path of the job server's page that stores the content."""
        return f"/api/packages/{_PROTOCOL}/{self.name}"

    def content(self) -> bytes:
        """Return the bytes to store."""
        return _BEGINNING + json.dumps(dict(self.values)).encode() + b"}"


def values_of(content: bytes | None) -> dict[str, str]:
    """Return the values in stored bytes. Raises ClusterError for None: the store does not have them any more."""
    if content is None:
        raise ClusterError("the cluster has lost the variables of --env; submit the job again")
    (values,) = json.loads(content).values()
    return dict(values)


def selected_variables(names: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with these names. Raises RequestError for an unset variable, and for NAME=VALUE."""
    for name in names:
        if "=" in name:
            problem = "other users can read a value on a command line"
            name = name.partition("=")[0]
            raise RequestError(
                "--env", f"{name}=***", problem, f"set {name} in your shell and write --env {name}"
            )
        if name not in environment:
            raise RequestError(
                "--env", name, "the variable is not set in this shell", f"set it: export {name}=..."
            )
    return {name: environment[name] for name in names}


def variable_of_file(file: str | None) -> dict[str, str]:
    """Return the variable that tells the job where its file is. Raises RequestError for a relative path."""
    if file is None:
        return {}
    if not file.startswith(("/", "~")):
        problem = "the path refers to the machine of the cluster on which the job runs"
        raise RequestError("--env-file", file, problem, "give an absolute path, such as ~/.sparsefleet.env")
    return {FILE_VARIABLE: file}


def variables_in_file(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables in the file that the job's environment names; empty when it names no file.

    A line is `NAME=VALUE` or `export NAME=VALUE`, and a value may be in quotes. Empty lines and lines that start with
    `#` are ignored. Raises RequestError for a file that is unreadable, that others can read, or that has another line.
    """
    if FILE_VARIABLE not in environment:
        return {}
    file = Path(environment[FILE_VARIABLE]).expanduser()
    try:
        mode, lines = file.stat().st_mode, file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"the job cannot read this file ({error})"
        raise RequestError("--env-file", file, problem, "make the file on the cluster's head") from error
    if mode & _OTHERS:
        raise RequestError("--env-file", file, "other users can read this file", f"run `chmod 600 {file}`")
    variables = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if (found := _LINE.fullmatch(line.strip())) is None:
            raise RequestError("--env-file", file, f"line {number} is not NAME=VALUE", "correct the line")
        variables[found[1]] = _without_quotes(found[2])
    return variables


def _without_quotes(value: str) -> str:
    is_quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if is_quoted else value
