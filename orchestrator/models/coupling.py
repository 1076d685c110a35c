"""Follows the units of a model through its forward pass, traced by torch.fx and run on one batch.

Legend: an activation's flow says which of its dimensions holds units, and the atom (see units.Couplings)
at each position of it; no flow means that the activation holds nothing that can be cut.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.rnn import RNNBase

from orchestrator.errors import ModelError
from orchestrator.models.operations import MODULE_KINDS, Kind, function_kind
from orchestrator.models.units import Couplings, Role

_METHOD_REMEDY = "or take a method that keeps the model whole"


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """`atoms`, int64[size of `dim`], of one activation."""

    dim: int
    atoms: NDArray[np.int64]


def follow_units(module: nn.Module, example: Tensor, couplings: Couplings) -> None:
    """Fill `couplings` from a forward pass of a copy of the module, in evaluation mode on the CPU.

    Raises ModelError for a forward pass that cannot be traced or followed.
    """
    replica = copy.deepcopy(module).to("cpu").eval()
    try:
        graph = _LayerTracer().trace(replica)
    except Exception as error:
        raise ModelError(
            "model.name",
            type(module).__name__,
            f"torch.fx cannot trace its forward pass: {type(error).__name__}: {error}",
            f"write it without branches on data, {_METHOD_REMEDY}",
        ) from error
    with torch.no_grad():
        _Follower(replica, graph, couplings).run(example)


class _LayerTracer(fx.Tracer):
    """Stops at the layers of torch.nn and their subclasses that keep torch's forward."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, nn.Sequential) and type(m).forward.__module__.startswith("torch.nn.")


