"""The command `sparsefleet`: assembles the commands, prints errors and sets the exit code.

Exit codes: 0 success, 1 the run failed, 2 the request was invalid, 130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by
SIGHUP.
"""

import re
import sys
from collections.abc import Sequence
from traceback import format_exception
from typing import Annotated

import typer

from orchestrator.cli.cluster import (
    STATUS_HELP,
    STOP_HELP,
    SUBMIT_HELP,
    status_command,
    stop_command,
    submit_command,
)
from orchestrator.cli.compare import COMPARE_HELP, compare_command
from orchestrator.cli.inspection import (
    DOCTOR_HELP,
    LIST_HELP,
    PARTITION_HELP,
    UI_HELP,
    doctor_command,
    list_command,
    partition_command,
    ui_command,
)
from orchestrator.cli.methods import (
    CHECK_HELP,
    CITE_HELP,
    RETIME_HELP,
    check_command,
    cite_command,
    retime_command,
)
from orchestrator.cli.project import INIT_HELP, SCHEMA_HELP, init_command, schema_command
from orchestrator.cli.reproduce import REPRODUCE_HELP, reproduce_command
from orchestrator.cli.run import (
    DEMO_HELP,
    RESUME_HELP,
    RUN_HELP,
    demo_command,
    resume_command,
    run_command,
)
from orchestrator.cli.sweep import SWEEP_HELP, sweep_command
from orchestrator.display.streams import replace_unknown_characters, set_log_level
from orchestrator.errors import SparsefleetError, hide_passwords, one_line
from orchestrator.processes.signals import exit_process, handling_signals
from orchestrator.version import installed_version

APP_HELP = """
Run experiments in sparse, heterogeneous, personalised federated learning on Ray.

Start with `sparsefleet demo`. `sparsefleet COMMAND --help` explains a command and gives examples.
"""

app = typer.Typer(
    name="sparsefleet",
    help=APP_HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"sparsefleet {installed_version()}")
        raise typer.Exit


@app.callback(help=APP_HELP)
def _app_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Define the options that come before a command."""


app.command("run", help=RUN_HELP)(run_command)
app.command("resume", help=RESUME_HELP)(resume_command)
app.command("sweep", help=SWEEP_HELP)(sweep_command)
app.command("reproduce", help=REPRODUCE_HELP)(reproduce_command)
app.command("compare", help=COMPARE_HELP)(compare_command)
# `submit` does not interpret the options that follow COMMAND
app.command("submit", help=SUBMIT_HELP, context_settings={"allow_interspersed_args": False})(submit_command)
app.command("status", help=STATUS_HELP)(status_command)
app.command("stop", help=STOP_HELP)(stop_command)
app.command("demo", help=DEMO_HELP)(demo_command)
app.command("init", help=INIT_HELP)(init_command)
app.command("schema", help=SCHEMA_HELP)(schema_command)
app.command("ui", help=UI_HELP)(ui_command)
app.command("list", help=LIST_HELP)(list_command)
app.command("partition", help=PARTITION_HELP)(partition_command)
app.command("retime", help=RETIME_HELP)(retime_command)
app.command("check", help=CHECK_HELP)(check_command)
app.command("cite", help=CITE_HELP)(cite_command)
app.command("doctor", help=DOCTOR_HELP)(doctor_command)


def main() -> None:
    """Run the command in `sys.argv` and exit with its exit code."""
    replace_unknown_characters()
    with handling_signals():
        exit_process(run_command_line(sys.argv[1:]))


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command in this process and return its exit code; an error becomes one line on standard error."""
    verbose, quiet = (
        any(re.fullmatch(f"--{name}|-[a-z]*{name[0]}[a-z]*", argument) for argument in arguments)
        for name in ("verbose", "quiet")
    )
    set_log_level(verbose=verbose, quiet=quiet)
    with handling_signals() as signals:
        try:
            app(args=list(arguments), prog_name="sparsefleet")
        except (typer.Abort, KeyboardInterrupt):  # Typer itself turns KeyboardInterrupt into exit code 130
            return signals.exit_code
        except SystemExit as ended:  # Typer has already printed what is wrong with the arguments
            code = ended.code if isinstance(ended.code, int) else 0
            return signals.exit_code if code == 130 else code
        except SparsefleetError as error:
            return _print_error(error, error.exit_code, verbose)
        except (OSError, MemoryError) as error:
            return _print_error(_system_error(error), 1, verbose)
        except Exception as error:
            return _print_error(error, 1, verbose)
    return 0


def _system_error(error: OSError | MemoryError) -> SparsefleetError:
    """Return the error of one line for a file, folder, connection or memory that the system does not give."""
    if isinstance(error, MemoryError):
        problem = one_line(error) or "the memory is full"
        translated = SparsefleetError(f"{problem}; use less data, fewer clients or a smaller model")
    else:
        where = f"{error.filename}: " if error.filename is not None else ""
        remedy = "check the path, its permissions and the space on its disk"
        translated = SparsefleetError(f"{where}{error.strerror or one_line(error)}; {remedy}")
    translated.__cause__ = error
    return translated


def _print_error(error: Exception, code: int, verbose: bool) -> int:
    if verbose:
        print(hide_passwords("".join(format_exception(error))), file=sys.stderr, end="")
    known = isinstance(error, SparsefleetError)
    line = str(error).splitlines()[0] if known else f"unexpected {type(error).__name__}: {error}"
    hint = "" if verbose or known else " (--verbose shows the traceback)"
    print(f"error: {hide_passwords(line)}{hint}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
