"""Memory that training a model takes on a device, estimated from what must be held at once.

float32 weights, gradients and optimiser moments, and every value that a forward pass of a mini-batch makes anew: that
is what the backward pass may need. Work space of kernels, the framework itself and the samples are not counted.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from orchestrator.models.operator_watch import OperatorWatch
from orchestrator.models.replica import replica
from orchestrator.models.shapes import InputShape, example_input

_BYTES_PER_VALUE = 4
#: batch norm without running statistics needs two samples where its map has a single pixel
_BATCH_SIZE = 2


def training_bytes(
    num_values: int, num_moments: int, activations_per_sample: float, batch_size: int, num_frozen: int = 0
) -> float:
    """Bytes for a model of `num_values` weights, with so many moments of each, and a batch's activations.

    `num_frozen` weights more have neither gradients nor moments.
    """
    trained = num_values * (2 + num_moments)
    return _BYTES_PER_VALUE * (trained + num_frozen + batch_size * activations_per_sample)


@torch.inference_mode(False)
def count_activations(module: nn.Module, input_shape: InputShape) -> float:
    """Values that a training forward pass makes per sample; views of values that are there already count nothing."""
    copied = replica(module).to("cpu").train()
    counter, inputs = _NewValues(copied), example_input(input_shape, _BATCH_SIZE)
    with torch.enable_grad(), counter:
        copied(inputs)
    return counter.num_values / _BATCH_SIZE


class _NewValues(OperatorWatch):  # type: ignore[no-untyped-call]
    """Adds up the outputs of operators that are not in the memory of one of their inputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.num_values = 0
        self._own = {
            tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())
        }

    def seen(
        self, func: OpOverload, args: Sequence[object], kwargs: Mapping[str, object], output: object
    ) -> None:
        """Add what this operator made."""
        there = {x.untyped_storage().data_ptr() for x in args if isinstance(x, Tensor)} | self._own
        made = output if isinstance(output, tuple | list) else (output,)
        self.num_values += sum(
            x.numel()
            for x in made
            if isinstance(x, Tensor) and x.is_floating_point() and x.untyped_storage().data_ptr() not in there
        )
