"""Estimates the memory that training a model takes on a device.

The estimate contains the float32 weights, gradients and optimiser moments, and the activations: every value that a
forward pass of a mini-batch computes, since the backward pass may need it. The estimate does not contain the work space
of kernels, the framework and the samples.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from orchestrator.models.operator_observer import OperatorObserver
from orchestrator.models.replica import replica
from orchestrator.models.shapes import InputShape, example_input

_BYTES_PER_VALUE = 4
#: batch norm without running statistics needs two samples when its map has a single pixel
_BATCH_SIZE = 2


def training_bytes(
    num_values: int, num_moments: int, activations_per_sample: float, batch_size: int, num_frozen: int = 0
) -> float:
    """Return the bytes for training `num_values` weights, with `num_moments` optimiser moments for each weight.

    The model has `num_frozen` more weights, which have no gradients and no moments.
    """
    trained = num_values * (2 + num_moments)
    return _BYTES_PER_VALUE * (trained + num_frozen + batch_size * activations_per_sample)


@torch.inference_mode(False)
def count_activations(module: nn.Module, input_shape: InputShape) -> float:
    """Return the number of values per sample that a forward pass in training computes.

    Views of other tensors are not counted, because they take no memory.
    """
    copied = replica(module).to("cpu").train()
    counter, inputs = _ActivationCounter(copied), example_input(input_shape, _BATCH_SIZE)
    with torch.enable_grad(), counter:
        copied(inputs)
    return counter.num_values / _BATCH_SIZE


class _ActivationCounter(OperatorObserver):  # type: ignore[no-untyped-call]
    """Counts the values in the outputs of operators, without outputs that share the memory of an input."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.num_values = 0
        self._own = {
            tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())
        }

    def observe(
        self, func: OpOverload, args: Sequence[object], kwargs: Mapping[str, object], output: object
    ) -> None:
        """Add the new values of this operator's output."""
        inputs = {x.untyped_storage().data_ptr() for x in args if isinstance(x, Tensor)} | self._own
        outputs = output if isinstance(output, tuple | list) else (output,)
        self.num_values += sum(
            x.numel()
            for x in outputs
            if isinstance(x, Tensor)
            and x.is_floating_point()
            and x.untyped_storage().data_ptr() not in inputs
        )
