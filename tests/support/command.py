"""The command line for tests: it runs in the test's process and returns its output."""

from collections.abc import Callable
from dataclasses import dataclass

#: two short rounds of four clients on the bundled digits, in this process and without MLflow
QUICK = (
    "runtime.executor=inprocess",
    "tracking.enabled=false",
    "fleet.num_clients=4",
    "training.clients_per_round=2",
    "training.rounds=2",
    "training.local_epochs=1",
)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The only line on standard error, which must be an error message."""
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line


Command = Callable[..., CommandResult]
