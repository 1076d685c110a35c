"""Checks every update before it may count: it answers its task, is complete and finite, and has an allowed mask.

A wrong update may come from a faulty device, from a training that diverged, or from an attacker. Nothing can remove
such an update from a sum to which it was added. A rejected update is a failure of its client.
"""

from collections.abc import Mapping
from traceback import format_exc
from typing import Any

import numpy as np
import torch

from orchestrator.aggregation.received_update import ReceivedUpdate
from orchestrator.errors import WireError
from orchestrator.execution.executor import TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import AnyAlgorithm
from orchestrator.federation.client_event import participation
from orchestrator.federation.exchange import ModelValues, known_masks, without_model
from orchestrator.federation.item_form import ItemForm, require_forms
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import SCORES, STAGES, ClientFailure, ClientScore, ClientUpdate, Outcome
from orchestrator.formatting import counted
from orchestrator.models.parameters import ParameterLayout
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.client_state_form import state_problem
from orchestrator.rounds.dropout import with_dropout
from orchestrator.sparsity.payload import Dense, Item, Masked, Payload, Scalar
from orchestrator.sparsity.wire import decode

#: an update may contain this many vectors of the model's size, and this many further values
_MAX_VECTORS, _MAX_FURTHER_VALUES = 16, 1 << 16
#: FLOPs of a task: more than a GPU of today computes in thirty years; and metrics of an update
_MAX_FLOPS, _MAX_METRICS = 1e24, 256
#: seconds of a stage: more than ten years
_MAX_SECONDS = 1e9
#: a client state may have this many bytes for each value that an update may contain
_BYTES_PER_ELEMENT = 8
#: the answer to a `loss` task
LOSS_FORMS = {"loss": ItemForm(kinds=(Scalar,))}


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
    task, received = request.task, broadcast.received_by(request)
    try:
        if not isinstance(outcome, ClientUpdate):
            raise WireError(f"the answer to a {task.kind} task is a {type(outcome).__name__}")
        model, items = checked(experiment, request, outcome, received)
    except Exception as error:  # a method's `unpack` gets whatever a client sends
        return _rejected(task, error)
    profile = experiment.setting.profile_of(task.client_id, task.round_idx)
    copies = experiment.algorithm.upload_copies(task)
    event = participation(task, outcome, profile, download_bytes, start_s=start_s, upload_copies=copies)
    return ReceivedUpdate(
        task=task,
        sent=outcome,
        received=received,
        model=model,
        items=items,
        mask_digest=broadcast.mask_digest,
        event=with_dropout(experiment, task, profile, event),
    )


def checked(
    experiment: Experiment, request: TaskRequest, update: ClientUpdate[Any], received: ModelValues | None
) -> tuple[ModelValues | None, Payload]:
    """The model in an update and its other items, for a client that received this model.

    Raises WireError for a wrong update. A method's `unpack` may raise other errors for a payload of another form.
    """
    algorithm, task = experiment.algorithm, request.task
    _require_answer(task, update)
    if (
        not isinstance(update.buffer, np.ndarray)
        or update.buffer.dtype != np.uint8
        or update.buffer.ndim != 1
    ):
        raise WireError("the update's buffer is not an array uint8[n]")
    _require_counts(update, len(experiment.partition.train[task.client_id]))
    _require_metrics(update)
    _require_seconds(update)
    payload = _decoded(algorithm, task, update, received)
    model = None if task.kind == "loss" else algorithm.unpack(payload, task, request.client_state)
    if model is not None and task.kind == "train":
        _require_mask(algorithm, task, received, model)
    _require_state(experiment, update.client_state)
    return model, without_model(payload)


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


