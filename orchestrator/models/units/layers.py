"""The layers with tensors: assigns the dimensions of a layer's tensors to the units that it consumes and produces."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.rnn import RNNBase

from orchestrator.errors import ModelError
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.units.groups import Couplings, Role


@dataclass(frozen=True, slots=True, eq=False)
class UnitAxis:
    """The dimension along which an activation has units, and the atoms along this dimension, int64[size of `dim`]."""

    dim: int
    atoms: NDArray[np.int64]


class TensorClaims:
    """Records the couplings of a module's tensors, under the names that ParameterLayout uses."""

    def __init__(self, module: nn.Module, couplings: Couplings) -> None:
        self.couplings = couplings
        self._names = {id(t): n for n, t in (*module.named_parameters(), *module.named_buffers())}
        self._in_vector = {segment.name for segment in ParameterLayout.of(module).segments}

    def claim(
        self, layer: str, name: str, tensor: object, dim: int, atoms: NDArray[np.int64], role: Role
    ) -> None:
        """Assign these atoms to the tensor `name` of a layer along `dim`. A missing `weight` is assigned as well.

        A tensor outside the flat vector, such as a frozen weight, is equal in every submodel. Its atoms are fixed.
        Raises ModelError for a tensor that is neither a parameter nor a buffer of the module.
        """
        if tensor is None:
            qualified = f"{layer}.{name}"
        elif id(tensor) in self._names:
            qualified = self._names[id(tensor)]
        else:
            raise ModelError(
                "model.name",
                layer,
                f"its {name} is computed from other tensors",
                "use a layer with a plain parameter, or use a method without submodels",
            )
        if tensor is not None and qualified not in self._in_vector:
            self.couplings.fix(atoms, (layer, f"its {name} is not trained"))
        if tensor is not None or name == "weight":
            self.couplings.claim(qualified, dim, atoms, role)

    def keep_whole(self, tensors: Iterable[object]) -> None:
        """Exclude all dimensions of these tensors from cutting, also in other layers that share the tensors."""
        for tensor in tensors:
            if isinstance(tensor, Tensor) and id(tensor) in self._names:
                for dim, size in enumerate(tensor.shape):
                    self.couplings.claim(self._names[id(tensor)], dim, np.zeros(size, np.int64), "output")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LayerCall:
    """One call of a layer: `axis` is the axis of its input, `result` is its output for the example batch."""

    name: str
    layer: nn.Module
    axis: UnitAxis | None
    num_inputs: int
    result: Any
    tensors: TensorClaims

    def produce(self, num: int) -> NDArray[np.int64]:
        """Return the atoms of `num` units that the layer produces, int64[num]."""
        return self.tensors.couplings.produce(self.name, num)

    def input_atoms(self, dim: int, size: int) -> NDArray[np.int64]:
        """Return the atoms along the input dimension that the layer consumes, int64[size].

        When the input has its units along another dimension, they are fixed, and so are the returned atoms.
        """
        if self.axis is not None and self.axis.dim == dim:
            return self.axis.atoms
        self._fix("the layer works along another dimension than that of the units")
        return np.zeros(size, np.int64)

    def claim(self, name: str, dim: int, atoms: NDArray[np.int64], role: Role) -> None:
        """Assign atoms to a tensor of the layer, see TensorClaims.claim."""
        self.tensors.claim(self.name, name, getattr(self.layer, name, None), dim, atoms, role)

    def keep_whole(self, problem: str) -> None:
        """Exclude the layer's parameters and the units of its input from cutting."""
        self.tensors.keep_whole(self.layer.parameters())
        self._fix(problem)

    def _fix(self, problem: str) -> None:
        if self.axis is not None:
            self.tensors.couplings.fix(self.axis.atoms, (self.name, problem))


def follow_layer(call: LayerCall) -> Any:
    """Return the axis of the result of a layer of OperationKind.LAYER; a tuple of axes for a recurrent layer."""
    layer = call.layer
    if isinstance(layer, _ConvNd):
        return _convolution(call, layer)
    if isinstance(layer, nn.Linear):
        return _linear(call, layer)
    if isinstance(layer, nn.Embedding):
        return _embedding(call, layer)
    if isinstance(layer, RNNBase):
        return _recurrent(call, layer)
    return _per_channel(call, layer)


def _convolution(call: LayerCall, layer: _ConvNd) -> UnitAxis | None:
    channel_dim = call.result.ndim - len(layer.kernel_size) - 1
    inputs = call.input_atoms(channel_dim, layer.in_channels)
    input_dim, output_dim = (0, 1) if layer.transposed else (1, 0)
    if layer.groups == 1:
        outputs = call.produce(layer.out_channels)
        call.claim("weight", input_dim, inputs, "input")
    elif layer.groups == layer.in_channels and not layer.transposed:
        outputs = inputs.repeat(layer.out_channels // layer.in_channels)
    else:
        call.keep_whole("its channels are convolved in groups")
        return None
    call.claim("weight", output_dim, outputs, "output")
    call.claim("bias", 0, outputs, "output")
    return UnitAxis(channel_dim, outputs)


def _linear(call: LayerCall, layer: nn.Linear) -> UnitAxis:
    dim = call.result.ndim - 1
    call.claim("weight", 1, call.input_atoms(dim, layer.in_features), "input")
    outputs = call.produce(layer.out_features)
    call.claim("weight", 0, outputs, "output")
    call.claim("bias", 0, outputs, "output")
    return UnitAxis(dim, outputs)


def _embedding(call: LayerCall, layer: nn.Embedding) -> UnitAxis | None:
    if layer.max_norm is not None:
        call.keep_whole("max_norm mixes the features of a row")
        return None
    outputs = call.produce(layer.embedding_dim)
    call.claim("weight", 1, outputs, "output")
    return UnitAxis(call.result.ndim - 1, outputs)


def _recurrent(call: LayerCall, layer: RNNBase) -> Any:
    if layer.bidirectional or layer.proj_size or call.num_inputs > 1:
        call.keep_whole("it is bidirectional, has projections or takes an initial state")
        return None
    dim = call.result[0].ndim - 1
    inputs = call.input_atoms(dim, layer.input_size)
    # all depths of the module have the same hidden_size, so they keep the same units
    hidden = call.produce(layer.hidden_size)
    num_gates = layer.get_parameter("weight_hh_l0").shape[0] // layer.hidden_size
    rows = np.tile(hidden, num_gates)
    for depth in range(layer.num_layers):
        call.claim(f"weight_ih_l{depth}", 1, hidden if depth else inputs, "input")
        call.claim(f"weight_hh_l{depth}", 1, hidden, "input")
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            call.claim(f"{name}_l{depth}", 0, rows, "output")
    state = UnitAxis(dim, hidden)
    return state, (state, state) if isinstance(layer, nn.LSTM) else state


def _per_channel(call: LayerCall, layer: nn.Module) -> UnitAxis | None:
    """Follow a norm over each channel or group of channels, or PReLU."""
    if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
        return call.axis
    channels = call.input_atoms(1, call.result.shape[1])
    if isinstance(layer, nn.GroupNorm):
        by_group = channels.reshape(layer.num_groups, -1)
        for column in by_group.T:
            call.tensors.couplings.join(column, by_group[:, 0])
    for name in ("weight", "bias", "running_mean", "running_var"):
        call.claim(name, 0, channels, "output")
    return UnitAxis(1, channels)
