"""The environment variables of a job: by name from this shell, or from a file on the cluster.

Ray writes the variables of a job's runtime environment to its log, which all users of the machine can read. A file on
the cluster keeps secrets out of the job: the job contains only the path of the file.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.errors import RequestError, has_password

#: variable of the job that contains the path of the file
FILE_VARIABLE = "SPARSEFLEET_ENV_FILE"
_SECRET_NAME = re.compile(
    r"PASS(WORD|WD|PHRASE)?(_|$)|SECRET|TOKEN|CREDENTIAL|(^|_)(API_?|ACCESS_|PRIVATE_)?KEY(_|$)"
)
#: beginnings of the tokens of well-known services, and of private keys
_SECRET_VALUE = re.compile(r"(gh[pousr]_|github_pat_|glpat-|hf_|sk-|AKIA|xox[abp]-|eyJ|-----BEGIN )\S")
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_OTHERS = 0o077


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


def secret_warnings(names: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Yield one line for each variable of `--env` that looks like a secret."""
    for name in names:
        value = environment.get(name, "")
        if _SECRET_NAME.search(name.upper()) or _SECRET_VALUE.match(value) or has_password(value):
            yield (
                f"--env {name} looks like a secret, and Ray writes it to a log that all users of the machine can read; "
                "use --env-file FILE with a file on the cluster"
            )


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
