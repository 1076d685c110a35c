"""Checks that a round gives the same bits again: in another process, from a copy, and from a checkpoint."""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from orchestrator.contract.digest import digest
from orchestrator.contract.rounds import RecordedRound, phases, play, recorded_rounds
from orchestrator.contract.violation import require, updated
from orchestrator.execution.client import ClientRunner
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from orchestrator.storage.checkpoints.checkpoint import Checkpoint, Templates
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore


def check_deterministic(experiment: Experiment) -> None:
    """Check that two runs give the same bytes from every client and the same state after every round."""
    for first, second in zip(recorded_rounds(experiment), play(experiment), strict=True):
        _require_same_round(first, second, "use random numbers only from seeds.stream")


def check_independent_of_the_process(experiment: Experiment) -> None:
    """Check that a client sends the same bytes when it shares its model object with no other client."""
    for recorded in phases(recorded_rounds(experiment)):
        for job, update in zip(recorded.jobs, recorded.updates, strict=True):
            message = recorded.broadcast.message.buffer
            alone = updated(ClientRunner(experiment).run(job.task, message, job.unicast, job.client_state))
            require(
                alone.buffer.tobytes() == update.buffer.tobytes(),
                f"round {recorded.round_idx}: a new process gives another update; "
                "store the state of a client in run.state, not on the method or in a module",
            )


def check_pickled_copy_is_the_same(experiment: Experiment) -> None:
    """Check that the method contains only its config and setting, can be pickled, and does not change in a round."""
    recorded_rounds(experiment)  # the layout caches its sizes at first use, which changes its pickle
    before = pickle.dumps(experiment.algorithm)
    extra = set(vars(experiment.algorithm)) - {"config", "setting"}
    rounds = play(experiment)
    require(not extra, f"the method has further attributes {extra}; move them to the server or client state")
    require(
        pickle.dumps(experiment.algorithm) == before,
        "a round changed the method object; store changing values in the server or client state",
    )
    copied = replace(experiment, algorithm=pickle.loads(before))  # noqa: S301
    for recorded, again in zip(rounds, play(copied), strict=True):
        _require_same_round(recorded, again, "use no attributes that pickle skips")


def check_states_survive_a_checkpoint(experiment: Experiment) -> None:
    """Check that a checkpoint restores all states bit for bit, and that the next round is the same."""
    for recorded, following in pairwise(recorded_rounds(experiment)):
        server, clients = _through_a_checkpoint(experiment, recorded)
        require(digest(server) == digest(recorded.after), "the server state changed in a checkpoint")
        same = digest(_by_name(clients)) == digest(_by_name(recorded.client_states))
        require(same, "the state of a client changed in a checkpoint")
        if not following.probes:
            again = experiment.algorithm.server_update(server, following.aggregate, following.round_idx)
            require(digest(again) == digest(following.after), "a restored state gives another next round")


def _through_a_checkpoint(
    experiment: Experiment, recorded: RecordedRound
) -> tuple[ServerState, dict[int, Any]]:
    """Write the states after a round to a folder; return the server state and client states read from the folder."""
    algorithm = experiment.algorithm
    fresh = algorithm.init(torch.from_numpy(experiment.initial.copy()))
    checkpoint = Checkpoint(
        round_idx=0,
        server_state=recorded.after,
        client_states=recorded.client_states,
        shared_masks={},
        totals={},
        log_bytes={},
    )
    with TemporaryDirectory() as folder:
        CheckpointStore(Path(folder)).write(checkpoint)
        restored = CheckpointStore(Path(folder)).restore(
            Templates(server=fresh, client=algorithm.init_client(0))
        )
        if restored is None:
            raise AssertionError("the folder contains no checkpoint")
        return restored.server_state, dict(restored.client_states)


def _require_same_round(first: RecordedRound, second: RecordedRound, hint: str) -> None:
    place = f"round {first.round_idx}"
    for one, other in zip(first.updates, second.updates, strict=True):
        require(
            (one.client_id, one.buffer.tobytes()) == (other.client_id, other.buffer.tobytes()),
            f"{place}: the update of client {one.client_id} differs; {hint}",
        )
    require(digest(first.after) == digest(second.after), f"{place}: the server state differs; {hint}")
    require(
        digest(_by_name(first.client_states)) == digest(_by_name(second.client_states)),
        f"{place}: client states differ; {hint}",
    )


def _by_name(client_states: Mapping[int, object]) -> dict[str, object]:
    return {str(k): state for k, state in sorted(client_states.items())}
