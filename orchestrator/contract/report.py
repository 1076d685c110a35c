"""All checks of one method, told on the terminal as they end."""

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
    """Print one line per check on standard output; whether the method, as in `algorithm.name`, keeps them all.

    Standard error shows, where it is a terminal, what is being checked; with `verbose` also tracebacks. Raises a
    RequestError for what cannot be done as asked.
    """
    output, progress = Console(), Console(stderr=True)
    experiment = contract_experiment(method, overrides)
    kept = True
    for number, (promise, check) in enumerate(CHECKS.items(), 1):
        with progress.status(f"{promise} ({number} of {len(CHECKS)})"):
            error = _broken(check, experiment)
        kept &= error is None
        output.print(_line(promise, error), soft_wrap=True)
        if verbose and error is not None:
            progress.print(Text("".join(format_exception(error))), end="", soft_wrap=True)
    return kept


def _broken(check: Check, experiment: Experiment) -> Exception | None:
    """What breaks a promise, whatever it is: someone else's hooks may raise anything."""
    try:
        with torch_threads(1):
            check(experiment)
    except RequestError:
        raise
    except Exception as error:
        return error
    return None


def _line(promise: str, error: Exception | None) -> Text:
    if error is None:
        return Text.assemble(("ok", "green"), f"      {promise}")
    said = " ".join(str(error).split())
    cause = said if isinstance(error, AssertionError) and said else f"{type(error).__name__}: {said}"
    return Text.assemble(("broken", "red"), f"  {promise}: {cause}")
