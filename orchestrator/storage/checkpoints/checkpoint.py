"""The state of a run after a round: what a checkpoint stores, and what `CheckpointStore.restore` returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.storage.checkpoints.client_states import ClientStates
from orchestrator.storage.checkpoints.in_flight import InFlightTask


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """The state of a run after one round, as far as this round changed the state.

    `client_states`: states that changed in this round, by client id; None where a client keeps no state now.
    `shared_masks`: digest of the mask that the server and each participant now share.
    `totals`: running totals of the metrics.
    `log_bytes`: length of each log after the round.
    `log_sha256`: digest of the lines that the round added to each log.
    `in_flight`: tasks that outlive the round.
    """

    round_idx: int
    server_state: Any
    client_states: Mapping[int, Any]
    shared_masks: Mapping[int, str]
    totals: Mapping[str, float]
    log_bytes: Mapping[str, int]
    log_sha256: Mapping[str, str] = field(default_factory=dict)
    in_flight: Sequence[InFlightTask] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class RestoredRun:
    """The state of a run, restored from the checkpoints of all its rounds.

    `client_states` and `shared_masks` cover every client that ever took part. `earlier_states` are the server states
    that the tasks in `in_flight` start from, by round. The other fields are as in `Checkpoint`.
    """

    round_idx: int
    server_state: Any
    client_states: ClientStates
    shared_masks: dict[int, str]
    totals: Mapping[str, float]
    log_bytes: Mapping[str, int]
    in_flight: Sequence[InFlightTask] = ()
    earlier_states: Mapping[int, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """A new server state and a new client state, which give stored states their structure when they are read."""

    server: Any
    client: Any
