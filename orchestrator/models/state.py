"""Copies and loads a module's whole `state_dict`, and encodes it as safetensors, which is safer than a pickle."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from orchestrator.errors import ModelError


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of all tensors of a module's `state_dict`; a tied tensor has one entry for each name."""
    state = module.state_dict()
    return {n: t.detach().clone().contiguous() for n, t in state.items() if isinstance(t, Tensor)}


def load_whole_state(module: nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Load the tensors that `whole_state` returned for an equal module. Errors name `source`.

    Raises ModelError for a tensor that is missing, unknown, or of another shape or dtype.
    """
    own = module.state_dict()
    expected = {name: (t.shape, t.dtype) for name, t in own.items() if isinstance(t, Tensor)}
    found = {name: (t.shape, t.dtype) for name, t in tensors.items()}
    if different := sorted(n for n in expected | found if expected.get(n) != found.get(n)):
        raise ModelError(
            "model",
            source,
            f"the model's code builds other tensors: {', '.join(different[:3])} missing, unknown or of another "
            "shape or dtype",
            "use the version of the model's code that trained the model",
        )
    module.load_state_dict({**own, **tensors}, strict=True)


def pack_state(tensors: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    """Encode tensors as a safetensors file, uint8[bytes]. Raises ModelError for a dtype that safetensors lacks."""
    try:
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    except (KeyError, ValueError, SafetensorError) as error:
        dtypes = ", ".join(sorted({str(tensor.dtype) for tensor in tensors.values()}))
        raise ModelError(
            "model", dtypes, f"a tensor of the model cannot be stored ({error})", "use other dtypes"
        ) from error
    return np.frombuffer(data, dtype=np.uint8)


def unpack_state(data: NDArray[np.uint8]) -> dict[str, Tensor]:
    """Decode the tensors that `pack_state` encoded."""
    return load(data.tobytes())
