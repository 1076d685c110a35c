"""Finds the units of a model by tracing it on an example batch."""

from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.models.units.groups import Couplings, UnitGroup


def trace_units(module: nn.Module, example: Tensor) -> tuple[UnitGroup, ...]:
    """The groups of units that can be cut from a model, in module order of the layers that produce them.

    `example` is a batch of two or more inputs. Units that are added become one unit, and so do the channels
    that a group norm normalises together. What reaches the model's output, comes from its input, or is
    mixed with all others by a norm or a softmax, is never cut and in no group. A forward pass that uses a
    number of units as a value, as in `x / x.size(1)`, uses the smaller number in a submodel.

    Raises ModelError, naming the layer or operation, for a forward pass that torch.fx cannot trace, for an
    operation through which units cannot be followed, and for a model in which no unit can be cut.
    """
    from orchestrator.models.units.coupling import follow_units

    couplings = Couplings([name for name, _ in module.named_modules()])
    follow_units(module, example, couplings)
    groups = couplings.groups()
    if not groups:
        place, problem = couplings.first_fixed or (type(module).__name__, "all its units reach the output")
        raise ModelError(
            "model.name",
            place,
            f"{problem}, which leaves no unit to cut from the model",
            "add a hidden layer whose units can be cut, or take a method that keeps the model whole",
        )
    return groups
