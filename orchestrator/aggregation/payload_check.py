"""Checks the encoded payload of an update: valid, complete and finite, with the items and the mask of its task.

The driver checks the payloads that it decodes. An aggregator checks those that stay in Ray's object store.
"""

from traceback import format_exc

import numpy as np
import torch

from orchestrator.aggregation.received_update import DecodedUpdate
from orchestrator.errors import WireError
from orchestrator.execution.executor import TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import AnyAlgorithm
from orchestrator.federation.exchange import ModelValues, known_masks, without_model
from orchestrator.federation.item_form import ItemForm, require_forms
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import RejectedPayload
from orchestrator.formatting import counted
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.payload import Dense, Item, Masked, Payload, Scalar
from orchestrator.sparsity.wire import decode

#: an update may contain this many vectors of the model's size, and this many further values
_MAX_VECTORS, _MAX_FURTHER_VALUES = 16, 1 << 16
#: the answer to a `loss` task
LOSS_FORMS = {"loss": ItemForm(kinds=(Scalar,))}


def max_elements(layout: ParameterLayout) -> int:
    """Return the largest number of values and mask entries of an update."""
    return _MAX_VECTORS * layout.size + _MAX_FURTHER_VALUES


def decode_update(
    experiment: Experiment, request: TaskRequest, buffer: object, received: ModelValues | None
) -> DecodedUpdate:
    """Decode and check a payload, uint8[n], of a client that received this model.

    Raises WireError for a wrong payload. A method's `unpack` may raise other errors for a payload of another form.
    """
    if not isinstance(buffer, np.ndarray) or buffer.dtype != np.uint8 or buffer.ndim != 1:
        raise WireError("the update's buffer is not an array uint8[n]")
    algorithm, task = experiment.algorithm, request.task
    payload = _decoded(experiment, task, buffer, received)
    model = None if task.kind == "loss" else algorithm.unpack(payload, task, request.client_state)
    if model is not None and task.kind == "train":
        _require_mask(algorithm, task, received, model)
    return DecodedUpdate(received=received, model=model, items=without_model(payload))


def rejected_payload(error: Exception) -> RejectedPayload:
    """Return why an update does not count, from the error of its check."""
    return RejectedPayload(
        stage="admission",
        cause=f"{type(error).__name__}: {error}",
        traceback="" if isinstance(error, WireError) else format_exc(),
    )


def _decoded(
    experiment: Experiment,
    task: ClientTask,
    buffer: np.ndarray[tuple[int], np.dtype[np.uint8]],
    received: ModelValues | None,
) -> Payload:
    """The payload of an update.

    Raises WireError for another wire format than the config's, for items of another form, and for values that are not
    finite. The format decides the precision of the values and the number of bytes, so the sender may not choose it.
    """
    algorithm, wire = experiment.algorithm, experiment.config.wire
    layout = algorithm.setting.layout
    payload = decode(
        buffer,
        known_masks=known_masks(layout, None if received is None else received.mask),
        max_elements=max_elements(layout),
        value_dtype=wire.value_dtype,
        version=wire.version,
    )
    require_forms(payload, LOSS_FORMS if task.kind == "loss" else algorithm.upload_items(task))
    for item in payload:
        _require_finite(item)
    return payload


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
