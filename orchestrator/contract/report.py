"""Run all checks of a method, and print each result on the terminal."""

from collections.abc import Sequence
from traceback import format_exception

from rich.console import Console
from rich.text import Text

from orchestrator.contract.checks import CHECKS, Check
from orchestrator.contract.experiment import contract_experiment
from orchestrator.errors import RequestError
from orchestrator.execution.torch_threads import torch_threads
from orchestrator.experiment.experiment import Experiment


def report(method: str, overrides: Sequence[str] = (), *, verbose: bool = False) -> bool:
    """Print one line per check on standard output, and return whether the method passes all checks.

    `method` is an `algorithm.name`. Standard error shows the running check if it is a terminal, and tracebacks with
    `verbose`. Raises a RequestError for a method or option that cannot be prepared.
    """
    output, progress = Console(), Console(stderr=True)
    experiment = contract_experiment(method, overrides)
    passed = True
    for number, (name, check) in enumerate(CHECKS.items(), 1):
        with progress.status(f"{name} ({number} of {len(CHECKS)})"):
            error = _run(check, experiment)
        passed &= error is None
        output.print(_line(name, error), soft_wrap=True)
        if verbose and error is not None:
            progress.print(Text("".join(format_exception(error))), end="", soft_wrap=True)
    return passed


def _run(check: Check, experiment: Experiment) -> Exception | None:
    """Run a check and return its error, or None. Hooks of a user's method can raise any exception."""
    try:
        with torch_threads(1):
            check(experiment)
    except RequestError:
        raise
    except Exception as error:
        return error
    return None


def _line(name: str, error: Exception | None) -> Text:
    if error is None:
        return Text.assemble(("ok", "green"), f"      {name}")
    message = " ".join(str(error).split())
    cause = message if isinstance(error, AssertionError) and message else f"{type(error).__name__}: {message}"
    return Text.assemble(("broken", "red"), f"  {name}: {cause}")
