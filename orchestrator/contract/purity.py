"""Checks that hooks do not change their inputs, and that scoring does not change later results."""

import torch

from orchestrator.contract.checked_run import checked_run
from orchestrator.contract.digest import digest
from orchestrator.contract.rounds import RecordedRound, phases, recorded_rounds
from orchestrator.contract.violation import require, scored, updated
from orchestrator.execution.client import ClientRunner
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientScore


def check_inputs_are_not_changed(experiment: Experiment) -> None:
    """Check that no hook writes into its input tensors."""
    params = torch.from_numpy(experiment.initial.copy())
    before = digest(params)
    experiment.algorithm.init(params)
    require(digest(params) == before, "init wrote into the initial parameters")
    for recorded in phases(recorded_rounds(experiment)):
        _check_server_inputs(experiment, recorded)
        for position in range(len(recorded.jobs)):
            _check_client_inputs(experiment, recorded, position)


def _check_server_inputs(experiment: Experiment, recorded: RecordedRound) -> None:
    algorithm, state, aggregate = experiment.algorithm, recorded.before, recorded.aggregate
    models = [x for model in recorded.models if model for x in (model.values, model.mask)]
    client_states = [job.client_state for job in recorded.jobs]
    inputs = (state, aggregate.values, aggregate.coverage, dict(aggregate.extras), *models, *client_states)
    digests = [digest(x) for x in inputs]
    algorithm.broadcast(state)
    for job, payload in zip(recorded.jobs, recorded.payloads, strict=True):
        algorithm.unicast(state, job.task, job.client_state)
        algorithm.shared_mask(job.client_state)
        algorithm.unpack(payload, job.task, job.client_state)
    algorithm.plan(state, recorded.round_idx, tuple(job.task.client_id for job in recorded.jobs))
    probing = recorded.jobs[0].task.kind == "probe"
    absorb = algorithm.probe_update if probing else algorithm.server_update
    absorb(state, aggregate, recorded.round_idx)
    require(
        [digest(x) for x in inputs] == digests,
        f"round {recorded.round_idx}: a server hook wrote into the state or the aggregate; return new tensors",
    )


def _check_client_inputs(experiment: Experiment, recorded: RecordedRound, position: int) -> None:
    run = checked_run(experiment, recorded, position)
    inputs = (
        run.received and run.received.values,
        run.received and run.received.mask,
        recorded.jobs[position].client_state,
    )
    digests = [digest(x) for x in inputs]
    experiment.algorithm.client_update(run)
    require(
        [digest(x) for x in inputs] == digests,
        f"round {recorded.round_idx}: a client hook wrote into the received model or its old state; "
        "assign a new value to run.state",
    )


def check_scoring_changes_nothing(experiment: Experiment) -> None:
    """Check that a client's score is repeatable, and that scoring changes neither its state nor its next update."""
    last = recorded_rounds(experiment)[-1]
    runner, message = ClientRunner(experiment), last.broadcast.message.buffer
    for job, update in zip(last.jobs, last.updates, strict=True):
        first, second = _scored_twice(runner, last, job.task.client_id, job.client_state)
        require(
            first == second, "two scores of the same client differ; use random numbers only from seeds.stream"
        )
        require(0.0 <= first.scores["personal/accuracy"] <= 1.0, "an accuracy is not between 0 and 1")
        again = updated(runner.run(job.task, message, job.unicast, job.client_state))
        require(
            again.buffer.tobytes() == update.buffer.tobytes(),
            "scoring a client changes its next update; restore everything except run.values that `personal` changes",
        )


def _scored_twice(
    runner: ClientRunner, recorded: RecordedRound, client_id: int, client_state: object
) -> tuple[ClientScore, ClientScore]:
    task = ClientTask(round_idx=recorded.round_idx, position=0, client_id=client_id, kind="evaluate")
    job = recorded.broadcast.request(task, client_state)
    message, before = recorded.broadcast.message.buffer, digest(client_state)
    first, second = (runner.run(task, message, job.unicast, client_state) for _ in range(2))
    require(digest(client_state) == before, "`personal` wrote into the client's state")
    return scored(first), scored(second)
