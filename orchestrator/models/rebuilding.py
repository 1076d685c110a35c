"""Checks that a builder makes the same model in every process, given the same seed."""

import torch
from torch import Tensor

from orchestrator.errors import ModelError
from orchestrator.models.parameters import FlatModule
from orchestrator.models.seeding import forked_generators


def require_reproducible(name: str, first: FlatModule, second: FlatModule, inputs: Tensor) -> None:
    """Compare the states and outputs of two models that one builder made with the same seed.

    Raises ModelError for the model `name` when they differ.
    """
    remedy = (
        "take random numbers only from the global generators of torch, numpy and random, which are seeded"
    )
    states = [flat.module.state_dict() for flat in (first, second)]
    for key, value in states[0].items():
        if isinstance(value, Tensor) and not _equal(value, states[1].get(key)):
            problem = f"two builds of the model have different values of {key}"
            raise ModelError("model.name", name, problem, remedy)
    if not torch.allclose(_output(first, inputs), _output(second, inputs), equal_nan=True):
        problem = "two builds of the model have equal parameters and buffers, but different outputs"
        raise ModelError("model.name", name, problem, remedy)


def _equal(value: Tensor, other: object) -> bool:
    if not isinstance(other, Tensor) or value.dtype != other.dtype:
        return False
    return torch.equal(value.nan_to_num(), other.nan_to_num())


def _output(flat: FlatModule, inputs: Tensor) -> Tensor:
    flat.module.eval()
    try:
        with torch.no_grad(), forked_generators(0), flat.preserved_buffers():
            return flat(inputs)
    finally:
        flat.module.train()
