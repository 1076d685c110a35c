"""Finds the units of a model by tracing it on an example batch."""

import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.models.units.groups import Couplings, UnitGroup
from orchestrator.models.units.submodel import shrink


def trace_units(module: nn.Module, example: Tensor) -> tuple[UnitGroup, ...]:
    """Return the groups of units that can be cut from a model, in module order of the layers that produce them.

    `example` is a batch of two or more inputs.

    - Units that the model adds become one unit. Channels that a group norm normalises together become one unit too.
    - The model's inputs and outputs are never cut. Units that a norm or a softmax mixes with all others are not
      cut either. No group contains them.
    - The outputs of a layer that a reshape splits into heads of constant size are one unit for each head.
    - A forward pass that uses the number of units as a value, as in `x / x.size(1)`, uses the smaller number in a
      submodel.

    Raises ModelError for a forward pass that torch.fx cannot trace, for an operation whose effect on units is unknown,
    for a model in which no unit can be cut, and for a model whose forward pass fails with fewer units. The error names
    the layer or operation.
    """
    from orchestrator.models.units.coupling import follow_units

    couplings = Couplings([name for name, _ in module.named_modules()])
    follow_units(module, example, couplings)
    groups = couplings.groups()
    if not groups:
        location, problem = couplings.first_fixed or (type(module).__name__, "all its units reach the output")
        raise ModelError(
            "model.name",
            location,
            f"{problem}, so no unit can be cut from the model",
            "add a hidden layer whose units can be cut, or use a method without submodels",
        )
    _require_submodel(module, groups, example)
    return groups


def _require_submodel(module: nn.Module, groups: tuple[UnitGroup, ...], example: Tensor) -> None:
    """Raise ModelError if a submodel with one unit less in each group cannot compute its forward pass."""
    smaller = shrink(module, groups, {group.name: group.num_units - 1 for group in groups}).to("cpu").eval()
    try:
        with torch.no_grad():
            smaller(example)
    except Exception as error:
        raise ModelError(
            "model.name",
            type(module).__name__,
            f"its forward pass fails with fewer units: {type(error).__name__}: {error}",
            "take sizes that depend on the units from the tensor, as flatten or a size of -1 does, or use a method "
            "without submodels",
        ) from error