class _Follower(fx.Interpreter):
    """Runs a graph and derives the flow of every node's result."""

    def __init__(self, module: nn.Module, graph: fx.Graph, couplings: Couplings) -> None:
        super().__init__(module, graph=graph)
        self.extra_traceback = False  # it rewrites the arguments of errors, ours too
        self._couplings = couplings
        self._flows: dict[fx.Node, Any] = {}
        self._names = {id(t): n for n, t in (*module.named_parameters(), *module.named_buffers())}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self._flows[n] = self._follow(n, result)
        return result

    def _follow(self, node: fx.Node, result: Any) -> Any:
        """A Flow or None for a tensor, and a tuple of them for a layer with several results."""
        if node.op == "output":
            for flow in self._inputs(node):
                self._couplings.fix(flow.atoms)
            return None
        if node.op == "get_attr":
            self._keep_whole(result)
            return None
        if node.op == "call_module":
            layer = self.submodules[str(node.target)]
            kind = next((kind for types, kind in MODULE_KINDS if isinstance(layer, types)), Kind.UNKNOWN)
        else:
            if not any(map(_is_tensor, result if isinstance(result, tuple) else (result,))):
                return None
            kind = function_kind(node)
        inputs = list(self._inputs(node))
        if not inputs and kind not in (Kind.PRODUCER, Kind.NORM, Kind.UNKNOWN):
            return None
        follow = getattr(self, f"_{kind.value}")
        return follow(node, inputs[0] if inputs else None, result)

    def _producer(self, node: fx.Node, flow: Flow | None, result: Any) -> Any:
        layer = self.submodules[str(node.target)]
        if isinstance(layer, _ConvNd):
            return self._convolution(node, layer, flow, result)
        if isinstance(layer, RNNBase):
            return self._recurrent(node, layer, flow, result[0].ndim - 1)
        if isinstance(layer, nn.Linear):
            received = self._received(node, flow, result.ndim - 1, layer.in_features)
            self._claim(node, "weight", 1, received, "input")
            outputs = self._couplings.produce(str(node.target), layer.out_features)
            self._claim(node, "weight", 0, outputs, "output")
        else:
            if layer.max_norm is not None:
                return self._opaque(node, "max_norm mixes the features of a row")
            outputs = self._couplings.produce(str(node.target), layer.embedding_dim)
            self._claim(node, "weight", 1, outputs, "output")
        self._claim(node, "bias", 0, outputs, "output")
        return Flow(result.ndim - 1, outputs)

    def _convolution(self, node: fx.Node, layer: _ConvNd, flow: Flow | None, result: Tensor) -> Flow | None:
        channel_dim = result.ndim - len(layer.kernel_size) - 1
        received = self._received(node, flow, channel_dim, layer.in_channels)
        input_dim, output_dim = (0, 1) if layer.transposed else (1, 0)
        if layer.groups == 1:
            outputs = self._couplings.produce(str(node.target), layer.out_channels)
            self._claim(node, "weight", input_dim, received, "input")
        elif layer.groups == layer.in_channels and not layer.transposed:
            outputs = received.repeat(layer.out_channels // layer.in_channels)
        else:
            return self._opaque(node, "its channels are convolved in groups")
        self._claim(node, "weight", output_dim, outputs, "output")
        self._claim(node, "bias", 0, outputs, "output")
        return Flow(channel_dim, outputs)

    def _recurrent(self, node: fx.Node, layer: RNNBase, flow: Flow | None, dim: int) -> Any:
        if layer.bidirectional or layer.proj_size or len(node.all_input_nodes) > 1:
            return self._opaque(node, "it is bidirectional, projected or given its initial state")
        received = self._received(node, flow, dim, layer.input_size)
        # one hidden_size serves all layers of the module, so unit j is unit j of each of them
        hidden = self._couplings.produce(str(node.target), layer.hidden_size)
        for depth in range(layer.num_layers):
            gates = np.tile(hidden, len(getattr(layer, f"weight_hh_l{depth}")) // layer.hidden_size)
            self._claim(node, f"weight_ih_l{depth}", 1, hidden if depth else received, "input")
            self._claim(node, f"weight_hh_l{depth}", 1, hidden, "input")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                self._claim(node, f"{name}_l{depth}", 0, gates, "output")
        state = Flow(dim, hidden)
        return state, (state, state) if isinstance(layer, nn.LSTM) else state

    def _norm(self, node: fx.Node, flow: Flow | None, result: Tensor) -> Flow | None:
        layer = self.submodules[str(node.target)]
        if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
            return flow
        channels = self._received(node, flow, 1, result.shape[1])
        if isinstance(layer, nn.GroupNorm):
            by_norm = channels.reshape(layer.num_groups, -1)
            for column in by_norm.T:
                self._couplings.join(column, by_norm[:, 0])
        for name in ("weight", "bias", "running_mean", "running_var"):
            self._claim(node, name, 0, channels, "output")
        return Flow(1, channels)

    def _layer_norm(self, node: fx.Node, flow: Flow, result: Tensor) -> Flow | None:
        layer = self.submodules[str(node.target)]
        normalised = range(result.ndim - len(layer.normalized_shape), result.ndim)
        return self._mix(node, flow) if flow.dim in normalised else flow

    def _softmax(self, node: fx.Node, flow: Flow, result: Tensor) -> Flow | None:
        if node.op == "call_module":
            dim = self.submodules[str(node.target)].dim
        else:
            dim = self._argument(node, 1, "dim")
        return self._mix(node, flow) if dim is None or dim % result.ndim == flow.dim else flow

    def _mix(self, node: fx.Node, flow: Flow, result: Any = None) -> Flow | None:
        self._couplings.fix(flow.atoms, (_place(node), "it mixes all units"))
        return None

    def _elementwise(self, node: fx.Node, flow: Flow, result: Tensor) -> Flow | None:
        """Units at the same place become one; what is broadcast along the dimension must be uncut there."""
        offsets = {n: result.ndim - self.env[n].ndim for n in node.all_input_nodes if _is_tensor(self.env[n])}
        dims = {self._flows[n].dim + offsets[n] for n in offsets if self._flows[n] is not None}
        dim = min(dims)
        complete: list[NDArray[np.int64]] = []
        for n, offset in offsets.items():
            own = self._flows[n]
            size = self.env[n].shape[dim - offset] if dim >= offset else 1
            if own is not None and (len(dims) > 1 or len(own.atoms) != result.shape[dim]):
                self._couplings.fix(own.atoms, (_place(node), "its operands hold units in other dimensions"))
            elif own is not None:
                complete.append(own.atoms)
            elif size > 1:
                complete.append(np.zeros(size, np.int64))
        for atoms in complete[1:]:
            self._couplings.join(complete[0], atoms)
        return Flow(dim, complete[0]) if complete else None

    def _spatial(self, node: fx.Node, flow: Flow, result: Any) -> Flow | None:
        if not _is_tensor(result):
            return self._unknown(node, flow, result)
        if flow.dim != 1 or result.ndim < 3:
            return self._mix(node, flow)
        return flow

    def _pad(self, node: fx.Node, flow: Flow, result: Tensor) -> Flow | None:
        padding, from_end = self._argument(node, 1, "pad"), 2 * (result.ndim - 1 - flow.dim)
        before, after = (*padding, *[0] * 2 * result.ndim)[from_end : from_end + 2]
        if min(before, after) < 0 or self._argument(node, 2, "mode") not in (None, "constant"):
            return self._unknown(node, flow, result)
        return Flow(flow.dim, np.pad(flow.atoms, (before, after)))

    def _reduction(self, node: fx.Node, flow: Flow, result: Tensor) -> Flow | None:
        dim, ndim = self._argument(node, 1, "dim"), self.env[node.all_input_nodes[0]].ndim
        dims = {d % ndim for d in ([dim] if isinstance(dim, int) else dim or range(ndim))}
        if flow.dim in dims:
            return self._mix(node, flow)
        gone = 0 if result.ndim == ndim else sum(d < flow.dim for d in dims)
        return Flow(flow.dim - gone, flow.atoms)

    def _movement(self, node: fx.Node, flow: Flow, result: Any) -> Any:
        """Moves an array of atoms as the operation moves the activation, and looks where they went."""
        if isinstance(source := self._flows[node.all_input_nodes[0]], tuple):
            return source[self._argument(node, 1, "index")]
        moved = self._rearranged(node)
        varying = [d for d in range(moved.ndim) if (moved != moved.take([0], d)).any()]
        lost = np.setdiff1d(np.concatenate([f.atoms for f in self._inputs(node)]), moved)
        if len(varying) != 1 or len(lost):
            for own in self._inputs(node):
                self._couplings.fix(own.atoms, (_place(node), "it splits the units or takes some of them"))
            return None
        (dim,) = varying
        atoms = np.moveaxis(moved, dim, -1).reshape(-1, moved.shape[dim])[0]
        self._refuse_constant_size(node, dim, atoms)
        return Flow(dim, atoms)

    def _rearranged(self, node: fx.Node) -> NDArray[np.int64]:
        """int64, of the shape of the node's result: the atom at each entry."""
        joins = function_kind(node) is Kind.MOVEMENT and isinstance(node.args[0], list | tuple)

        def replace(n: fx.Node) -> Any:
            value, flow = self.env[n], self._flows[n]
            if flow is not None:
                shape = [-1 if d == flow.dim else 1 for d in range(value.ndim)]
                return torch.from_numpy(flow.atoms).view(shape).expand(value.shape).contiguous()
            return torch.zeros(value.shape, dtype=torch.int64) if joins and _is_tensor(value) else value

        args, kwargs = fx.node.map_arg(node.args, replace), fx.node.map_arg(node.kwargs, replace)
        moved: NDArray[np.int64] = getattr(self, node.op)(node.target, args, kwargs).numpy()
        return moved

    def _refuse_constant_size(self, node: fx.Node, dim: int, atoms: NDArray[np.int64]) -> None:
        if node.target not in ("view", "reshape", "expand", torch.reshape):
            return
        given = (*node.args[1:], *node.kwargs.values())
        sizes = given[0] if isinstance(given[0], list | tuple) else given
        size = sizes[dim] if len(sizes) > dim else -1
        if isinstance(size, int) and size != -1 and self._couplings.can_cut(atoms):
            raise ModelError(
                "model.name",
                _place(node),
                f"the size {size} is written into the forward pass, so the layers before it cannot shrink",
                f"write flatten(1) or a size of -1, {_METHOD_REMEDY}",
            )

    def _unknown(self, node: fx.Node, flow: Flow | None, result: Any) -> Flow | None:
        if node.op == "call_module":
            for tensor in self.submodules[str(node.target)].parameters():
                self._keep_whole(tensor)
        if any(self._couplings.can_cut(own.atoms) for own in self._inputs(node)):
            self._refuse(node, "units cannot be followed through this operation")
        return None

    def _refuse(self, node: fx.Node, problem: str) -> NoReturn:
        remedy = f"use torch.nn layers and elementwise arithmetic instead, {_METHOD_REMEDY}"
        raise ModelError("model.name", _place(node), problem, remedy)

    def _opaque(self, node: fx.Node, problem: str) -> Flow | None:
        for tensor in self.submodules[str(node.target)].parameters():
            self._keep_whole(tensor)
        for flow in self._inputs(node):
            self._couplings.fix(flow.atoms, (_place(node), problem))
        return None

    def _keep_whole(self, tensor: object) -> None:
        if isinstance(tensor, Tensor) and id(tensor) in self._names:
            for dim, size in enumerate(tensor.shape):
                self._couplings.claim(self._names[id(tensor)], dim, np.zeros(size, np.int64), "output")

    def _received(self, node: fx.Node, flow: Flow | None, dim: int, size: int) -> NDArray[np.int64]:
        """int64[size]: the atoms a layer finds along its input dimension; fixed ones where it has none."""
        if flow is not None and flow.dim == dim:
            return flow.atoms
        if flow is not None:
            self._couplings.fix(flow.atoms, (_place(node), "it works along another dimension than the units'"))
        return np.zeros(size, np.int64)

    def _claim(self, node: fx.Node, name: str, dim: int, atoms: NDArray[np.int64], role: Role) -> None:
        tensor = getattr(self.submodules[str(node.target)], name, None)
        qualified = f"{node.target}.{name}"
        if tensor is not None and id(tensor) not in self._names:
            self._refuse(node, f"its {name} is computed from other tensors")
        if tensor is not None:
            qualified = self._names[id(tensor)]
        elif name != "weight":
            return
        self._couplings.claim(qualified, dim, atoms, role)

    def _inputs(self, node: fx.Node) -> Iterator[Flow]:
        for n in node.all_input_nodes:
            yield from _leaves(self._flows[n])

    def _argument(self, node: fx.Node, position: int, name: str) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        return args[position] if len(args) > position else kwargs.get(name)


def _leaves(flows: Any) -> Iterator[Flow]:
    if isinstance(flows, Flow):
        yield flows
    elif isinstance(flows, tuple):
        for part in flows:
            yield from _leaves(part)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _place(node: fx.Node) -> str:
    if node.op == "call_module":
        return str(node.target)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    scopes = [scope for scope in node.meta.get("nn_module_stack", {}) if scope]
    return f"{scopes[-1]}.{name}" if scopes else name
