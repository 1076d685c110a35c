"""Promises that what a hook was given, and what it leaves on a client, stay as they were."""

import torch

from orchestrator.contract.checked_run import checked_run
from orchestrator.contract.digest import digest
from orchestrator.contract.rounds import RecordedRound, phases, played_rounds
from orchestrator.contract.violation import hold, scored, updated
from orchestrator.execution.client import ClientRunner
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientScore


def check_inputs_are_left_alone(experiment: Experiment) -> None:
    """No hook writes into a tensor it was given."""
    params = torch.from_numpy(experiment.initial.copy())
    untouched = digest(params)
    experiment.algorithm.init(params)
    hold(digest(params) == untouched, "init wrote into the initial parameters")
    for played in phases(played_rounds(experiment)):
        _hold_server_inputs(experiment, played)
        for position in range(len(played.jobs)):
            _hold_client_inputs(experiment, played, position)


def _hold_server_inputs(experiment: Experiment, played: RecordedRound) -> None:
    algorithm, state, aggregate = experiment.algorithm, played.before, played.aggregate
    contributed = [x for model in played.models if model for x in (model.values, model.mask)]
    brought = [job.client_state for job in played.jobs]
    given = (state, aggregate.values, aggregate.coverage, dict(aggregate.extras), *contributed, *brought)
    digests = [digest(x) for x in given]
    algorithm.broadcast(state)
    for job, payload in zip(played.jobs, played.payloads, strict=True):
        algorithm.unicast(state, job.task, job.client_state)
        algorithm.shared_mask(job.client_state)
        algorithm.unpack(payload, job.task, job.client_state)
    algorithm.plan(state, played.round_idx, tuple(job.task.client_id for job in played.jobs))
    probing = played.jobs[0].task.kind == "probe"
    absorb = algorithm.probe_update if probing else algorithm.server_update
    absorb(state, aggregate, played.round_idx)
    hold(
        [digest(x) for x in given] == digests,
        f"round {played.round_idx}: a server hook wrote into the state or the aggregate; return new tensors",
    )


def _hold_client_inputs(experiment: Experiment, played: RecordedRound, position: int) -> None:
    run = checked_run(experiment, played, position)
    taken = (
        run.received and run.received.values,
        run.received and run.received.mask,
        played.jobs[position].client_state,
    )
    digests = [digest(x) for x in taken]
    experiment.algorithm.client_update(run)
    hold(
        [digest(x) for x in taken] == digests,
        f"round {played.round_idx}: a client hook wrote into the received model or its old state; "
        "assign a new value to run.state",
    )


def check_scoring_leaves_no_trace(experiment: Experiment) -> None:
    """A client's score is repeatable, and neither changes what it brings nor what it sends afterwards."""
    last = played_rounds(experiment)[-1]
    host, message = ClientRunner(experiment), last.broadcast.message.buffer
    for job, update in zip(last.jobs, last.updates, strict=True):
        first, second = _scored_twice(host, last, job.task.client_id, job.client_state)
        hold(first == second, "the same client is scored differently; draw from seeds.stream alone")
        hold(0.0 <= first.scores["personal/accuracy"] <= 1.0, "an accuracy is not between 0 and 1")
        again = updated(host.run(job.task, message, job.unicast, job.client_state))
        hold(
            again.buffer.tobytes() == update.buffer.tobytes(),
            "scoring a client changes its next update; put back what `personal` changes beside run.values",
        )


def _scored_twice(
    host: ClientRunner, played: RecordedRound, client_id: int, client_state: object
) -> tuple[ClientScore, ClientScore]:
    task = ClientTask(round_idx=played.round_idx, position=0, client_id=client_id, kind="evaluate")
    job = played.broadcast.request(task, client_state)
    message, before = played.broadcast.message.buffer, digest(client_state)
    first, second = (host.run(task, message, job.unicast, client_state) for _ in range(2))
    hold(digest(client_state) == before, "`personal` wrote into the client's state")
    return scored(first), scored(second)
