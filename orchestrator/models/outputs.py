"""Chooses the logits among several outputs of a model (`model.output`)."""

from collections.abc import Mapping

from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.suggest import suggest


class ChosenOutput:
    """A forward hook that replaces a model's outputs by one of them. A single tensor stays as it is."""

    def __init__(self, output: str) -> None:
        """`output` is the position of the logits in a tuple, or their name in a mapping or a record."""
        self._output = output

    def __call__(self, module: nn.Module, inputs: object, outputs: object) -> object:
        """Return the chosen output. Raises ModelError if it does not exist."""
        if isinstance(outputs, Tensor):
            return outputs
        found = _named(outputs)
        if self._output not in found:
            problem = f"the model returns a {type(outputs).__name__} without this output"
            raise ModelError("model.output", self._output, problem, suggest(self._output, found))
        return found[self._output]


def _named(outputs: object) -> dict[str, object]:
    """Return the outputs by position, and by name if they have names."""
    found: dict[str, object] = {}
    if isinstance(outputs, Mapping):
        found |= {str(name): value for name, value in outputs.items()}
    elif isinstance(outputs, tuple | list):
        found |= {str(position): value for position, value in enumerate(outputs)}
    fields: tuple[str, ...] = getattr(outputs, "_fields", ()) or tuple(getattr(outputs, "__dict__", ()))
    return found | {name: getattr(outputs, name) for name in fields if not name.startswith("_")}
