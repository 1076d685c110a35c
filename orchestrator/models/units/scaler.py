"""The Scaler of HeteroFL (arXiv 2010.01264) scales a submodel's hidden activations to those of the full model."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.units.groups import UnitGroup


def unit_producers(layout: ParameterLayout, groups: Sequence[UnitGroup]) -> tuple[str, ...]:
    """Return the names of the layers whose weights produce units, without norms."""
    weights = {segment.name for segment in layout.maskable}
    parts = (part for group in groups for part in group.slices)
    names = [p.segment.rpartition(".")[0] for p in parts if p.role == "output" and p.segment in weights]
    return tuple(dict.fromkeys(names))


def divide_outputs(module: nn.Module, layers: Sequence[str], divisor: float) -> None:
    """Add a forward hook to these layers that divides their outputs, including each tensor of a tuple."""

    def divide(output: Any) -> Any:
        if isinstance(output, tuple):
            return tuple(divide(part) for part in output)
        return output / divisor if isinstance(output, Tensor) else output

    for name in layers:
        module.get_submodule(name).register_forward_hook(lambda layer, inputs, output: divide(output))
