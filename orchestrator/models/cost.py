"""Floating-point operations of a model, counted on a forward pass and split by maskable parameter.

Two operations per multiply-accumulate (MAC); biases, norms, activations and pools are not counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import flop_registry

from orchestrator.models.operator_watch import OperatorWatch
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.replica import replica
from orchestrator.models.shapes import InputShape, example_input

#: batch norm without running statistics needs two images where its map has a single pixel
_BATCH_SIZE = 2


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What one sample costs: each active entry of the parameter `name` takes `positions[name]` MACs.

    A convolution uses a weight once per output pixel, a linear layer once per row of its input, a recurrent
    one once per step; a layer called several times counts several times. `sizes` holds the entries of the
    dense parameters, and `other_macs` the MACs of products without these, such as attention between tokens.
    """

    positions: Mapping[str, float]
    sizes: Mapping[str, int]
    other_macs: float

    def forward_flops(self, active: Mapping[str, int] | None = None) -> float:
        """Operations of one sample's forward pass with so many active entries by name; None: dense."""
        counts = self.sizes if active is None else active
        macs = sum(counts[name] * positions for name, positions in self.positions.items())
        return 2.0 * (macs + self.other_macs)

    def training_flops(self, active: Mapping[str, int] | None = None) -> float:
        """Operations of one sample's forward and backward pass, counted as three forward passes."""
        return 3.0 * self.forward_flops(active)


@torch.inference_mode(False)
def measure_cost(module: nn.Module, layout: ParameterLayout, input_shape: InputShape) -> ModelCost:
    """Count on a copy of the module, in evaluation mode; `layout` is the module's own.

    `positions` lacks each maskable parameter whose MACs do not shrink with a mask: one that no countable product
    uses, or that is multiplied with another one. It must stay dense: see `keeping_dense`.
    """
    copied = replica(module).to("cpu").eval()
    parameters = dict(copied.named_parameters())
    maskable = {segment.name: parameters[segment.name] for segment in layout.maskable}
    attribution = _Attribution(maskable)
    # fused attention kernels are not counted; gradients keep transformer layers off theirs
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), attribution:
        copied(example_input(input_shape, _BATCH_SIZE))
    return attribution.cost({name: parameter.numel() for name, parameter in maskable.items()})


class _Attribution(OperatorWatch):  # type: ignore[no-untyped-call]
    """Charges the MACs of every operator to the maskable parameter among its arguments.

    The counts are torch's own formulas. `macs` has an entry for each parameter whose use is understood, also
    one of zero MACs (a table lookup).
    """

    def __init__(self, maskable: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.macs: dict[str, float] = {}
        self.other_macs = 0.0
        self._multiplied: set[str] = set()
        starts = {name: tensor.data_ptr() for name, tensor in maskable.items()}
        self._spans = {name: range(starts[name], starts[name] + maskable[name].nbytes) for name in maskable}

    def cost(self, sizes: Mapping[str, int]) -> ModelCost:
        """What was seen, per sample and entry, of the parameters whose MACs are theirs alone."""
        own = {n: size for n, size in sizes.items() if n in self.macs and n not in self._multiplied}
        shared = sum(macs for name, macs in self.macs.items() if name not in own)
        return ModelCost(
            positions={name: self.macs[name] / (_BATCH_SIZE * size) for name, size in own.items()},
            sizes=own,
            other_macs=(self.other_macs + shared) / _BATCH_SIZE,
        )

    def seen(
        self, func: OpOverload, args: Sequence[object], kwargs: Mapping[str, object], output: object
    ) -> None:
        """Charge this operator."""
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self._charge(formula(*args, **kwargs, out_val=output) / 2, tuple(self._parameters_among(args)))
        elif func.overloadpacket is torch.ops.aten.embedding:
            self._charge(0.0, tuple(self._parameters_among(args)))
        elif func.overloadpacket is torch.ops.aten.mkldnn_rnn_layer:
            self._charge_recurrent(*args[:3])

    def _charge_recurrent(self, inputs: object, *weights: object) -> None:
        """A fused LSTM layer in one direction: inputs [T, B, features], both weights used at each step."""
        assert isinstance(inputs, Tensor)
        num_steps = inputs.shape[0] * inputs.shape[1]
        for weight in weights:
            assert isinstance(weight, Tensor)
            self._charge(num_steps * weight.numel(), tuple(self._parameters_among((weight,))))

    def _parameters_among(self, args: Sequence[object]) -> Iterator[str]:
        # a transposed or sliced parameter is another tensor, but over the same memory
        for tensor in args:
            if isinstance(tensor, Tensor):
                yield from (name for name, span in self._spans.items() if tensor.data_ptr() in span)

    def _charge(self, macs: float, names: tuple[str, ...]) -> None:
        if len(names) > 1:
            self._multiplied.update(names)
            self.other_macs += macs
        elif names:
            self.macs[names[0]] = self.macs.get(names[0], 0.0) + macs
        else:
            self.other_macs += macs
