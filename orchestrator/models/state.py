"""A module's whole state, as `state_dict` names it, and how it travels: as safetensors, never as a pickle."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from orchestrator.errors import ModelError


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """Copies of every tensor of a module's `state_dict`; a tied tensor has an entry for each of its names."""
    state = module.state_dict()
    return {n: t.detach().clone().contiguous() for n, t in state.items() if isinstance(t, Tensor)}


def load_whole_state(module: nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Load what `whole_state` gave for such a module, and nothing less; `source` is for the error.

    Raises ModelError for a tensor that is missing, unknown, or of another shape or dtype.
    """
    own = module.state_dict()
    expected = {name: (t.shape, t.dtype) for name, t in own.items() if isinstance(t, Tensor)}
    given = {name: (t.shape, t.dtype) for name, t in tensors.items()}
    if different := sorted(n for n in expected | given if expected.get(n) != given.get(n)):
        raise ModelError(
            "model",
            source,
            f"{', '.join(different[:3])}: missing, unknown or of another shape or dtype in the model built",
            "load it with the version of the model's code that trained it",
        )
    module.load_state_dict({**own, **tensors}, strict=True)


def pack_state(tensors: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    """uint8[bytes] of a safetensors file. Raises ModelError for a dtype that the format does not have."""
    try:
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    except (KeyError, ValueError, SafetensorError) as error:
        dtypes = ", ".join(sorted({str(tensor.dtype) for tensor in tensors.values()}))
        raise ModelError(
            "model", dtypes, f"a tensor of the model cannot be stored ({error})", "use other dtypes"
        ) from error
    return np.frombuffer(data, dtype=np.uint8)


def unpack_state(data: NDArray[np.uint8]) -> dict[str, Tensor]:
    """The tensors of `pack_state`."""
    return load(data.tobytes())
