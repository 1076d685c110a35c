"""Finds the units of a model by tracing it on an example batch."""

from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.models.units.groups import Couplings, UnitGroup


def trace_units(module: nn.Module, example: Tensor) -> tuple[UnitGroup, ...]:
    """Return the groups of units that can be cut from a model, in module order of the layers that produce them.

    `example` is a batch of two or more inputs.

    - Units that the model adds become one unit. Channels that a group norm normalises together become one unit too.
    - The model's inputs and outputs are never cut. Units that a norm or a softmax mixes with all others are not
      cut either. No group contains them.
    - A forward pass that uses the number of units as a value, as in `x / x.size(1)`, uses the smaller number in a
      submodel.

    Raises ModelError for a forward pass that torch.fx cannot trace, for an operation whose effect on units is unknown,
    and for a model in which no unit can be cut. The error names the layer or operation.
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
    return groups
