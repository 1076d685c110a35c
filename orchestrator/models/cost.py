"""Counts the floating-point operations of a model on a forward pass, separately for each maskable parameter.

A multiply-accumulate (MAC) counts as two operations. Biases, norms, activations and pools are not counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.attention import SDPBackend, sdpa_kernel

from orchestrator.models.operator_observer import OperatorObserver
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.replica import replica
from orchestrator.models.shapes import InputShape, example_input

#: batch norm without running statistics needs two images when its map has a single pixel
_BATCH_SIZE = 2


@dataclass(frozen=True, slots=True)
class ModelCost:
    """The cost of one sample.

    - `positions`: the MACs of each active entry of a parameter, by the parameter's name. A convolution uses a weight
      once per output pixel, a linear layer once per row of its input, and a recurrent layer once per step. A layer
      that is called several times counts several times.
    - `sizes`: the number of entries of each parameter in `positions`.
    - `other_macs`: the MACs of products without these parameters, such as attention between tokens.
    - `unit_macs`: the part of `other_macs` of one unit of a group, by the group's name: an attention head's products.
      It has no entries for groups without such products, and for a method without submodels.
    """

    positions: Mapping[str, float]
    sizes: Mapping[str, int]
    other_macs: float
    unit_macs: Mapping[str, float] = field(default_factory=dict)

    def forward_flops(
        self, active: Mapping[str, int] | None = None, removed: Mapping[str, int] | None = None
    ) -> float:
        """Return the operations of one sample's forward pass.

        `active` is the number of active entries of each parameter (None: the model is dense). `removed` is the number
        of units that a submodel does not have, by group (None: the model has all units).
        """
        counts = self.sizes if active is None else active
        macs = sum(counts[name] * positions for name, positions in self.positions.items())
        saved = sum(num * self.unit_macs.get(name, 0.0) for name, num in (removed or {}).items())
        return 2.0 * (macs + self.other_macs - saved)

    def training_flops(
        self, active: Mapping[str, int] | None = None, removed: Mapping[str, int] | None = None
    ) -> float:
        """Return the operations of one sample's forward and backward pass, counted as three forward passes."""
        return 3.0 * self.forward_flops(active, removed)


@torch.inference_mode(False)
def measure_cost(module: nn.Module, layout: ParameterLayout, input_shape: InputShape) -> ModelCost:
    """Count the cost on a copy of the module in evaluation mode; `layout` is the module's layout.

    A mask does not reduce the MACs of some maskable parameters: those that no countable product uses, and those that
    are multiplied with another maskable parameter. `positions` does not contain these parameters. They must stay
    dense; see `ParameterLayout.with_dense`.
    """
    copied = replica(module).to("cpu").eval()
    parameters = dict(copied.named_parameters())
    maskable = {segment.name: parameters[segment.name] for segment in layout.maskable}
    counter = _MacCounter(maskable)
    # torch has no formula for fused attention kernels; with gradients, transformer layers do not use them
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        copied(example_input(input_shape, _BATCH_SIZE))
    return counter.cost({name: parameter.numel() for name, parameter in maskable.items()})


class _MacCounter(OperatorObserver):  # type: ignore[no-untyped-call]
    """Adds the MACs of every operator to the count of the maskable parameter among the operator's arguments.

    The numbers come from torch's formulas. `macs` has an entry for each parameter in a countable operator. A table
    lookup counts 0 MACs.
    """

    def __init__(self, maskable: Mapping[str, Tensor]) -> None:
        from torch.utils.flop_counter import flop_registry  # imports Triton, which clients do not need

        super().__init__()
        self._formulas = flop_registry
        self.macs: dict[str, float] = {}
        self.other_macs = 0.0
        self._multiplied: set[str] = set()
        starts = {name: tensor.data_ptr() for name, tensor in maskable.items()}
        self._spans = {name: range(starts[name], starts[name] + maskable[name].nbytes) for name in maskable}

    def cost(self, sizes: Mapping[str, int]) -> ModelCost:
        """Return the counted MACs per sample, and per entry for parameters that share no product."""
        own = {n: size for n, size in sizes.items() if n in self.macs and n not in self._multiplied}
        shared = sum(macs for name, macs in self.macs.items() if name not in own)
        return ModelCost(
            positions={name: self.macs[name] / (_BATCH_SIZE * size) for name, size in own.items()},
            sizes=own,
            other_macs=(self.other_macs + shared) / _BATCH_SIZE,
        )

    def observe(
        self, func: OpOverload, args: Sequence[object], kwargs: Mapping[str, object], output: object
    ) -> None:
        """Count the MACs of this operator."""
        formula = self._formulas.get(func.overloadpacket)
        if formula is not None:
            self._count(formula(*args, **kwargs, out_val=output) / 2, tuple(self._parameters_among(args)))
        elif func.overloadpacket is torch.ops.aten.embedding:
            self._count(0.0, tuple(self._parameters_among(args)))
        elif func.overloadpacket is torch.ops.aten.mkldnn_rnn_layer:
            self._count_recurrent(*args[:3])

    def _count_recurrent(self, inputs: object, *weights: object) -> None:
        """Count a fused LSTM layer in one direction: inputs [T, B, features]; each step uses both weights."""
        assert isinstance(inputs, Tensor)
        num_steps = inputs.shape[0] * inputs.shape[1]
        for weight in weights:
            assert isinstance(weight, Tensor)
            self._count(num_steps * weight.numel(), tuple(self._parameters_among((weight,))))

    def _parameters_among(self, args: Sequence[object]) -> Iterator[str]:
        # a transposed or sliced parameter is another tensor in the same memory
        for tensor in args:
            if isinstance(tensor, Tensor):
                yield from (name for name, span in self._spans.items() if tensor.data_ptr() in span)

    def _count(self, macs: float, names: tuple[str, ...]) -> None:
        if len(names) > 1:
            self._multiplied.update(names)
            self.other_macs += macs
        elif names:
            self.macs[names[0]] = self.macs.get(names[0], 0.0) + macs
        else:
            self.other_macs += macs
