"""The command line as tests call it: in this process, with what it printed."""

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
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]