def _decoded(
    algorithm: AnyAlgorithm, task: ClientTask, update: ClientUpdate[Any], received: ModelValues | None
) -> Payload:
    """The payload of an update. Raises WireError for items of another form and for values that are not finite."""
    layout = algorithm.setting.layout
    known = known_masks(layout, None if received is None else received.mask)
    max_elements = _MAX_VECTORS * layout.size + _MAX_FURTHER_VALUES
    payload = decode(update.buffer, known_masks=known, max_elements=max_elements)
    require_forms(payload, LOSS_FORMS if task.kind == "loss" else algorithm.upload_items(task))
    for item in payload:
        _require_finite(item)
    return payload


def _require_answer(task: ClientTask, answer: ClientUpdate[Any] | ClientScore) -> None:
    """Raise WireError for an answer to another task, such as one of an earlier round."""
    for name in ("round_idx", "position", "client_id"):
        got, expected = getattr(answer, name), getattr(task, name)
        if type(got) is not int or got != expected:
            raise WireError(f"the update answers another task: its {name} is {got}, expected {expected}")


def _rejected(task: ClientTask, error: Exception) -> ClientFailure:
    return ClientFailure(
        round_idx=task.round_idx,
        position=task.position,
        client_id=task.client_id,
        stage="admission",
        cause=f"{type(error).__name__}: {error}",
        traceback="" if isinstance(error, WireError) else format_exc(),
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
    max_elements = _MAX_VECTORS * algorithm.setting.layout.size + _MAX_FURTHER_VALUES
    problem = state_problem(
        experiment.client_template, state, max_further_bytes=_BYTES_PER_ELEMENT * max_elements
    )
    if problem is not None:
        raise WireError(
            f"the client state has another form than that of {type(algorithm).__name__}.init_client: {problem}"
        )
    algorithm.check_client_state(state)


def _require_finite(item: Item) -> None:
    match item:
        case Scalar():
            values = np.asarray([item.value])
        case Dense() | Masked():
            values = item.values
        case _:
            return
    broken = np.flatnonzero(~np.isfinite(values))
    if broken.size:
        raise WireError(
            f"item {item.name!r} contains values that are not finite ({broken.size} of {values.size}); the first is "
            f"{values[broken[0]]} at position {broken[0]}; if the training diverges, lower its learning rate"
        )


def _require_mask(
    algorithm: AnyAlgorithm, task: ClientTask, received: ModelValues | None, model: ModelValues
) -> None:
    layout: ParameterLayout = algorithm.setting.layout
    kept = _num_entries(model) - layout.num_dense
    # the allocation erk_rescaled counts biases too, so that it keeps more weights than density * num_maskable
    allowed = algorithm.max_density(task.round_idx, task.client_id) * layout.num_trainable
    if received is not None:  # a run that continues another run's model may have received a denser one
        allowed = max(allowed, layout.density(received.mask) * layout.num_maskable)
    if kept > allowed + 1e-6:
        raise WireError(f"the update's mask keeps {counted(kept, 'weight')}, but the limit is {allowed:.0f}")
    if not kept and layout.num_maskable:
        raise WireError("the update's mask keeps no weight")
    if algorithm.capabilities.upload_mask == "own" or received is None:
        return
    common = _num_common(received, model)
    added = _num_entries(model) - common
    missing = 0 if algorithm.capabilities.upload_mask == "within" else _num_entries(received) - common
    if added or missing:
        raise WireError(
            f"compared with the received mask, the update's mask has {added} further entries and misses {missing}; "
            f"the method's upload_mask is {algorithm.capabilities.upload_mask!r}"
        )


def _num_entries(model: ModelValues) -> int:
    """Number of entries of a model."""
    if (entries := model.entries) is not None:
        return entries.index.size
    return model.size if model.mask is None else int(torch.count_nonzero(model.mask))


def _num_common(received: ModelValues, model: ModelValues) -> int:
    """Number of entries that the received model and the sent one have in common."""
    if received.mask is None:
        return _num_entries(model)
    if (entries := model.entries) is not None:
        return int(torch.count_nonzero(entries.take(received.mask)))
    if model.mask is None:
        return _num_entries(received)
    return int(torch.count_nonzero(received.mask & model.mask))
