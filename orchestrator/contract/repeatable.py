"""Promises that a round can be had again: elsewhere, from a copy, and from a commit."""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from orchestrator.contract.digest import digest
from orchestrator.contract.rounds import RecordedRound, phases, play, played_rounds
from orchestrator.contract.violation import hold, updated
from orchestrator.execution.client import ClientRunner
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from orchestrator.storage.checkpoint import Checkpoint, Templates
from orchestrator.storage.checkpoint_store import CheckpointStore


def check_deterministic(experiment: Experiment) -> None:
    """Two runs are one: the same bytes from every client, the same state after every round."""
    for first, second in zip(played_rounds(experiment), play(experiment), strict=True):
        _hold_same_round(first, second, "draw random numbers from seeds.stream alone")


def check_independent_of_the_host(experiment: Experiment) -> None:
    """A client in a new process sends the same bytes as one that shares its model object with others."""
    for played in phases(played_rounds(experiment)):
        for job, update in zip(played.jobs, played.updates, strict=True):
            message = played.broadcast.message.buffer
            alone = updated(ClientRunner(experiment).run(job.task, message, job.unicast, job.client_state))
            hold(
                alone.buffer.tobytes() == update.buffer.tobytes(),
                f"round {played.round_idx}: a new process gives another update; "
                "keep what a client remembers in run.state, not on the method or in a module",
            )


def check_pickled_copy_is_the_same(experiment: Experiment) -> None:
    """The method holds only its config and setting: it survives pickling, and no round changes it."""
    played_rounds(experiment)  # the layout remembers its sizes once they were asked for
    before = pickle.dumps(experiment.algorithm)
    more = set(vars(experiment.algorithm)) - {"config", "setting"}
    rounds = play(experiment)
    hold(not more, f"the method keeps {more}; put it into the server or client state")
    hold(
        pickle.dumps(experiment.algorithm) == before,
        "a round changed the method object; carry what changes in the server or client state",
    )
    copied = replace(experiment, algorithm=pickle.loads(before))  # noqa: S301
    for played, again in zip(rounds, play(copied), strict=True):
        _hold_same_round(played, again, "hold nothing that pickle leaves behind")


def check_states_survive_a_commit(experiment: Experiment) -> None:
    """Server and client states come back bit for bit from a commit, and the next round is the same."""
    for played, following in pairwise(played_rounds(experiment)):
        server, clients = _through_a_commit(experiment, played)
        hold(digest(server) == digest(played.after), "the server state changed in a commit")
        same = digest(_by_name(clients)) == digest(_by_name(played.client_states))
        hold(same, "a client's state changed in a commit")
        if not following.probes:
            again = experiment.algorithm.server_update(server, following.aggregate, following.round_idx)
            hold(digest(again) == digest(following.after), "a restored state gives another next round")


def _through_a_commit(experiment: Experiment, played: RecordedRound) -> tuple[ServerState, dict[int, Any]]:
    """The server state after a round and all clients' states, written to a folder and read again."""
    algorithm = experiment.algorithm
    fresh = algorithm.init(torch.from_numpy(experiment.initial.copy()))
    commit = Checkpoint(
        round_idx=0,
        server_state=played.after,
        client_states=played.client_states,
        shared_masks={},
        totals={},
        log_bytes={},
    )
    with TemporaryDirectory() as folder:
        CheckpointStore(Path(folder)).write(commit)
        restored = CheckpointStore(Path(folder)).restore(
            Templates(server=fresh, client=algorithm.init_client(0))
        )
        if restored is None:
            raise AssertionError("a commit left nothing behind")
        return restored.server_state, dict(restored.client_states)


def _hold_same_round(first: RecordedRound, second: RecordedRound, hint: str) -> None:
    place = f"round {first.round_idx}"
    for one, other in zip(first.updates, second.updates, strict=True):
        hold(
            (one.client_id, one.buffer.tobytes()) == (other.client_id, other.buffer.tobytes()),
            f"{place}: the update of client {one.client_id} differs; {hint}",
        )
    hold(digest(first.after) == digest(second.after), f"{place}: the server state differs; {hint}")
    hold(
        digest(_by_name(first.client_states)) == digest(_by_name(second.client_states)),
        f"{place}: client states differ; {hint}",
    )


def _by_name(client_states: Mapping[int, object]) -> dict[str, object]:
    return {str(k): state for k, state in sorted(client_states.items())}
