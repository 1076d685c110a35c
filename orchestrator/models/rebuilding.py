"""Whether a builder makes the same model in every process, given the same seed."""

import torch
from torch import Tensor

from orchestrator.errors import ModelError
from orchestrator.models.parameters import FlatModule
from orchestrator.models.seeding import forked_generators


def require_same(name: str, first: FlatModule, second: FlatModule, inputs: Tensor) -> None:
    """Compare two models that one builder made with one seed: their state, and their outputs for a batch.

    Raises ModelError, in the name of the model `name`, where they differ.
    """
    remedy = "draw random numbers from the global generators of torch, numpy and random, which are seeded"
    states = [flat.module.state_dict() for flat in (first, second)]
    for key, value in states[0].items():
        if isinstance(value, Tensor) and not _equal(value, states[1].get(key)):
            raise ModelError(
                "model.name", name, f"{key} has other values when the model is built again", remedy
            )
    if not torch.allclose(_output(first, inputs), _output(second, inputs), equal_nan=True):
        problem = "its outputs differ when it is built again with the same parameters and buffers"
        raise ModelError("model.name", name, problem, remedy)


def _equal(value: Tensor, other: object) -> bool:
    if not isinstance(other, Tensor) or value.dtype != other.dtype:
        return False
    return torch.equal(value.nan_to_num(), other.nan_to_num())


def _output(flat: FlatModule, inputs: Tensor) -> Tensor:
    flat.module.eval()
    try:
        with torch.no_grad(), forked_generators(0), flat.untouched_buffers():
            return flat(inputs)
    finally:
        flat.module.train()
