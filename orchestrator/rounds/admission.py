"""Checks every update before it may count: it answers its task, is complete and finite, and has an allowed mask.

A wrong update may come from a faulty device, from a training that diverged, or from an attacker. Nothing can remove
such an update from a sum to which it was added. A rejected update is a failure of its client.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.aggregation.payload_check import decode_update, max_elements, rejected_payload
from orchestrator.aggregation.received_update import Content, DecodedUpdate, ReceivedUpdate
from orchestrator.errors import WireError
from orchestrator.execution.executor import TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.client_event import participation
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import (
    SCORES,
    STAGES,
    ClientFailure,
    ClientScore,
    ClientUpdate,
    Outcome,
    RejectedPayload,
    StoredUpdate,
)
from orchestrator.formatting import counted
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.client_state_form import state_problem
from orchestrator.rounds.dropout import with_dropout

#: FLOPs of a task: more than a GPU of today computes in thirty years; and metrics of an update
_MAX_FLOPS, _MAX_METRICS = 1e24, 256
#: seconds of a stage: more than ten years
_MAX_SECONDS = 1e9
#: a client state may have this many bytes for each value that an update may contain
_BYTES_PER_ELEMENT = 8


def admit(
    experiment: Experiment,
    request: TaskRequest,
    outcome: Outcome[Any],
    broadcast: Broadcast,
    download_bytes: int,
    start_s: float,
) -> ReceivedUpdate | ClientFailure:
    """Decode and check an update whose download of `download_bytes` started at emulated time `start_s`."""
    if isinstance(outcome, ClientFailure):
        return outcome
    task = request.task
    sent = outcome.update if isinstance(outcome, StoredUpdate) else outcome
    content: Content
    try:
        if not isinstance(sent, ClientUpdate):
            raise WireError(f"the answer to a {task.kind} task is a {type(sent).__name__}")
        if isinstance(outcome, StoredUpdate):
            _require_fields(experiment, request, sent)
        else:
            content = checked(experiment, request, sent, broadcast.received_by(request))
            upload_bytes = sent.buffer.nbytes
    except Exception as error:  # a method's `unpack` gets whatever a client sends
        return _rejected(task, error)
    if isinstance(outcome, StoredUpdate):
        report = outcome.report()
        if isinstance(report, RejectedPayload):
            return _failure(task, report)
        content, upload_bytes = outcome, report.upload_bytes
    profile = experiment.setting.profile_of(task.client_id, task.round_idx)
    event = participation(
        task,
        sent,
        profile,
        download_bytes,
        upload_bytes * experiment.algorithm.upload_copies(task),
        start_s=start_s,
    )
    return ReceivedUpdate(
        task=task,
        sent=sent,
        content=content,
        mask_digest=broadcast.mask_digest,
        event=with_dropout(experiment, task, profile, event),
    )


def checked(
    experiment: Experiment, request: TaskRequest, update: ClientUpdate[Any], received: ModelValues | None
) -> DecodedUpdate:
    """The content of an update, for a client that received this model.

    Raises WireError for a wrong update. A method's `unpack` may raise other errors for a payload of another form.
    """
    _require_fields(experiment, request, update)
    return decode_update(experiment, request, update.buffer, received)


def _require_fields(experiment: Experiment, request: TaskRequest, update: ClientUpdate[Any]) -> None:
    """Raise WireError for an update that is wrong in anything but its encoded payload."""
    _require_answer(request.task, update)
    _require_counts(update, len(experiment.partition.train[request.task.client_id]))
    _require_metrics(update)
    _require_seconds(update)
    _require_state(experiment, update.client_state)


def admit_score(request: TaskRequest, outcome: Outcome[Any]) -> ClientScore | ClientFailure:
    """Check the answer to an evaluation task."""
    if isinstance(outcome, ClientFailure):
        return outcome
    try:
        if not isinstance(outcome, ClientScore):
            raise WireError(f"the answer to an evaluation task is a {type(outcome).__name__}")
        _require_answer(request.task, outcome)
        _require_scores(outcome)
        _require_seconds(outcome)
    except (
        Exception
    ) as error:  # values that a client sends may raise any error when they are compared or shown
        return _rejected(request.task, error)
    return outcome


def _require_answer(task: ClientTask, answer: ClientUpdate[Any] | ClientScore) -> None:
    """Raise WireError for an answer to another task, such as one of an earlier round."""
    for name in ("round_idx", "position", "client_id"):
        got, expected = getattr(answer, name), getattr(task, name)
        if type(got) is not int or got != expected:
            raise WireError(f"the update answers another task: its {name} is {got}, expected {expected}")


def _rejected(task: ClientTask, error: Exception) -> ClientFailure:
    return _failure(task, rejected_payload(error))


def _failure(task: ClientTask, rejected: RejectedPayload) -> ClientFailure:
    return ClientFailure(
        round_idx=task.round_idx,
        position=task.position,
        client_id=task.client_id,
        stage=rejected.stage,
        cause=rejected.cause,
        traceback=rejected.traceback,
    )


def _require_counts(update: ClientUpdate[Any], num_samples: int) -> None:
    """Raise WireError for another number of samples than the client has, and for FLOPs out of range."""
    if type(update.num_examples) is not int or update.num_examples != num_samples:
        raise WireError(
            f"the update's num_examples is {update.num_examples!r}; the client has {counted(num_samples, 'sample')}"
        )
    for name in ("train_flops", "train_flops_dense", "unmasked_flops"):
        value = getattr(update, name)
        if type(value) not in (int, float) or not 0 <= value <= _MAX_FLOPS:
            raise WireError(f"the update's {name} is {value!r}, expected a number from 0 to {_MAX_FLOPS:.0e}")


def _require_metrics(update: ClientUpdate[Any]) -> None:
    """Raise WireError for metrics that are not a small mapping from names to floats."""
    metrics = update.metrics
    if not isinstance(metrics, Mapping) or len(metrics) > _MAX_METRICS:
        raise WireError(f"the update's metrics are no mapping of at most {_MAX_METRICS} numbers")
    for name, value in metrics.items():
        if type(name) is not str or type(value) is not float:
            raise WireError(f"the update's metric {name!r} is {value!r}, expected a float")


def _require_seconds(answer: ClientUpdate[Any] | ClientScore) -> None:
    """Raise WireError for times that are not seconds by the names of `STAGES`."""
    if not isinstance(answer.seconds, Mapping):
        raise WireError("the seconds are no mapping")
    for stage, value in answer.seconds.items():
        if stage not in STAGES or type(value) is not float or not 0.0 <= value <= _MAX_SECONDS:
            raise WireError(
                f"the seconds of stage {stage!r} are {value!r}, expected a time of {', '.join(STAGES)}"
            )


def _require_scores(score: ClientScore) -> None:
    """Raise WireError for scores that are not accuracies by the names of `SCORES`."""
    if not isinstance(score.scores, Mapping):
        raise WireError("the scores are no mapping")
    for name, value in score.scores.items():
        if name not in SCORES or type(value) is not float or not 0.0 <= value <= 1.0:
            raise WireError(f"the score {name!r} is {value!r}, expected an accuracy from 0 to 1")


def _require_state(experiment: Experiment, state: object) -> None:
    """Raise WireError for a client state that the method does not produce or that a checkpoint cannot restore."""
    algorithm = experiment.algorithm
    max_further_bytes = _BYTES_PER_ELEMENT * max_elements(algorithm.setting.layout)
    problem = state_problem(experiment.client_template, state, max_further_bytes=max_further_bytes)
    if problem is not None:
        raise WireError(
            f"the client state has another form than that of {type(algorithm).__name__}.init_client: {problem}"
        )
    algorithm.check_client_state(state)
