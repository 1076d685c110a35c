"""A safetensors file that a run starts from: `model.init`."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.errors import ModelError
from orchestrator.models.parameters import FlatModule

#: torch itself starts these at zero where a file lacks them
_COUNTER = "num_batches_tracked"


def load_initial(path: Path, flat: FlatModule) -> None:
    """Start a model from a file of its `state_dict`, the state outside the flat vector included.

    A tied tensor is read under its first name, and counters of batch norm may be missing. Raises ModelError for
    a file of another model, and for values that no training can start from.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            "model.init", path, f"cannot be read ({error})", "name a .safetensors file of this model"
        ) from error
    _require_names_and_shapes(path, flat, tensors)
    trained = {segment.name: segment for segment in flat.layout.segments}
    for name, segment in trained.items():
        if not bool(tensors[name].isfinite().all()):
            problem = f"tensor {name} has values that are not finite"
            raise ModelError("model.init", path, problem, "use a file of a model that did not diverge")
        flat.values[segment.slice] = tensors[name].to(torch.float32).reshape(-1)
    fixed = flat.fixed_state()
    given = {name: tensor for name, tensor in tensors.items() if name in fixed}
    for name, tensor in given.items():
        if tensor.dtype != fixed[name].dtype:
            problem = f"tensor {name} is {tensor.dtype}, the model wants {fixed[name].dtype}"
            raise ModelError("model.init", path, problem, "use a file saved from the same model")
    flat.load_fixed_state(given)


def _require_names_and_shapes(path: Path, flat: FlatModule, tensors: dict[str, Tensor]) -> None:
    state = {n: t for n, t in flat.module.state_dict().items() if isinstance(t, Tensor)}
    own = {segment.name for segment in flat.layout.segments} | flat.fixed_state().keys()
    required = {n for n in own & state.keys() if n.rpartition(".")[2] != _COUNTER}
    for name in [*state, *tensors]:
        expected = tuple(state[name].shape) if name in state else None
        got = tuple(tensors[name].shape) if name in tensors else None
        if got != expected and (got is not None or name in required):
            problem = f"tensor {name} has shape {got}, the model wants {expected}"
            raise ModelError("model.init", path, problem, "use a file saved from the same model")
