"""Relates the model that a client sends to the model that it received, entry by entry, for any method."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.federation.algorithm import AnyAlgorithm
from orchestrator.federation.exchange import find_model
from orchestrator.federation.local.run import LocalRun
from orchestrator.sparsity.payload import Dense, Float32, Index, Masked, Payload


@dataclass(frozen=True, slots=True, eq=False)
class SentModel:
    """The model's item of a payload; all arrays have the order of its values.

    `index`, int64[n], are the positions of the values in the full vector. `start`, float32[n], are the values that the
    client received there; 0 where it received none.
    """

    item: Dense | Masked
    index: Index
    start: Float32


def sent_model(
    algorithm: AnyAlgorithm, run: LocalRun[Any], payload: Payload, client_state: Any
) -> SentModel | None:
    """The model in the payload of a finished task; None for a payload without a model.

    `client_state` is the client's state before the task. Raises ValueError for a task that came without a model, and
    for a method whose payload has its values in an order that its `unpack` does not show.
    """
    item = find_model(payload)
    if item is None:
        return None
    if run.received is None:
        raise ValueError("the task came without a model, so that the client's change is unknown")
    if run.index is not None and run.index.numel() == item.values.size:
        index = run.index.numpy()
    else:
        model = algorithm.unpack(payload, run.task, client_state)
        assert model is not None
        if (entries := model.entries) is not None:
            index = entries.index
        else:
            index = np.arange(model.size) if model.mask is None else np.flatnonzero(model.mask.numpy())
    if index.size != item.values.size:
        raise ValueError(
            f"the model item has {item.values.size} values, but `unpack` of {type(algorithm).__name__} makes "
            f"{index.size} entries of them"
        )
    return SentModel(item, index, run.received.values.numpy()[index])
