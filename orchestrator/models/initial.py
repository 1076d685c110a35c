"""Loads the initial weights of a run from the safetensors file that `model.init` names."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.errors import ModelError
from orchestrator.models.parameters import FlatModule

#: batch norm's counter; torch sets it to 0 when a file does not contain it
_COUNTER = "num_batches_tracked"


def load_initial(path: Path, flat: FlatModule) -> None:
    """Load a file with a model's `state_dict` into the model, including the state outside the flat vector.

    A tied tensor is read under its first name. The counters of batch norm may be missing. Raises ModelError for a
    file of another model, and for values that are not finite.
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
    stored = {name: tensor for name, tensor in tensors.items() if name in fixed}
    for name, tensor in stored.items():
        if tensor.dtype != fixed[name].dtype:
            problem = f"tensor {name} is {tensor.dtype}, but the model needs {fixed[name].dtype}"
            raise ModelError("model.init", path, problem, "use a file saved from the same model")
        if bool(tensor.isnan().any()):  # infinite constants are valid
            raise ModelError("model.init", path, f"tensor {name} contains NaN", "use a file without NaN")
    flat.load_fixed_state(stored)


def require_finite_start(name: str, flat: FlatModule) -> None:
    """Raise ModelError for the model `name` when it is built with trained values that are not finite."""
    for segment in flat.layout.segments:
        if not bool(flat.values[segment.slice].isfinite().all()):
            problem = f"tensor {segment.name} starts with values that are not finite"
            raise ModelError("model.name", name, problem, "correct the initialisation in the model's code")


def _require_names_and_shapes(path: Path, flat: FlatModule, tensors: dict[str, Tensor]) -> None:
    """Raise ModelError for a tensor that is missing, unknown or of another shape."""
    state = {n: t for n, t in flat.module.state_dict().items() if isinstance(t, Tensor)}
    own = {segment.name for segment in flat.layout.segments} | flat.fixed_state().keys()
    required = {n for n in own & state.keys() if n.rpartition(".")[2] != _COUNTER}
    for name in [*state, *tensors]:
        expected = tuple(state[name].shape) if name in state else None
        got = tuple(tensors[name].shape) if name in tensors else None
        if got != expected and (got is not None or name in required):
            problem = f"tensor {name} has shape {got}, but the model needs {expected}"
            raise ModelError("model.init", path, problem, "use a file saved from the same model")
