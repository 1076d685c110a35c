"""Loads the initial weights of a run from the safetensors file that `model.init` names."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.errors import ModelError
from orchestrator.models.initial.names import file_names
from orchestrator.models.parameters import FlatModule
from orchestrator.suggest import suggest

#: batch norm's counter; torch sets it to 0 when a file does not contain it
_COUNTER = "num_batches_tracked"


def load_initial(path: Path, flat: FlatModule, names: Mapping[str, str | None] | None = None) -> str:
    """Load a safetensors file into the model, including the state outside the flat vector; return its SHA-256.

    `names` maps the names of the model's tensors, or the beginnings of these names, to those in the file
    (`names.file_names`); the file may then have other tensors too. Without `names`, the file contains exactly
    the model's `state_dict`.

    A tied tensor is read under its first name. The counters of batch norm may be missing. Raises ModelError for a
    file of another model, and for values that are not finite.
    """
    try:
        tensors = load_file(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, SafetensorError) as error:
        remedy = "name a .safetensors file; safetensors.torch.save_file writes one from a state_dict"
        raise ModelError("model.init", path, f"cannot be read ({error})", remedy) from error
    if names:
        tensors = _renamed(path, flat, tensors, names)
    else:
        _require_names_and_shapes(path, flat, tensors)
    for segment in flat.layout.segments:
        if segment.name in tensors:
            if not bool(tensors[segment.name].isfinite().all()):
                problem = f"tensor {segment.name} has values that are not finite"
                raise ModelError("model.init", path, problem, "use a file of a model that did not diverge")
            flat.values[segment.slice] = tensors[segment.name].to(torch.float32).reshape(-1)
    _load_fixed(path, flat, tensors)
    return digest


def _load_fixed(path: Path, flat: FlatModule, tensors: Mapping[str, Tensor]) -> None:
    fixed = flat.fixed_state()
    stored = {name: tensor for name, tensor in tensors.items() if name in fixed}
    for name, tensor in stored.items():
        if tensor.dtype != fixed[name].dtype:
            problem = f"tensor {name} is {tensor.dtype}, but the model needs {fixed[name].dtype}"
            raise ModelError("model.init", path, problem, "use a file saved from the same model")
        if bool(tensor.isnan().any()):  # infinite constants are valid
            raise ModelError("model.init", path, f"tensor {name} contains NaN", "use a file without NaN")
    flat.load_fixed_state(stored)


def _renamed(
    path: Path, flat: FlatModule, tensors: Mapping[str, Tensor], names: Mapping[str, str | None]
) -> dict[str, Tensor]:
    """Return the file's tensors under the model's names. Raises ModelError for a tensor that is missing or unfit."""
    state = {n: t for n, t in flat.module.state_dict().items() if isinstance(t, Tensor)}
    own = {segment.name for segment in flat.layout.segments} | flat.fixed_state().keys()
    found: dict[str, Tensor] = {}
    for name, wanted in file_names([n for n in state if n in own], names).items():
        keep = f"or add '{name}: null' to model.init_names to keep the initial values"
        if wanted not in tensors:
            if name.rpartition(".")[2] == _COUNTER:
                continue
            problem = f"the file has no tensor {wanted} for the model's {name}"
            raise ModelError("model.init", path, problem, f"{suggest(wanted, tensors)}; {keep}")
        if tensors[wanted].shape != state[name].shape:
            got, needed = tuple(tensors[wanted].shape), tuple(state[name].shape)
            problem = f"tensor {wanted} has shape {got}, but the model's {name} needs {needed}"
            raise ModelError("model.init", path, problem, f"use a file of a model of this size, {keep}")
        found[name] = tensors[wanted]
    return found


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
