"""What an update must be before it may count: the answer to this task, whole, finite, and under a mask it may have.

What is wrong in it may come from a faulty device, from a training that diverged, or from an attacker; a sum that it has
entered cannot be mended.
"""

import math
from typing import Any

import numpy as np
import torch

from orchestrator.aggregation.arrival import Decoded
from orchestrator.errors import WireError
from orchestrator.execution.executor import TaskRequest
from orchestrator.federation.algorithm import AnyAlgorithm
from orchestrator.federation.exchange import ModelValues, known_masks, without_model
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientScore, ClientUpdate
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.payload import Dense, Item, Masked, Scalar
from orchestrator.sparsity.wire import decode

#: entries that an update may claim, as so many vectors of the model's size and what else there may be
_MOST_ITEMS, _MOST_SMALL = 16, 1 << 16


def admit(
    algorithm: AnyAlgorithm, job: TaskRequest, update: ClientUpdate[Any], received: ModelValues | None
) -> Decoded:
    """Decode an update whose client received this model, and check it.

    Raises WireError, saying what is wrong; a method's `unpack` may raise more, for a payload that is not its own.
    """
    layout, task = algorithm.setting.layout, job.task
    require_answer(task, update)
    _require_counts(update)
    known = known_masks(layout, None if received is None else received.mask)
    payload = decode(update.buffer, known_masks=known, max_elements=_MOST_ITEMS * layout.size + _MOST_SMALL)
    for item in payload:
        _require_finite(item)
    if task.kind == "loss" and [type(item) for item in payload] != [Scalar]:
        raise WireError("it is not a single loss")
    model = None if task.kind == "loss" else algorithm.unpack(payload, task, job.client_state)
    if model is not None and task.kind == "train":
        _require_mask(algorithm, task, received, model)
    algorithm.check_items(without_model(payload), task)
    return Decoded.of(job, update, received, model, payload)


def require_answer(task: ClientTask, answer: ClientUpdate[Any] | ClientScore) -> None:
    """Raise WireError for an answer to another task, such as one from an earlier round."""
    for name in ("round_idx", "position", "client_id"):
        got, asked = getattr(answer, name), getattr(task, name)
        if got != asked:
            raise WireError(f"it answers another task: its {name} is {got}, asked was {asked}")


def _require_counts(update: ClientUpdate[Any]) -> None:
    for name in ("num_examples", "train_flops", "train_flops_dense"):
        value = getattr(update, name)
        if not (math.isfinite(value) and value >= 0):
            raise WireError(f"its {name} is {value}")


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
            f"{broken.size} of the {values.size} values of item {item.name!r} are not finite, the first is "
            f"{values[broken[0]]} at {broken[0]}; if the training diverges, lower its learning rate"
        )


def _require_mask(
    algorithm: AnyAlgorithm, task: ClientTask, received: ModelValues | None, model: ModelValues
) -> None:
    layout: ParameterLayout = algorithm.setting.layout
    kept = layout.density(model.mask) * layout.num_maskable
    allowed = algorithm.max_density(task.round_idx, task.client_id) * layout.num_trainable
    if received is not None:  # which may keep more, where a run goes on with another one's model
        allowed = max(allowed, layout.density(received.mask) * layout.num_maskable)
    if kept > allowed + 1e-6:
        raise WireError(f"its mask keeps {kept:.0f} weights, at most {allowed:.0f} are allowed")
    if not kept and layout.num_maskable:
        raise WireError("its mask keeps no weight at all")
    if algorithm.capabilities.upload_mask == "own" or received is None:
        return
    held, sent = _present(received), _present(model)
    beyond = int((sent & ~held).sum())
    lacking = 0 if algorithm.capabilities.upload_mask == "within" else int((held & ~sent).sum())
    if beyond or lacking:
        raise WireError(
            f"its mask has {beyond} entries that it did not receive and lacks {lacking} that it did; this method's "
            f"upload_mask is {algorithm.capabilities.upload_mask!r}"
        )


def _present(model: ModelValues) -> torch.Tensor:
    """bool[D]: the entries that a model has."""
    return torch.ones(model.values.numel(), dtype=torch.bool) if model.mask is None else model.mask
